"""The section Export: the button, what it says, and why it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.batch_inputs import small_ultrasound
from support.panel import click

from IoUSynthLib.files.volumes import read_volume

pytest.importorskip("pydicom")


def test_export_of_a_result(panel, add, tmp_path):
    section = panel.exportSection
    case = add(small_ultrasound(), "Case ioUS")
    panel.ui.inputSelector.setCurrentNode(case)
    assert section.ui.exportButton.toolTip == "Synthesize MRI first"
    click(panel)
    assert section.ui.exportButton.toolTip == "Choose the folder for the series first"
    section.ui.dicomPath.currentPath = str(tmp_path / "dicom")
    assert section.ui.exportButton.enabled
    section.ui.exportButton.click()
    assert "not for diagnosis" in section.ui.exportLabel.text
    folders = sorted((tmp_path / "dicom").iterdir())
    assert [folder.name for folder in folders] == [
        f"Case_ioUS_{kind}_(synthetic)" for kind in ("FLAIR", "T2w", "uncertainty")
    ]
    assert str(folders[1]) in section.ui.exportLabel.text
    assert read_volume(folders[1]).same_grid(small_ultrasound(), 1e-4)
    section.ui.referencePath.currentPath = str(tmp_path / "none.dcm")
    section.ui.exportButton.click()
    assert "no such file or folder" in section.ui.exportLabel.text


@pytest.fixture
def section(panel, add):
    """The section with a synthetic volume to export."""
    panel.parameters.t2wVolume = add(small_ultrasound(), "T2w")
    return panel.exportSection


def test_no_folder_for_the_series(panel, section, tmp_path, monkeypatch):
    """Neither an emptied line nor the beginning of a path may stand for Slicer's working directory."""
    monkeypatch.chdir(tmp_path)
    outputs = panel.selectedOutputs()
    for path, reason in (("", "Choose the folder"), ("dicom", "dicom: is not a whole path"), (" ", "Choose")):
        section.ui.dicomPath.currentPath = str(tmp_path / "dicom")
        assert section.ui.exportButton.enabled
        section.ui.dicomPath.currentPath = path
        assert not section.ui.exportButton.enabled
        assert reason in section.ui.exportButton.toolTip
        section.onExportButton()
        assert "whole path" in section.ui.exportLabel.text
    for path in ("", " ", Path(), "dicom"):
        with pytest.raises(ValueError, match="whole path"):
            panel.logic.exportDicom(outputs, path)
    for path in (" ", Path(), "patient.dcm"):
        with pytest.raises(ValueError, match="whole path"):
            panel.logic.exportDicom(outputs, tmp_path / "dicom", reference=path)
    assert not list(tmp_path.iterdir())


def test_the_folder_and_the_reference_are_remembered_once_they_were_used(section, tmp_path, monkeypatch):
    import ctk

    monkeypatch.setattr(section.panel.logic, "exportDicom", lambda *_arguments, **_options: [tmp_path])
    for name in ("dicomPath", "referencePath"):
        line = getattr(section.ui, name)
        line.currentPath = str(tmp_path / name)
        section.ui.exportButton.click()
        line.currentPath = str(tmp_path / "typed")
        again = ctk.ctkPathLineEdit()
        again.settingKey = line.settingKey
        assert again.currentPath == str(tmp_path / name)
        line.currentPath = str(tmp_path)
    ui = type(section)(section.panel).ui
    assert ui.dicomPath.currentPath == str(tmp_path)
    assert ui.referencePath.currentPath == "", "the next patient is another one"
