"""The slice plane through a result."""

from __future__ import annotations

import numpy as np
import pytest
from support.scene import displacement_grid, linear, nested, thin_plate, world_points


@pytest.fixture
def slice_node(scene):
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLSliceNode", "TestView")
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    node.SetLayoutName("TestView")
    yield node
    scene.RemoveNode(node)


def matrix_of(slice_node):
    matrix = slice_node.GetSliceToRAS()
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def plane_through(outputs, node, slice_node, name="Axial"):
    from IoUSynthLib.mrml.views import _Plane

    slice_node.SetDimensions(400, 300, 1)  # no layout shows it: the stand-in, as Slicer, gives its widget no size
    plane = _Plane(outputs, node, name)
    plane.orient(slice_node)
    plane.center(slice_node, plane.millimetres_per_pixel(slice_node))
    return plane


def axes_in_world(node):
    points = world_points(node, [(32, 30, 28), (33, 30, 28), (32, 31, 28), (32, 30, 29)])
    return np.stack([(point - points[0]) / np.linalg.norm(point - points[0]) for point in points[1:]], axis=1)


@pytest.mark.parametrize("parent", [None, nested])
def test_is_parallel_to_the_volume_and_nearest_to_axial(scene, ultrasound_node, result_of, slice_node, parent):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    ultrasound_node.SetAndObserveTransformNodeID(parent(scene).GetID() if parent else None)
    outputs = add_result(result_of(volume_from_node(ultrasound_node)), ultrasound_node)
    plane_through(outputs, ultrasound_node, slice_node)

    orientation, axes = matrix_of(slice_node)[:3, :3], axes_in_world(ultrasound_node)
    cosines = np.abs(orientation.T @ axes)
    assert np.allclose(np.sort(cosines, axis=1), [[0, 0, 1]] * 3, atol=1e-6)  # each slice axis is a volume axis
    # No other assignment of the volume's axes would be closer to the radiological axial view: right on the screen's
    # left (x runs to the patient's left, -R), anterior up.
    assert orientation[0, 0] < 0
    assert orientation[1, 1] > 0
    assert np.abs(orientation[2, 2]) == pytest.approx(np.abs(axes[2]).max())


def test_passes_through_the_lesion_and_shows_the_fan(scene, ultrasound_node, result_of, slice_node):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    ultrasound_node.SetAndObserveTransformNodeID(nested(scene).GetID())
    result = result_of(volume_from_node(ultrasound_node))
    outputs = add_result(result, ultrasound_node)
    plane_through(outputs, ultrasound_node, slice_node)

    to_slice = np.linalg.inv(matrix_of(slice_node))
    lesion = np.argwhere(result.segmentation.array)[:, ::-1]
    depths = (to_slice @ np.c_[world_points(ultrasound_node, lesion), np.ones(len(lesion))].T)[2]
    values, counts = np.unique(np.round(depths, 3), return_counts=True)
    in_plane = counts[np.argmin(np.abs(values))]
    assert np.abs(values).min() < 1e-3  # in the middle of a voxel layer
    assert in_plane == counts.max()

    fan = np.argwhere(result.valid.array)[::7, ::-1]
    seen = (to_slice @ np.c_[world_points(ultrasound_node, fan), np.ones(len(fan))].T)[:2]
    half = np.array(slice_node.GetFieldOfView()[:2]) / 2
    assert (np.abs(seen).max(axis=1) <= half).all()
    assert (np.abs(seen).max(axis=1) / half).max() > 0.9  # and not smaller than it could be
    assert half[0] / half[1] == pytest.approx(400 / 300)


def test_without_a_lesion_passes_through_the_middle_of_the_fan(scene, ultrasound_node, result_of, slice_node):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    result.segmentation.array[:] = 0
    outputs = add_result(result, ultrasound_node)
    plane_through(outputs, ultrasound_node, slice_node)
    indices = np.argwhere(result.valid.array)[:, ::-1]
    middle = world_points(ultrasound_node, [(indices.min(axis=0) + indices.max(axis=0)) / 2])[0]
    assert np.abs(matrix_of(slice_node)[:3, 3] - middle).max() < 0.7


@pytest.mark.parametrize("parent", [thin_plate, displacement_grid])
def test_stays_flat_and_right_angled_where_the_transform_bends(scene, ultrasound_node, result_of, slice_node, parent):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    ultrasound_node.SetAndObserveTransformNodeID(parent(scene).GetID())
    outputs = add_result(result_of(volume_from_node(ultrasound_node)), ultrasound_node)
    plane_through(outputs, ultrasound_node, slice_node)
    orientation = matrix_of(slice_node)[:3, :3]
    assert np.allclose(orientation.T @ orientation, np.eye(3), atol=1e-9)
    cosines = np.abs(orientation.T @ axes_in_world(ultrasound_node)).max(axis=1)
    assert (cosines > np.cos(np.radians(20))).all()


def test_under_a_mirroring_transform_the_sides_stay_right(scene, ultrasound_node, result_of, slice_node):
    """A left-handed parent must not mirror the picture."""
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    mirror = linear(scene, "Mirror", [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    ultrasound_node.SetAndObserveTransformNodeID(mirror.GetID())
    outputs = add_result(result_of(volume_from_node(ultrasound_node)), ultrasound_node)
    plane_through(outputs, ultrasound_node, slice_node)
    orientation = matrix_of(slice_node)[:3, :3]
    assert orientation[0, 0] < 0
    assert orientation[1, 1] > 0
    assert np.linalg.det(orientation) == pytest.approx(-1)  # as Slicer's own axial preset


@pytest.mark.parametrize("parent", [None, nested])
def test_shows_the_plane_of_the_fan(scene, ultrasound_node, result_of, slice_node, parent):
    """The fan of the fixture is a sector in its planes of constant k."""
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.views import FAN
    from IoUSynthLib.mrml.write import add_result

    ultrasound_node.SetAndObserveTransformNodeID(parent(scene).GetID() if parent else None)
    outputs = add_result(result_of(volume_from_node(ultrasound_node)), ultrasound_node)
    plane_through(outputs, ultrasound_node, slice_node, FAN)
    normal = matrix_of(slice_node)[:3, 2]
    assert np.abs(normal @ axes_in_world(ultrasound_node)[:, 2]) == pytest.approx(1.0)


def test_views_are_made_one_a_step_and_laid_out_with_their_labels(scene, ultrasound_node, result_of):
    import slicer

    from IoUSynthLib.mrml import views
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    outputs = add_result(result_of(volume_from_node(ultrasound_node)), ultrasound_node)
    outputs.images = {f"{name} of this test": node for name, node in outputs.images.items()}  # no other has its views
    manager, count = slicer.app.layoutManager(), scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")
    layout = manager.layout
    for _step in views.make_views(outputs.images, False):
        count += 1
        assert scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == count
    names = [f"IoUSynth{name}" for name in outputs.images]
    assert all(manager.sliceWidget(name) is not None for name in names)
    assert manager.layout == layout
    assert list(views.make_views(outputs.images, False)) == []
    views.show_result(outputs, ultrasound_node)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == count
    node = scene.GetSingletonNode(names[0], "vtkMRMLSliceNode")
    assert node.GetLayoutLabel() == "SYNTHETIC T2w of this test"
    assert node.GetViewGroup() == 74
    for name in names:
        scene.RemoveNode(scene.GetSingletonNode(name, "vtkMRMLSliceNode"))


@pytest.fixture
def shown(scene, ultrasound_node, result_of):
    """Return a function that shows a result in views of this test's own, which it returns by name."""
    import slicer

    from IoUSynthLib.mrml import views
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    outputs = add_result(result_of(volume_from_node(ultrasound_node)), ultrasound_node)
    outputs.images = {f"{name} alone": node for name, node in outputs.images.items()}
    manager = slicer.app.layoutManager()

    def show():
        views.show_result(outputs, ultrasound_node)
        return {cell.name: manager.widget_of(cell) for cell in manager.cells()}

    before = manager.layout
    yield show
    manager.setLayout(before)
    for name in outputs.images:
        node = scene.GetSingletonNode(f"IoUSynth{name}", "vtkMRMLSliceNode")
        if node is not None:
            scene.RemoveNode(node)
    manager.resize_views(1200, 900)


@pytest.mark.parametrize("size", [(860, 740), (420, 900), (1800, 400)])
def test_the_fan_fills_views_that_are_shown_for_the_first_time(scene, ultrasound_node, shown, size):
    """Their size is known only after they were laid out: neither cropped in portrait nor small in landscape."""
    import slicer

    slicer.app.layoutManager().resize_views(*size)
    widgets = shown()
    slicer.app.processEvents()
    fan = world_points(ultrasound_node, np.argwhere(slicer.util.arrayFromVolume(ultrasound_node) > 0)[::7, ::-1])
    filled, scales = [], []
    for widget in widgets.values():
        node = widget.mrmlSliceNode()
        assert node.GetDimensions()[0] == size[0] // 2 - 1
        seen = (np.linalg.inv(matrix_of(node)) @ np.c_[fan, np.ones(len(fan))].T)[:2]
        field = np.array(node.GetFieldOfView()[:2])
        assert (2 * np.abs(seen).max(axis=1) <= field).all()
        filled.append((2 * np.abs(seen).max(axis=1) / field).max())
        scales.append(field / node.GetDimensions()[:2])
    assert max(filled) > 0.9
    assert np.allclose(scales, scales[0][0])


def test_captions_leave_the_corner_annotations_to_slicer(shown):
    """There is one text property for all of them, Data Probe's own among them."""
    import vtk

    widget = shown()["IoUSynthT2w alone"]
    annotation = widget.sliceView().cornerAnnotation()
    assert annotation.GetText(0) == "B: Case T2w (synthetic)\n"
    assert annotation.GetMaximumFontSize() == 14
    assert annotation.GetTextProperty().GetColor() == (1, 1, 1)
    assert not annotation.GetTextProperty().GetBold()
    assert [annotation.GetText(position) for position in range(1, 8)] == [None] * 7
    assert widget.overlayCornerAnnotation().GetText(7).startswith("SYNTHETIC T2w - not acquired")
    assert widget.overlayCornerAnnotation().GetTextProperty().GetBold()
    below = widget.overlayCornerAnnotation().GetText(vtk.vtkCornerAnnotation.LowerEdge)
    assert below.count("\n") > annotation.GetText(0).count("\n") + 2  # of background, foreground and label; the ruler


def test_side_by_side_is_side_by_side_where_a_view_was_maximized(shown):
    import slicer

    views = shown()
    layouts = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    layouts.AddMaximizedViewNode(views["IoUSynthUltrasound"].mrmlSliceNode())
    assert len(slicer.app.layoutManager().cells()) == 1
    assert shown().keys() == views.keys()


def test_captions_go_with_their_views(scene, shown):
    import slicer

    name = "IoUSynthT2w alone"
    widget = shown()[name]
    node, composite = widget.mrmlSliceNode(), widget.mrmlSliceCompositeNode()
    scene.RemoveNode(node)
    slicer.app.processEvents()
    for changed in (node, composite):
        changed.Modified()  # which Slicer answers with an error where a caption still writes on the view
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    again = shown()[name]
    assert again is not widget
    assert again.overlayCornerAnnotation().GetText(7).startswith("SYNTHETIC T2w")


def test_views_may_have_other_names(shown):
    """Slicer finds a view's widget by the name of its node, which a user can change."""
    name = "IoUSynthT2w alone"
    node = shown()[name].mrmlSliceNode()
    node.SetName("Left hand")
    node.SetOrientation("Sagittal")
    assert shown()[name].overlayCornerAnnotation().GetText(7).startswith("SYNTHETIC T2w")
