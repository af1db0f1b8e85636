"""The section Export: the button, what it says, and why it cannot."""

from __future__ import annotations

import pytest
from batch_inputs import small_ultrasound
from test_panel import click

from IoUSynthLib.volume import read_volume

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
    assert "is no DICOM file" in section.ui.exportLabel.text
