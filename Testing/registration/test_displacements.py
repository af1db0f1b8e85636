"""Random displacements: of the wanted size by construction, rigid, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from IoUSynthLib.registration.displacements import brain_shift, random_displacement, random_start
from IoUSynthLib.registration.rigid import CAPTURE_DEG, rotation_degrees
from IoUSynthLib.volume import Volume

POINTS = np.random.default_rng(7).uniform(-30, 30, (15, 3))


@pytest.mark.parametrize("mean", [np.mean, np.median])
@pytest.mark.parametrize("wanted", [0.0, 0.01, 2.0, 6.0, 15.9])
def test_points_are_displaced_by_what_was_wanted(wanted: float, mean: object) -> None:
    for seed in range(10):
        matrix = random_displacement(POINTS, wanted, np.random.default_rng(seed), mean=mean)
        moved = np.array([(matrix @ [*point, 1.0])[:3] for point in POINTS])
        assert mean(np.linalg.norm(moved - POINTS, axis=1)) == pytest.approx(wanted, abs=1e-6)
        np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
        assert rotation_degrees(matrix) <= CAPTURE_DEG


def test_the_same_seed_gives_the_same_displacement_and_another_another() -> None:
    first, again, other = (random_displacement(POINTS, 5.0, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_random_starts_lie_in_their_range() -> None:
    rng, centre = np.random.default_rng(5), np.array([10.0, -20.0, 30.0])
    for _ in range(50):
        start = random_start(centre, rng)
        assert 3 <= np.linalg.norm(start[:3, :3] @ centre + start[:3, 3] - centre) <= 10
        assert rotation_degrees(start) <= 5
    again = random_start(centre, np.random.default_rng(5))
    np.testing.assert_array_equal(again, random_start(centre, np.random.default_rng(5)))


def test_a_brain_shift_is_smooth() -> None:
    fan = Volume(np.ones((30, 30, 30), np.uint8), (2.0,) * 3, (5.0, -7.0, 9.0))
    transform = brain_shift(fan, 8.0, np.random.default_rng(0))
    line = [np.subtract(transform.TransformPoint(p), p) for p in ((5.0 + x, 20.0, 30.0) for x in range(0, 58))]
    assert np.linalg.norm(np.diff(line, axis=0), axis=1).max() < 1.5, "mm a mm"
