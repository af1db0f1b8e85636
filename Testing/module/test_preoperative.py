"""MRI as second input in the panel: what a run reads, why it reads none, and what the views show of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SlicerHost
from support import phantom
from support.panel import message
from support.tiny_models import WITH_MRI, mri_generator_network, write_bundle


@pytest.fixture
def models(tiny_models, tmp_path, monkeypatch):
    """Beside the tiny models two that read MRI: one as it should, one that changes too much."""
    for name, gain in (("with-mri", 0.05), ("loud", 0.45)):
        write_bundle(tmp_path / "models" / name, mri_generator_network(gain), **WITH_MRI)
    monkeypatch.setenv("IOUSYNTH_MODELS", f"{tmp_path / 'models'}:{tiny_models}")


@pytest.fixture(scope="module")
def head():
    """Ultrasound, the MRI in a frame of its own, and the matrix (LPS) from the first to the second."""
    images = phantom.head()
    matrix = phantom.displacement(5.0, 8.0)
    return phantom.field_of_view(images)[0], phantom.displaced(images, matrix), matrix


@pytest.fixture
def loaded(scene, models, panel, add, head):
    """The phantom in the scene, its ultrasound selected, and the model that reads MRI."""
    ultrasound, moving, _ = head
    nodes = {"case": add(ultrasound, "Case ioUS")}
    nodes |= {name: add(moving[name], f"Preop {name}") for name in ("T2w", "FLAIR")}
    panel.ui.inputSelector.setCurrentNode(nodes["case"])
    panel.modelsSection.listModels()
    panel.ui.modelSelector.setCurrentText("with-mri")
    return nodes


@pytest.fixture
def register(scene, loaded, head):
    """Return a function that puts a registration above the MRI, as the panel's own leaves it."""
    import slicer

    from IoUSynthLib.mrml import registration
    from IoUSynthLib.mrml.grid import FLIP

    def put(verdict="agrees", fixed="case"):
        node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Preop T2w to Case ioUS (IoUSynth)")
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(FLIP @ np.linalg.inv(head[2]) @ FLIP))
        node.SetAttribute(registration.KIND, "linear")
        node.SetAttribute("IoUSynth.Verdict", verdict)
        node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), loaded[fixed].GetID())
        for name in ("T2w", "FLAIR"):
            loaded[name].SetAndObserveTransformNodeID(node.GetID())
        registration.keep_place(node, loaded["case"], loaded["T2w"])
        return node

    return put


def said(panel):
    label = panel.ui.mriInputLabel
    return label.text if label.isVisibleTo(panel.parent) else ""


def look(panel):
    """Let the panel look at the scene, as it does when a node comes or goes."""
    panel.updateSections()
    return said(panel)


def synthesize(panel):
    panel.ui.applyButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 60)


def test_the_choice_is_there_only_if_the_model_reads_mri(panel, loaded):
    assert panel.ui.mriInputSelector.isVisibleTo(panel.parent)
    assert [panel.ui.mriInputSelector.itemText(index) for index in range(2)] == ["Automatic", "Ultrasound only"]
    panel.ui.modelSelector.setCurrentText("ious2mr-2.5d")
    assert not panel.ui.mriInputSelector.isVisibleTo(panel.parent)
    assert said(panel) == ""


def test_the_panel_says_in_one_line_why_it_reads_no_mri(scene, panel, loaded, register):
    none = "Ultrasound alone: no MRI is registered to this ultrasound; synthesize, register it, and synthesize again."
    assert look(panel) == none
    transform = register("doubtful")
    assert look(panel) == "Ultrasound alone: the registration of the MRI is doubtful."
    transform.SetAttribute("IoUSynth.Verdict", "agrees")
    assert look(panel) == "With preoperative MRI, whose registration agrees (T2w: Preop T2w, FLAIR: Preop FLAIR)."
    panel.ui.mriInputSelector.setCurrentText("Ultrasound only")
    assert said(panel) == "Ultrasound alone, as chosen."
    panel.ui.mriInputSelector.setCurrentText("Automatic")
    import vtk

    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToParent(matrix)
    matrix.SetElement(0, 3, matrix.GetElement(0, 3) + 1.0)
    transform.SetMatrixTransformToParent(matrix)
    assert look(panel) == "Ultrasound alone: MRI or ultrasound has moved since the registration; register again."
    transform.SetNodeReferenceID(transform.GetFixedNodeReferenceRole(), loaded["T2w"].GetID())
    assert look(panel) == none
    for name in ("T2w", "FLAIR"):
        scene.RemoveNode(loaded[name])
    assert look(panel) == "Ultrasound alone: the scene has no MRI that this model reads."


def test_a_registered_mri_is_read_and_named_on_the_nodes(scene, panel, loaded, register, head):
    from IoUSynthLib.pipeline import synthesize as run
    from IoUSynthLib.registration.rigid import to_sitk
    from IoUSynthLib.synthesis.preoperative import Preoperative, image_sha256

    ultrasound, moving, matrix = head
    register()
    synthesize(panel)
    assert "not used" not in message(panel)
    assert "with preoperative T2w and FLAIR, which changed the images by" in panel.ui.qualityLabel.text
    parameters = panel.logic.getParameterNode()
    expected = run(ultrasound, "with-mri", preoperative=Preoperative(moving, to_sitk(matrix)))
    import slicer

    got = slicer.util.arrayFromVolume(parameters.t2wVolume)
    assert np.abs(got - expected.images["T2w"].array).max() < 0.5
    assert np.abs(got - expected.contribution.other["T2w"].array).max() > 5
    node = parameters.t2wVolume
    assert node.GetAttribute("IoUSynth.MRIUsed") == "true"
    assert json.loads(node.GetAttribute("IoUSynth.MRI")) == {"T2w": "Preop T2w", "FLAIR": "Preop FLAIR"}
    checksums = json.loads(node.GetAttribute("IoUSynth.MRISHA256"))
    assert checksums == {name: image_sha256(moving[name]) for name in ("T2w", "FLAIR")}
    transform = json.loads(node.GetAttribute("IoUSynth.MRITransform"))
    assert transform["name"] == "Preop T2w to Case ioUS (IoUSynth)"
    assert np.abs(np.array(transform["ultrasound_to_mri_lps"]) - matrix).max() < 1e-6


def test_ultrasound_only_reads_none(panel, loaded, register):
    register()
    panel.ui.mriInputSelector.setCurrentText("Ultrasound only")
    synthesize(panel)
    parameters = panel.logic.getParameterNode()
    assert parameters.t2wVolume.GetAttribute("IoUSynth.MRIUsed") == "false"
    assert json.loads(parameters.t2wVolume.GetAttribute("IoUSynth.MRI")) == {}
    assert not panel.ui.contributionSelector.isVisibleTo(panel.parent)


def test_the_views_show_images_with_and_without_mri_and_their_difference(scene, panel, loaded, register):
    from IoUSynthLib.mrml import layers, views

    register()
    synthesize(panel)
    selector = panel.ui.contributionSelector
    assert selector.isVisibleTo(panel.parent)
    assert selector.currentText == "With MRI"

    def shown():
        names = [scene.GetNodeByID(c.GetBackgroundVolumeID()).GetName() for c in views.compared_views()]
        stacked = {layer.GetAttribute("IoUSynth.Output") for c in views.compared_views() for layer in layers.stacked(c)}
        return [name.removeprefix("Case ioUS").removesuffix(" (synthetic)") for name in names], stacked

    own = ["", " T2w", " FLAIR"]
    assert shown()[0] == own
    assert "difference" not in shown()[1]
    for index, names in ((1, ["", " T2w without MRI", " FLAIR without MRI"]), (2, own), (0, own)):
        selector.setCurrentIndex(index)
        selector.activated.emit(index)
        assert shown()[0] == names
        assert ("difference" in shown()[1]) == (index == 2)
    hidden = [node for node in (scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes()))
              if (node.GetAttribute("IoUSynth.Output") or "").endswith("without MRI")]  # fmt: skip
    assert [node.GetHideFromEditors() for node in hidden] == [1, 1]
    assert {node.GetAttribute("IoUSynth.Synthetic") for node in hidden} == {"true"}
    before = scene.GetNumberOfNodes()
    synthesize(panel)
    assert scene.GetNumberOfNodes() == before, "a second run fills the same nodes"
    panel.ui.mriInputSelector.setCurrentText("Ultrasound only")
    synthesize(panel)
    left = [scene.GetNthNode(i).GetAttribute("IoUSynth.Output") for i in range(scene.GetNumberOfNodes())]
    assert not {"T2w without MRI", "difference", "disagreement"} & set(left), "nothing of another run is left"


def test_an_mri_that_changes_too_much_is_not_used_and_the_places_are_marked(scene, panel, loaded, register):
    from IoUSynthLib.mrml import layers, views

    register()
    panel.ui.modelSelector.setCurrentText("loud")
    synthesize(panel)
    assert "MRI was not used, the images are of ultrasound alone: the images with MRI differ" in message(panel)
    assert panel.ui.contributionSelector.currentText == "Ultrasound alone"
    composites = [c for c in views.compared_views() if "T2w" in c.GetLayoutName()]
    (composite,) = composites
    assert scene.GetNodeByID(composite.GetBackgroundVolumeID()).GetAttribute("IoUSynth.Output") == "T2w"
    marks = [layer for layer in layers.stacked(composite) if layer.GetAttribute("IoUSynth.Output") == "disagreement"]
    assert len(marks) == 1
    import slicer

    title = slicer.app.layoutManager().sliceWidget("IoUSynthT2w").overlayCornerAnnotation().GetText(7)
    assert "red stripes: MRI and ultrasound disagree" in title
    panel.ui.contributionSelector.setCurrentIndex(0)
    panel.ui.contributionSelector.activated.emit(0)
    assert scene.GetNodeByID(composite.GetBackgroundVolumeID()).GetAttribute("IoUSynth.Output") == "T2w with MRI"


def test_one_click_registers_the_mri_and_then_synthesizes_with_it(scene, panel, loaded):
    from IoUSynthLib.mrml import jobs

    synthesize(panel)
    parameters = panel.logic.getParameterNode()
    assert parameters.t2wVolume.GetAttribute("IoUSynth.MRIUsed") == "false"
    parameters.movingVolume = loaded["T2w"]
    panel.ui.registerButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 300)
    assert ">Agrees.<" in panel.ui.verdictLabel.text
    assert parameters.t2wVolume.GetAttribute("IoUSynth.MRIUsed") == "true"
    assert isinstance(panel.logic.runner.job, jobs.SynthesisJob)
    assert panel.ui.contributionSelector.currentText == "With MRI"
