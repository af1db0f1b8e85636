"""A result to nodes: geometry, parents, marks, second runs and failures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.scene import displacement_grid, linear, nested, snapshot, thin_plate, world_points


def label_world_points(node, indices):
    """The same for a segmentation's label map."""
    import vtk

    labels = node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    matrix = vtk.vtkMatrix4x4()
    labels.GetImageToWorldMatrix(matrix)
    points = []
    for index in indices:
        world = [0.0, 0.0, 0.0]
        node.TransformPointToWorld(matrix.MultiplyPoint((*index, 1.0))[:3], world)
        points.append(world)
    return np.array(points)


CORNERS = [(0, 0, 0), (63, 0, 0), (0, 59, 0), (0, 0, 55), (63, 59, 55), (31.5, 20.25, 40)]




def shift(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToParent(matrix)
    matrix.SetElement(0, 3, matrix.GetElement(0, 3) + 10)
    node.SetMatrixTransformToParent(matrix)








@pytest.mark.parametrize("parent", [None, nested, thin_plate, displacement_grid])
def test_lies_where_the_input_lies_and_follows_it(scene, ultrasound_node, result_of, parent):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    transform = parent(scene) if parent else None
    ultrasound_node.SetAndObserveTransformNodeID(transform.GetID() if transform else None)
    before = snapshot(ultrasound_node)

    outputs = add_result(result_of(volume_from_node(ultrasound_node)), ultrasound_node)

    assert snapshot(ultrasound_node) == before
    volumes = [*outputs.images.values(), outputs.uncertainty]
    for node in volumes:
        assert snapshot(node)[2:] == before[2:]  # matrix, spacing, origin and parent, bit by bit
        assert np.array_equal(world_points(node, CORNERS), world_points(ultrasound_node, CORNERS))
    assert outputs.segmentation.GetParentTransformNode() is transform
    expected = world_points(ultrasound_node, CORNERS)
    assert np.abs(label_world_points(outputs.segmentation, CORNERS) - expected).max() < 1e-9

    if transform is None:
        return
    mover = transform.GetParentTransformNode() or linear(scene, "Registration", np.eye(4).ravel())
    transform.SetAndObserveTransformNodeID(mover.GetID())
    shift(mover)
    moved = world_points(ultrasound_node, CORNERS)
    assert np.abs(moved - expected).max() > 5
    assert all(np.array_equal(world_points(node, CORNERS), moved) for node in volumes)
    assert np.abs(label_world_points(outputs.segmentation, CORNERS) - moved).max() < 1e-9


def test_holds_the_voxels_and_says_that_it_is_synthetic(scene, ultrasound_node, result_of, add, ultrasound):
    import slicer

    from IoUSynthLib.mrml.provenance import INPUT_ROLE, PREOPERATIVE_ROLE, is_synthetic
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    preoperative = add(ultrasound, "Preop T2w")
    result = result_of(volume_from_node(ultrasound_node))
    outputs = add_result(result, ultrasound_node, preoperative)

    names = [node.GetName() for node in outputs.all()]
    kinds = ["T2w", "FLAIR", "uncertainty", "segmentation", "no echo"]
    assert names == [f"Case {kind} (synthetic)" for kind in kinds]
    for kind, node in outputs.images.items():
        assert np.array_equal(slicer.util.arrayFromVolume(node), result.images[kind].array.astype(np.float32))
        display = node.GetDisplayNode()
        assert display.GetApplyThreshold()
        assert display.GetLowerThreshold() == 1.0  # 0, no data, is transparent
        assert not display.GetAutoWindowLevel()
    for node in outputs.all():
        assert is_synthetic(node)
        assert "SYNTHETIC" in node.GetAttribute("IoUSynth.Notice")
        assert node.GetAttribute("IoUSynth.Model") == "ious2mr-2.5d 0.1.0"
        assert node.GetAttribute("IoUSynth.ModelSHA256") == "ab12"
        assert node.GetAttribute("IoUSynth.Device") == "CPU"
        assert json.loads(node.GetAttribute("IoUSynth.Report")) == result.report
        assert node.GetNodeReference(INPUT_ROLE) is ultrasound_node
        assert node.GetNodeReference(PREOPERATIVE_ROLE) is preoperative
    assert not is_synthetic(ultrasound_node)


def test_where_there_is_no_echo_is_a_hidden_mask_that_goes_with_the_images(scene, ultrasound_node, result_of):
    """The panel selects images and outlines alone: the mask of the same result is found by these and filled again."""
    import slicer

    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.results import OutputNodes, find_results
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    result.valid.array[result.valid.array.shape[0] // 2 :] *= 2
    first = add_result(result, ultrasound_node)
    assert np.array_equal(slicer.util.arrayFromVolume(first.no_echo) > 0, result.valid.array == 2)
    assert first.no_echo.GetHideFromEditors()
    assert not any(node.GetHideFromEditors() for node in first.images.values())
    before = node_ids(scene)
    selected = OutputNodes(first.images, first.uncertainty, first.segmentation)
    assert add_result(result, ultrasound_node, outputs=selected).no_echo is first.no_echo
    assert node_ids(scene) == before
    (found,) = find_results(scene)
    assert (found.outputs.no_echo, list(found.outputs.images)) == (first.no_echo, ["T2w", "FLAIR"])


def test_images_that_are_not_to_be_trusted_are_muted(scene, ultrasound_node, result_of):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.styles import show_muted
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    full = [add_result(result, ultrasound_node).images[name].GetDisplayNode() for name in ("T2w", "FLAIR")]
    result.report["muted"] = ["unfamiliar"]
    images = add_result(result, ultrasound_node).images
    for image, usual in zip(images.values(), full, strict=True):
        display = image.GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel()) == pytest.approx((2.5 * usual.GetWindow(), usual.GetLevel()))
    display = images["T2w"].GetDisplayNode()
    display.SetWindowLevel(500.0, 300.0)  # as the surgeon has set it
    assert not show_muted(images["T2w"], True)
    assert show_muted(images["T2w"], False)
    assert (display.GetWindow(), display.GetLevel()) == pytest.approx((200.0, 300.0))


def test_segmentation_has_labels_colours_and_codes(scene, ultrasound_node, result_of):
    from vtk.util.numpy_support import vtk_to_numpy

    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    node = add_result(result, ultrasound_node).segmentation
    segmentation = node.GetSegmentation()
    segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
    assert [segment.GetName() for segment in segments] == ["Tumour", "Resection cavity"]
    assert [segment.GetLabelValue() for segment in segments] == [1, 2]
    assert segments[0].GetColor() != segments[1].GetColor()
    labels = segments[0].GetRepresentation("Binary labelmap")
    assert labels is segments[1].GetRepresentation("Binary labelmap")
    array = vtk_to_numpy(labels.GetPointData().GetScalars()).reshape(result.segmentation.array.shape)
    assert np.array_equal(array, result.segmentation.array)
    for segment in segments:
        parts = segment.GetTerminology().split("~")
        assert len(parts) == 7  # context, category, type, modifier, anatomic context, region, modifier
        assert parts[1] == "SCT^49755003^Morphologically Altered Structure"
    assert "SCT^4147007^Mass" in segments[0].GetTerminology()
    assert "Resection cavity" in segments[1].GetTerminology()


def test_a_doubtful_outline_is_named_so_and_drawn_faintly(scene, ultrasound_node, result_of):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    for doubtful, name, outline, fill in ((["tumour"], "Tumour (doubtful)", 0.5, 0), ([], "Tumour", 1, 1)):
        result.report["doubtful"] = doubtful
        node = add_result(result, ultrasound_node).segmentation
        segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
        names = [segmentation.GetSegment(identifier).GetName() for identifier in ("tumour", "cavity")]
        assert names == [name, "Resection cavity"]
        assert display.GetSegmentOpacity2DOutline("tumour") == outline
        assert display.GetSegmentOpacity2DFill("tumour") == fill
        assert display.GetSegmentOpacity2DOutline("cavity") == display.GetSegmentOpacity2DFill("cavity") == 1


def test_marks_survive_saving_the_scene(scene, ultrasound_node, result_of):
    import slicer

    from IoUSynthLib.mrml.provenance import INPUT_ROLE, is_synthetic
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    add_result(result, ultrasound_node)
    scene.SetSaveToXMLString(1)
    scene.Commit()
    scene.SetSaveToXMLString(0)  # or no later test writes a file
    again = slicer.vtkMRMLScene()
    again.SetLoadFromXMLString(1)
    again.SetSceneXMLString(scene.GetSceneXMLString())
    again.Import()
    node = again.GetFirstNodeByName("Case T2w (synthetic)")
    assert is_synthetic(node)
    assert json.loads(node.GetAttribute("IoUSynth.Report")) == result.report
    assert node.GetNodeReference(INPUT_ROLE).GetName() == "Case"


def node_ids(scene):
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def test_second_run_fills_the_same_nodes(scene, ultrasound_node, result_of):
    import slicer

    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    first = add_result(result, ultrasound_node)
    before = node_ids(scene)
    result.images["T2w"] = result.images["FLAIR"]
    result.report["model"]["version"] = "0.9"
    second = add_result(result, ultrasound_node, outputs=first)
    assert [a is b for a, b in zip(first.all(), second.all(), strict=True)] == [True] * 5
    assert node_ids(scene) == before
    assert np.array_equal(slicer.util.arrayFromVolume(second.images["T2w"]), result.images["FLAIR"].array)
    assert second.images["T2w"].GetAttribute("IoUSynth.Model") == "ious2mr-2.5d 0.9"
    assert second.segmentation.GetSegmentation().GetNumberOfSegments() == 2


def test_nothing_of_an_earlier_model_passes_for_the_new_result(scene, ultrasound, ultrasound_node, result_of, add):
    """A model that gives T2w alone: the earlier FLAIR and uncertainty go, with their helpers; other nodes stay."""
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.results import OutputNodes
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    other = add_result(result, add(ultrasound, "Other"))
    before = node_ids(scene)
    first = add_result(result, ultrasound_node)
    stale = {first.images["FLAIR"].GetID(), first.uncertainty.GetID()}
    stale |= {first.images["FLAIR"].GetDisplayNodeID(), first.uncertainty.GetDisplayNodeID()}
    left = [identifier for identifier in node_ids(scene) if identifier not in stale]
    report = {**result.report, "companion": result.report["model"]}
    less = replace(result, images={"T2w": result.images["T2w"]}, uncertainty=None, report=report)
    second = add_result(less, ultrasound_node, outputs=first)
    assert node_ids(scene) == left
    assert second.uncertainty is None
    assert list(second.images) == ["T2w"]
    assert second.images["T2w"] is first.images["T2w"]
    assert second.all() == [second.images["T2w"], second.segmentation, second.no_echo]
    assert second.segmentation.GetAttribute("IoUSynth.OutlinedOn") == "ious2mr-2.5d 0.1.0"
    assert second.segmentation.GetAttribute("IoUSynth.OutlinedOnSHA256") == "ab12"
    acquired = add(ultrasound, "Preop FLAIR")
    # What belongs to another input, or is no output at all, is never removed.
    wanted = OutputNodes({"T2w": second.images["T2w"], "FLAIR": acquired}, other.uncertainty, None)
    add_result(less, ultrasound_node, outputs=wanted)
    assert set(before) <= set(node_ids(scene))
    assert acquired.GetScene() is scene


def test_never_fills_an_acquired_image_or_another_result(scene, ultrasound, ultrasound_node, result_of, add):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.results import OutputNodes
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    acquired, other_input = add(ultrasound, "Preop T2w"), add(ultrasound, "Other")
    other = add_result(result, other_input)
    before = [snapshot(node) for node in (acquired, other.images["FLAIR"])]
    wanted = OutputNodes({"T2w": acquired, "FLAIR": other.images["FLAIR"]}, other.uncertainty, other.segmentation)
    outputs = add_result(result, ultrasound_node, outputs=wanted)
    assert not {node.GetID() for node in outputs.all()} & {node.GetID() for node in [acquired, *other.all()]}
    assert [snapshot(node) for node in (acquired, other.images["FLAIR"])] == before


def test_failure_midway_leaves_the_scene_as_it_was(scene, ultrasound_node, result_of, monkeypatch):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    before = node_ids(scene)

    def fail(*arguments):
        raise MemoryError("no room for the label map")

    monkeypatch.setattr("IoUSynthLib.mrml.write._labelmap", fail)
    with pytest.raises(MemoryError):
        add_result(result, ultrasound_node)
    assert node_ids(scene) == before
    assert not scene.IsBatchProcessing()


def test_result_of_another_grid_is_refused(scene, ultrasound, ultrasound_node, result_of, add):
    from IoUSynthLib.mrml.write import add_result
    from IoUSynthLib.volume import Volume

    result = result_of(Volume(ultrasound.array[:40]))
    before = node_ids(scene)
    with pytest.raises(ValueError, match="does not fit the grid"):
        add_result(result, ultrasound_node)
    assert node_ids(scene) == before


def test_removes_nodes_with_what_belongs_to_them(scene, ultrasound_node, result_of):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result, remove_nodes

    result = result_of(volume_from_node(ultrasound_node))
    before = node_ids(scene)
    remove_nodes(add_result(result, ultrasound_node).all())
    assert node_ids(scene) == before


def test_file_saved_by_slicer_says_that_it_is_synthetic(scene, ultrasound_node, result_of, tmp_path):
    """Slicer's NRRD writer puts the attributes of a node into the file's header."""
    import SimpleITK as sitk
    import slicer

    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    result = result_of(volume_from_node(ultrasound_node))
    node = add_result(result, ultrasound_node).images["T2w"]
    storage = slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(tmp_path / "saved.nrrd"))
    assert storage.WriteData(node)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(tmp_path / "saved.nrrd"))
    reader.ReadImageInformation()
    assert reader.GetMetaData("IoUSynth.Synthetic") == "true"
    assert "SYNTHETIC" in reader.GetMetaData("IoUSynth.Notice")
    assert reader.GetMetaData("IoUSynth.ModelSHA256") == "ab12"


@pytest.mark.parametrize("direction", [(1, 0, 0), (-1, 0.1, 0), (0.7, -0.7, 0), (0, 0.4, -0.9)])
def test_patient_sides(scene, direction):
    from IoUSynthLib.mrml.captions import patient_side

    expected = {(1, 0, 0): "R", (-1, 0.1, 0): "L", (0.7, -0.7, 0): {"RP", "PR"}, (0, 0.4, -0.9): "IA"}[direction]
    assert patient_side(np.array(direction)) in ({expected} if isinstance(expected, str) else expected)
