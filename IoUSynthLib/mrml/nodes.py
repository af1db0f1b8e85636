"""MRML nodes to :class:`~IoUSynthLib.volume.Volume` and back.

The work is done on the voxel grid of the input node, in the node's own frame: parent transforms play no part in it, but
for one that scales: millimetres are then those of the world.
The outputs get the grid of the input, bit by bit, and the same parent transform, so that they lie where the input lies
under any chain of transforms, linear or not, and follow when a tracker or a registration moves it. The input node is
only read.
"""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from .. import NOTICE
from ..files.itk import LUMINANCE
from ..files.names import role_of_name
from ..input_checks import check_input, wrapped
from ..models.bundle import titled
from ..synthesis.quality import UNUSABLE, Verdict, judge
from ..volume import InputError, Volume, right_angled
from .stored import check_file
from .transforms import scaling_above, stretch_above

if TYPE_CHECKING:
    from ..models.bundle import Bundle
    from ..pipeline import SynthesisResult

#: Node attributes and node references of IoUSynth start with this.
PREFIX = "IoUSynth."
INPUT_ROLE = PREFIX + "input"
PREOPERATIVE_ROLE = PREFIX + "preoperative"

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
#: Factors of a volume that lie closer to 1 are none.
_SAME_VOLUME = 0.005
_UNCERTAINTY_WINDOW = (0.0, 0.25)

#: MRI in the order of preference.
_MRI_ROLES = (("T2w",), ("FLAIR",), ("T1w", "MRI"))


@dataclass(frozen=True)
class _SegmentStyle:
    """How one label is shown and coded. The two colours are the orange and sky blue of Okabe and Ito's palette, which
    stay apart for colour-blind readers and on grey."""

    label: int
    identifier: str
    name: str
    color: tuple[float, float, float]
    terminology: str


_BRAIN = "Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
SEGMENTS = (
    _SegmentStyle(
        1,
        "tumour",
        "Tumour",
        (0.902, 0.624, 0.0),
        "Segmentation category and type - 3D Slicer General Anatomy list"
        f"~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^~{_BRAIN}",
    ),
    _SegmentStyle(
        2,
        "cavity",
        "Resection cavity",
        (0.337, 0.706, 0.914),
        # No standard code names a resection cavity; DICOM reserves designators that start with 99 for private codes.
        "IoUSynth brain ultrasound"
        f"~SCT^49755003^Morphologically Altered Structure~99IOUSYNTH^ResectionCavity^Resection cavity~^^~{_BRAIN}",
    ),
)


@dataclass(frozen=True)
class Grid:
    """The voxel grid of a volume node in the node's own RAS frame, kept exactly as the node stores it.

    ``vtkMRMLVolumeNode.CopyOrientation`` goes through the IJK-to-RAS matrix and rounds; this copies its three parts.
    """

    dimensions: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, node: slicer.vtkMRMLVolumeNode) -> Grid:
        """Return the grid of a volume node that has voxels."""
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASDirectionMatrix(matrix)
        direction = tuple(tuple(matrix.GetElement(row, column) for column in range(3)) for row in range(3))
        return cls(node.GetImageData().GetDimensions(), node.GetSpacing(), node.GetOrigin(), direction)

    def apply(self, node: slicer.vtkMRMLVolumeNode) -> None:
        """Give a volume node this geometry; its voxels must have the same dimensions."""
        matrix = vtk.vtkMatrix4x4()
        for row in range(3):
            for column in range(3):
                matrix.SetElement(row, column, self.direction[row][column])
        node.SetIJKToRASDirectionMatrix(matrix)
        node.SetSpacing(*self.spacing)
        node.SetOrigin(*self.origin)

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """4x4 matrix from voxel indices to the node's own RAS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction) * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix


@dataclass
class OutputNodes:
    """The nodes of one result. As an argument: the nodes to fill again; what is missing is made."""

    images: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None = None
    segmentation: slicer.vtkMRMLSegmentationNode | None = None

    def all(self) -> list[slicer.vtkMRMLNode]:
        """Return the nodes that are there."""
        return [node for node in (*self.images.values(), self.uncertainty, self.segmentation) if node is not None]


# --- From the scene ------------------------------------------------------------------------------------------------


def volume_from_node(
    node: slicer.vtkMRMLScalarVolumeNode, chain: Sequence[slicer.vtkMRMLTransformNode] | None = None
) -> Volume:
    """Copy a volume node's voxels and its own geometry.

    Parameters
    ----------
    node
        Scalar or colour volume. For the current frame of a sequence, the frame that is shown is taken, with a note.
    chain
        The transforms above it, the nearest first; by default those that are there.

    Returns
    -------
    Volume
        float32 voxels ``[z, y, x]``, ready to be worked on (:func:`volume.check_input`); LPS geometry in the node's own
        frame, parent transforms left out, or in the world's where they scale (:func:`transforms.scaling_above`).

    Raises
    ------
    InputError
        No node or no voxels, a label map, a tensor or diffusion volume, or unusable voxels or geometry.
    """
    name = _check_kind(node)
    array, notes = _scalar_array(node, name)
    said = (*_check_stored(node, name), *_stretched(node, name, chain))
    spacing, origin, direction = _measured(node, chain)
    return check_input(
        Volume(
            array,
            spacing,
            origin,
            direction,
            notes=(*notes, *_sequence_notes(node)),
            warnings=(*said, *wrapped(slicer.util.arrayFromVolume(node))),
        ),
        name,
    )


def _measured(
    node: slicer.vtkMRMLVolumeNode, chain: Sequence[slicer.vtkMRMLTransformNode] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spacing, origin and direction (LPS) of a volume in the frame that it is measured in."""
    grid, above = Grid.of(node), scaling_above(node, chain)
    if above is None:
        return np.array(grid.spacing), _RAS_TO_LPS * grid.origin, _RAS_TO_LPS[:, None] * np.asarray(grid.direction)
    matrix = above @ grid.ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = right_angled(_RAS_TO_LPS[:, None] * matrix[:3, :3] / np.maximum(spacing, 1e-9))
    return spacing, _RAS_TO_LPS * matrix[:3, 3], direction


def spacing_of(node: slicer.vtkMRMLVolumeNode) -> tuple[float, ...]:
    """Return the voxel size in mm that a volume with voxels is measured with, to a tenth of a micrometre."""
    return tuple(np.round(_measured(node)[0], 4).tolist())


def _check_stored(node: slicer.vtkMRMLVolumeNode, name: str) -> tuple[str, ...]:
    flip = np.diag([*_RAS_TO_LPS, 1.0])
    return check_file(node, name, flip @ Grid.of(node).ijk_to_ras)


def _stretched(
    node: slicer.vtkMRMLVolumeNode, name: str, chain: Sequence[slicer.vtkMRMLTransformNode] | None
) -> tuple[str, ...]:
    """Say so where transforms above a volume change its millilitres, but it is measured without them."""
    factor, _ = stretch_above(node, chain)
    if abs(factor - 1.0) < _SAME_VOLUME:
        return ()
    return (f"Transforms above {name} shear it and stretch its volume by {factor:.3f}; millilitres are without that.",)


def check_measurable(
    node: slicer.vtkMRMLVolumeNode | None, chain: Sequence[slicer.vtkMRMLTransformNode] | None = None
) -> None:
    """Refuse an ultrasound that transforms shear and scale, so that it has a voxel size in no frame."""
    if node is not None and not stretch_above(node, chain)[1]:
        raise InputError(
            f'volume "{node.GetName()}": lies under transforms that scale and shear it; harden them and resample it to '
            "a regular grid, in Slicer with Resample Scalar/Vector/DWI Volume"
        )


def judge_input(node: slicer.vtkMRMLScalarVolumeNode | None, bundle: Bundle | None = None) -> Verdict:
    """Judge a volume node as an input, without copying its voxels; see :func:`input_verdict.judge`."""
    try:
        name = _check_kind(node)
        check_measurable(node)
        _check_stored(node, name)
        array = slicer.util.arrayFromVolume(node)
        if array.ndim != 3:  # of a colour image a sample must do
            steps = tuple(slice(None, None, max(1, length // 128)) for length in array.shape[:3])
            array = _scalar_array(node, name, steps)[0]
    except InputError as error:
        return Verdict(UNUSABLE, (str(error),))
    if is_synthetic(node):
        return Verdict(UNUSABLE, (f"{name}: was made by IoUSynth, not acquired; choose the ultrasound volume",))
    spacing, origin, direction = _measured(node)
    spacing = spacing * np.divide(node.GetImageData().GetDimensions(), array.shape[::-1])
    return judge(Volume(array, spacing, origin, direction), bundle, name)


def _check_kind(node: slicer.vtkMRMLVolumeNode | None) -> str:
    """Return the node's name for messages, or refuse the node."""
    if node is None:
        raise InputError("input volume: none is selected; choose the ultrasound volume")
    name = f'volume "{node.GetName()}"'
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{name}: is a label map, not an image; choose the ultrasound volume")
    tensor = node.IsA("vtkMRMLTensorVolumeNode") and not node.IsA("vtkMRMLVectorVolumeNode")
    if tensor or not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{name}: is not a scalar or colour volume; choose the ultrasound volume")
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise InputError(f"{name}: has no voxels; load it again or choose another volume")
    return name


def _scalar_array(
    node: slicer.vtkMRMLScalarVolumeNode, name: str, part: tuple[slice, ...] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    array = slicer.util.arrayFromVolume(node)[part]
    if array.ndim == 3:
        return array.astype(np.float32), ()
    components = array.shape[-1]
    if components not in (3, 4):
        raise InputError(f"{name}: has {components} values per voxel; extract one scalar volume of it")
    luminance = array[..., :3] @ np.asarray(LUMINANCE, dtype=np.float32)
    return luminance.astype(np.float32), (f"Colour image ({components} components) converted to luminance (Rec. 601).",)


def _sequence_notes(node: slicer.vtkMRMLNode) -> tuple[str, ...]:
    browsers = node.GetScene().GetNodesByClass("vtkMRMLSequenceBrowserNode") if node.GetScene() else None
    if browsers is None:
        return ()
    browsers.UnRegister(None)
    for index in range(browsers.GetNumberOfItems()):
        browser = browsers.GetItemAsObject(index)
        if browser.IsProxyNodeID(node.GetID()):
            frame = browser.GetSelectedItemNumber() + 1
            count = browser.GetNumberOfItems()
            return (f'Frame {frame} of {count} of the sequence "{browser.GetName()}".',)
    return ()


def is_synthetic(node: slicer.vtkMRMLNode | None) -> bool:
    """Tell whether IoUSynth made the node."""
    return node is not None and node.GetAttribute(PREFIX + "Synthetic") == "true"


def report_of(node: slicer.vtkMRMLNode | None) -> dict[str, Any]:
    """Return the report of the run that made a node, also after its scene was saved and loaded; empty for any other."""
    return json.loads(node.GetAttribute(PREFIX + "Report") or "{}") if is_synthetic(node) else {}


def guess_inputs(
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode],
) -> tuple[slicer.vtkMRMLScalarVolumeNode | None, slicer.vtkMRMLScalarVolumeNode | None]:
    """Guess the ultrasound and the preoperative MRI among volume nodes, oldest first, by their names.

    Returns
    -------
    tuple
        The newest node whose name says ultrasound, else the newest whose name does not say MRI; and the newest T2w,
        else FLAIR, else other MRI. None where there is no candidate.
    """
    acquired = [node for node in reversed(nodes) if not (is_synthetic(node) or node.IsA("vtkMRMLLabelMapVolumeNode"))]
    roles = [(node, role_of_name(node.GetName() or "")) for node in acquired]
    mri = [node for kinds in _MRI_ROLES for node, role in roles if role in kinds]
    ultrasound = [node for kind in ("ultrasound", "none") for node, role in roles if role == kind]
    return next(iter(ultrasound), None), next(iter(mri), None)


# --- Into the scene ------------------------------------------------------------------------------------------------


def add_result(
    result: SynthesisResult,
    input_node: slicer.vtkMRMLScalarVolumeNode,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None = None,
    outputs: OutputNodes | None = None,
    grid: Grid | None = None,
) -> OutputNodes:
    """Put a result into the scene of the input, on its grid and under its parent transform.

    Parameters
    ----------
    result
        What ``pipeline.synthesize`` made of the input.
    input_node, preoperative_node
        The nodes it was made from and will be compared with; both are only referenced.
    outputs
        Nodes of an earlier result. Those that IoUSynth made from the same input are filled again, so that a second run
        leaves no duplicates, or removed where this result has nothing to fill them with, so that no image of another
        model passes for one of this. Any other node is left alone and a new one is made instead.
    grid
        The input's grid when its voxels were read, if that was earlier.

    Raises
    ------
    ValueError
        The result does not lie on the grid. Nothing is then added; the same holds for any failure on the way.
    """
    grid = grid or Grid.of(input_node)
    volumes = [*result.images.values(), result.segmentation]
    if result.uncertainty is not None:
        volumes.append(result.uncertainty)
    if any(volume.size != grid.dimensions for volume in volumes):
        sizes = [volume.size for volume in volumes]
        raise ValueError(f"result of size {sizes} does not fit the grid {grid.dimensions}")
    writer = _ResultWriter(result, input_node, preoperative_node, outputs or OutputNodes(), grid)
    with _batch(input_node.GetScene()):
        try:
            written = writer.write()
        except Exception:
            remove_nodes(writer.created)
            raise
        remove_nodes(writer.stale(written))
        return written


@contextlib.contextmanager
def _batch(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Let views and panels take note once, at the end."""
    scene.StartState(slicer.vtkMRMLScene.BatchProcessState)
    try:
        yield
    finally:
        scene.EndState(slicer.vtkMRMLScene.BatchProcessState)


class _ResultWriter:
    """Writes one result; keeps count of the nodes it had to make."""

    def __init__(
        self,
        result: SynthesisResult,
        input_node: slicer.vtkMRMLScalarVolumeNode,
        preoperative_node: slicer.vtkMRMLScalarVolumeNode | None,
        outputs: OutputNodes,
        grid: Grid,
    ) -> None:
        self.result = result
        self.input_node = input_node
        self.preoperative_node = preoperative_node
        self.outputs = outputs
        self.grid = grid
        self.scene = input_node.GetScene()
        self.attributes = _provenance(result.report, input_node)
        self.created: list[slicer.vtkMRMLNode] = []

    def write(self) -> OutputNodes:
        written = OutputNodes()
        for name, volume in self.result.images.items():
            written.images[name] = self._write_volume(self.outputs.images.get(name), name, volume)
            _show_as_mri(written.images[name])
        if self.result.uncertainty is not None:
            written.uncertainty = self._write_volume(self.outputs.uncertainty, "uncertainty", self.result.uncertainty)
            _show_as_uncertainty(written.uncertainty)
        written.segmentation = self._write_segmentation()
        for node in written.all():
            self._place(node)
        # After parenting: the segmentation takes the geometry relative to the transform both share.
        written.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(next(iter(written.images.values())))
        return written

    def stale(self, written: OutputNodes) -> list[slicer.vtkMRMLNode]:
        """Return the earlier outputs of this input that the result did not fill."""
        earlier = {**self.outputs.images, "uncertainty": self.outputs.uncertainty}
        filled = written.all()
        return [
            node
            for kind, node in earlier.items()
            if node not in filled and self._may_fill(node, kind, "vtkMRMLScalarVolumeNode")
        ]

    def _node(self, reusable: slicer.vtkMRMLNode | None, kind: str, class_name: str) -> slicer.vtkMRMLNode:
        """Return the node to fill: the earlier output if it is of this input and kind, else a new one."""
        name = f"{self.input_node.GetName()} {kind} (synthetic)"
        if self._may_fill(reusable, kind, class_name):
            reusable.SetName(name)
            self._mark(reusable, kind)
            return reusable
        node = self.scene.CreateNodeByClass(class_name)
        node.UnRegister(None)  # the scene holds it from now on
        # The scene would number a name that it has ever seen, even if the node of an earlier run is gone.
        taken = self.scene.GetFirstNodeByName(name) is not None
        node.SetName(self.scene.GenerateUniqueName(name) if taken else name)
        self._mark(node, kind)  # before it is added: selectors look at the attributes when a node appears
        self.scene.AddNode(node)
        self.created.append(node)
        return node

    def _may_fill(self, node: slicer.vtkMRMLNode | None, kind: str, class_name: str) -> bool:
        return (
            is_synthetic(node)
            and node.IsA(class_name)
            and node.GetAttribute(PREFIX + "Output") == kind
            and node.GetNodeReference(INPUT_ROLE) is self.input_node
            and self.scene.IsNodePresent(node) != 0
        )

    def _write_volume(
        self, reusable: slicer.vtkMRMLNode | None, kind: str, volume: Volume
    ) -> slicer.vtkMRMLScalarVolumeNode:
        node = self._node(reusable, kind, "vtkMRMLScalarVolumeNode")
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().AutoWindowLevelOff()  # before it has voxels, so that no window is sought in them in vain
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.array, dtype=np.float32))
        self.grid.apply(node)
        return node

    def _write_segmentation(self) -> slicer.vtkMRMLSegmentationNode:
        node = self._node(self.outputs.segmentation, "segmentation", "vtkMRMLSegmentationNode")
        node.CreateDefaultDisplayNodes()
        segmentation = node.GetSegmentation()
        segmentation.RemoveAllSegments()
        representation = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
        segmentation.SetSourceRepresentationName(representation)
        labels = _labelmap(self.result.segmentation.array, self.grid)
        doubtful = self.result.report.get("doubtful", ())
        for style in SEGMENTS:  # both in one label map: they do not overlap
            segment = slicer.vtkSegment()
            segment.SetName(f"{style.name} (doubtful)" if style.identifier in doubtful else style.name)
            segment.SetColor(*style.color)
            segment.SetLabelValue(style.label)
            segment.SetTerminology(style.terminology)
            segment.AddRepresentation(representation, labels)
            segmentation.AddSegment(segment, style.identifier)
        _show_as_outline(node, doubtful)
        return node

    def _mark(self, node: slicer.vtkMRMLNode, kind: str) -> None:
        """Say on the node that it is synthetic and what it was made with, before it has any content."""
        for key, value in self.attributes.items():
            node.SetAttribute(PREFIX + key, value)
        node.SetAttribute(PREFIX + "Output", kind)
        node.SetNodeReferenceID(INPUT_ROLE, self.input_node.GetID())
        node.SetNodeReferenceID(
            PREOPERATIVE_ROLE, self.preoperative_node.GetID() if self.preoperative_node is not None else None
        )

    def _place(self, node: slicer.vtkMRMLDisplayableNode) -> None:
        """Put the node beside the input in the subject hierarchy and under the input's transform."""
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        if hierarchy is not None and hierarchy.GetItemByDataNode(self.input_node) and hierarchy.GetItemByDataNode(node):
            parent = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(self.input_node))
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), parent)
        node.SetAndObserveTransformNodeID(self.input_node.GetTransformNodeID())


def _provenance(report: dict[str, Any], input_node: slicer.vtkMRMLNode) -> dict[str, str]:
    """Return the attributes that say with what a node was made."""
    model, segmenter, companion = (report.get(key) or {} for key in ("model", "segmenter", "companion"))
    transform = input_node.GetParentTransformNode()
    chain = report.get("input", {}).get("transforms", [])
    return {
        "Synthetic": "true",
        "Notice": report.get("notice", NOTICE),
        "Model": titled(model),
        "ModelSHA256": str(model.get("sha256", "")),
        "Segmenter": titled(segmenter),
        "SegmenterSHA256": str(segmenter.get("sha256", "")),
        "OutlinedOn": titled(companion),
        "OutlinedOnSHA256": str(companion.get("sha256", "")),
        "Versions": json.dumps(report.get("versions", {}), sort_keys=True),
        "Device": str(report.get("device", {}).get("used", "")),
        "Created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "InputNodeID": input_node.GetID(),
        "InputName": input_node.GetName(),
        "InputTransform": transform.GetName() if transform is not None else "",
        "InputTransforms": json.dumps(chain),  # as they were when the voxels were read, the nearest first
        "Report": json.dumps(report, sort_keys=True, default=str),
    }


def _labelmap(labels: np.ndarray, grid: Grid) -> slicer.vtkOrientedImageData:
    """Return labels as a VTK image that knows its place; it owns its voxels."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*grid.dimensions)
    voxels = numpy_support.numpy_to_vtk(labels.astype(np.uint8).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(voxels)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(grid.ijk_to_ras.ravel())
    image.SetGeometryFromImageToWorldMatrix(matrix)
    return image


def _show_as_mri(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetInterpolate(True)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*_window(node))
    _hide_no_data(display, 1.0, 1e6)


def _window(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    """Return the range of intensities between the 0.5 and the 99.5 percentile of the valid voxels."""
    array = slicer.util.arrayFromVolume(node)
    valid = array[array > 0]
    if valid.size == 0:
        return 1.0, 1000.0
    low, high = np.percentile(valid[:: max(1, valid.size // 200_000)], (0.5, 99.5))
    return float(low), float(max(high, low + 1))


def _show_as_uncertainty(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    display = node.GetDisplayNode()
    # As a layer it must stand out from grey images, an orange tumour and a blue cavity.
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeMagenta")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*_UNCERTAINTY_WINDOW)
    _hide_no_data(display, 1e-6, 1e6)


def _hide_no_data(display: slicer.vtkMRMLScalarVolumeDisplayNode, lower: float, upper: float) -> None:
    """Make voxels below ``lower`` transparent: 0 stands for no data, not for dark tissue."""
    display.AutoThresholdOff()
    display.SetThreshold(lower, upper)
    display.ApplyThresholdOn()


def _show_as_outline(node: slicer.vtkMRMLSegmentationNode, doubtful: Iterable[str]) -> None:
    """Show outlines with a tinted inside; those of the segments named as doubtful are faint and empty."""
    display = node.GetDisplayNode()
    display.SetVisibility(True)
    display.SetVisibility2DFill(True)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(0.12)
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(2)
    for style in SEGMENTS:
        faint = style.identifier in doubtful
        display.SetSegmentOpacity2DOutline(style.identifier, 0.5 if faint else 1.0)
        display.SetSegmentOpacity2DFill(style.identifier, 0.0 if faint else 1.0)


def remove_nodes(nodes: Iterable[slicer.vtkMRMLNode]) -> None:
    """Remove nodes with their display and storage nodes."""
    for node in list(nodes):
        scene = node.GetScene()
        if scene is None:
            continue
        helpers = []
        if node.IsA("vtkMRMLDisplayableNode"):
            helpers = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
            helpers += [node.GetNthStorageNode(index) for index in range(node.GetNumberOfStorageNodes())]
        scene.RemoveNode(node)
        for helper in helpers:
            if helper is not None and helper.GetScene() is not None:
                scene.RemoveNode(helper)
