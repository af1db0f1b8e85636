"""What a model's own expected error is worth: against the error that it has."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr

#: What the scores begin with.
EXPECTED_ERROR = "expected error"
#: Bounds of the bins of the expected error, a fraction of the intensity range.
EDGES = (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 1.0)
#: Every so many voxels the ranks of errors are compared: neighbours say the same.
_STEP = 7


def error_scores(expected: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """How an expected error fits the true one.

    Parameters
    ----------
    expected, error
        Of the same voxels, (n,), as fractions of the intensity range.

    Returns
    -------
    dict
        ``rank correlation`` (Spearman); ``error saved by dropping a fifth``, the share by which the mean error falls
        without the fifth of voxels with the highest expected one; ``expected over true error``, of the means.
    """
    kept = expected <= np.quantile(expected, 0.8)
    return {
        "rank correlation": float(spearmanr(expected[::_STEP], error[::_STEP]).statistic),
        "error saved by dropping a fifth": float(1 - error[kept].mean() / error.mean()),
        "expected over true error": float(expected.mean() / error.mean()),
    }


def bin_scores(expected: np.ndarray, error: np.ndarray) -> dict[str, float]:
    """Means of expected and true error, and the share of voxels, in the bins of :data:`EDGES` that hold any.

    The parameters are those of :func:`error_scores`; the keys are ``<bin> expected``, ``<bin> true``, ``<bin> share``.
    """
    found = {}
    for low, high in pairwise(EDGES):
        inside = (expected > low) & (expected <= high)
        if inside.any():
            name = bin_name(low, high)
            found |= {f"{name} expected": float(expected[inside].mean()), f"{name} true": float(error[inside].mean()),
                      f"{name} share": float(inside.mean())}  # fmt: skip
    return found


def bin_name(low: float, high: float) -> str:
    """A bin in words.

    Examples
    --------
    >>> bin_name(0.025, 0.05)
    '2.5 to 5 %'
    """
    return f"{100 * low:g} to {100 * high:g} %"
