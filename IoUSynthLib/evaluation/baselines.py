"""Trivial baselines: what a generator must beat to be worth running."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_BINS = 200


@dataclass(frozen=True, eq=False)
class Floors:
    """Baselines fitted on training cases, for one target.

    Attributes
    ----------
    mean
        Mean target intensity inside the fan, in [-1, 1].
    levels
        Best monotone map of the ultrasound: the target's intensity for ultrasound at the centre of each of equally
        wide bins of [-1, 1].
    """

    mean: float
    levels: np.ndarray

    def predictions(self, ultrasound: np.ndarray, fan: np.ndarray) -> dict[str, np.ndarray]:
        """The baselines' predictions for a normalised ultrasound in [-1, 1]; -1 outside the fan."""
        mapped = self.levels[_bin(ultrasound)]
        raw = {"ioUS as it is": ultrasound, "mean of training": np.full(fan.shape, self.mean), "monotone map": mapped}
        return {name: np.where(fan, array, -1).astype(np.float32) for name, array in raw.items()}


def fit(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Floors:
    """Fit the baselines.

    Parameters
    ----------
    pairs
        Ultrasound and target intensities inside the fan, both in [-1, 1], one pair of vectors a case.
    """
    counts, sums = np.zeros(_BINS), np.zeros(_BINS)
    for ultrasound, target in pairs:
        index = _bin(ultrasound)
        counts += np.bincount(index, minlength=_BINS)
        sums += np.bincount(index, weights=target, minlength=_BINS)
    means = sums / np.maximum(counts, 1)
    # Ultrasound and MR may be related either way: take the direction that explains more.
    rising, falling = isotonic(means, counts), -isotonic(-means, counts)
    best = min((rising, falling), key=lambda levels: float((counts * (levels - means) ** 2).sum()))
    return Floors(float(sums.sum() / max(counts.sum(), 1)), best)


def isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Nearest non-decreasing sequence in weighted least squares (pool adjacent violators)."""
    from scipy.optimize import isotonic_regression

    return isotonic_regression(values, weights=np.maximum(weights, 1e-9)).x


def _bin(ultrasound: np.ndarray) -> np.ndarray:
    return np.clip(((ultrasound + 1) / 2 * _BINS).astype(int), 0, _BINS - 1)
