"""Baselines by known answers."""

import numpy as np
import pytest

from IoUSynthLib.evaluation.baselines import fit, isotonic


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
