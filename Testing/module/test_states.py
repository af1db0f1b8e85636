"""What the panel does with its state, from click to result: what it says, what is off, and what fails beside it."""

from __future__ import annotations

import SlicerHost
from support.panel import contents, finish, message, start_slow_run, synthesize


def test_states_from_click_to_result_and_from_cancel_to_idle(scene, panel, case):
    seen = []
    show = panel.setState

    def follow(state):
        seen.append(state.name)
        show(state)

    panel.setState = follow
    synthesize(panel)
    assert seen == ["RUNNING", "SHOWING", "IDLE"]
    start_slow_run(panel)
    panel.cancelRun()
    panel.cancelRun()  # once is enough
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Stopping"
    assert panel.ui.statusLabel.text == "Cancelling"
    panel.ui.applyButton.click()  # it is off
    finish(panel)
    panel.cancelRun()  # nothing to cancel
    assert seen == ["RUNNING", "SHOWING", "IDLE", "RUNNING", "CANCELLING", "IDLE"]


def result_arrives(panel):
    """Run until the result is there and its views are being laid out."""
    panel.ui.applyButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "SHOWING", 60)


def test_a_result_that_is_being_shown_can_neither_be_cancelled_nor_overtaken(scene, panel, case):
    result_arrives(panel)
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "The views are being laid out"
    assert panel.ui.statusLabel.text.startswith("Laying out the views")
    panel.cancelRun()
    finish(panel)
    assert panel.parameters.t2wVolume is not None


def test_closing_the_scene_while_a_result_is_being_shown(scene, panel, case, add, ultrasound):
    result_arrives(panel)
    SlicerHost.reset_scene()
    assert panel.state.name == "IDLE"
    assert panel.parameters.t2wVolume is None
    add(ultrasound, "Next patient ioUS")
    synthesize(panel)


def test_a_result_is_shown_although_its_views_cannot_be_made_beforehand(scene, panel, case, monkeypatch):
    def fail(outputs, preoperative):
        raise RuntimeError("no view")

    monkeypatch.setattr(panel.logic, "makeViews", fail)
    synthesize(panel)


def test_says_why_each_button_is_off(scene, panel, case, add, ultrasound):
    ui = panel.ui
    add(ultrasound, "Preop T2w")
    ui.movingSelector.setCurrentNode(None)

    def reasons():
        names = ("applyButton", "showButton", "registerButton", "undoButton", "fadeSlider", "checkerboardCheckBox")
        widgets = [getattr(ui, name) for name in names]
        return {widget.name: widget.toolTip for widget in widgets if not widget.enabled}

    assert reasons() == {
        "showButton": "Synthesize MRI first",
        "registerButton": "Select the preoperative MRI first",
        "undoButton": "This MRI has not been registered",
        "fadeSlider": "Select the ultrasound and the MRI to compare first",
        "checkerboardCheckBox": "Select the ultrasound and the MRI to compare first",
    }
    start_slow_run(panel)
    wait = "Wait for the end of the run"
    assert {name: text for name, text in reasons().items() if text.startswith(wait)} == {
        "showButton": wait,
        "registerButton": wait,
        "undoButton": wait,
    }
    assert ui.applyButton.toolTip == "Stop; the scene stays as it was"
    assert ui.inputsCollapsibleButton.toolTip == "Wait for the end of the run, or cancel it"
    ui.applyButton.click()
    finish(panel)
    assert ui.applyButton.toolTip == "Make synthetic MR images and outline tumour and resection cavity"
    assert ui.inputsCollapsibleButton.toolTip == ""
    ui.modelSelector.setCurrentIndex(0)
    synthesize(panel)
    assert "showButton" not in reasons()
    assert ui.showButton.toolTip.startswith("Show preoperative MRI")


def test_an_unexpected_failure_folds_its_details_into_the_log(scene, panel, case, monkeypatch):
    def fail(*_arguments, **_options):
        raise OSError("the disk is on fire")

    before = contents(scene)
    monkeypatch.setattr(panel.logic, "synthesize", fail)
    panel.ui.applyButton.click()
    assert panel.state.name == "IDLE"
    assert "could not start (the disk is on fire); try again" in message(panel)
    assert "Details are in the section Log" in message(panel)
    assert "Traceback" not in message(panel)
    assert "Traceback" in panel.ui.logTextEdit.plainText
    assert contents(scene) == before


def test_models_that_cannot_be_listed_are_a_message(scene, panel, case, monkeypatch):
    def fail():
        raise PermissionError("models: permission denied")

    monkeypatch.setattr(panel.logic, "models", fail)
    panel.exit()
    panel.enter()
    assert "could not be listed: models: permission denied" in message(panel)
    assert panel.ui.modelSelector.currentText == "Default"


def test_views_that_cannot_be_arranged_do_not_cost_the_result(scene, panel, case, monkeypatch):
    def fail(*_arguments, **_options):
        raise RuntimeError("no view")

    monkeypatch.setattr(panel.logic, "showResult", fail)
    panel.ui.applyButton.click()
    finish(panel)
    assert "The images are in the scene, but could not be shown: no view" in message(panel)
    assert panel.logic.getParameterNode().segmentation is not None


def test_the_log_keeps_its_end(panel):
    from IoUSynthPanel.widgets import LOG_CHARACTERS

    log = panel.ui.logTextEdit
    for number in range(6):
        panel.log(f"{number} " + "x" * 50_000)
    text = log.plainText
    assert LOG_CHARACTERS - 51_000 < len(text) <= LOG_CHARACTERS
    assert [line.split()[0] for line in text.splitlines()] == ["1", "2", "3", "4", "5"]
    panel.log("y" * (LOG_CHARACTERS + 10))  # one line that is too long by itself
    assert len(log.plainText) <= LOG_CHARACTERS
