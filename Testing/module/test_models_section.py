"""The panel's section Models: what is listed, installed, verified and removed, and what is asked first."""

from __future__ import annotations

import shutil
import types
from pathlib import Path

import pytest
import SlicerHost
from support.tiny_models import generator_network, write_bundle

from IoUSynthLib.models import bundle, install

RESTRICTED = "LicenseRef-NVIDIA-Source-Code-License-NC"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's model folder, empty."""
    folder = tmp_path / "home" / "models"
    for module in (bundle, install):
        monkeypatch.setattr(module, "user_folder", lambda: folder)
    return folder


@pytest.fixture
def section(home, panel):
    """The section, on a computer where nothing was measured yet."""
    import qt

    qt.QSettings().remove("IoUSynth/Seconds")
    panel.modelsSection.refresh()
    return panel.modelsSection


@pytest.fixture
def answers(monkeypatch):
    """What is asked of the user; every question is answered with ``reply``."""
    import slicer

    asked = types.SimpleNamespace(texts=[], details=[], reply=True)

    def confirm(text, windowTitle=None, parent=None, detailedText=""):
        asked.texts.append(text)
        asked.details.append(detailedText)
        return asked.reply

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    return asked


@pytest.fixture
def given(tmp_path):
    """A model to install."""
    details = {"citation": "Tiny et al. 2026", "training_data": "None & nothing"}
    return write_bundle(tmp_path / "given" / "new-2.5d", generator_network(), **details)


def choose(monkeypatch, path):
    """Let the file dialogs answer with a path."""
    import qt

    for name in ("getOpenFileName", "getExistingDirectory"):
        monkeypatch.setattr(qt.QFileDialog, name, staticmethod(lambda *arguments: str(path)))


def table(section):
    widget = section.ui.modelsTable
    return [
        [widget.item(row, column).text() for column in range(widget.columnCount)] for row in range(widget.rowCount)
    ]


def row_of(section, name):
    return [cells[0] for cells in table(section)].index(name)


def message(section):
    return section.ui.modelsMessageLabel.text


def in_selector(panel):
    return [panel.ui.modelSelector.itemText(index) for index in range(panel.ui.modelSelector.count)]


def test_lists_what_is_known_of_each_model(panel, section):
    assert table(section)[0] == ["ious2mr-2.5d", "0.0.1", "Apache-2.0", "1 MiB", "not measured yet"]
    assert table(section)[row_of(section, "lesion-3d")][4] == "in each run"
    shipped = row_of(section, "ious2mr-2.5d (not used)")
    section.ui.modelsTable.selectRow(shipped)
    details = section.ui.detailsLabel.text
    assert "<b>Citation:</b> IoUSynth developers, 2026" in details
    assert "<b>Training data:</b> Simulated ultrasound of BrainWeb heads" in details
    assert "comes with the extension" in details
    assert not section.ui.removeButton.enabled
    assert section.ui.removeButton.toolTip == "Only models in your model folder can be removed"


def test_seconds_are_those_of_the_last_run(panel, section, case):
    panel.ui.applyButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE")
    report = panel.logic.runner.job.report
    assert table(section)[0][4] == f"{report['seconds']['total']:.1f} s, CPU"
    toolTip = section.ui.modelsTable.item(0, 4).toolTip()
    assert f"a fan of {report['quality']['fan_ml']:.0f} ml" in toolTip
    assert table(section)[row_of(section, "published-2d")][4] == "not measured yet"


@pytest.mark.parametrize("kind", ["zip", "gztar", "folder"])
def test_installs_and_removes(panel, section, home, given, answers, monkeypatch, tmp_path, kind):
    source, button = given, section.ui.installFolderButton
    if kind != "folder":
        packed = shutil.make_archive(str(tmp_path / "new"), kind, given.parent, given.name)
        source, button = Path(packed), section.ui.installFileButton
    choose(monkeypatch, source)
    button.click()
    assert "new-2.5d 0.0.1: installed" in message(section)
    assert (home / "new-2.5d" / "LICENSE").is_file()
    assert "new-2.5d" in in_selector(panel)
    assert section.ui.modelsTable.currentRow() == row_of(section, "new-2.5d")
    assert "None &amp; nothing" in section.ui.detailsLabel.text
    assert answers.texts == []

    panel.ui.modelSelector.setCurrentText("new-2.5d")
    answers.reply = False
    section.ui.removeButton.click()
    assert (home / "new-2.5d").is_dir()
    answers.reply = True
    section.ui.removeButton.click()
    assert answers.texts[0].startswith("Remove the model new-2.5d?")
    assert list(home.iterdir()) == []
    assert "new-2.5d" not in in_selector(panel)
    assert panel.logic.getParameterNode().model == ""
    assert panel.ui.modelSelector.currentIndex == 0


def test_nothing_chosen_changes_nothing(panel, section, home, monkeypatch):
    choose(monkeypatch, "")
    section.ui.installFileButton.click()
    section.ui.installFolderButton.click()
    assert not home.exists()


def test_a_restricting_licence_must_be_acknowledged(panel, section, home, answers, monkeypatch, tmp_path):
    model = write_bundle(tmp_path / "given" / "restricted", generator_network(), licence=RESTRICTED)
    (model / "LICENSE").write_text("For non-commercial research only.")
    choose(monkeypatch, model)
    answers.reply = False
    section.ui.installFolderButton.click()
    assert RESTRICTED in answers.texts[0]
    assert answers.details == ["For non-commercial research only."]
    assert "its licence was not accepted" in message(section)
    assert list(home.iterdir()) == []
    answers.reply = True
    section.ui.installFolderButton.click()
    assert "restricted 0.0.1: installed" in message(section)
    assert section.ui.modelsTable.item(row_of(section, "restricted"), 2).toolTip() == RESTRICTED


def test_another_model_of_the_name_is_replaced_only_when_asked(
    panel, section, home, given, answers, monkeypatch, tmp_path
):
    install.install(given)
    other = write_bundle(tmp_path / "other" / "new-2.5d", generator_network(), overlap=0.5)
    choose(monkeypatch, other)
    answers.reply = False
    section.ui.installFolderButton.click()
    assert "another model of this name (version 0.0.1), which would be replaced" in answers.texts[0]
    assert "--replace" not in answers.texts[0]
    assert "Not installed" in message(section)
    assert bundle.load(home / "new-2.5d").overlap == 0.25
    answers.reply = True
    section.ui.installFolderButton.click()
    assert "replaced" in message(section)
    assert bundle.load(home / "new-2.5d").overlap == 0.5


def test_what_is_no_model_is_one_line(panel, section, home, monkeypatch, tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    choose(monkeypatch, tmp_path / "text.zip")
    section.ui.installFileButton.click()
    assert "cannot be unpacked" in message(section)
    assert "#da5353" in message(section)


def test_verify_finds_damage(panel, section, home, given, answers):
    install.install(given)
    panel.modelsSection.refresh(home / "new-2.5d")
    section.ui.verifyButton.click()
    assert "new-2.5d 0.0.1: checksums match" in message(section)
    with open(home / "new-2.5d" / "models" / "model.onnx", "ab") as file:
        file.write(b"x")
    section.ui.verifyButton.click()
    assert "checksum does not match" in message(section)
    assert "#da5353" in message(section)
    (home / "new-2.5d" / bundle.METADATA).write_text("{")
    panel.enter()
    section.refresh(home / "new-2.5d")
    assert table(section)[row_of(section, "new-2.5d")][1] == "damaged"
    section.ui.verifyButton.click()
    assert "is not the metadata of an IoUSynth model" in message(section)
    section.ui.removeButton.click()
    assert list(home.iterdir()) == []


def test_opens_the_users_model_folder(panel, section, home, monkeypatch):
    import qt

    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", staticmethod(lambda url: opened.append(url.toLocalFile())))
    section.ui.openFolderButton.click()
    assert opened == [str(home)]
    assert home.is_dir()
