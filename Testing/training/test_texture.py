"""Texture and grey levels of real ultrasound on simulated ultrasound, by known answers."""

import numpy as np
import pytest
from scipy import ndimage

from IoUSynthLib.training.texture import SHARE, take_over


class Fixed:
    """Draws the given shares: of the amplitudes, and of the grey levels."""

    def __init__(self, *shares):
        self.shares = shares

    def random(self, _count):
        return self.shares


@pytest.fixture
def image():
    rng = np.random.default_rng(1)
    image = np.clip(ndimage.gaussian_filter(rng.normal(size=(3, 64, 64)), (1, 2, 2)) * 3, -0.99, 1)
    image[:, :, :10] = -1
    return image.astype(np.float32)


@pytest.fixture
def grainy():
    return np.random.default_rng(2).uniform(-0.5, 0.2, (3, 64, 64))


def roughness(image):
    """Mean square of the differences of neighbours, for unit variance."""
    inside = image[:, :, 12:]
    return float(np.square(np.diff(inside, axis=2)).mean() / inside.var())


def test_nothing_taken_over_changes_nothing(image, grainy):
    assert take_over(image, grainy, Fixed(0.0, 0.0)) == pytest.approx(image, abs=1e-4)


def test_of_itself_it_takes_over_what_it_has(image):
    assert take_over(image, image, Fixed(1.0, 1.0)) == pytest.approx(image, abs=1e-4)


def test_grey_levels_become_those_of_the_other_image(image, grainy):
    changed = take_over(image, grainy, Fixed(0.0, 1.0))
    found = np.quantile(changed[changed > -1], (0.1, 0.5, 0.9))
    assert found == pytest.approx(np.quantile(grainy, (0.1, 0.5, 0.9)), abs=0.02)
    inside = image > -1
    assert (np.argsort(changed[inside][:500]) == np.argsort(image[inside][:500])).mean() > 0.95  # the order stays


def test_grain_grows_but_structures_stay(image, grainy):
    changed = take_over(image, grainy, Fixed(1.0, 0.0))
    assert roughness(changed) > 1.8 * roughness(image)
    inside = image > -1
    smoothed = ndimage.gaussian_filter(changed, (0, 2, 2)), ndimage.gaussian_filter(image, (0, 2, 2))
    assert np.corrcoef(smoothed[0][inside], smoothed[1][inside])[0, 1] > 0.8


def test_outside_the_fan_nothing_appears(image, grainy):
    changed = take_over(image, grainy, Fixed(1.0, 1.0))
    assert (changed[:, :, :10] == -1).all()
    assert changed.min() >= -1
    assert changed.max() <= 1


def test_next_to_no_fan_says_nothing(image):
    empty = np.full_like(image, -1)
    assert take_over(image, empty, Fixed(1.0, 1.0)) is image
    assert 0 < SHARE < 1
