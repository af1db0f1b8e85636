"""The panel's section Result and the verdict on the input: what they say, and what they do to the views."""

from __future__ import annotations

import numpy as np
import pytest
import SlicerHost


def click(panel, timeout=60.0):
    panel.ui.applyButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", timeout)


def shown(label, panel):
    return label.text if label.isVisibleTo(panel.parent) else ""


def composites():
    from IoUSynthLib.mrml import views

    return {composite.GetLayoutName(): composite for composite in views.compared_views()}


def overlaid():
    """Names of the volumes in the additional layers of the module's views, from below, where there are some."""
    from IoUSynthLib.mrml.layers import stacked

    found = {name: [node.GetName() for node in stacked(composite)] for name, composite in composites().items()}
    return {name: names[0] if len(names) == 1 else names for name, names in found.items() if names}


def cells():
    import slicer

    return [cell.name for cell in slicer.app.layoutManager().cells()]


def texts(selector):
    return [selector.itemText(index) for index in range(selector.count)]


@pytest.fixture
def result_of(panel):
    """Return a function that puts a result into the scene, as a run would: a tumour and a cavity of some length."""
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result
    from IoUSynthLib.pipeline import SynthesisResult

    def make(node, tumour, cavity, doubtful=(), **said):
        volume = volume_from_node(node)
        valid = volume.array > 0
        labels = np.zeros(valid.shape, np.uint8)
        labels[20 : 20 + tumour, 24:32, 30:38] = 1
        labels[40 : 40 + cavity, 24:32, 30:38] = 2
        images = {name: volume.with_array(valid * np.float32(scale)) for name, scale in (("T2w", 300), ("FLAIR", 500))}
        uncertainty = volume.with_array(valid * np.float32(0.2))
        report = {"summary": f"About {node.GetName()}", "doubtful": list(doubtful), **said}
        result = SynthesisResult(images, uncertainty, volume.with_array(labels), volume.with_array(valid), report)
        add_result(result, node)

    return make


@pytest.fixture
def one(panel, add, ultrasound, result_of):
    """An ultrasound volume with its result, selected in the panel."""
    node = add(ultrasound, "Case ioUS")
    result_of(node, 10, 4)
    panel.ui.inputSelector.setCurrentNode(None)
    panel.ui.inputSelector.setCurrentNode(node)
    panel.ui.showButton.click()
    return panel.logic.results()[0]


@pytest.fixture
def two(panel, add, ultrasound, result_of, one):
    """The results of two ultrasound volumes; in the later one most of the tumour has made way for a cavity."""
    node = add(ultrasound, "Later ioUS")
    result_of(node, 3, 8)
    panel.ui.inputSelector.setCurrentNode(node)
    panel.ui.showButton.click()
    return panel.logic.results()


def test_says_before_the_run_what_the_input_is(panel, case, add, ultrasound):
    label = panel.ui.inputVerdictLabel
    assert SlicerHost.process_until(lambda: label.text != "", 5)
    assert shown(label, panel).startswith('<span style="color:#2b9656">&#9632;</span> <b>Usable.</b> ')
    assert "ml of image" in label.text
    empty = ultrasound.with_array(np.full_like(ultrasound.array, 3))
    panel.ui.inputSelector.setCurrentNode(add(empty, "Empty <ioUS>"))
    assert shown(label, panel).startswith('<span style="color:#da5353">&#9632;</span> <b>Cannot be used.</b> ')
    assert "Empty &lt;ioUS&gt;" in label.text
    panel.ui.inputSelector.setCurrentNode(None)
    assert shown(label, panel) == ""


def test_judges_again_when_the_spacing_is_corrected(panel, case):
    label, spacing = panel.ui.inputVerdictLabel, case.GetSpacing()
    case.SetSpacing(5.0, 5.0, 5.0)
    assert SlicerHost.process_until(lambda: "Look at this." in label.text, 5)
    assert "wrong voxel spacing" in label.text
    case.SetSpacing(*spacing)
    assert SlicerHost.process_until(lambda: "Usable." in label.text, 5)


def test_judges_again_when_a_transform_above_changes_the_scale(panel, case, scene):
    import slicer
    import vtk

    label, matrix = panel.ui.inputVerdictLabel, vtk.vtkMatrix4x4()
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "ImageToReference")
    case.SetAndObserveTransformNodeID(transform.GetID())
    assert SlicerHost.process_until(lambda: "Usable." in label.text, 5)
    for axis in range(3):
        matrix.SetElement(axis, axis, 5.0)
    transform.SetMatrixTransformToParent(matrix)
    assert SlicerHost.process_until(lambda: "Look at this." in label.text, 5)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.eye(4)))
    assert SlicerHost.process_until(lambda: "Usable." in label.text, 5)


def test_the_volume_of_a_doubtful_outline_is_called_doubtful(panel, add, ultrasound, result_of):
    node = add(ultrasound, "Case ioUS")
    result_of(node, 10, 4, ["tumour"])
    panel.ui.inputSelector.setCurrentNode(None)
    panel.ui.inputSelector.setCurrentNode(node)
    text = panel.ui.volumesLabel.text
    assert "</b> (doubtful), resection cavity <b>" in text
    assert text.endswith("ml</b>")


def test_no_tumour_outlined_is_not_called_none(panel, add, ultrasound, result_of):
    node = add(ultrasound, "Case ioUS")
    result_of(node, 0, 4)
    panel.ui.inputSelector.setCurrentNode(None)
    panel.ui.inputSelector.setCurrentNode(node)
    assert panel.ui.volumesLabel.text.startswith("Tumour not outlined, resection cavity <b>")


def test_volumes_are_those_of_the_segments_and_the_buttons_go_there(panel, one):
    import slicer

    from IoUSynthLib.mrml.results import segment_mask

    voxel = 0.7 * 0.6 * 0.65 / 1000
    text = f"Tumour <b>{640 * voxel:.1f} ml</b>, resection cavity <b>{256 * voxel:.1f} ml</b>"
    assert shown(panel.ui.volumesLabel, panel) == text
    image = one.outputs.images["T2w"]
    masks = {name: segment_mask(one.outputs.segmentation, image, name) for name in ("tumour", "cavity")}
    positions = {}
    for segment, button in (("tumour", panel.ui.tumourButton), ("cavity", panel.ui.cavityButton)):
        button.click()
        for name in ("IoUSynthUltrasound", "IoUSynthT2w", "IoUSynthFLAIR", "Red"):
            matrix = slicer.app.applicationLogic().GetSliceLogicByLayoutName(name).GetSliceNode().GetSliceToRAS()
            positions[segment] = [matrix.GetElement(row, 3) for row in range(3)]
            ijk = np.linalg.inv(np.array(ijk_to_ras(image))) @ [*positions[segment], 1.0]
            assert masks[segment][tuple(np.rint(ijk[2::-1]).astype(int))]


def ijk_to_ras(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return [[matrix.GetElement(row, column) for column in range(4)] for row in range(4)]


def test_uncertainty_lies_over_the_synthetic_views_beside_the_mri(panel, one, add, ultrasound):
    import slicer

    panel.ui.preoperativeSelector.setCurrentNode(add(ultrasound, "Preop T2w"))
    assert overlaid() == {}
    panel.ui.uncertaintyCheckBox.click()
    name = "Case ioUS uncertainty (synthetic)"
    assert overlaid() == {"IoUSynthT2w": name, "IoUSynthFLAIR": name}
    panel.ui.opacitySlider.value = 70
    panel.ui.thresholdSlider.value = 12
    layer = slicer.vtkMRMLSliceCompositeNode.Layer_Last
    assert composites()["IoUSynthT2w"].GetNthLayerOpacity(layer) == pytest.approx(0.7)
    display = panel.logic.getParameterNode().uncertaintyVolume.GetDisplayNode()
    assert display.GetLowerThreshold() == pytest.approx(0.12)
    assert display.GetApplyThreshold()

    panel.ui.fadeSlider.value = 40  # the MRI has the foreground to itself
    assert {c.GetForegroundOpacity() for c in composites().values()} == {0.4}
    assert overlaid() == {"IoUSynthT2w": name, "IoUSynthFLAIR": name}
    panel.ui.showButton.click()
    assert overlaid() == {"IoUSynthT2w": name, "IoUSynthFLAIR": name}
    panel.ui.uncertaintyCheckBox.click()
    assert overlaid() == {}
    assert {c.GetForegroundOpacity() for c in composites().values()} == {0.4}


NOT_TRUSTED = {"muted": ["unfamiliar"], "quality": {"no_echo": 0.2}}


@pytest.fixture
def not_trusted(panel, add, ultrasound, result_of):
    """A result that is not to be trusted, selected in the panel, and the windows of its images in full and muted."""
    node = add(ultrasound, "Real ioUS")
    result_of(node, 10, 4, **NOT_TRUSTED)
    panel.ui.inputSelector.setCurrentNode(None)
    panel.ui.inputSelector.setCurrentNode(node)
    panel.ui.showButton.click()
    return next(result for result in panel.logic.results() if result.input_node is node)


def windows(result):
    return [node.GetDisplayNode().GetWindow() for node in (*result.outputs.images.values(), result.input_node)]


def test_what_is_not_to_be_trusted_is_muted_until_the_surgeon_lifts_it(slicer_version, panel, not_trusted):
    muted = windows(not_trusted)
    assert "<b>Muted.</b> This ultrasound is unlike all that the model has learned from." in panel.ui.trustLabel.text
    assert "Real Dice: machines 0.65, surgeons near the end 0.32." in shown_trust(panel)
    assert "Cepeda 2025" in panel.ui.trustLabel.toolTip
    assert "Stripes: no echo comes from 20% of the fan" in shown_trust(panel)
    veil = "Real ioUS no echo (synthetic)"
    assert overlaid() == {"IoUSynthT2w": veil, "IoUSynthFLAIR": veil}
    panel.ui.uncertaintyCheckBox.click()
    both = [veil, "Real ioUS uncertainty (synthetic)"]
    assert overlaid() == {"IoUSynthT2w": both, "IoUSynthFLAIR": both}

    panel.ui.muteCheckBox.click()
    assert overlaid() == {"IoUSynthT2w": both[1], "IoUSynthFLAIR": both[1]}
    assert windows(not_trusted) == pytest.approx([*(0.4 * window for window in muted[:2]), muted[2]])
    assert "<b>Not to be trusted, though shown in full.</b> This ultrasound" in shown_trust(panel)
    assert not panel.logic.getParameterNode().muteUntrusted
    panel.ui.muteCheckBox.click()
    assert windows(not_trusted) == pytest.approx(muted)
    assert overlaid() == {"IoUSynthT2w": both, "IoUSynthFLAIR": both}


def shown_trust(panel):
    return shown(panel.ui.trustLabel, panel)


def test_a_result_that_nothing_speaks_against_is_shown_in_full(panel, one, not_trusted):
    usual = windows(one)
    panel.ui.inputSelector.setCurrentNode(one.input_node)
    panel.ui.showButton.click()
    assert shown_trust(panel) == ""
    assert not panel.ui.muteCheckBox.enabled
    assert panel.ui.muteCheckBox.toolTip == "Nothing speaks against this result"
    assert overlaid() == {}
    panel.ui.inputSelector.setCurrentNode(not_trusted.input_node)
    panel.ui.muteCheckBox.click()
    assert windows(one) == usual


def test_the_captions_say_what_is_muted(panel, not_trusted):
    import slicer

    widget = slicer.app.layoutManager().sliceWidget("IoUSynthT2w")

    def caption():
        import vtk

        return widget.overlayCornerAnnotation().GetText(vtk.vtkCornerAnnotation.UpperEdge)

    assert caption().startswith("SYNTHETIC T2w - not acquired, muted\nstripes: no echo, made up\n")
    panel.ui.muteCheckBox.click()
    assert caption().startswith("SYNTHETIC T2w - not acquired\n")
    assert "stripes" not in caption()


def test_choices_of_the_overlay_are_in_the_scene(panel, one):
    panel.ui.uncertaintyCheckBox.click()
    panel.ui.opacitySlider.value, panel.ui.thresholdSlider.value = 30, 5
    panel.exit()
    panel.enter()
    node = panel.logic.getParameterNode().parameterNode
    stored = {key: node.GetParameter(key) for key in ("showUncertainty", "uncertaintyOpacity", "uncertaintyThreshold")}
    assert stored == {"showUncertainty": "True", "uncertaintyOpacity": "30.0", "uncertaintyThreshold": "5.0"}
    assert (panel.ui.opacitySlider.value, panel.ui.thresholdSlider.value) == (30, 5)


def test_keys_act_while_the_module_is_open(panel, one):
    # They hang on the main window, where there is one.
    keys = {shortcut.key.toString(): shortcut for shortcut in panel.resultSection._shortcuts}
    assert set(keys) == {"O", "U", "Alt+Up", "Alt+Down"}
    assert "(key O)" in panel.ui.overlayCheckBox.toolTip
    assert "(key U)" in panel.ui.uncertaintyCheckBox.toolTip
    assert "(key Alt+Up, Alt+Down)" in panel.ui.opacitySlider.toolTip
    keys["U"].activated.emit()
    assert panel.ui.uncertaintyCheckBox.checked
    before = panel.ui.opacitySlider.value
    keys["Alt+Up"].activated.emit()
    assert panel.ui.opacitySlider.value == before + 10
    for _ in range(12):
        keys["Alt+Down"].activated.emit()
    assert panel.ui.opacitySlider.value == 0
    keys["O"].activated.emit()
    assert not panel.logic.getParameterNode().segmentation.GetDisplayNode().GetVisibility()
    panel.exit()
    assert panel.resultSection._shortcuts == []
    panel.enter()
    assert len(panel.resultSection._shortcuts) == 4


def test_each_result_belongs_to_its_input(scene, panel, two):
    before, after = two
    assert texts(panel.ui.resultSelector) == ["Case ioUS", "Later ioUS"]
    assert panel.ui.resultSelector.currentIndex == 1
    visible = [result.outputs.segmentation.GetDisplayNode().GetVisibility() for result in two]
    assert visible == [0, 1]  # the outlines of the earlier result do not lie over the later images

    panel.ui.inputSelector.setCurrentNode(before.input_node)  # the outputs follow the input
    parameters = panel.logic.getParameterNode()
    assert parameters.t2wVolume is before.outputs.images["T2w"]
    assert parameters.segmentation is before.outputs.segmentation
    assert panel.ui.resultSelector.currentIndex == 0
    count = scene.GetNumberOfNodes()
    click(panel)  # and a second run fills them again
    assert scene.GetNumberOfNodes() == count

    panel.ui.resultSelector.setCurrentIndex(1)
    panel.ui.resultSelector.activated.emit(1)
    assert parameters.inputVolume is after.input_node
    assert parameters.uncertaintyVolume is after.outputs.uncertainty
    assert composites()["IoUSynthT2w"].GetBackgroundVolumeID() == after.outputs.images["T2w"].GetID()
    assert panel.ui.qualityLabel.text == "About Later ioUS"


def test_a_new_input_has_no_result_yet(panel, one, add, ultrasound):
    panel.ui.inputSelector.setCurrentNode(add(ultrasound, "Later ioUS"))
    parameters = panel.logic.getParameterNode()
    assert (parameters.t2wVolume, parameters.segmentation) == (None, None)
    assert not panel.ui.showButton.enabled
    assert panel.ui.resultSelector.currentIndex == -1
    assert panel.ui.volumesLabel.text == "No result of this ultrasound yet."
    for widget in (panel.ui.tumourButton, panel.ui.cavityButton, panel.ui.uncertaintyCheckBox):
        assert not widget.enabled
    assert not panel.ui.compareButton.isVisibleTo(panel.parent)  # there is nothing to compare with


def test_compares_before_and_after(scene, panel, two):
    import slicer

    before, after = two
    panel.ui.uncertaintyCheckBox.click()
    panel.ui.compareSelector.setCurrentIndex(0)
    panel.ui.compareButton.click()
    assert cells() == [
        "IoUSynthBeforeUltrasound",
        "IoUSynthBeforeImage",
        "IoUSynthAfterUltrasound",
        "IoUSynthAfterImage",
    ]
    backgrounds = {name: composite.GetBackgroundVolumeID() for name, composite in composites().items()}
    assert backgrounds["IoUSynthBeforeUltrasound"] == before.input_node.GetID()
    assert backgrounds["IoUSynthAfterImage"] == after.outputs.images["T2w"].GetID()
    for time, result in (("Before", before), ("After", after)):
        display = result.outputs.segmentation.GetDisplayNode()
        assert display.GetVisibility()
        nodes = [slicer.mrmlScene.GetNodeByID(name) for name in display.GetViewNodeIDs()]
        assert {node.GetLayoutName() for node in nodes} == {f"IoUSynth{time}Ultrasound", f"IoUSynth{time}Image"}
        assert overlaid()[f"IoUSynth{time}Image"] == result.outputs.uncertainty.GetName()
    voxel = 0.7 * 0.6 * 0.65 / 1000 * 64
    assert shown(panel.ui.changeLabel, panel) == (
        "Before: Case ioUS. After: Later ioUS.<br/>"
        f"Tumour: {10 * voxel:.1f} ml before, {3 * voxel:.1f} ml after (<b>{-7 * voxel:+.1f} ml</b>)<br/>"
        f"Resection cavity: {4 * voxel:.1f} ml before, {8 * voxel:.1f} ml after (<b>{4 * voxel:+.1f} ml</b>)"
    )
    panel.ui.overlayCheckBox.click()
    assert [result.outputs.segmentation.GetDisplayNode().GetVisibility() for result in two] == [0, 0]
    panel.ui.overlayCheckBox.click()

    panel.ui.showButton.click()
    assert "IoUSynthUltrasound" in cells()
    assert shown(panel.ui.changeLabel, panel) == ""
    assert [result.outputs.segmentation.GetDisplayNode().GetVisibility() for result in two] == [0, 1]
    assert after.outputs.segmentation.GetDisplayNode().GetNumberOfViewNodeIDs() == 0


def test_the_earlier_input_is_before_whichever_is_selected(panel, two):
    panel.ui.resultSelector.setCurrentIndex(0)
    panel.ui.resultSelector.activated.emit(0)
    panel.ui.compareSelector.setCurrentIndex(1)
    panel.ui.compareButton.click()
    assert panel.ui.changeLabel.text.startswith("Before: Case ioUS. After: Later ioUS.")


def test_results_without_a_common_contrast_cannot_be_compared(scene, panel, two):
    scene.RemoveNode(two[0].outputs.images["T2w"])
    scene.RemoveNode(two[1].outputs.images["FLAIR"])
    panel.ui.compareSelector.setCurrentIndex(0)
    panel.ui.compareButton.click()
    assert "no contrast in common; make both with the same model" in panel.ui.changeLabel.text


def test_a_saved_scene_comes_back_with_its_results(panel, two, tmp_path):
    import slicer

    panel.ui.uncertaintyCheckBox.click()
    panel.ui.opacitySlider.value = 30
    before = overlaid(), texts(panel.ui.resultSelector), panel.ui.volumesLabel.text
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    SlicerHost.reset_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert (overlaid(), texts(panel.ui.resultSelector), panel.ui.volumesLabel.text) == before
    assert panel.ui.resultSelector.currentIndex == 1
    layer = slicer.vtkMRMLSliceCompositeNode.Layer_Last
    assert composites()["IoUSynthT2w"].GetNthLayerOpacity(layer) == pytest.approx(0.3)


def test_a_saved_scene_comes_back_muted(panel, not_trusted, tmp_path):
    import slicer

    muted, text = windows(not_trusted), shown_trust(panel)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    SlicerHost.reset_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    (result,) = panel.logic.results()
    assert (windows(result), shown_trust(panel)) == (pytest.approx(muted), text)
    assert set(overlaid().values()) == {"Real ioUS no echo (synthetic)"}
    assert result.outputs.no_echo.GetHideFromEditors()
    panel.ui.muteCheckBox.click()
    assert overlaid() == {}
    full = windows(result)
    assert slicer.util.saveScene(str(tmp_path / "full.mrb"))
    SlicerHost.reset_scene()
    slicer.util.loadScene(str(tmp_path / "full.mrb"))
    assert not panel.ui.muteCheckBox.checked
    assert windows(*panel.logic.results()) == pytest.approx(full) != pytest.approx(muted)
    assert overlaid() == {}


def test_a_scene_of_an_earlier_version_is_shown_as_it_was(panel, one):
    """Its images say nothing of being muted, and its results have no mask."""
    import slicer

    usual = windows(one)
    slicer.mrmlScene.RemoveNode(one.outputs.no_echo)
    for image in one.outputs.images.values():
        image.RemoveAttribute("IoUSynth.Muted")
    panel.ui.showButton.click()
    assert (windows(one), overlaid(), shown_trust(panel)) == (usual, {}, "")


def test_closing_the_scene_empties_the_section(panel, two):
    SlicerHost.reset_scene()
    panel.enter()
    assert texts(panel.ui.resultSelector) == []
    assert not panel.ui.resultForm.isVisibleTo(panel.parent)
    assert not panel.ui.comparisonForm.isVisibleTo(panel.parent)
    assert panel.ui.volumesLabel.text == "No result of this ultrasound yet."
