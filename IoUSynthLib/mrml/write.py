"""Results of a run into the scene.

The outputs get the grid of the input, bit by bit, and the same parent transform, so that they lie where the input lies
under any chain of transforms, linear or not, and follow when a tracker or a registration moves it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..constants import FREQUENCY, SPREAD
from ..synthesis import echo
from ..volume import Volume
from .grid import Grid
from .provenance import INPUT_ROLE, PREFIX, PREOPERATIVE_ROLE, attributes_of, is_synthetic
from .results import (
    DIFFERENCE,
    DISAGREEMENT,
    NO_ECHO,
    WITH_MRI,
    WITHOUT_MRI,
    OutputNodes,
    find_results,
    is_contribution,
)
from .styles import (
    SEGMENTS,
    copy_window,
    show_as_difference,
    show_as_disagreement,
    show_as_frequency,
    show_as_mri,
    show_as_outlines,
    show_as_spread,
    show_as_uncertainty,
    show_as_veil,
    show_muted,
)

if TYPE_CHECKING:
    from ..pipeline import SynthesisResult


def add_result(
    result: SynthesisResult,
    input_node: slicer.vtkMRMLScalarVolumeNode,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None = None,
    *,
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
    writer = _ResultWriter(result, input_node, preoperative_node, outputs=outputs or OutputNodes(), grid=grid)
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
        *,
        outputs: OutputNodes,
        grid: Grid,
    ) -> None:
        self.result = result
        self.input_node = input_node
        self.preoperative_node = preoperative_node
        self.grid = grid
        self.scene = input_node.GetScene()
        self.outputs = self._with_hidden(outputs)
        self.attributes = attributes_of(result.report, input_node)
        self.created: list[slicer.vtkMRMLNode] = []

    def _with_hidden(self, outputs: OutputNodes) -> OutputNodes:
        """The nodes to fill again, with the hidden ones that nobody can select, of the result that an image is of."""
        found = [result.outputs for result in find_results(self.scene) if result.holds_any(outputs)]
        hidden = found[0] if found else OutputNodes()
        return replace(
            outputs, no_echo=outputs.no_echo or hidden.no_echo,
            contribution=outputs.contribution or hidden.contribution, spread=outputs.spread or hidden.spread,
        )  # fmt: skip

    def write(self) -> OutputNodes:
        written, muted = OutputNodes(), bool(self.result.report.get("muted"))
        for name, volume in self.result.images.items():
            written.images[name] = self._write_volume(self.outputs.images.get(name), name, volume)
            show_as_mri(written.images[name])
        written.contribution = self._write_contribution(written.images)
        for node in (*written.images.values(), *self._alternatives(written)):
            show_muted(node, muted)
        if self.result.uncertainty is not None:
            written.uncertainty = self._write_volume(self.outputs.uncertainty, "uncertainty", self.result.uncertainty)
            show_as_uncertainty(written.uncertainty)
        written.spread = self._write_spread()
        written.segmentation = self._write_segmentation()
        written.no_echo = self._write_no_echo()
        for node in written.all():
            self._place(node)
        # After parenting: the segmentation takes the geometry relative to the transform both share.
        written.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(next(iter(written.images.values())))
        return written

    def _write_contribution(
        self, images: dict[str, slicer.vtkMRMLScalarVolumeNode]
    ) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Write what MRI contributed, to be looked at in the place of the images and over them."""
        found = self.result.contribution
        if found is None:
            return {}
        earlier, written = self.outputs.contribution, {}
        for name, volume in found.other.items():
            kind = name + (WITHOUT_MRI if found.used else WITH_MRI)
            written[kind] = self._write_volume(earlier.get(kind), kind, volume)
            show_as_mri(written[kind])
            copy_window(images[name], written[kind])
        written[DIFFERENCE] = self._write_volume(earlier.get(DIFFERENCE), DIFFERENCE, found.difference)
        show_as_difference(written[DIFFERENCE])
        stripes = found.places.with_array(echo.hatched(found.places.array > 0, found.places.spacing))
        written[DISAGREEMENT] = self._write_volume(earlier.get(DISAGREEMENT), DISAGREEMENT, stripes)
        show_as_disagreement(written[DISAGREEMENT])
        return written

    def _write_spread(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """Write what samples differ in, to be looked at over the images."""
        found, earlier = self.result.spread, self.outputs.spread
        if found is None:
            return {}
        volumes = {SPREAD: found.deviation, FREQUENCY: found.frequency}
        written = {kind: self._write_volume(earlier.get(kind), kind, volume) for kind, volume in volumes.items()}
        show_as_spread(written[SPREAD])
        show_as_frequency(written[FREQUENCY], self.result.report["spread"]["samples"])
        return written

    def _alternatives(self, written: OutputNodes) -> list[slicer.vtkMRMLScalarVolumeNode]:
        overlays = (DIFFERENCE, DISAGREEMENT)
        return [node for kind, node in written.contribution.items() if kind not in overlays]

    def stale(self, written: OutputNodes) -> list[slicer.vtkMRMLNode]:
        """Return the earlier outputs of this input that the result did not fill."""
        outputs = self.outputs
        earlier = {**outputs.images, "uncertainty": outputs.uncertainty, NO_ECHO: outputs.no_echo}
        earlier |= outputs.contribution | outputs.spread
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
        node.SetHideFromEditors(kind in (NO_ECHO, SPREAD, FREQUENCY) or is_contribution(kind))
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

    def _write_no_echo(self) -> slicer.vtkMRMLScalarVolumeNode:
        valid = self.result.valid
        mask = valid.with_array(echo.hatched(valid.array == echo.NO_ECHO, valid.spacing))
        node = self._write_volume(self.outputs.no_echo, NO_ECHO, mask)
        show_as_veil(node)
        return node

    def _write_volume(
        self, reusable: slicer.vtkMRMLNode | None, kind: str, volume: Volume
    ) -> slicer.vtkMRMLScalarVolumeNode:
        node = self._node(reusable, kind, "vtkMRMLScalarVolumeNode")
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().AutoWindowLevelOff()  # before it has voxels, so that no window is sought in them in vain
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.array))
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
        show_as_outlines(node, doubtful)
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
