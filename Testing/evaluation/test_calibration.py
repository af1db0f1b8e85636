"""What an expected error is worth, by known answers."""

from __future__ import annotations

import numpy as np
import pytest

from IoUSynthLib.evaluation.calibration import bin_scores, error_scores


def test_an_error_of_half_the_expected_one() -> None:
    """It is ranked rightly; without the worst fifth of 1 to 100 the mean falls from 50.5 to 40.5."""
    expected = np.arange(1, 101) / 500
    found = error_scores(expected, expected / 2)
    assert found["rank correlation"] == pytest.approx(1)
    assert found["expected over true error"] == pytest.approx(2)
    assert found["error saved by dropping a fifth"] == pytest.approx(1 - 40.5 / 50.5)


def test_bins_hold_what_lies_in_them_and_empty_ones_are_absent() -> None:
    expected, error = np.array([0.01, 0.03, 0.05, 0.3]), np.array([0.02, 0.04, 0.08, 0.1])
    assert bin_scores(expected, error) == pytest.approx({
        "0 to 2.5 % expected": 0.01, "0 to 2.5 % true": 0.02, "0 to 2.5 % share": 0.25,
        "2.5 to 5 % expected": 0.04, "2.5 to 5 % true": 0.06, "2.5 to 5 % share": 0.5,
        "20 to 100 % expected": 0.3, "20 to 100 % true": 0.1, "20 to 100 % share": 0.25,
    })  # fmt: skip
