"""How predictions along several slice axes become one, by waves whose share is known."""

from __future__ import annotations

import numpy as np
import pytest

from IoUSynthLib.inference import fuse

AXES = (0, 1, 2)
SHAPE = (40, 44, 51)


def wave(axis: int, length: float) -> np.ndarray:
    """A wave along an axis, in a Gaussian envelope that keeps it from the border."""
    place = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(SHAPE) / 2
    envelope = np.exp(-((place / (np.array(SHAPE) / 7)) ** 2).sum(-1))
    return (np.sin(2 * np.pi * place[..., axis] / length) * envelope)[None].astype(np.float32)


def share(fused: np.ndarray, original: np.ndarray) -> float:
    return float((fused * original).sum() / (original**2).sum())


def test_equal_predictions_come_back_to_the_border():
    image = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    fused = fuse([image, image, image], AXES, 4)
    assert fused.dtype == np.float32
    assert np.allclose(fused, image, atol=1e-5)


def test_without_a_scale_it_is_the_mean():
    passes = [np.full((1, 3, 4, 5), value, np.float32) for value in (1, 2, 6)]
    assert np.array_equal(fuse(passes, AXES, 0), np.full((1, 3, 4, 5), 3, np.float32))


@pytest.mark.parametrize("axis", AXES)
def test_what_only_the_slices_across_an_axis_see_along_it_fades(axis):
    """Of a wave of 5 voxels, that axis has a weight of 0.02 beside two of 1.02."""
    stripes = wave(axis, 5)
    passes = [stripes if number == axis else 0 * stripes for number in AXES]
    assert share(fuse(passes, AXES, 4), stripes) == pytest.approx(0.02 / 2.06, abs=0.005)


@pytest.mark.parametrize("axis", AXES)
def test_what_slices_see_within_them_stays(axis):
    image = wave(axis, 5)
    passes = [0 * image if number == axis else image for number in AXES]
    assert share(fuse(passes, AXES, 4), image) == pytest.approx(2.04 / 2.06, abs=0.005)


def test_what_is_smooth_is_averaged():
    flat = np.ones((1, 96, 96, 96), np.float32)
    fused = fuse([3 * flat, 0 * flat, 0 * flat], AXES, 2)
    assert np.allclose(fused[:, 40:56, 40:56, 40:56], 1, atol=0.02)


def test_the_order_of_the_axes_is_told():
    stripes = wave(2, 5)
    passes = [stripes, 0 * stripes]
    assert share(fuse(passes, (2, 0), 4), stripes) < 0.03 < 0.9 < share(fuse(passes, (0, 2), 4), stripes)
