"""How a result is shown: the layout, and slices along the axes of the ultrasound volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import slicer
import vtk

from ..constants import TARGETS
from . import captions
from .captions import orientation_of
from .grid import Grid
from .provenance import PREFIX, is_synthetic
from .results import OutputNodes, Result, find_results, segment_mask
from .transforms import to_world

#: Name of the plane in which the probe's fan shows.
FAN = "Ultrasound fan"

#: Layout identifiers; those of Slicer itself are below 100.
_LAYOUT_WITH_PREOPERATIVE = 7401
_LAYOUT_WITHOUT_PREOPERATIVE = 7402
_LAYOUT_COMPARISON = 7403
#: Linking stays within this group, so that the user's other views are left alone.
_VIEW_GROUP = 74
_ACQUIRED_COLOR = "#9ecae1"
_SYNTHETIC_COLOR = "#fdae6b"
_SECTOR_FILL = 0.85
_PREOPERATIVE_VIEW = "IoUSynthPreoperative"
_ULTRASOUND_VIEW = "IoUSynthUltrasound"
#: Columns of the comparison.
_TIMES = ("Before", "After")


def _view_xml(name: str, label: str, color: str) -> str:
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        f'<property name="viewlabel">{label}</property>'
        f'<property name="viewcolor">{color}</property>'
        f'<property name="viewgroup">{_VIEW_GROUP}</property>'
        "</view></item>"
    )


def _layout_xml(image_names: Iterable[str], with_preoperative: bool) -> str:
    """Two columns: what was acquired on the left, what is synthetic on the right."""
    acquired = _view_xml(_ULTRASOUND_VIEW, "Intraoperative ultrasound", _ACQUIRED_COLOR)
    if with_preoperative:
        acquired = _view_xml(_PREOPERATIVE_VIEW, "Preoperative MRI", _ACQUIRED_COLOR) + acquired
    synthetic = "".join(_view_xml(_image_view(name), f"SYNTHETIC {name}", _SYNTHETIC_COLOR) for name in image_names)
    return _columns_xml(acquired, synthetic)


def _columns_xml(*columns: str) -> str:
    items = "".join(f'<item><layout type="vertical">{column}</layout></item>' for column in columns)
    return f'<layout type="horizontal">{items}</layout>'


def _comparison_xml(contrast: str) -> str:
    """A column for each of two times: ultrasound above, a synthetic image below."""
    columns = []
    for time in _TIMES:
        ultrasound, image = _compared_pair(time)
        columns.append(
            _view_xml(ultrasound, f"{time}: ultrasound", _ACQUIRED_COLOR)
            + _view_xml(image, f"{time}: SYNTHETIC {contrast}", _SYNTHETIC_COLOR)
        )
    return _columns_xml(*columns)


def _image_view(name: str) -> str:
    return f"IoUSynth{name}"


def _compared_pair(time: str) -> tuple[str, str]:
    """Names of the views of ultrasound and synthetic image of a column of the comparison."""
    return f"IoUSynth{time}Ultrasound", f"IoUSynth{time}Image"


def make_views(image_names: Iterable[str], with_preoperative: bool) -> Iterator[None]:
    """Make the views that :func:`show_result` is going to lay out, one a step: all at once would hold Slicer up.

    Slicer makes a widget for each slice node that joins the scene, and hides it until a layout names it.
    """
    scene = slicer.mrmlScene
    names = [_ULTRASOUND_VIEW, *([_PREOPERATIVE_VIEW] if with_preoperative else []), *map(_image_view, image_names)]
    for name in names:
        if scene.GetSingletonNode(name, "vtkMRMLSliceNode") is None:
            node = scene.CreateNodeByClass("vtkMRMLSliceNode")
            node.UnRegister(None)
            node.SetLayoutName(name)  # which is its singleton tag, too
            node.SetName(name)
            scene.AddNode(node)
            yield


def show_result(
    outputs: OutputNodes,
    input_node: slicer.vtkMRMLScalarVolumeNode,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None = None,
    *,
    plane_name: str = FAN,
) -> None:
    """Lay out preoperative MRI, ioUS and the synthetic images in linked slice views along the axes of the ioUS volume.

    The plane is one of the volume's three: that in which the probe's fan shows, or that nearest to ``plane_name``
    (Axial, Coronal or Sagittal). The patient's sides lie on the screen as in the nearest of Slicer's own views.
    It passes through the lesion where its area is largest, or through the middle of the fan, and shows the whole fan.
    Without a main window Slicer has no views, and nothing is done.
    """
    if slicer.app.layoutManager() is None:
        return
    with_preoperative = preoperative_node is not None
    _lay_out(
        _LAYOUT_WITH_PREOPERATIVE if with_preoperative else _LAYOUT_WITHOUT_PREOPERATIVE,
        _layout_xml(outputs.images, with_preoperative),
    )
    volumes = {_ULTRASOUND_VIEW: input_node}
    volumes |= {_image_view(name): node for name, node in outputs.images.items()}
    if with_preoperative:
        volumes[_PREOPERATIVE_VIEW] = preoperative_node
    for result in find_results(input_node.GetScene()):
        _show_outlines_in(result.outputs.segmentation, () if result.holds(outputs.segmentation) else None)
    _fill(volumes, _Plane(outputs, input_node, plane_name))


def show_comparison(before: Result, after: Result, plane_name: str = FAN) -> None:
    """Lay out two results side by side in linked views: ultrasound above, a synthetic image that both have below.

    The plane is that of :func:`show_result` through the later result. Each outline is shown with its own images only.
    Without a main window Slicer has no views, and nothing is done.

    Raises
    ------
    ValueError
        The results have no contrast in common.
    """
    contrast = next((name for name in TARGETS if all(name in r.outputs.images for r in (before, after))), None)
    if contrast is None:
        raise ValueError("the two results have no contrast in common; make both with the same model")
    if slicer.app.layoutManager() is None:
        return
    volumes = {}
    for result in find_results(after.input_node.GetScene()):
        _show_outlines_in(result.outputs.segmentation, None)
    for time, result in zip(_TIMES, (before, after), strict=True):
        ultrasound, image = _compared_pair(time)
        volumes |= {ultrasound: result.input_node, image: result.outputs.images[contrast]}
    _lay_out(_LAYOUT_COMPARISON, _comparison_xml(contrast))
    for time, result in zip(_TIMES, (before, after), strict=True):
        _show_outlines_in(result.outputs.segmentation, [name for name in volumes if time in name])
    _fill(volumes, _Plane(after.outputs, after.input_node, plane_name))


def _fill(volumes: dict[str, slicer.vtkMRMLVolumeNode], plane: _Plane) -> None:
    """Show a volume in each view, by the views' names, all on one plane and at one scale."""
    logics = {name: slicer.app.applicationLogic().GetSliceLogicByLayoutName(name) for name in volumes}
    for name, logic in logics.items():
        _set_background(logic.GetSliceCompositeNode(), volumes[name])
        logic.GetSliceNode().SetRulerType(slicer.vtkMRMLAbstractViewNode.RulerTypeThin)
        plane.orient(logic.GetSliceNode())
        captions.attach(logic.GetSliceNode())
    scale = max(plane.millimetres_per_pixel(logic.GetSliceNode()) for logic in logics.values())
    for logic in logics.values():
        plane.center(logic.GetSliceNode(), scale)


def _show_outlines_in(segmentation: slicer.vtkMRMLSegmentationNode | None, views: Iterable[str] | None) -> None:
    """Show the outlines in the views of some names alone; in all views of the scene if none is named; nowhere: None."""
    display = None if segmentation is None else segmentation.GetDisplayNode()
    if display is None:
        return
    display.RemoveAllViewNodeIDs()
    display.SetVisibility(views is not None)
    for name in views or ():
        logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(name)
        display.AddViewNodeID(logic.GetSliceNode().GetID())


def go_to(position: np.ndarray) -> None:
    """Bring all slice views of the scene to a point, world RAS in mm, and to their middle."""
    mode = slicer.vtkMRMLSliceNode.CenteredJumpSlice
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *(float(value) for value in position), mode)


def _layout_node() -> slicer.vtkMRMLLayoutNode:
    return slicer.app.layoutManager().layoutLogic().GetLayoutNode()


def _lay_out(identifier: int, description: str) -> None:
    """Show a layout, none of its views maximized, and let the views take their sizes.

    Qt gives them these when its event loop turns next; until then a view has the size that it had, or next to none.
    """
    _layout_node().RemoveAllMaximizedViewNodes()
    _set_layout(identifier, description)
    slicer.app.processEvents()


def _set_layout(identifier: int, description: str) -> None:
    """Describe a layout and show it, by the node: ``layoutManager().setLayout()`` does nothing where the node has the
    identifier already, as it has after a scene was loaded, even where nothing is laid out.
    """
    node = _layout_node()
    if node.IsLayoutDescription(identifier):
        node.SetLayoutDescription(identifier, description)
    else:
        node.AddLayoutDescription(identifier, description)
    node.SetViewArrangement(identifier)


def restore_layout() -> None:
    """Bring the module's views back after a scene was loaded in which they were shown: the layout, which no scene file
    holds, and what is written at their edges. While a scene is still being loaded, its views have no widgets."""
    if slicer.app.layoutManager() is None:
        return
    identifier = _layout_node().GetViewArrangement()
    shown = {}
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        shown[composite.GetLayoutName()] = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
    if identifier == _LAYOUT_COMPARISON:
        views = [name for time in _TIMES for name in _compared_pair(time)]
        image = shown.get(views[-1])
        description = _comparison_xml(image.GetAttribute(PREFIX + "Output") if is_synthetic(image) else "")
    elif identifier in (_LAYOUT_WITH_PREOPERATIVE, _LAYOUT_WITHOUT_PREOPERATIVE):
        images = [name for name in TARGETS if is_synthetic(shown.get(_image_view(name)))]
        with_preoperative = identifier == _LAYOUT_WITH_PREOPERATIVE
        views = [_ULTRASOUND_VIEW, *map(_image_view, images), *([_PREOPERATIVE_VIEW] if with_preoperative else [])]
        description = _layout_xml(images, with_preoperative)
    else:
        return
    _set_layout(identifier, description)
    for name in views:
        captions.attach(slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode"))


def _set_background(composite: slicer.vtkMRMLSliceCompositeNode, volume: slicer.vtkMRMLVolumeNode) -> None:
    composite.SetBackgroundVolumeID(volume.GetID())
    composite.SetForegroundVolumeID(None)
    composite.SetLabelVolumeID(None)
    composite.SetLinkedControl(True)
    composite.SetHotLinkedControl(True)


def compared_views() -> list[slicer.vtkMRMLSliceCompositeNode]:
    """Return what the module's views of ultrasound and synthetic MRI show, where they have been laid out."""
    names = [_ULTRASOUND_VIEW, *(_image_view(name) for name in TARGETS)]
    names += [name for time in _TIMES for name in _compared_pair(time)]
    logics = [slicer.app.applicationLogic().GetSliceLogicByLayoutName(name) for name in names]
    composites = [logic.GetSliceCompositeNode() for logic in logics if logic is not None]
    return [composite for composite in composites if composite is not None]  # none while a scene is being closed


class _Plane:
    """The slice plane through a result, in world coordinates."""

    def __init__(self, outputs: OutputNodes, input_node: slicer.vtkMRMLScalarVolumeNode, name: str = FAN) -> None:
        image = next(iter(outputs.images.values()))
        valid = slicer.util.arrayFromVolume(image) > 0
        self.lesion = segment_mask(outputs.segmentation, image)
        self.to_world = to_world(input_node)
        low, high = _bounds(valid if valid.any() else np.ones_like(valid))
        self.corners = np.array(np.meshgrid(*np.stack([low, high], axis=1))).reshape(3, -1).T
        self.middle = (low + high) / 2
        self.axes = self._axes()
        # The volume axis that the slice must look along (-1: the nearest to the preset), and Slicer's preset.
        self.normal, self.preset = -1, name
        if name == FAN:
            self.normal = _axis_across_fan(valid, Grid.of(input_node).spacing)
            self.preset = ("Sagittal", "Coronal", "Axial")[int(np.argmax(np.abs(self.axes[:, self.normal])))]

    def _axes(self) -> np.ndarray:
        """3x3: world directions of the i, j, k axes in the middle of the fan.

        Under a transform that bends or shears they are the nearest right-angled frame there, which is what a flat
        slice can show.
        """
        steps = np.eye(3) * 5.0
        columns = [self.to_world(self.middle + step) - self.to_world(self.middle - step) for step in steps]
        columns = [column / np.linalg.norm(column) for column in columns]
        left, _, right = np.linalg.svd(np.stack(columns, axis=1))
        return left @ right

    def orient(self, slice_node: slicer.vtkMRMLSliceNode) -> None:
        """Turn a slice to the plane, with the sides as near as can be to the application's preset."""
        matrix = vtk.vtkMatrix4x4()
        for row in range(3):
            for column in range(3):
                matrix.SetElement(row, column, self.axes[row, column])
        slice_node.SetOrientation(self.preset)
        slice_node.RotateToAxes(matrix, self.normal)

    def millimetres_per_pixel(self, slice_node: slicer.vtkMRMLSliceNode) -> float:
        """Return the scale at which the whole fan, with a margin, fits into the view."""
        in_plane = self._fan_in(slice_node)[:, :2]
        extent = in_plane.max(axis=0) - in_plane.min(axis=0)
        return 1.04 * float(max(extent / np.maximum(slice_node.GetDimensions()[:2], 1)))

    def center(self, slice_node: slicer.vtkMRMLSliceNode, scale: float) -> None:
        """Center a slice on the fan, at the depth of the lesion, ``scale`` millimetres to the pixel."""
        fan = self._fan_in(slice_node)
        position = (fan.max(axis=0) + fan.min(axis=0)) / 2
        orientation = orientation_of(slice_node)
        position[2] = orientation[:, 2] @ self.to_world(self._focus(orientation[:, 2]))
        world = orientation @ position
        for row in range(3):
            slice_node.GetSliceToRAS().SetElement(row, 3, world[row])
        width, height, depth = slice_node.GetDimensions()
        slice_node.SetFieldOfView(scale * width, scale * height, slice_node.GetFieldOfView()[2] if depth else 1.0)
        slice_node.SetXYZOrigin(0.0, 0.0, 0.0)
        slice_node.UpdateMatrices()

    def _fan_in(self, slice_node: slicer.vtkMRMLSliceNode) -> np.ndarray:
        """Corners of the fan's bounding box in the slice's directions, in mm."""
        return np.array([self.to_world(corner) for corner in self.corners]) @ orientation_of(slice_node)

    def _focus(self, normal: np.ndarray) -> np.ndarray:
        """Voxel (i, j, k) through which the slice passes: where the lesion is largest, else the middle of the fan."""
        axis = int(np.argmax(np.abs(normal @ self.axes)))
        focus = self.middle.copy()
        if self.lesion.any():
            areas = self.lesion.sum(axis=tuple(dim for dim in range(3) if dim != 2 - axis))  # arrays are [z, y, x]
            focus[axis] = int(np.argmax(areas))
        else:
            focus[axis] = round(focus[axis])  # the middle of a voxel
        return focus


def _axis_across_fan(valid: np.ndarray, spacing: tuple[float, float, float]) -> int:
    """Return the axis (0 for i) along which the middle slice shows the fan: a sector, not the rectangle across it.

    A sector fills about two thirds of the rectangle round it. Of the slices that look so, the largest is taken.
    """
    areas, sector_areas = [0.0] * 3, [0.0] * 3
    for axis in range(3):
        filled = np.flatnonzero(valid.any(axis=tuple(dim for dim in range(3) if dim != 2 - axis)))
        section = valid.take(filled[len(filled) // 2], axis=2 - axis) if filled.size else np.zeros((1, 1), bool)
        rows, columns = section.any(axis=1).sum(), section.any(axis=0).sum()
        areas[axis] = section.sum() * float(np.prod(spacing)) / spacing[axis]
        if section.sum() < _SECTOR_FILL * rows * columns:
            sector_areas[axis] = areas[axis]
    return int(np.argmax(sector_areas if any(sector_areas) else areas))


def _bounds(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest index (i, j, k) of the mask's voxels."""
    ranges = []
    for axis in (2, 1, 0):
        filled = np.flatnonzero(mask.any(axis=tuple(dim for dim in range(3) if dim != axis)))
        ranges.append((filled[0], filled[-1]))
    low, high = np.array(ranges, dtype=float).T
    return low, high
