"""MRI on one scale, whatever scanner it is of."""

import numpy as np
import pytest

from IoUSynthLib.cases.case import Case
from IoUSynthLib.cases.harmonisation import REFERENCES, harmonised, scaled, white_matter
from IoUSynthLib.volume import Volume


def make_case(signal, **parameters):
    fan = np.ones(signal.shape, np.uint8)
    fan[0] = 0
    return Case({"T2w": Volume(signal)}, Volume(0 * fan), Volume(fan), parameters)


@pytest.fixture
def signal():
    """Six of ten voxels white matter at 340, grey at 500, fluid at 1000, and one black voxel; noise of 10."""
    rng = np.random.default_rng(0)
    tissue = rng.choice([340, 500, 1000], (20, 20, 20), p=[0.6, 0.25, 0.15])
    image = np.clip(tissue + rng.normal(0, 10, tissue.shape), 1, None)
    image[5, 5, 5] = 0
    return image.astype(np.float32)


def test_white_matter_is_what_the_case_says_or_the_most_frequent(signal):
    assert white_matter(make_case(signal, white_matter={"T2w": 333.0}), "T2w") == 333.0
    assert white_matter(make_case(signal), "T2w") == pytest.approx(340, abs=10)


def test_the_lowest_value_and_white_matter_are_where_they_shall_be(signal):
    found = harmonised(make_case(signal, white_matter={"T2w": 340.0}), "T2w")
    share = (found[1:] + 1) / 2
    assert share.min() == 0
    assert share[signal[1:] == 0] == 0
    line = (signal[1:] / 340) * REFERENCES["T2w"]
    assert share == pytest.approx(line.clip(0, 1), abs=1e-6)
    assert (found[0] == -1).all()


@pytest.mark.parametrize(("factor", "offset"), [(0.3, 0.0), (7.0, 0.0), (2.0, 150.0)])
def test_another_scanner_gives_the_same(signal, factor, offset):
    first, other = make_case(signal), make_case(factor * signal + offset)
    assert harmonised(other, "T2w") == pytest.approx(harmonised(first, "T2w"), abs=1e-3)
    assert scaled(other, "T2w") == pytest.approx(scaled(first, "T2w"), abs=1e-3)


@pytest.mark.parametrize("of", [harmonised, scaled])
def test_a_case_without_a_fan_is_blank(signal, of):
    case = make_case(signal)
    empty = Case(case.images, case.labels, Volume(np.zeros(signal.shape, np.uint8)), {})
    assert (of(empty, "T2w") == -1).all()


def test_what_is_read_runs_from_its_lowest_to_nearly_its_highest_value(signal):
    found = scaled(make_case(signal), "T2w")
    assert found[1:].min() == pytest.approx(-255 / 256)
    assert found[1:].max() == 1
    assert (found[0] == -1).all()
