"""Agreement of synthetic MRI with the ultrasound, by images whose agreement is known."""

import numpy as np
import pytest
from scipy import ndimage

from IoUSynthLib.evaluation.agreement import MEASURES, measure, table

SPACING = 0.8


@pytest.fixture(scope="module")
def ultrasound() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((48, 48, 48))
    return ndimage.gaussian_filter(noise, 2).astype(np.float32)


@pytest.fixture(scope="module")
def fan() -> np.ndarray:
    mask = np.zeros((48, 48, 48), bool)
    mask[4:-4, 4:-4, 4:-4] = True
    return mask


def test_an_image_that_repeats_the_ultrasound(ultrasound, fan):
    values = measure(ultrasound, fan, 3 * ultrasound + 1, -ultrasound, SPACING)
    assert values["edges"] == pytest.approx(1, abs=1e-3)
    assert values["T2w against ultrasound"] == pytest.approx(1, abs=1e-3)
    assert values["FLAIR against ultrasound"] == pytest.approx(-1, abs=1e-3)
    assert values["streaks"] == pytest.approx(1, abs=1e-3)


def test_an_image_of_something_else(ultrasound, fan):
    other = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(fan.shape), 2)
    values = measure(ultrasound, fan, other, other, SPACING)
    assert abs(values["edges"]) < 0.15
    assert abs(values["T2w against ultrasound"]) < 0.25


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_steps_between_slices_are_streaks(ultrasound, fan, axis):
    steps = np.random.default_rng(2).standard_normal(48) * ultrasound.std()
    shape = [1, 1, 1]
    shape[axis] = 48
    assert measure(ultrasound, fan, ultrasound + steps.reshape(shape), ultrasound, SPACING)["streaks"] > 1.5


def test_uncertainty_in_shadow_and_at_the_rim(ultrasound, fan):
    depth = ndimage.distance_transform_edt(fan, sampling=SPACING)
    expected = np.where(depth <= 3, 2.0, 1.0)
    values = measure(ultrasound, fan, ultrasound, ultrasound, SPACING, expected)
    assert values["uncertainty at the rim"] == pytest.approx(2)
    shadow = measure(ultrasound, fan, ultrasound, ultrasound, SPACING, -ultrasound)
    assert shadow["uncertainty against echo"] == pytest.approx(-1, abs=1e-3)


def test_table_has_a_row_for_each_source(ultrasound, fan):
    values = measure(ultrasound, fan, ultrasound, ultrasound, SPACING)
    rows = {"real": {m: [values[m]] if m in values else [] for m in MEASURES}}
    assert table(rows).splitlines()[-1].startswith("| real | 1 | 1.00 | ")
