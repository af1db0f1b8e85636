"""The panel: what its button does to the scene and what it says."""

from __future__ import annotations

import os
import shutil
import signal
import time

import numpy as np
import pytest
import SlicerHost
from support.panel import click, tracked
from support.worker import posix_only


def message(panel):
    return panel.ui.messageLabel.text if panel.ui.messageLabel.isVisibleTo(panel.parent) else ""


def node_ids(scene):
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def snapshot(node):
    """Everything of an input node that must stay bit-identical."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    elements = [matrix.GetElement(row, column) for row in range(4) for column in range(4)]
    array = slicer.util.arrayFromVolume(node)
    return elements, node.GetSpacing(), node.GetOrigin(), node.GetTransformNodeID(), array.dtype.str, array.tobytes()




def world(node, index):
    import vtk

    matrix, point = vtk.vtkMatrix4x4(), [0.0, 0.0, 0.0]
    node.GetIJKToRASMatrix(matrix)
    node.TransformPointToWorld(matrix.MultiplyPoint((*index, 1.0))[:3], point)
    return point


def test_one_click_makes_the_images_where_the_ultrasound_lies(scene, panel, case):
    import slicer
    import vtk

    outer = tracked(scene, case)
    before = snapshot(case)
    click(panel)

    assert message(panel) == ""
    assert panel.ui.qualityLabel.text
    assert snapshot(case) == before
    parameters = panel.logic.getParameterNode()
    names = {
        parameters.t2wVolume: "Case ioUS T2w (synthetic)",
        parameters.flairVolume: "Case ioUS FLAIR (synthetic)",
        parameters.uncertaintyVolume: "Case ioUS uncertainty (synthetic)",
        parameters.segmentation: "Case ioUS segmentation (synthetic)",
    }
    for node, name in names.items():
        assert node.GetName() == name
        assert node.GetAttribute("IoUSynth.Synthetic") == "true"
        assert node.GetAttribute("IoUSynth.Model") == "ious2mr-2.5d 0.0.1"
        assert node.GetTransformNodeID() == case.GetTransformNodeID()
    images = [parameters.t2wVolume, parameters.flairVolume, parameters.uncertaintyVolume]
    matrix = vtk.vtkMatrix4x4()
    outer.GetMatrixTransformToParent(matrix)
    for shift in (0.0, 12.5):  # and they follow what the tracker does next
        matrix.SetElement(1, 3, matrix.GetElement(1, 3) + shift)
        outer.SetMatrixTransformToParent(matrix)
        for image in images:
            assert snapshot(image)[:4] == before[:4]
            assert world(image, (63, 2, 40.5)) == world(case, (63, 2, 40.5))
    outside = slicer.util.arrayFromVolume(case) == 0
    assert (slicer.util.arrayFromVolume(parameters.t2wVolume)[0] == 0).all()  # a slice outside the fan: no data
    assert (slicer.util.arrayFromVolume(parameters.t2wVolume)[~outside] > 0).mean() > 0.99
    assert panel.ui.t2wSelector.currentNode() is parameters.t2wVolume
    assert panel.ui.applyButton.text == "Synthesize MRI"


def test_shows_the_images_side_by_side_and_linked(scene, panel, case, add, ultrasound):
    import slicer

    tracked(scene, case)
    preoperative = add(ultrasound, "Preop T2w")
    panel.ui.preoperativeSelector.setCurrentNode(preoperative)
    click(panel)
    assert message(panel) == ""
    parameters = panel.logic.getParameterNode()
    shown = {
        "IoUSynthPreoperative": preoperative,
        "IoUSynthUltrasound": case,
        "IoUSynthT2w": parameters.t2wVolume,
        "IoUSynthFLAIR": parameters.flairVolume,
    }
    manager = slicer.app.layoutManager()
    assert {cell.name for cell in manager.cells()} == set(shown)
    planes = []
    for name, volume in shown.items():
        widget = manager.sliceWidget(name)
        composite = widget.mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == volume.GetID()
        assert composite.GetLinkedControl()
        assert composite.GetHotLinkedControl()
        matrix = widget.mrmlSliceNode().GetSliceToRAS()
        planes.append([matrix.GetElement(row, column) for row in range(4) for column in range(4)])
        title = widget.overlayCornerAnnotation().GetText(7)
        assert title.startswith("SYNTHETIC") == ("synthetic" in volume.GetName())
    assert planes.count(planes[0]) == 4
    assert parameters.segmentation.GetDisplayNode().GetVisibility()
    panel.ui.overlayCheckBox.click()
    assert not parameters.segmentation.GetDisplayNode().GetVisibility()
    node = manager.sliceWidget("IoUSynthT2w").mrmlSliceNode()
    normals = []
    for plane in ("Axial", "Coronal"):
        panel.ui.planeSelector.setCurrentText(plane)
        manager.setLayout(3)
        panel.ui.showButton.click()
        normals.append([node.GetSliceToRAS().GetElement(row, 2) for row in range(3)])
    assert np.dot(*normals) == pytest.approx(0, abs=1e-9)
    assert {cell.name for cell in manager.cells()} == set(shown)


def test_second_click_fills_the_same_nodes(scene, panel, case):
    click(panel)
    first = node_ids(scene)
    click(panel)
    assert message(panel) == ""
    assert node_ids(scene) == first


def test_before_resection_there_is_no_cavity(scene, panel, case):
    click(panel)
    assert "resection cavity 0.0 ml" not in panel.ui.qualityLabel.text
    panel.ui.beforeResectionCheckBox.click()
    assert panel.logic.getParameterNode().beforeResection
    click(panel)
    assert message(panel) == ""
    assert "resection cavity 0.0 ml" in panel.ui.qualityLabel.text


def test_the_place_of_a_tumour_can_be_asked_for_before_a_resection_only(scene, panel, case):
    assert not panel.ui.probablePlaceCheckBox.enabled
    assert panel.ui.probablePlaceCheckBox.toolTip == "Only before a resection there must be a tumour"
    panel.ui.beforeResectionCheckBox.click()
    assert panel.ui.probablePlaceCheckBox.enabled
    assert not panel.options.probable_place
    panel.ui.probablePlaceCheckBox.click()
    assert (panel.options.before_resection, panel.options.probable_place) == (True, True)


def test_another_input_keeps_the_first_result(scene, panel, case, add, ultrasound):
    click(panel)
    first = panel.logic.getParameterNode().t2wVolume
    before = snapshot(first)
    panel.ui.inputSelector.setCurrentNode(add(ultrasound, "Later ioUS"))
    click(panel)
    assert panel.logic.getParameterNode().t2wVolume.GetName() == "Later ioUS T2w (synthetic)"
    assert snapshot(first) == before


def test_a_model_without_flair_and_without_its_error(scene, panel, case):
    """The quality line says that there is no estimate, and nothing of the earlier result stays beside the new one."""
    import slicer

    click(panel)
    assert "expected error 10% of the intensity range" in panel.ui.qualityLabel.text
    panel.ui.modelSelector.setCurrentText("published-2d")
    click(panel)
    assert message(panel) == ""
    quality = panel.ui.qualityLabel.text
    assert "expected error not estimated: published-2d does not predict its own error" in quality
    assert "outlined on the images of ious2mr-2.5d" in quality
    parameters = panel.logic.getParameterNode()
    assert parameters.t2wVolume.GetAttribute("IoUSynth.Model") == "published-2d 0.0.1"
    assert parameters.segmentation.GetAttribute("IoUSynth.OutlinedOn") == "ious2mr-2.5d 0.0.1"
    assert (parameters.flairVolume, parameters.uncertaintyVolume) == (None, None)
    assert panel.ui.flairSelector.currentNode() is None
    volumes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node is not case]
    synthetic = [node for node in volumes if not node.GetHideFromEditors()]
    assert len(volumes) == 2, "one image, and where it was made up"
    assert synthetic == [parameters.t2wVolume]
    cells = {cell.name for cell in slicer.app.layoutManager().cells()}
    assert cells == {"IoUSynthUltrasound", "IoUSynthT2w"}
    assert panel.ui.showButton.enabled
    panel.ui.modelSelector.setCurrentIndex(0)
    click(panel)
    assert parameters.flairVolume.GetName() == "Case ioUS FLAIR (synthetic)"
    assert "expected error 10%" in panel.ui.qualityLabel.text


def start_slow_run(panel):
    """Start a run that takes minutes and wait until it is inside the network."""
    panel.ui.modelSelector.setCurrentText("slow-2.5d")
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel"
    assert SlicerHost.process_until(lambda: panel.ui.statusLabel.text.startswith("Synthesizing"), 60)


def test_cancel_returns_within_two_seconds_and_leaves_the_scene(scene, panel, case):
    before = node_ids(scene)
    start_slow_run(panel)
    started = time.monotonic()
    panel.ui.applyButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 10)
    assert time.monotonic() - started < 2.0
    assert node_ids(scene) == before
    assert message(panel) == "<b>Cancelled. The scene is as it was.</b>"
    panel.ui.modelSelector.setCurrentIndex(0)
    click(panel)
    assert message(panel) == ""


@posix_only
def test_killed_worker_is_named_and_the_next_click_works(scene, panel, case):
    before = node_ids(scene)
    start_slow_run(panel)
    os.kill(panel.logic.runner._worker._child.process.pid, signal.SIGKILL)
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 10)
    assert "SIGKILL" in message(panel)
    assert "run again" in message(panel)
    assert node_ids(scene) == before
    panel.ui.modelSelector.setCurrentIndex(0)
    click(panel)
    assert message(panel) == ""
    assert panel.logic.getParameterNode().t2wVolume is not None


def test_removing_the_input_ends_the_run_with_a_message(scene, panel, case):
    panel.ui.applyButton.click()
    scene.RemoveNode(case)
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 60)
    assert "input volume was removed" in message(panel)
    assert scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None


def bad_constant(volume):
    return volume.with_array(np.full_like(volume.array, 3))


def bad_nan(volume):
    array = volume.array.copy()
    array[20, 20, 20] = np.nan
    return volume.with_array(array)


def bad_single_slice(volume):
    from IoUSynthLib.volume import Volume

    return Volume(volume.array[:1] + 1 + np.arange(64), volume.spacing)


def bad_sheared(volume):
    from IoUSynthLib.volume import Volume

    return Volume(volume.array, volume.spacing, direction=[[1, 0.5, 0], [0, 0.87, 0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("make", "cause"),
    [(bad_constant, "empty"), (bad_nan, "NaN"), (bad_single_slice, "single slice"), (bad_sheared, "sheared")],
)
def test_bad_input_is_a_message_with_cause_and_remedy(scene, panel, add, ultrasound, make, cause):
    node = add(make(ultrasound), "bad ioUS")
    panel.ui.inputSelector.setCurrentNode(node)
    before = node_ids(scene)
    click(panel)
    assert "bad ioUS" in message(panel)
    assert cause in message(panel)
    assert ";" in message(panel)
    assert node_ids(scene) == before


def test_volume_without_voxels_is_a_message(scene, panel):
    panel.ui.inputSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "ioUS"))
    click(panel)
    assert "has no voxels" in message(panel)


def test_damaged_model_is_a_message(scene, panel, case, tiny_bundles, tmp_path, monkeypatch):
    shutil.copytree(tiny_bundles, tmp_path / "models")
    with open(tmp_path / "models" / "ious2mr-2.5d" / "models" / "model.onnx", "ab") as file:
        file.write(b"x")
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tmp_path / "models"))
    before = node_ids(scene)
    click(panel)
    assert "checksum" in message(panel)
    assert node_ids(scene) == before


def test_missing_package_is_a_message_with_the_command(scene, panel, case, monkeypatch):
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else find_spec(name, *rest)
    )
    click(panel)
    assert "onnxruntime is not installed" in message(panel)
    assert "slicer.util.pip_install" in message(panel)


def test_mri_as_input_is_processed_with_a_warning(scene, panel, add, ultrasound):
    z, y, x = np.mgrid[-1:1:56j, -1:1:60j, -1:1:64j]
    head = (np.hypot(np.hypot(x, y), z) < 0.8) * (600 + 250 * np.sin(5 * x) * np.cos(4 * y))
    head += np.random.default_rng(0).uniform(0, 4, head.shape)  # air round a head in MRI is not 0
    panel.ui.inputSelector.setCurrentNode(add(ultrasound.with_array(head.astype(np.float32)), "T2w head"))
    click(panel)
    assert message(panel).startswith("<b>Warning: ")
    assert "ultrasound" in message(panel)
    assert panel.logic.getParameterNode().t2wVolume.GetName() == "T2w head T2w (synthetic)"


def test_says_why_it_cannot_start(scene, panel):
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Select the intraoperative ultrasound volume first"
    assert "Research use only" in panel.ui.noticeLabel.text


def test_chooses_the_volumes_that_are_loaded(scene, panel, add, ultrasound):
    mri = add(ultrasound, "Preop T2w")
    assert panel.ui.inputSelector.currentNode() is None
    node = add(ultrasound, "ioUS before resection")
    assert panel.ui.inputSelector.currentNode() is node
    assert panel.ui.preoperativeSelector.currentNode() is mri
    assert panel.ui.applyButton.enabled


def test_lists_the_generators_and_keeps_the_choice_in_the_scene(scene, panel, case):
    selector = panel.ui.modelSelector
    names = [selector.itemText(index) for index in range(selector.count)]
    assert names[0] == "Default"
    assert {"ious2mr-2.5d", "slow-2.5d"} <= set(names)
    assert "lesion-3d" not in names
    selector.setCurrentText("slow-2.5d")
    panel.exit()
    panel.enter()
    assert selector.currentText == "slow-2.5d"
    assert panel.logic.getParameterNode().model == "slow-2.5d"


def test_result_arrives_while_another_module_is_open(scene, panel, case):
    panel.ui.applyButton.click()
    panel.exit()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 60)
    assert panel.logic.getParameterNode().t2wVolume.GetName() == "Case ioUS T2w (synthetic)"
    panel.enter()
    assert panel.ui.t2wSelector.currentNode() is panel.logic.getParameterNode().t2wVolume
