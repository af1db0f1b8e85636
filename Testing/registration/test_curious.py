"""The command that scores a cohort with landmarks as CuRIOUS does: its table, its summary, and what it leaves out."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.phantom import displaced, displacement, field_of_view, head, points_of

from IoUSynthLib.cli import main
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.registration import curious


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimpleNamespace]:
    """Two patients of one phantom, the second without landmarks; and its synthetic images."""
    folder, images = tmp_path_factory.mktemp("cohort"), head()
    ultrasound, synthetic, fan = field_of_view(images)
    truth = displacement(3, 5)
    fixed = points_of(fan, 10)
    moving = fixed @ truth[:3, :3].T + truth[:3, 3]
    for patient in ("P1", "P2"):
        (folder / patient).mkdir()
        write_volume(folder / patient / "ious.nii.gz", ultrasound)
        write_volume(folder / patient / "T2w.nii.gz", displaced(images, truth)["T2w"])
    rows = (" ".join(f"{value:.4f}" for value in (*a, *b)) for a, b in zip(*map(to_ras, (moving, fixed)), strict=True))
    points = "\n".join(f' {row} ""' for row in rows)
    tag = f"MNI Tag Point File\nVolumes = 2;\n\nPoints =\n{points};\n"
    (folder / "P1" / "P1-MRI-beforeUS.tag").write_text(tag, encoding="utf-8")
    return folder, SimpleNamespace(images=synthetic, valid=fan)


def to_ras(points: np.ndarray) -> np.ndarray:
    return points * (-1, -1, 1)


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
