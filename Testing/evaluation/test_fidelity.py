"""Scores by known answers and against scikit-image and SciPy."""

import numpy as np
import pytest
from scipy import stats
from skimage.metrics import structural_similarity

from IoUSynthLib.evaluation import perceptual
from IoUSynthLib.evaluation.fidelity import confidence_interval, dice, score


@pytest.fixture
def target():
    rng = np.random.default_rng(0)
    array = np.full((6, 40, 40), -1.0, np.float32)
    array[1:5, 5:35, 5:35] = rng.uniform(-0.5, 1, (4, 30, 30))
    return array


def test_a_perfect_prediction(target):
    lpips = 0.0 if perceptual.load() else float("nan")
    expected = {"SSIM": 1.0, "SSIM gaussian": 1.0, "PSNR": 50.0, "MAE": 0.0, "MSE": 0.0, "NMSE": 0.0, "LPIPS": lpips}
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
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = np.mean([structural_similarity(first[k], second[k], data_range=1.0, **gaussian) for k in (1, 2, 3, 4)])
    assert score(prediction, target)["SSIM gaussian"] == pytest.approx(float(expected), abs=1e-6)


def test_errors_by_hand(target):
    """Over voxels above 0.025 alone: where the target is background, nothing that is predicted counts."""
    prediction = np.where(target > -1, target * 0.7 + 0.1, 0.9).astype(np.float32)
    pairs = [
        ((float(p) + 1) / 2, (float(t) + 1) / 2)
        for p, t in zip(prediction.ravel(), target.ravel(), strict=True) if (t + 1) / 2 > 0.025
    ]  # fmt: skip
    squared = sum((p - t) ** 2 for p, t in pairs) / len(pairs)
    scores = score(prediction, target)
    assert len(pairs) == 4 * 30 * 30
    assert scores["PSNR"] == pytest.approx(-10 * np.log10(squared), abs=1e-6)
    assert scores["MAE"] == pytest.approx(sum(abs(p - t) for p, t in pairs) / len(pairs), abs=1e-6)
    assert scores["MSE"] == pytest.approx(squared, abs=1e-8)
    assert scores["NMSE"] == pytest.approx(squared * len(pairs) / sum(t**2 for _, t in pairs), abs=1e-6)


def test_too_little_foreground_is_scored_as_published(target):
    target[:] = -1
    target[2, 5:14, 5:16] = 0.5  # 99 voxels
    scores = score(target, target)
    assert (scores["PSNR"], scores["MAE"], scores["MSE"]) == (0.0, 1.0, 1.0)
    assert np.isnan(scores["NMSE"])
    target[2, 15, 15] = 0.5
    assert score(target, target)["PSNR"] == 50.0


def test_the_crop_blanks_nothing_and_the_fan_all_outside_it(target):
    """Right inside a fan, and off by 0.5 outside it."""
    fan = np.zeros(target.shape, bool)
    fan[:, :, :20] = True
    prediction = np.where(fan, target, target + 1).astype(np.float32)
    assert score(prediction, target, fan)["PSNR"] == 50.0
    crop = score(prediction, target, fan, region="crop")
    assert crop["SSIM fan"] == pytest.approx(1)
    expected = score(prediction, target)
    assert {name: crop[name] for name in expected} == pytest.approx(expected, nan_ok=True)
    blanked = score(np.where(fan, prediction, -1), np.where(fan, target, -1), fan, region="crop")
    assert score(prediction, target, fan) == pytest.approx(blanked, nan_ok=True)


def test_another_region_is_refused(target):
    with pytest.raises(ValueError, match="region 'brain' is none of fan, crop"):
        score(target, target, region="brain")


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
