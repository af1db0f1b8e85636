"""The real slice views in a layout of the module's own: what is drawn, where, and in which plane."""

import math

import numpy as np
import pytest

NAMES = (("Left", "Axial"), ("Side", "Sagittal"), ("Front", "Coronal"), ("Plain", "Axial"))
LAYOUT = 7007


def layout_xml(names=NAMES):
    items = [
        f'<item><view class="vtkMRMLSliceNode" singletontag="Test{name}">'
        f'<property name="orientation" action="default">{orientation}</property>'
        f'<property name="viewlabel" action="default">{name}</property>'
        '<property name="viewcolor" action="default">#6EB04B</property></view></item>'
        for name, orientation in names
    ]
    columns = ["".join(items[:2]), "".join(items[2:])]
    inner = "".join(f'<item><layout type="vertical">{column}</layout></item>' for column in columns)
    return f'<layout type="horizontal">{inner}</layout>'


@pytest.fixture
def manager(slicer_host):
    import slicer

    manager = slicer.app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode()
    if not node.IsLayoutDescription(LAYOUT):
        node.AddLayoutDescription(LAYOUT, layout_xml())
    manager.setLayout(LAYOUT)
    manager.resize_views(640, 480)
    yield manager
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def rotation(axis, degrees):
    angle, result = math.radians(degrees), np.eye(4)
    first, second = [i for i in range(3) if i != axis]
    result[[first, second], [first, second]] = math.cos(angle)
    result[first, second], result[second, first] = -math.sin(angle), math.sin(angle)
    return result


@pytest.fixture
def oblique(slicer_host):
    """A volume with a dark border, oblique, under a transform; a segment in its middle; its centre in the world."""
    import slicer

    z, y, x = np.mgrid[:40, :60, :80]
    array = np.full(z.shape, 200.0)
    array[(x < 4) | (x > 75) | (y < 4) | (y > 55)] = 40
    ijk_to_ras = rotation(2, 30) @ np.diag([1, 1, 1.5, 1])
    volume = slicer.util.addVolumeFromArray(array, ijkToRAS=ijk_to_ras, name="oblique")
    to_world = rotation(0, 20)
    to_world[:3, 3] = 10, 20, 30
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_world))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().AutoWindowLevelOff()
    volume.GetDisplayNode().SetWindowLevelMinMax(0, 250)
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = segmentation.GetSegmentation().AddEmptySegment("tumour", "Tumour", [1, 0, 0])
    ball = (np.hypot(np.hypot(x - 40, y - 30), 1.5 * (z - 20)) < 10).astype(np.uint8)
    slicer.util.updateSegmentBinaryLabelmapFromArray(ball, segmentation, identifier, volume)
    return volume, segmentation, (to_world @ ijk_to_ras @ [39.5, 29.5, 20, 1])[:3]


def show(manager, volume, centre, rotate=True):
    import slicer

    slicer.util.setSliceViewerLayers(background=volume)
    for name, _ in NAMES:
        node = manager.sliceWidget(f"Test{name}").mrmlSliceNode()
        if rotate and name != "Plain":
            node.RotateToVolumePlane(volume)
    slicer.util.resetSliceViews()
    for name, _ in NAMES:
        manager.sliceWidget(f"Test{name}").mrmlSliceNode().JumpSliceByCentering(*centre)


def pixels(slicer_host, path, size=(640, 480)):
    import qt

    image = qt.QImage(str(slicer_host.photograph_views(path, size)))
    image = image.convertToFormat(qt.QImage.Format_RGB888)
    data = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return data[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def view_of(picture, row, column):
    """The inside of one of the four views, without the bar."""
    return picture[row * 240 + 24 : row * 240 + 238, column * 320 : column * 320 + 318]


def test_a_layout_makes_its_views(manager):
    import slicer

    for name, orientation in NAMES:
        widget = manager.sliceWidget(f"Test{name}")
        assert widget.mrmlSliceNode() is slicer.mrmlScene.GetSingletonNode(f"Test{name}", "vtkMRMLSliceNode")
        assert widget.mrmlSliceNode().GetOrientation() == orientation
        assert widget.mrmlSliceCompositeNode().GetLayoutName() == f"Test{name}"
        assert widget.sliceLogic() is slicer.app.applicationLogic().GetSliceLogic(widget.mrmlSliceNode())
        assert widget.mrmlSliceNode().GetDimensions() == (319, 217, 1)
    assert {"TestLeft", "TestSide", "TestFront", "TestPlain"} < set(manager.sliceViewNames())
    assert manager.sliceWidget("TestNowhere") is None


def test_a_layout_that_is_not_known_gives_the_conventional_one(manager):
    import slicer

    manager.setLayout(4711)
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView


def test_the_layout_that_is_there_is_not_laid_out_again(manager):
    """Even where its description came later, and where a view is maximized."""
    node = manager.layoutLogic().GetLayoutNode()
    node.AddMaximizedViewNode(manager.sliceWidget("TestSide").mrmlSliceNode())
    assert [cell.name for cell in manager.cells()] == ["TestSide"]
    manager.setLayout(LAYOUT)
    assert [cell.name for cell in manager.cells()] == ["TestSide"]
    node.RemoveAllMaximizedViewNodes()
    assert len(manager.cells()) == 4
    description = node.GetLayoutDescription(LAYOUT)
    node.SetLayoutDescription(LAYOUT, "")  # as after a scene was loaded that names a layout which nobody has described
    node.AddLayoutDescription(LAYOUT, description)
    manager.setLayout(LAYOUT)
    assert manager.cells() == []
    node.SetViewArrangement(LAYOUT)
    assert len(manager.cells()) == 4


def test_views_have_their_size_when_the_event_loop_has_turned(manager):
    import slicer

    node = manager.layoutLogic().GetLayoutNode()
    node.AddLayoutDescription(LAYOUT + 1, layout_xml((("Fresh", "Axial"), *NAMES[1:])))
    manager.setLayout(LAYOUT + 1)
    fresh, side = (manager.sliceWidget(name).mrmlSliceNode() for name in ("TestFresh", "TestSide"))
    assert (fresh.GetDimensions()[:2], side.GetDimensions()[:2]) == ((26, 32), (319, 217))
    slicer.app.processEvents()
    assert fresh.GetDimensions()[:2] == (319, 217)
    node.AddMaximizedViewNode(side)
    assert side.GetDimensions()[:2] == (319, 217)
    slicer.app.processEvents()
    assert side.GetDimensions()[:2] == (639, 457)
    node.RemoveAllMaximizedViewNodes()
    manager.setLayout(LAYOUT)
    slicer.mrmlScene.RemoveNode(fresh)
    node.SetLayoutDescription(LAYOUT + 1, "")


def test_nodes_of_a_batch_get_their_widgets_when_it_ends(manager):
    import slicer

    scene = slicer.mrmlScene
    scene.StartState(scene.ImportState)
    node = scene.CreateNodeByClass("vtkMRMLSliceNode")
    node.UnRegister(None)
    node.SetLayoutName("TestBatch")
    node.SetName("TestBatch")
    scene.AddNode(node)
    found = []
    tag = scene.AddObserver(scene.EndImportEvent, lambda *_: found.append(manager.viewWidget(node)))
    scene.EndState(scene.ImportState)
    scene.RemoveObserver(tag)
    assert found == [None]
    assert manager.viewWidget(node).mrmlSliceNode() is node
    scene.RemoveNode(node)


def test_a_widget_is_found_by_the_name_of_its_node(manager):
    node = manager.sliceWidget("TestPlain").mrmlSliceNode()
    node.SetName("Renamed")
    assert manager.sliceWidget("TestPlain") is None
    assert manager.sliceWidget("Renamed").mrmlSliceNode() is node
    assert "Renamed" in manager.sliceViewNames()
    node.SetName("TestPlain")


def test_a_widget_goes_with_its_node(manager):
    import slicer

    widget = manager.sliceWidget("TestPlain")
    node, view, logic = widget.mrmlSliceNode(), widget.sliceView(), widget.sliceLogic()
    slicer.mrmlScene.RemoveNode(node)
    assert manager.sliceWidget("TestPlain") is None
    assert slicer.app.applicationLogic().GetSliceLogicByLayoutName("TestPlain") is None
    assert logic.GetMRMLScene() is None
    slicer.app.processEvents()
    for use in (lambda: view.scheduleRender(), lambda: view.cornerAnnotation(), lambda: widget.sliceView()):
        with pytest.raises(ValueError, match="destroyed"):
            use()
    manager.layoutLogic().GetLayoutNode().Modified()
    assert manager.sliceWidget("TestPlain") is not None


def test_corner_annotations_are_data_probes(manager, oblique):
    volume, _, centre = oblique
    show(manager, volume, centre)
    annotation = manager.sliceWidget("TestLeft").sliceView().cornerAnnotation()
    assert annotation.GetText(0) == "B: oblique\n"
    assert annotation.GetMaximumFontSize() == 14
    assert manager.sliceWidget("TestLeft").overlayCornerAnnotation() is not annotation


def test_segments_and_volume_are_drawn_in_the_planes_of_the_volume(manager, oblique, slicer_host, tmp_path):
    volume, _, centre = oblique
    show(manager, volume, centre)
    picture = pixels(slicer_host, tmp_path / "views.png")
    for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
        view = view_of(picture, row, column)
        red = (view[..., 0] > view[..., 1] + 60) & (view[..., 1] < 140)
        assert 300 < red.sum() < 0.5 * red.size
        middle = np.argwhere(red).mean(axis=0)
        assert np.allclose(middle, (107, 159), atol=4)
        # The fill is translucent: the volume shows through it.
        assert abs(view[107, 159, 1] - 100) < 12
    bright = view_of(picture, 0, 0).min(axis=2) > 150
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    filled = bright[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean()
    assert filled > 0.8, "in its own plane the volume is a rectangle with upright sides"
    plain = view_of(picture, 1, 1).min(axis=2) > 150
    rows, columns = np.flatnonzero(plain.any(axis=1)), np.flatnonzero(plain.any(axis=0))
    assert plain[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() < 0.75


def test_the_views_follow_the_transform_and_the_segment_display(manager, oblique, slicer_host, tmp_path):
    import slicer

    volume, segmentation, centre = oblique
    show(manager, volume, centre)
    before = pixels(slicer_host, tmp_path / "before.png")
    segmentation.GetDisplayNode().SetVisibility(False)
    hidden = view_of(pixels(slicer_host, tmp_path / "hidden.png"), 0, 0)
    assert not ((hidden[..., 0] > hidden[..., 1] + 60) & (hidden[..., 1] < 140)).any()
    segmentation.GetDisplayNode().SetVisibility(True)
    volume.GetParentTransformNode().SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))
    assert (pixels(slicer_host, tmp_path / "moved.png") != before).any(axis=2).mean() > 0.05


def test_linked_views_move_together(manager, oblique):
    volume, _, centre = oblique
    show(manager, volume, centre, rotate=False)
    left, plain = (manager.sliceWidget(f"Test{name}") for name in ("Left", "Plain"))
    left.sliceController().setSliceLink(True)
    logic = left.sliceLogic()
    logic.StartSliceOffsetInteraction()
    logic.SetSliceOffset(logic.GetSliceOffset() + 7)
    logic.EndSliceOffsetInteraction()
    assert plain.sliceLogic().GetSliceOffset() == pytest.approx(logic.GetSliceOffset())
    left.sliceController().setSliceLink(False)


def test_patient_sides_at_the_edges(manager):
    from SlicerHost.photograph import edge_letters, patient_sides

    axial = edge_letters(manager.sliceWidget("TestPlain").mrmlSliceNode())
    assert axial == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    sagittal = manager.sliceWidget("TestSide").mrmlSliceNode()
    sagittal.SetOrientation("Sagittal")
    assert edge_letters(sagittal) == {"left": "A", "right": "P", "top": "S", "bottom": "I"}
    assert patient_sides((0.8, 0.6, 0.0)) == "RA"
    assert patient_sides((-0.99, 0.1, 0.1)) == "L"


def test_the_letters_give_way_to_the_modules_own(manager, oblique, slicer_host, tmp_path):
    import vtk

    volume, _, centre = oblique
    show(manager, volume, centre)
    annotation = manager.sliceWidget("TestLeft").overlayCornerAnnotation()
    host_letters = pixels(slicer_host, tmp_path / "host.png")
    annotation.SetText(vtk.vtkCornerAnnotation.LeftEdge, "R")
    module_letters = pixels(slicer_host, tmp_path / "module.png")
    annotation.ClearAllTexts()
    changed = (host_letters != module_letters).any(axis=2)
    assert changed[24:238, :318].any()
    assert not changed[:, 320:].any()


def test_a_new_scene_keeps_the_views(manager, oblique, slicer_host, tmp_path):
    volume, _, centre = oblique
    show(manager, volume, centre)
    slicer_host.reset_scene()
    widget = manager.sliceWidget("TestLeft")
    assert widget.mrmlSliceNode().GetScene() is not None
    assert widget.mrmlSliceCompositeNode().GetBackgroundVolumeID() is None
    assert view_of(pixels(slicer_host, tmp_path / "empty.png"), 0, 0)[60:150, 60:250].max() < 40
