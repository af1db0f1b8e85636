"""All cases of a cohort are drawn, on as many sheets as that takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from IoUSynthLib.cases.contact_sheet import ContactSheet
from IoUSynthLib.cohort.contact_sheet import MOST, write_sheets


def test_many_cases_take_several_sheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[str]] = {}

    def write(sheet: ContactSheet, folders: list[Path], path: Path) -> None:
        drawn[path.name] = [folder.name for folder in folders]

    monkeypatch.setattr(ContactSheet, "write", write)
    (tmp_path / "contact_sheet_3.png").touch()  # of an earlier run with more cases
    folders = [Path(f"case-{number}") for number in range(MOST + 1)]
    assert write_sheets(folders, tmp_path / "contact_sheet.png") == [
        tmp_path / "contact_sheet.png", tmp_path / "contact_sheet_2.png",
    ]  # fmt: skip
    assert [len(names) for names in drawn.values()] == [MOST, 1]
    assert drawn["contact_sheet_2.png"] == [f"case-{MOST}"]
    assert not (tmp_path / "contact_sheet_3.png").exists()
