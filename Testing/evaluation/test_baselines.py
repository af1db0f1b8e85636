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


def test_the_matched_ultrasound_has_the_histogram_of_the_targets():
    """And the order of the ultrasound; two cases are pooled, of which one has three times as many voxels."""
    rng = np.random.default_rng(5)
    targets = rng.uniform(-0.8, 0.0, 30000), rng.uniform(0.2, 0.6, 10000)
    baselines = fit([(rng.uniform(-1, 1, target.size), target) for target in targets])
    image = rng.uniform(-1, 1, (4, 50, 50)) ** 3
    fan = np.zeros(image.shape, bool)
    fan[:, 5:45] = True
    matched = baselines.predictions(image, fan)["ioUS, histogram matched"]
    expected = np.quantile(np.concatenate(targets), (0.1, 0.3, 0.5, 0.7, 0.9))
    assert np.quantile(matched[fan], (0.1, 0.3, 0.5, 0.7, 0.9)) == pytest.approx(expected, abs=0.02)
    order = np.argsort(image[fan])
    assert (np.diff(matched[fan][order]) >= 0).all()
    assert (matched[~fan] == -1).all()
