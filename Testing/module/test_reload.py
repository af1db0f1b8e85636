"""A scene that was saved comes back: choices, results with what they were made with, transforms, views, the panel."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from support.batch_inputs import small_ultrasound
from support.panel import click, tracked

OUTPUTS = ("t2wVolume", "flairVolume", "uncertaintyVolume", "segmentation")
VIEWS = {"IoUSynthPreoperative", "IoUSynthUltrasound", "IoUSynthT2w", "IoUSynthFLAIR"}


@pytest.fixture
def result(scene, panel, add):
    """A result of a tracked ultrasound, shown in the coronal plane beside an MRI, the overlay off."""
    case, mri = add(small_ultrasound(), "Case ioUS"), add(small_ultrasound(1), "Preop T2w")
    tracked(scene, case)
    panel.ui.inputSelector.setCurrentNode(case)
    panel.ui.preoperativeSelector.setCurrentNode(mri)
    panel.ui.planeSelector.setCurrentText("Coronal")
    panel.ui.deviceSelector.setCurrentText("cpu")
    click(panel)
    panel.ui.overlayCheckBox.click()
    panel.ui.beforeResectionCheckBox.click()
    panel.ui.probablePlaceCheckBox.click()
    return panel.logic.getParameterNode()


def described(node):
    """What must be the same after loading."""
    import slicer

    if node.IsA("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
        content = [(s.GetName(), s.GetColor(), s.GetTerminology()) for s in segments]
    else:
        content = hashlib.sha256(slicer.util.arrayFromVolume(node)).hexdigest()
    attributes = {name: node.GetAttribute(name) for name in node.GetAttributeNames() if name.startswith("IoUSynth.")}
    chain, parent = [], node.GetParentTransformNode()
    while parent is not None:
        chain.append((parent.GetName(), np.round(slicer.util.arrayFromTransformMatrix(parent), 9).tolist()))
        parent = parent.GetParentTransformNode()
    # A transform file holds the inverse: the matrix comes back with the last digit changed.
    names = [node.GetNodeReference(f"IoUSynth.{role}").GetName() for role in ("input", "preoperative")]
    return node.GetName(), content, attributes, chain, names


def slice_matrices():
    import slicer

    manager = slicer.app.layoutManager()
    nodes = {cell.name: manager.sliceWidget(cell.name).mrmlSliceNode() for cell in manager.cells()}
    return {name: slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()) for name, node in nodes.items()}


@pytest.mark.parametrize("suffix", ["mrb", "mrml"])
def test_scene_comes_back(scene, panel, result, tmp_path, suffix):
    import slicer

    before = {name: described(getattr(result, name)) for name in OUTPUTS}
    matrices, quality = slice_matrices(), panel.ui.qualityLabel.text
    assert set(matrices) == VIEWS
    file = str(tmp_path / f"case.{suffix}")
    if suffix == "mrml":  # its nodes' files beside it, as the save dialog does
        for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
            if node.GetSaveWithScene() and node.GetModifiedSinceRead() and node.IsA("vtkMRMLDisplayableNode"):
                slicer.util.saveNode(node, str(tmp_path / f"{node.GetID()}{ending(node)}"))
    assert slicer.util.saveScene(file)

    scene.Clear(False)
    assert panel.ui.qualityLabel.text == ""
    as_in_a_fresh_application(scene)
    slicer.util.loadScene(file)

    parameters = panel.logic.getParameterNode()
    for name in OUTPUTS:
        for loaded, saved in zip(described(getattr(parameters, name)), before[name], strict=True):
            assert loaded == saved
    assert (parameters.device, parameters.plane, parameters.showOverlay) == ("cpu", "Coronal", False)
    assert (parameters.beforeResection, parameters.probablePlace, parameters.muteUntrusted) == (True, True, True)
    assert panel.ui.probablePlaceCheckBox.enabled
    assert panel.ui.probablePlaceCheckBox.checked
    assert panel.ui.inputSelector.currentNode().GetName() == "Case ioUS"
    assert panel.ui.preoperativeSelector.currentNode().GetName() == "Preop T2w"
    assert panel.ui.t2wSelector.currentNode() is parameters.t2wVolume
    assert panel.ui.segmentationSelector.currentNode() is parameters.segmentation
    assert panel.ui.planeSelector.currentText == "Coronal"
    assert not panel.ui.overlayCheckBox.checked
    assert not parameters.segmentation.GetDisplayNode().GetVisibility()
    assert panel.ui.qualityLabel.text == quality != ""
    assert panel.ui.showButton.enabled

    manager = slicer.app.layoutManager()
    assert {cell.name for cell in manager.cells()} == VIEWS
    for name, matrix in slice_matrices().items():
        assert np.allclose(matrix, matrices[name], atol=1e-4)
    shown = {name: manager.sliceWidget(name).mrmlSliceCompositeNode().GetBackgroundVolumeID() for name in VIEWS}
    assert shown["IoUSynthT2w"] == parameters.t2wVolume.GetID()
    assert shown["IoUSynthUltrasound"] == parameters.inputVolume.GetID()
    assert manager.sliceWidget("IoUSynthT2w").overlayCornerAnnotation().GetText(7).startswith("SYNTHETIC T2w")

    click(panel)  # and the same nodes are filled again
    again = panel.logic.getParameterNode()
    assert again.t2wVolume is parameters.t2wVolume
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 6, "the hidden mask is one of them"


def as_in_a_fresh_application(scene):
    """The layout node knows none of the module's layouts, and there are no views of the module."""
    import slicer

    layouts = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    slicer.app.layoutManager().setLayout(3)
    for identifier in (7401, 7402, 7403):
        layouts.SetLayoutDescription(identifier, "")
        assert not layouts.IsLayoutDescription(identifier)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if node.GetLayoutName().startswith("IoUSynth"):
            scene.RemoveNode(node)
    slicer.app.processEvents()


def test_a_layout_that_a_scene_view_names_comes_back(scene, panel, result):
    """Nothing is imported then: the layout node is only told in a batch which layout it has."""
    import slicer

    manager = slicer.app.layoutManager()
    as_in_a_fresh_application(scene)
    assert {cell.name for cell in manager.cells()}.isdisjoint(VIEWS)
    scene.StartState(scene.BatchProcessState)
    manager.layoutLogic().GetLayoutNode().SetViewArrangement(7401)
    scene.EndState(scene.BatchProcessState)
    assert {cell.name for cell in manager.cells()} == VIEWS


def ending(node):
    if node.IsA("vtkMRMLTransformNode"):
        return ".h5"
    return ".seg.nrrd" if node.IsA("vtkMRMLSegmentationNode") else ".nrrd"


def test_scene_says_what_repeats_the_run(scene, panel, result):
    """Model, versions, device, preprocessing, the input, and where it lay when it was read."""
    import slicer

    from IoUSynthLib.mrml.provenance import report_of

    inner = result.inputVolume.GetParentTransformNode()
    report = report_of(result.t2wVolume)
    assert report["model"]["sha256"] == result.t2wVolume.GetAttribute("IoUSynth.ModelSHA256")
    assert report["versions"]["iousynth"]
    assert report["device"] == {"requested": "cpu", "used": "cpu", "runtime": "ONNX Runtime"}
    assert report["seed"] is None
    assert report["preprocessing"]["percentiles"] == [2.0, 98.0]
    given = report["input"]
    assert (given["node"], given["node_id"]) == ("Case ioUS", result.inputVolume.GetID())
    assert given["preoperative"] == "Preop T2w"
    assert len(given["voxels_sha256"]) == 64
    assert json.loads(result.segmentation.GetAttribute("IoUSynth.InputTransforms")) == given["transforms"]
    assert [(t["name"], t["kind"], t["driven"]) for t in given["transforms"]] == [
        ("ToTracker", "linear", False),
        ("ToRas", "linear", False),
    ]
    before = slicer.util.arrayFromTransformMatrix(inner)
    assert np.array_equal(given["transforms"][0]["matrix_ras"], before)
    spline = scene.AddNewNodeByClass("vtkMRMLTransformNode", "BrainShift")
    spline.SetAndObserveTransformToParent(bent())
    inner.GetParentTransformNode().SetAndObserveTransformNodeID(spline.GetID())
    panel.ui.applyButton.click()
    inner.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))  # the tracker moves on meanwhile
    import SlicerHost

    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 60)
    transforms = report_of(result.t2wVolume)["input"]["transforms"]
    assert np.array_equal(transforms[0]["matrix_ras"], before)
    assert transforms[2] == {
        "name": "BrainShift",
        "node_id": spline.GetID(),
        "kind": "vtkThinPlateSplineTransform",
        "driven": False,
    }


def bent():
    import vtk

    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in np.random.default_rng(1).uniform(-80, 80, (6, 3)):
        source.InsertNextPoint(*point)
        target.InsertNextPoint(*(point * 1.05 + 0.001 * point**2))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    return spline
