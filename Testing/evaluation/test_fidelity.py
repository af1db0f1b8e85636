"""Scores by known answers and against scikit-image and SciPy."""

import numpy as np
import pytest
from scipy import stats
from skimage.metrics import structural_similarity

from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.evaluation.baselines import fit, isotonic
from IoUSynthLib.evaluation.fidelity import confidence_interval, dice, score
from IoUSynthLib.evaluation.scores import by_phase, summarize
from IoUSynthLib.evaluation.tables import fidelity_table, overlap_table


@pytest.fixture
def target():
    rng = np.random.default_rng(0)
    array = np.full((6, 40, 40), -1.0, np.float32)
    array[1:5, 5:35, 5:35] = rng.uniform(-0.5, 1, (4, 30, 30))
    return array


def test_a_perfect_prediction(target):
    lpips = 0.0 if perceptual.load() else float("nan")
    expected = {"SSIM": 1.0, "PSNR": 50.0, "MAE": 0.0, "LPIPS": lpips}
    assert score(target, target) == pytest.approx(expected, nan_ok=True)


def test_a_constant_offset_has_known_error(target):
    scores = score(target + 0.2, target)
    assert scores["MAE"] == pytest.approx(0.1, abs=1e-6)
    assert scores["PSNR"] == pytest.approx(20.0, abs=1e-4)


def test_similarity_is_the_mean_over_slices_with_foreground(target):
    prediction = np.clip(target * 0.8, -1, 1)
    first, second = (target + 1) / 2, (prediction + 1) / 2
    expected = np.mean([structural_similarity(first[k], second[k], data_range=1.0) for k in (1, 2, 3, 4)])
    assert score(prediction, target)["SSIM"] == pytest.approx(float(expected), abs=1e-6)


def test_background_inflates_the_whole_slice_but_not_the_fan(target):
    fan = target > -1
    noise = np.random.default_rng(1).uniform(-0.5, 1, target.shape)
    scores = score(np.where(fan, noise, -1).astype(np.float32), target, fan)
    assert scores["SSIM fan"] < scores["SSIM"] - 0.2


def test_shapes_must_agree(target):
    with pytest.raises(ValueError, match="differ in shape"):
        score(target[1:], target)


def test_interval_is_students():
    values = np.random.default_rng(2).normal(3, 1, 12)
    expected = stats.t.interval(0.95, 11, loc=values.mean(), scale=stats.sem(values))
    assert confidence_interval(values) == pytest.approx(expected)


def test_dice():
    first, second = np.zeros(10, bool), np.zeros(10, bool)
    assert np.isnan(dice(first, second))
    first[:4], second[2:6] = True, True
    assert dice(first, second) == pytest.approx(0.5)


def test_isotonic_pools_violators():
    assert isotonic(np.array([1.0, 3.0, 2.0]), np.ones(3)) == pytest.approx([1, 2.5, 2.5])


@pytest.mark.parametrize("sign", [1, -1])
def test_monotone_map_finds_a_monotone_relation(sign):
    ultrasound = np.random.default_rng(3).uniform(-1, 1, 20000)
    baselines = fit([(ultrasound, sign * ultrasound**3)])
    fan = np.ones((2, 50, 50), bool)
    image = np.random.default_rng(4).uniform(-1, 1, fan.shape)
    predicted = baselines.predictions(image, fan)
    assert np.abs(predicted["monotone map"] - sign * image**3).max() < 0.03
    assert predicted["mean of training"][0, 0, 0] == pytest.approx(0, abs=0.02)


def test_residual_tumour_is_told_from_tumour_before_resection():
    row = by_phase({"lesion": "cavity with residual", "Dice/overlay/tumour": 0.3, "Dice/overlay/cavity": 0.9})
    assert row["Dice/overlay/residual tumour"] == 0.3
    assert np.isnan(row["Dice/overlay/tumour before resection"])
    assert by_phase({"lesion": "low grade", "Dice/a/tumour": 0.6})["Dice/a/tumour before resection"] == 0.6


def test_tables_hold_the_summary():
    rows = [
        {
            "case": str(n), "T2w/generator/PSNR": 15.0 + n, "T2w/generator/MAE": 0.1, "T2w/generator/SSIM": 0.5,
            "T2w/generator/SSIM fan": 0.4, "T2w/generator/LPIPS": float("nan"),
            "Dice/overlay/tumour": 0.6 if n else float("nan"), "false ml/overlay/tumour": 1.0,
        }
        for n in range(3)
    ]  # fmt: skip
    summary = summarize(rows)
    assert summary["T2w/generator/PSNR"]["mean"] == 16.0
    assert summary["Dice/overlay/tumour"]["n"] == 2
    assert "| T2w | generator | 16.00 (13.52 to 18.48) | - | 0.400 (0.400 to 0.400) |" in fidelity_table(summary)
    assert "| overlay | 0.600 (n=2) | - | - | - | 1.00 (n=3) | - |" in overlap_table(summary)


def test_a_single_case_has_no_interval():
    summary = summarize([{"case": "a", "T2w/generator/LPIPS": 0.25}])
    assert summary == {"T2w/generator/LPIPS": {"mean": 0.25, "median": 0.25, "n": 1}}
    assert "| T2w | generator | - | 0.250 (n=1) | - | - | - |" in fidelity_table(summary)
