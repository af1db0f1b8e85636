"""How parts are varied as published: shares, ranges, and that images, targets and fan turn together."""

from __future__ import annotations

import numpy as np
import pytest

from IoUSynthLib.training.augmentation import INTENSITIES, rotated, vary_gamma

RNG = np.random.default_rng


def test_gamma_and_noise_are_as_published():
    """Four of ten; between the curves of 0.8 and 1.2 but for noise of 0.03; blank places and other channels stay."""
    image = np.stack([np.linspace(-1, 1, 400), np.full(400, 0.3)]).reshape(2, 20, 20).astype(np.float32)
    level, rng, changed = (image[0] + 1) / 2, RNG(0), []
    for _ in range(300):
        varied = vary_gamma(image.copy(), rng, 1)
        assert varied.dtype == np.float32
        assert np.array_equal(varied[1], image[1])
        assert varied[0, 0, 0] == -1
        assert np.abs(varied).max() <= 1
        found = (varied[0] + 1) / 2
        assert (found > level**1.2 - 0.16).all()
        assert (found < level**0.8 + 0.16).all()
        changed.append(not np.array_equal(varied, image))
    assert np.mean(changed) == pytest.approx(0.4, abs=0.08)
    assert INTENSITIES["none"](image, rng, 1) is image


def test_slices_turn_with_their_targets_and_their_fan():
    """Of a ramp, whose direction is the angle; three of ten, by up to 15 degrees either way."""
    place = np.indices((48, 48)) / 100 - 0.24
    fan = (np.hypot(*place) < 0.16)[None]
    ramp = np.where(fan, place[:1], -1).astype(np.float32)
    rng, angles = RNG(1), []
    for _ in range(200):
        image, target, inside = rotated((ramp, ramp.astype(np.float16), fan), rng, 15.0)
        if image is ramp:
            continue
        assert np.allclose(image[inside], target[inside], atol=1e-3)
        assert (image[~inside] == -1).all()
        assert inside.sum() == pytest.approx(fan.sum(), rel=0.15)
        deep = (slice(None), slice(18, 30), slice(18, 30))
        slopes = [np.diff(image[deep], axis=axis).mean() for axis in (1, 2)]
        assert np.hypot(*slopes) == pytest.approx(0.01, rel=0.02)
        angles.append(np.degrees(np.arctan2(*slopes[::-1])))
    assert len(angles) == pytest.approx(60, abs=20)
    assert 12 < max(angles) < 15.2
    assert -15.2 < min(angles) < -12


def test_patches_turn_in_the_plane_of_any_two_axes():
    """Of a ramp along each axis, two turn; a missing target stays missing throughout what is seen."""
    ramps = (np.indices((16, 16, 16)) / 100).astype(np.float32)
    target, fan = np.full((1, 16, 16, 16), np.nan, np.float16), np.ones((1, 16, 16, 16), bool)
    rng, kept = RNG(2), set()
    for _ in range(60):
        image, missing, inside = rotated((ramps, target, fan), rng, 10.0)
        if image is not ramps:
            assert np.isnan(missing[inside]).all()
            middle = (slice(None), *[slice(5, 11)] * 3)
            same = [np.allclose(one, other, atol=1e-5) for one, other in zip(image[middle], ramps[middle], strict=True)]
            assert sum(same) == 1
            kept.add(same.index(True))
    assert kept == {0, 1, 2}
