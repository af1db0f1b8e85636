"""Predictions of MRI from MRI of another contrast are scored as those from ultrasound are, beside baselines."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.pair_cohort import write_pair_cohort

from IoUSynthLib.cases.case import input_image, read_case, target_image
from IoUSynthLib.cli import main
from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.evaluation.pictures import read_pictures
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.preprocessing import to_intensity

TESTED = "P3"


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    return write_pair_cohort(tmp_path / "cohort")


@pytest.fixture
def evaluate(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """Writes a T2w that is off by a tenth of the range, as ``translate`` names it; returns the scores."""
    monkeypatch.setattr(perceptual, "load", lambda: None)

    def run(*options: str) -> dict[str, str]:
        case = read_case(cohort / TESTED)
        image = np.where(case.fan.array > 0, to_intensity((target_image(case, "T2w") - 0.2).clip(-1, 1)), 0)
        folder = tmp_path / "predictions" / TESTED
        folder.mkdir(parents=True, exist_ok=True)
        write_volume(folder / "T1w_T2w.nii.gz", case.fan.with_array(image.astype(np.float32)))
        given = [str(tmp_path / "predictions"), "--reference", str(cohort), "-o", str(tmp_path / "scores"), *options]
        assert main(["evaluate", *given]) == 0
        with (tmp_path / "scores" / "scores.csv").open(newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file)
        return row

    return run


def test_baselines_are_of_the_contrast_that_is_the_input(evaluate: Callable, cohort: Path, tmp_path: Path) -> None:
    """T2w is the inverse of T1w: a map finds it, and a matched histogram, which keeps the order, does not."""
    row = evaluate("--baselines")
    case = read_case(cohort / TESTED)
    fan, truth = case.fan.array > 0, target_image(case, "T2w")
    seen = np.where(fan, (truth + 1) / 2, 0) > 0.025  # the benchmark's foreground
    error = np.abs(input_image(case) - truth)[seen].mean() / 2
    assert float(row["T2w/T1w as it is/MAE"]) == pytest.approx(error, abs=1e-5)
    assert float(row["T2w/prediction/MAE"]) < 0.11
    assert float(row["T2w/monotone map/MAE"]) < 0.02 < 0.2 < float(row["T2w/T1w, histogram matched/MAE"])
    assert not [name for name in row if "ioUS" in name]
    assert "No baselines" not in (tmp_path / "scores" / "table.md").read_text(encoding="utf-8"), "FLAIR is no target"
    pictures = read_pictures(tmp_path / "scores" / "pictures.npz", [TESTED])[TESTED]
    assert list(pictures) == ["T1w as input", "T2w", "T2w synthetic"]


def test_the_report_names_the_input(evaluate: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate("--baselines")
    assert main(["report", f"ours={tmp_path / 'scores'}", "-o", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert "T1w as it is has" in printed
    assert "1 study of 1 patient; 1 experiment on synthetic MRI." in printed, "no phase of a resection"
    assert "Images were compared inside the brain." in printed
    assert "ultrasound" not in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "report" / "examples.png").is_file()


def test_images_of_ultrasound_and_of_mri_are_reported_apart(
    evaluate: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate()
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "scores", other)
    summary = json.loads((other / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps({**summary, "input": "ioUS"}))
    assert main(["report", str(tmp_path / "scores"), str(other), "-o", str(tmp_path / "report")]) == 2
    assert "(input); report images of ultrasound and of each contrast of MRI apart" in capsys.readouterr().err


def test_outlines_without_ultrasound_have_no_baselines(evaluate: Callable, cohort: Path, tmp_path: Path) -> None:
    """The segmenter that ships reads ultrasound."""
    (tmp_path / "outlines").mkdir()
    labels = read_case(cohort / TESTED).labels
    write_volume(tmp_path / "outlines" / f"{TESTED}.nii.gz", labels.with_array(labels.array.astype(np.uint8)))
    row = evaluate("--baselines", "--outlines", str(tmp_path / "outlines"))
    assert float(row["false ml/prediction/tumour"]) == 0
    assert not [name for name in row if name.startswith("Dice/") and "/prediction/" not in name]


def test_who_predicted_nothing_is_told_how(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ["evaluate", str(tmp_path / "empty"), "--reference", str(cohort), "-o", str(tmp_path / "scores")]
    assert main(arguments) == 2
    assert "translate the cohort's T1w.mha files" in capsys.readouterr().err
