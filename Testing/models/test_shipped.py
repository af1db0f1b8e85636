"""The models and the sample case that ship: intact, small enough, honest, and as good as their cards say."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from support.machine_names import machine_names

from IoUSynthLib.evaluation.fidelity import dice, score
from IoUSynthLib.evaluation.tables import fidelity_table, overlap_table, trust_table
from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.models.bundle import DEFAULT_GENERATOR, DEFAULT_SEGMENTER, DEFAULT_WITH_MRI, load
from IoUSynthLib.pipeline import synthesize
from IoUSynthLib.preprocessing import bounding_box, crop
from IoUSynthLib.synthesis.segmentation import DOUBTFUL_BELOW

RESOURCES = Path(__file__).resolve().parents[2] / "Resources"
MODELS = RESOURCES / "Models"
SAMPLE = RESOURCES / "SampleData"
MEBIBYTE = 2**20
BASELINES = ("ioUS as it is", "mean of training", "monotone map")


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def evaluation(name):
    return json.loads((MODELS / name / "docs" / "evaluation.json").read_text(encoding="utf-8"))


def evaluated(name):
    return evaluation(name)["summary"]


@pytest.fixture(scope="module")
def summary():
    return evaluated(DEFAULT_GENERATOR)


@pytest.fixture(scope="module", params=["round the tumour", pytest.param("whole", marks=pytest.mark.long)])
def sample(request):
    """Ultrasound and labels of the sample case, of all of it or of what lies up to 20 mm from the tumour."""
    volumes = [read_volume(SAMPLE / f"IoUSynthSample_{name}.nrrd") for name in ("ious", "labels")]
    if request.param == "whole":
        return volumes
    box = bounding_box(volumes[1].array == 1, 25)
    return [crop(volume, box) for volume in volumes]


@pytest.fixture(scope="module")
def result(sample):
    return synthesize(sample[0], MODELS / DEFAULT_GENERATOR, "cpu")


@pytest.mark.parametrize("name", [DEFAULT_GENERATOR, DEFAULT_WITH_MRI, DEFAULT_SEGMENTER])
def test_bundle_is_whole(name):
    bundle = load(MODELS / name)
    bundle.verify()
    card = (MODELS / name / "docs" / "README.md").read_text(encoding="utf-8")
    assert "Trained on simulated ultrasound. Research use only, never for clinical decisions." in card
    assert "Apache License" in (MODELS / name / "LICENSE").read_text()
    assert size(MODELS / name) < 40 * MEBIBYTE


def test_no_file_names_the_machine_that_it_was_made_on():
    """Pages may name files of this repository."""
    files = [path for path in RESOURCES.rglob("*") if path.is_file() and path.suffix != ".md"]
    assert len(files) > 50
    assert [name for path in files for name in machine_names(path)] == []


def test_sizes():
    assert size(RESOURCES) < 60 * MEBIBYTE
    assert size(SAMPLE) < 8 * MEBIBYTE


def test_cards_show_the_evaluation():
    for name, table in ((DEFAULT_GENERATOR, fidelity_table), (DEFAULT_SEGMENTER, overlap_table)):
        assert table(evaluated(name)) in (MODELS / name / "docs" / "README.md").read_text(encoding="utf-8")
    card = (MODELS / DEFAULT_SEGMENTER / "docs" / "README.md").read_text(encoding="utf-8")
    assert trust_table(evaluation(DEFAULT_SEGMENTER)["cases"]) in card


@pytest.mark.parametrize("target", ["T2w", "FLAIR"])
@pytest.mark.parametrize("baseline", BASELINES)
def test_the_evaluated_generator_beats_every_baseline(summary, target, baseline):
    def mean(method, metric):
        return summary[f"{target}/{method}/{metric}"]["mean"]

    assert summary[f"{target}/generator/PSNR"]["n"] >= 200
    assert mean("generator", "PSNR") > mean(baseline, "PSNR")
    assert mean("generator", "SSIM fan") > mean(baseline, "SSIM fan")
    assert mean("generator", "SSIM") > mean(baseline, "SSIM")
    assert mean("generator", "MAE") < mean(baseline, "MAE")
    assert mean("generator", "LPIPS") < mean(baseline, "LPIPS")


def test_the_evaluated_overlay_finds_tumours(summary):
    """More of them than in ultrasound alone, but not more of those that nobody has touched; see the card."""

    def mean(row, structure):
        return summary[f"Dice/{row}/{structure}"]["mean"]

    known = "overlay, phase known"
    assert summary[f"Dice/{known}/tumour"]["n"] >= 100
    assert mean(known, "tumour") > 0.4
    assert mean("overlay", "residual tumour") > mean("ioUS alone", "residual tumour")
    assert mean("overlay", "tumour") > mean("ioUS alone", "tumour")
    assert mean("overlay", "cavity") > 0.7
    assert summary["false ml/overlay/tumour"]["median"] < 1


def test_the_evaluated_uncertainty_is_useful(summary):
    assert summary["uncertainty/rank correlation"]["mean"] >= 0.45
    assert summary["uncertainty/error saved by dropping a fifth"]["mean"] >= 0.19


def test_the_evaluated_outlines_are_as_good_as_expected():
    """What is not called doubtful is mostly right, what is called doubtful is mostly not."""
    key = "expected Dice/overlay/tumour"
    rows = [row for row in evaluation(DEFAULT_SEGMENTER)["cases"] if np.isfinite(row[key])]
    true = np.nan_to_num([row["Dice/overlay/tumour"] for row in rows])
    trusted = np.array([row[key] for row in rows]) >= DOUBTFUL_BELOW
    assert trusted.sum() >= 60
    assert (true[trusted] < 0.3).mean() < 0.12
    assert true[trusted].mean() > 0.55
    assert true[~trusted].mean() < 0.3
    present = np.isfinite([row["Dice/overlay/tumour"] for row in rows])
    assert present[trusted].mean() > 0.98


def test_checksums_of_the_sample_case():
    sums = json.loads((SAMPLE / "checksums.json").read_text())
    assert len(sums) == 5
    for name, expected in sums.items():
        assert hashlib.sha256((SAMPLE / name).read_bytes()).hexdigest() == expected


def test_the_sample_cases_tumour_is_outlined(sample, result):
    truth = sample[1].array
    assert result.report["warnings"] == []
    assert dice(result.segmentation.array == 1, truth == 1) > 0.5


def test_the_sample_cases_mri_is_closer_than_its_mean(result):
    """The preoperative T2w, moved to where the brain is now, is the truth for the synthetic one."""
    import SimpleITK as sitk

    record = json.loads((SAMPLE / "IoUSynthSample.json").read_text())
    moved = np.linalg.inv(np.array(record["preoperative_to_today_lps"])) @ np.array(record["tracker_to_patient_lps"])
    to_preoperative = sitk.AffineTransform(3)
    to_preoperative.SetMatrix(moved[:3, :3].ravel().tolist())
    to_preoperative.SetTranslation(moved[:3, 3].tolist())
    preoperative = sitk.ReadImage(str(SAMPLE / "IoUSynthSample_T2w.nrrd"), sitk.sitkFloat32)
    grid = result.valid.to_sitk()
    truth = sitk.GetArrayFromImage(sitk.Resample(preoperative, grid, to_preoperative, sitk.sitkLinear, 0.0))
    fan = result.valid.array > 0
    target = np.where(fan, np.clip(truth / 180 / 0.55 - 1, -1, 1), -1).astype(np.float32)
    synthetic = np.where(fan, result.images["T2w"].array / 500 - 1, -1).astype(np.float32)
    # The mean of the truth itself: a better constant than any that training could give.
    mean = np.where(fan, target[fan].mean(), -1).astype(np.float32)
    assert score(synthetic, target)["PSNR"] > score(mean, target)["PSNR"] + 0.5
