"""Plain folders of predictions and references: known scores, what is missing by name, and bad input in one line."""

import csv
import json
import re

import numpy as np
import pytest

from IoUSynthLib import cli
from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.evaluation.fidelity import score
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.preprocessing import normalize_mri
from IoUSynthLib.volume import Volume

SHAPE = (8, 32, 36)
SPACING = (0.9, 0.8, 2.0)


@pytest.fixture(autouse=True)
def _no_lpips(monkeypatch):
    """As where its weights are missing, which is quicker."""
    monkeypatch.setattr(perceptual, "load", lambda: None)


def image(seed=0):
    """A smooth brain of about -0.6 to 0.6 in a background of -1."""
    z, y, x = np.indices(SHAPE)
    brain = np.hypot(y - 16, x - 18) < 14
    waves = 0.6 * np.sin(y / (3 + seed)) * np.cos(x / 4 + z / 3)
    return np.where(brain, waves, -1).astype(np.float32)


def outline():
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 8:16, 8:16], labels[2:6, 20:26, 20:26] = 1, 2
    return labels


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, Volume(array, SPACING, (10.0, -20.0, 5.0)))


@pytest.fixture
def folders(tmp_path):
    """Three studies of two patients: the first has all, the second FLAIR alone, the third has no prediction."""
    predicted, true = tmp_path / "predicted", tmp_path / "true"
    write(true / "P1-pre_T2w.nii.gz", image())
    write(true / "P1-pre_seg.nii.gz", outline())
    write(true / "P1-post" / "FLAIR.nrrd", image(1))
    write(true / "P2-pre_T2w.mha", image(2))
    half = np.where(np.arange(SHAPE[0])[:, None, None] < 4, outline(), 0)
    write(predicted / "P1-pre_T2w.nii.gz", image() + 0.1)
    write(predicted / "P1-pre_segmentation.nrrd", half)
    write(predicted / "P1-post" / "ioUS_FLAIR.nii.gz", image(1) - 0.2)  # as synthesize names it
    write(predicted / "P1-post" / "ioUS_T2w.nii.gz", image(1))
    write(predicted / "P1-post" / "ioUS_uncertainty.nii.gz", abs(image(1)))
    write(predicted / "P1-post" / "ioUS_spread.nii.gz", abs(image(1)))
    return predicted, true


@pytest.fixture
def evaluate(folders, tmp_path):
    """Runs the command; returns its exit code."""
    predicted, true = folders
    return lambda *options: cli.main(
        ["evaluate", str(predicted), "--reference", str(true), "-o", str(tmp_path / "out"), *options]
    )


def rows(tmp_path):
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def test_what_is_there_is_scored_and_what_is_not_is_named(evaluate, tmp_path):
    assert evaluate("--baselines") == 0
    found = rows(tmp_path)
    assert [(name, row["head"], row["phase"]) for name, row in found.items()] == [
        ("P1-post", "P1", "after resection"), ("P1-pre", "P1", "before resection"),
    ]  # fmt: skip
    assert float(found["P1-pre"]["T2w/prediction/MAE"]) == pytest.approx(0.05, abs=1e-5)
    assert float(found["P1-post"]["FLAIR/prediction/PSNR"]) == pytest.approx(20, abs=1e-3)
    assert [float(found["P1-pre"][f"Dice/prediction/{s}"]) for s in ("tumour", "cavity")] == pytest.approx([2 / 3] * 2)
    assert float(found["P1-pre"]["Dice/nothing/lesion"]) == 0
    assert (found["P1-pre"]["lesion"], found["P1-post"]["lesion"]) == ("tumour and cavity", "unknown")
    assert "T2w/prediction/SSIM fan" not in found["P1-pre"]
    table = (tmp_path / "out" / "table.md").read_text()
    assert table.startswith("Accuracy on files that do not say whether they are of patients, 2 cases: ")
    for line in (
        "1 of 3 cases have no prediction and are not scored: P2-pre.",
        "Reference without a prediction: P2-pre_T2w.mha (1).", "Prediction without a reference: ioUS_T2w.nii.gz (1).",
        "No outline to compare with, no Dice: P1-post (1).",
        "No mask beside the reference, all of the image is compared: P1-post, P1-pre (2).",
        "No ultrasound beside the reference, no baseline of images: P1-post, P1-pre (2).",
    ):  # fmt: skip
        assert line in table.splitlines()
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["simulated"] is None
    assert cli.main(["report", str(tmp_path / "out"), "-o", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "These figures are of files that do not say whether they are of patients." in page


def test_mask_and_ultrasound_lie_beside_the_references(folders, evaluate, tmp_path):
    predicted, true = folders
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :, :18] = 1
    echo = np.where(image() > -1, 100 + 50 * image(), 0)
    write(true / "P1-pre_mask.nii.gz", mask)
    write(true / "P1-pre_us.nii.gz", echo.astype(np.float32))
    wrong = np.where(mask > 0, image() + 0.1, 1)
    write(predicted / "P1-pre_T2w.nii.gz", wrong)
    assert evaluate("--baselines", "--roi") == 0
    row = rows(tmp_path)["P1-pre"]
    for metric, value in score(wrong, image(), mask > 0).items():
        if np.isfinite(value):
            assert float(row[f"T2w/prediction/{metric}"]) == pytest.approx(value, abs=1e-4), metric
    assert float(row["T2w/prediction/MAE"]) == pytest.approx(0.05, abs=1e-4)
    assert float(row["T2w/ioUS as it is/MAE"]) > 0.05
    assert "tumour 0 mm/T2w/prediction/PSNR" in row
    assert float(row["Dice/prediction/tumour"]) == pytest.approx(2 / 3)
    assert row["Dice/prediction/cavity"] == "", "it lies outside the mask"


def test_scales_are_told_by_the_values(folders, evaluate, tmp_path):
    predicted, true = folders
    raw = np.where(image() > -1, 1500 + 400 * image(), 0).astype(np.float32)
    write(true / "P1-pre_T2w.nii.gz", raw)
    write(predicted / "P1-pre_T2w.nii.gz", 0.5 * raw)
    write(predicted / "P1-post" / "ioUS_FLAIR.nii.gz", (image(1) + 1) / 2)
    write(true / "P2-pre_T2w.mha", raw)
    write(predicted / "P2-pre_T2w.nii.gz", normalize_mri(raw))
    assert evaluate() == 0
    for case, name in (("P1-pre", "T2w"), ("P1-post", "FLAIR"), ("P2-pre", "T2w")):
        assert float(rows(tmp_path)[case][f"{name}/prediction/MAE"]) == pytest.approx(0, abs=1e-5)
    table = (tmp_path / "out" / "table.md").read_text()
    said = "Normalised by eq. 2, because neither in [-1, 1] nor in [0, 1]"
    assert f"{said}: P1-pre_T2w.nii.gz, P1-pre_T2w.nii.gz, P2-pre_T2w.mha (3)." in table


def test_names_without_contrast_are_told_by_the_values(tmp_path):
    for number in range(2):
        write(tmp_path / "true" / f"ReMIND-00{number}-pre.nii.gz", (image(), outline())[number])
        write(tmp_path / "predicted" / f"ReMIND-00{number}-pre.nii.gz", (image() + 0.1, outline())[number])
    arguments = ["evaluate", str(tmp_path / "predicted"), "--reference", str(tmp_path / "true")]
    assert cli.main([*arguments, "-o", str(tmp_path / "out")]) == 0
    found = rows(tmp_path)
    assert float(found["ReMIND-000-pre"]["MRI/prediction/MAE"]) == pytest.approx(0.05, abs=1e-5)
    assert float(found["ReMIND-001-pre"]["Dice/prediction/present classes"]) == 1
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| MRI | prediction |" in table
    assert "No MRI to compare with, no fidelity: ReMIND-001-pre (1)." in table


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p, t: write(p / "P1-pre_T2w.nii.gz", image()[1:]), "P1-pre_T2w.nii.gz: lies on another grid than .*; "),
        (lambda p, t: write(t / "P1-pre_seg.nii.gz", 2 * outline()), "P1-pre: an outline holds other values than 0"),
        (lambda p, t: write(p / "P1-pre-T2w.nrrd", image()), "could be the T2w of P1-pre, and so could .*; keep one"),
        (lambda p, t: (p / "P1-pre_T2w.nii.gz").write_bytes(b"x"), "P1-pre_T2w.nii.gz: "),
        (lambda p, t: write(t / "P1-pre_T2w.nii.gz", 3 * image()), "ranges from -3 to 1.* give it in"),
        (lambda p, t: p.rename(p.with_name("elsewhere")), "predicted: no such folder"),
        (lambda p, t: [f.unlink() for f in p.rglob("*.n*")], "has no file named as one of .*such as P1-post|FLAIR"),
    ],
)
def test_bad_input_is_named_with_its_remedy(folders, evaluate, tmp_path, capsys, spoil, message):
    spoil(*folders)
    assert evaluate() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error), error
    assert not (tmp_path / "out").exists()
