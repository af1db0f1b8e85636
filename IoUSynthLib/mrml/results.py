"""Results in the scene: which nodes belong together, to which input, and how large tumour and cavity are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..constants import FREQUENCY, SPREAD
from .grid import Grid
from .provenance import INPUT_ROLE, PREFIX, PREOPERATIVE_ROLE, is_synthetic, report_of
from .styles import SEGMENTS
from .transforms import to_world

#: What the attribute ``Output`` of the mask of :class:`OutputNodes` says.
NO_ECHO = "no echo"
#: What it says of the difference between images with and without MRI, and of the places where they disagree.
DIFFERENCE, DISAGREEMENT = "difference", "disagreement"
#: How it ends for images that are not the result's: of ultrasound alone, or those with MRI that was not believed.
WITHOUT_MRI, WITH_MRI = " without MRI", " with MRI"


@dataclass
class OutputNodes:
    """The nodes of one result. As an argument: the nodes to fill again; what is missing is made.

    ``no_echo`` is a hidden mask: the stripes that lie over the images where the ultrasound carries no echo.
    ``contribution`` is hidden, too: what preoperative MRI contributed, by what the attribute ``Output`` says; and so is
    ``spread``, what samples differ in.
    """

    images: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None = None
    segmentation: slicer.vtkMRMLSegmentationNode | None = None
    no_echo: slicer.vtkMRMLScalarVolumeNode | None = None
    contribution: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    spread: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)

    def all(self) -> list[slicer.vtkMRMLNode]:
        """Return the nodes that are there."""
        nodes = (
            *self.images.values(), self.uncertainty, self.segmentation, self.no_echo, *self.contribution.values(),
            *self.spread.values(),
        )  # fmt: skip
        return [node for node in nodes if node is not None]


@dataclass(frozen=True)
class Result:
    """The nodes that one run made.

    Attributes
    ----------
    input_node, preoperative_node
        What it was made from and is shown beside.
    outputs
        Its nodes.
    created
        When, as ISO 8601 in UTC.
    model
        Name and version of the generator.
    """

    input_node: slicer.vtkMRMLScalarVolumeNode
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None
    outputs: OutputNodes
    created: str
    model: str

    @property
    def identifier(self) -> str:
        """What tells it from other results of the scene."""
        return f"{self.input_node.GetID()} {self.created}"

    @property
    def report(self) -> dict[str, Any]:
        """What the run said of itself."""
        return report_of(next(iter(self.outputs.images.values())))

    def holds(self, node: slicer.vtkMRMLNode | None) -> bool:
        """Tell whether a node is one of its nodes."""
        return node is not None and any(node is output for output in self.outputs.all())

    def alternative(self, name: str) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The image of a contrast that is not the result's: of ultrasound alone, or with MRI; None without MRI."""
        found = (self.outputs.contribution.get(name + end) for end in (WITHOUT_MRI, WITH_MRI))
        return next((node for node in found if node is not None), None)

    def contrast_of(self, node: slicer.vtkMRMLNode | None) -> str | None:
        """The contrast of which a node is the image or its alternative; None for any other."""
        images = self.outputs.images
        is_node = (name for name in images if node is not None and node in (images[name], self.alternative(name)))
        return next(is_node, None)

    def holds_any(self, outputs: OutputNodes) -> bool:
        """Tell whether some of the nodes are its own."""
        return any(self.holds(node) for node in outputs.all())

    def volumes_ml(self) -> dict[str, float]:
        """Return the volumes of its segments as they are now, edited or not."""
        return segment_volumes_ml(self.outputs.segmentation)


def find_results(scene: slicer.vtkMRMLScene) -> list[Result]:
    """Return the results of a scene whose input is still there and that have an image.

    They come in the order in which their inputs were loaded, and of one input the oldest first.
    """
    found: dict[tuple[str, str], Result] = {}
    inputs: list[str] = []
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        if node.IsA("vtkMRMLScalarVolumeNode"):
            inputs.append(node.GetID())
        input_node = node.GetNodeReference(INPUT_ROLE) if is_synthetic(node) else None
        if input_node is None:
            continue
        created = node.GetAttribute(PREFIX + "Created") or ""
        key = input_node.GetID(), created
        if key not in found:
            preoperative, model = node.GetNodeReference(PREOPERATIVE_ROLE), node.GetAttribute(PREFIX + "Model") or ""
            found[key] = Result(input_node, preoperative, OutputNodes(), created, model)
        _take(found[key].outputs, node)
    complete = [key for key in found if found[key].outputs.images]
    return [found[key] for key in sorted(complete, key=lambda key: (inputs.index(key[0]), key[1]))]


def _take(outputs: OutputNodes, node: slicer.vtkMRMLNode) -> None:
    kind = node.GetAttribute(PREFIX + "Output")
    if kind == "segmentation":
        outputs.segmentation = node
    elif kind == "uncertainty":
        outputs.uncertainty = node
    elif kind == NO_ECHO:
        outputs.no_echo = node
    elif is_contribution(kind):
        outputs.contribution[kind] = node
    elif kind in (SPREAD, FREQUENCY):
        outputs.spread[kind] = node
    elif kind:
        outputs.images[kind] = node


def is_contribution(kind: str | None) -> bool:
    """Tell whether the attribute ``Output`` is of something that MRI contributed."""
    return kind in (DIFFERENCE, DISAGREEMENT) or (kind or "").endswith((WITHOUT_MRI, WITH_MRI))


def newest_of(input_node: slicer.vtkMRMLScalarVolumeNode | None) -> Result | None:
    """Return the newest result of an input, or None."""
    scene = None if input_node is None else input_node.GetScene()
    found = [] if scene is None else find_results(scene)
    return next((result for result in reversed(found) if result.input_node is input_node), None)


def segment_volumes_ml(segmentation_node: slicer.vtkMRMLSegmentationNode | None) -> dict[str, float]:
    """Return the volumes in ml of those of :data:`styles.SEGMENTS` that a segmentation has, by their identifiers."""
    if segmentation_node is None:
        return {}
    volumes = {}
    for style in SEGMENTS:
        segment = segmentation_node.GetSegmentation().GetSegment(style.identifier)
        labels = segment.GetRepresentation("Binary labelmap") if segment is not None else None
        if labels is None:
            continue
        steps = vtk.vtkMatrix4x4()
        labels.GetImageToWorldMatrix(steps)
        voxels = 0
        if not labels.IsEmpty():
            scalars = numpy_support.vtk_to_numpy(labels.GetPointData().GetScalars())
            voxels = int(np.count_nonzero(scalars == segment.GetLabelValue()))
        volumes[style.identifier] = voxels * abs(steps.Determinant()) / 1000.0
    return volumes


def segment_mask(
    segmentation_node: slicer.vtkMRMLSegmentationNode | None,
    image: slicer.vtkMRMLScalarVolumeNode,
    identifier: str | None = None,
) -> np.ndarray:
    """Return the mask of a segment, or of all, on the grid of a volume under the same transform: bool ``[z, y, x]``."""
    mask = np.zeros(image.GetImageData().GetDimensions()[::-1], dtype=bool)
    if segmentation_node is None:
        return mask
    segmentation = segmentation_node.GetSegmentation()
    ras_to_ijk = np.linalg.inv(Grid.of(image).ijk_to_ras)
    for index in range(segmentation.GetNumberOfSegments()):
        if identifier not in (None, segmentation.GetNthSegmentID(index)):
            continue
        labels = segmentation.GetNthSegment(index).GetRepresentation("Binary labelmap")
        if labels is None or labels.IsEmpty():
            continue
        matrix = vtk.vtkMatrix4x4()
        labels.GetImageToWorldMatrix(matrix)
        extent = labels.GetExtent()  # a saved segmentation comes back cropped
        first = ras_to_ijk @ np.array(matrix.MultiplyPoint((*extent[::2], 1.0)))
        voxels = numpy_support.vtk_to_numpy(labels.GetPointData().GetScalars())
        voxels = voxels.reshape(labels.GetDimensions()[::-1]) == segmentation.GetNthSegment(index).GetLabelValue()
        low = np.rint(first[2::-1]).astype(int)
        mask[tuple(slice(start, start + count) for start, count in zip(low, voxels.shape, strict=True))] |= voxels
    return mask


def changes_ml(before: Result, after: Result) -> dict[str, tuple[float, float]]:
    """Return the volumes in ml of each segment that both results have: before and after."""
    first, second = before.volumes_ml(), after.volumes_ml()
    return {identifier: (first[identifier], second[identifier]) for identifier in first if identifier in second}


def middle_of(result: Result, identifier: str) -> np.ndarray | None:
    """Return where a segment is, as world RAS in mm: its voxel nearest to its middle; None where it is empty."""
    image = next(iter(result.outputs.images.values()))
    voxels = np.argwhere(segment_mask(result.outputs.segmentation, image, identifier))[:, ::-1]
    if not len(voxels):
        return None
    spacing = np.asarray(image.GetSpacing())
    apart = np.linalg.norm((voxels - np.median(voxels, axis=0)) * spacing, axis=1)
    return to_world(image)(voxels[int(np.argmin(apart))].astype(float))
