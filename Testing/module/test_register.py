"""The panel's section Register: what its buttons do to the scene and what it says."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import SlicerHost
from support import phantom
from support.worker import posix_only

from IoUSynthLib.volume import Volume

FLIP = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def head():
    """Ultrasound with its synthetic images, the MRI as far off as it is in patients, and the true transform."""
    images = phantom.head()
    ultrasound, synthetic, _ = phantom.field_of_view(images)
    matrix = phantom.displacement(5.0, 8.0)
    return ultrasound, synthetic, phantom.displaced(images, matrix), matrix


@pytest.fixture
def loaded(scene, panel, add, head):
    """The nodes of the phantom, selected in the panel; the synthetic images as a synthesis would have made them."""
    from IoUSynthLib.mrml.write import add_result
    from IoUSynthLib.pipeline import SynthesisResult

    ultrasound, synthetic, moving, _ = head
    case = add(ultrasound, "Case ioUS")
    t2w, flair = (add(moving[name], f"Preop {name}") for name in ("T2w", "FLAIR"))
    tracts = scene.AddNewNodeByClass("vtkMRMLModelNode", "Tracts")
    empty = ultrasound.with_array(np.zeros(ultrasound.array.shape, np.uint8))
    outputs = add_result(SynthesisResult(synthetic, None, empty, empty, {}), case)
    parameters = panel.logic.getParameterNode()
    parameters.inputVolume, parameters.movingVolume = case, t2w
    parameters.t2wVolume, parameters.flairVolume = outputs.images["T2w"], outputs.images["FLAIR"]
    parameters.segmentation = outputs.segmentation
    panel.ui.mriInputSelector.setCurrentText("Ultrasound only")  # no images with MRI are to follow in the same click
    return {"case": case, "T2w": t2w, "FLAIR": flair, "tracts": tracts}


def click(panel, timeout=300.0):
    panel.ui.registerButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", timeout)


def text_of(label, panel):
    return label.text if label.isVisibleTo(panel.parent) else ""


def everything(scene):
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return {n.GetID(): n.GetTransformNodeID() if n.IsA("vtkMRMLTransformableNode") else "" for n in nodes}


def world(node, lps):
    out, points = [0.0, 0.0, 0.0], []
    for point in lps * FLIP:
        node.TransformPointToWorld(point, out)
        points.append(list(out))
    return np.array(points)


def apart(loaded, head, node="T2w"):
    """Distance of points of the ultrasound from the same points of the MRI, in mm."""
    ultrasound, _, _, matrix = head
    points = phantom.points_of(ultrasound.with_array(ultrasound.array > 0))
    own = points @ matrix[:3, :3].T + matrix[:3, 3]
    return np.linalg.norm(world(loaded["case"], points) - world(loaded[node], own), axis=1).mean()


def landmarks(scene, node, name, lps):
    import slicer

    markups = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for point in world(node, lps):
        markups.AddControlPointWorld(*point)
    assert isinstance(markups, slicer.vtkMRMLMarkupsFiducialNode)
    return markups


def test_register_fade_and_undo(scene, panel, loaded, head):
    ultrasound, _, _, matrix = head
    points = phantom.points_of(ultrasound.with_array(ultrasound.array > 0), 5)
    parameters = panel.logic.getParameterNode()
    parameters.mriLandmarks = landmarks(scene, loaded["T2w"], "L MRI", points @ matrix[:3, :3].T + matrix[:3, 3])
    assert not panel.ui.registerButton.enabled
    parameters.ultrasoundLandmarks = landmarks(scene, loaded["case"], "L ioUS", points)
    listed = [panel.ui.carriedList.item(index).text() for index in range(panel.ui.carriedList.count)]
    assert listed == ["Preop FLAIR", "Tracts", "L MRI"]
    assert not panel.ui.undoButton.enabled
    before, start = everything(scene), apart(loaded, head)
    assert start > 5

    click(panel)

    assert text_of(panel.ui.messageLabel, panel) == ""
    assert apart(loaded, head) < 1.0
    verdict = text_of(panel.ui.verdictLabel, panel)
    assert ">Agrees.<" in verdict
    assert "#2b9656" in verdict
    assert "Target registration error of 5 landmarks" in verdict
    transform = panel.logic.registrationOf(loaded["T2w"])
    assert transform is loaded["T2w"].GetParentTransformNode()
    assert transform.GetName() == "Preop T2w to Case ioUS (IoUSynth)"
    moved = {name for name in before if everything(scene)[name] != before[name]}
    expected = (loaded["T2w"], loaded["FLAIR"], loaded["tracts"], parameters.mriLandmarks)
    assert moved == {node.GetID() for node in expected}

    from IoUSynthLib.mrml import views

    assert {c.GetForegroundOpacity() for c in views.compared_views()} == {0.0}
    panel.ui.fadeSlider.value = 40
    assert {c.GetForegroundOpacity() for c in views.compared_views()} == {0.4}
    assert {c.GetForegroundVolumeID() for c in views.compared_views()} == {loaded["T2w"].GetID()}
    panel.ui.checkerboardCheckBox.click()
    (shown,) = {c.GetForegroundVolumeID() for c in views.compared_views()}
    assert scene.GetNodeByID(shown).GetName() == "Preop T2w checkerboard"
    assert not panel.ui.fadeSlider.enabled

    assert panel.ui.undoButton.enabled
    panel.ui.undoButton.click()
    after = everything(scene)
    assert {name: after[name] for name in before} == before
    assert not panel.ui.checkerboardCheckBox.checked
    assert scene.GetNodeByID(shown) is None
    names = [scene.GetNodeByID(identifier).GetName() or "" for identifier in after.keys() - before.keys()]
    assert not [name for name in names if "Preop T2w" in name]
    assert apart(loaded, head) == pytest.approx(start, abs=1e-9)
    assert not panel.ui.undoButton.enabled
    assert text_of(panel.ui.verdictLabel, panel) == ""


def test_what_is_unchecked_stays(scene, panel, loaded, head):
    import qt

    panel.ui.carriedList.item(1).setCheckState(qt.Qt.Unchecked)
    click(panel)
    assert loaded["tracts"].GetParentTransformNode() is None
    assert loaded["FLAIR"].GetParentTransformNode() is loaded["T2w"].GetParentTransformNode() is not None
    assert apart(loaded, head, "FLAIR") < 1.0


def start(panel):
    """Start a registration and wait until it searches."""
    panel.ui.registerButton.click()
    assert panel.ui.registerButton.text == "Cancel"
    assert not panel.ui.applyButton.enabled
    assert SlicerHost.process_until(lambda: panel.ui.statusLabel.text.startswith("Searching"), 120)


def test_cancel_leaves_the_scene(scene, panel, loaded):
    before = everything(scene)
    start(panel)
    began = time.monotonic()
    panel.ui.registerButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 10)
    assert time.monotonic() - began < 2.5
    assert "Cancelled" in text_of(panel.ui.messageLabel, panel)
    assert everything(scene) == before
    assert panel.ui.registerButton.text == "Register MRI"


@posix_only
def test_killed_worker_leaves_the_module_usable(scene, panel, loaded):
    before = everything(scene)
    start(panel)
    os.kill(panel.logic.runner._worker._child.process.pid, signal.SIGKILL)
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 10)
    assert "SIGKILL" in text_of(panel.ui.messageLabel, panel)
    assert everything(scene) == before
    assert panel.ui.registerButton.enabled
    assert panel.ui.applyButton.enabled


def test_no_overlap_is_one_line(scene, panel, loaded, add, head):
    mri = head[2]["T2w"]
    far = Volume(mri.array, mri.spacing, tuple(np.array(mri.origin) + 500), mri.direction)
    panel.logic.getParameterNode().movingVolume = add(far, "Far T2w")
    before = everything(scene)
    click(panel)
    message = text_of(panel.ui.messageLabel, panel)
    assert "overlap" in message
    assert "<br" not in message
    assert everything(scene) == before


@pytest.mark.parametrize(("counts", "cause"), [((4, 5), "4 landmarks"), ((1, 1), "at least 3")])
def test_landmarks_that_do_not_fit_are_one_line(scene, panel, loaded, head, counts, cause):
    parameters = panel.logic.getParameterNode()
    points = phantom.points_of(head[0].with_array(head[0].array > 0), 5)
    parameters.mriLandmarks = landmarks(scene, loaded["T2w"], "L MRI", points[: counts[0]])
    parameters.ultrasoundLandmarks = landmarks(scene, loaded["case"], "L ioUS", points[: counts[1]])
    before = everything(scene)
    click(panel)
    assert cause in text_of(panel.ui.messageLabel, panel)
    assert everything(scene) == before


def test_an_empty_ultrasound_is_one_line(scene, panel, loaded, head):
    import slicer

    slicer.util.updateVolumeFromArray(loaded["case"], np.zeros(head[0].array.shape, np.float32))
    before = everything(scene)
    click(panel)
    assert "empty" in text_of(panel.ui.messageLabel, panel)
    assert everything(scene) == before


def test_says_why_it_cannot_start(scene, panel, loaded):
    parameters = panel.logic.getParameterNode()
    assert panel.ui.registerButton.enabled
    parameters.t2wVolume = parameters.flairVolume = None
    assert not panel.ui.registerButton.enabled
    assert "Synthesize MRI first" in panel.ui.registerButton.toolTip
    parameters.movingVolume = None
    assert "Select the preoperative MRI first" in panel.ui.registerButton.toolTip


def test_verdicts_in_plain_words(panel):
    report = {"verdict": "doubtful", "answers_apart_mm": 3.14, "moved_mm": 7.7, "warnings": ["It fits <elsewhere>."]}
    panel.registerSection.showVerdict(report)
    assert panel.ui.verdictLabel.text == (
        '<span style="color:#c2701c">&#9632;</span> <b>Doubtful: look before you trust it.</b> Two independent answers '
        "are 3.1 mm apart; the MRI moved 7.7 mm. It fits &lt;elsewhere&gt;."
    )
    panel.registerSection.showVerdict({**report, "verdict": "failed", "warnings": []})
    assert "left where it was" in panel.ui.verdictLabel.text
    assert "would have moved 7.7 mm" in panel.ui.verdictLabel.text


def test_a_script_waits_for_the_transform(scene, panel, loaded, head):
    outputs = panel.selectedOutputs()
    job = panel.logic.register(loaded["T2w"], loaded["case"], outputs, carriedNodes=[], affine=True)
    assert job.report["verdict"] == "agrees"
    assert job.transform_node is loaded["T2w"].GetParentTransformNode()
    assert loaded["FLAIR"].GetParentTransformNode() is None
    assert apart(loaded, head) < 1.0
    panel.logic.undoRegistration(loaded["T2w"])
    assert loaded["T2w"].GetParentTransformNode() is None
    with pytest.raises(ValueError, match="is not a preoperative MRI"):
        panel.logic.register(loaded["case"], loaded["case"], outputs)
