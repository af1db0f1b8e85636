"""The command that scores a cohort with landmarks as CuRIOUS does: its table, its summary, and what it leaves out."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from IoUSynthLib.cli import main
from IoUSynthLib.registration import curious


@pytest.mark.usefixtures("few_voxels")
def test_the_table_holds_every_start_and_the_summary_the_means(
    cohort: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder, made = cohort
    monkeypatch.setattr(curious, "synthesize", lambda *_arguments: made)
    assert main(["curious", str(folder), "-o", str(tmp_path / "new"), "--starts", "1", "--seed", "3"]) == 0
    with (tmp_path / "new" / curious.FILE).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["mri"], row["start"], row["landmarks"]) for row in rows] == [
        ("P1", "T2w", "0", "10"), ("P1", "T2w", "1", "10"),
    ]
    assert float(rows[0]["before_mm"]) == pytest.approx(5.1, abs=0.5)
    assert all(float(row["after_mm"]) < 0.6 for row in rows)
    out, err = capsys.readouterr()
    after = float(rows[0]["after_mm"])
    assert f"own places: mean TRE of 1 case, {float(rows[0]['before_mm']):.2f} (0.00) mm before, {after:.2f}" in out
    assert "starts: mean TRE of 1 case" in out
    assert "left out: P2: one .tag of MRI and ultrasound landmarks is needed, found none" in err


def test_a_cohort_without_a_case_is_refused(
    cohort: tuple, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["curious", str(cohort[0]), "-o", str(tmp_path / "out"), "--mri", "FLAIR*"]) == 2
    err = capsys.readouterr().err
    assert "P1: holds no MRI of the names asked for" in err
    assert "not one case could be registered" in err
    assert not (tmp_path / "out").exists()
