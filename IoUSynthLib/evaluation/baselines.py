"""Trivial baselines: what a generator must beat to be worth running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from ..cases.case import input_image, read_case, target_image
from ..constants import TARGETS

#: Name of the best of them.
MONOTONE_MAP = "monotone map"
#: Names of the ones that are the ultrasound: without training, and with the histogram of the MRI for training.
#: Where MRI is made of MRI, its contrast stands in the place of ioUS, see :func:`named`.
AS_IT_IS, MATCHED = "ioUS as it is", "ioUS, histogram matched"
MEAN = "mean of training"
#: Cases for training that are fitted on.
FITTED_ON = 20

_BINS = 200


def named(baseline: str, source: str) -> str:
    """The name of a baseline that is the input, by what that is.

    Examples
    --------
    >>> named(AS_IT_IS, "T1w"), named(MEAN, "T1w")
    ('T1w as it is', 'mean of training')
    """
    return baseline.replace("ioUS", source, 1)


@dataclass(frozen=True, eq=False)
class Baselines:
    """Baselines fitted on training cases, for one target, of the ultrasound or what stands in its place.

    Attributes
    ----------
    mean
        Mean target intensity inside the fan, in [-1, 1].
    levels
        Best monotone map of the ultrasound: the target's intensity for ultrasound at the centre of each of equally
        wide bins of [-1, 1].
    cumulative
        Share of the target's voxels, all cases together, up to each of the edges of as many bins: the histogram that
        the ultrasound's is matched to, as in the benchmark's released floors.
    source
        What the input is: ioUS, or a contrast of MRI.
    """

    mean: float
    levels: np.ndarray
    cumulative: np.ndarray
    source: str = "ioUS"

    def predictions(self, ultrasound: np.ndarray, fan: np.ndarray) -> dict[str, np.ndarray]:
        """The baselines' predictions for a normalised input in [-1, 1], by name; -1 outside the fan."""
        matched = np.zeros(fan.shape)
        shares = rankdata(ultrasound[fan]) / max(1, fan.sum())
        matched[fan] = np.interp(shares, self.cumulative, np.linspace(-1, 1, _BINS + 1))
        raw = {
            AS_IT_IS: ultrasound, MATCHED: matched, MEAN: np.full(fan.shape, self.mean),
            MONOTONE_MAP: self.levels[_bin(ultrasound)],
        }  # fmt: skip
        return {named(name, self.source): np.where(fan, array, -1).astype(np.float32) for name, array in raw.items()}


def fit_baselines(folders: Sequence[Path]) -> dict[str, Baselines]:
    """Baselines of the targets that there are, fitted on cases for training, which have the same input."""
    cases = [(case, case.fan.array > 0) for case in map(read_case, folders)]

    def pairs(target: str) -> list[tuple[np.ndarray, np.ndarray]]:
        return [
            (input_image(c)[f], target_image(c, target)[f])
            for c, f in cases if target in c.images
        ]  # fmt: skip

    found = {target: pairs(target) for target in TARGETS}
    return {target: fit(pairs, source=cases[0][0].input) for target, pairs in found.items() if pairs}


def fit(pairs: Iterable[tuple[np.ndarray, np.ndarray]], *, source: str = "ioUS") -> Baselines:
    """Fit the baselines of one target.

    Parameters
    ----------
    pairs
        Ultrasound and target intensities inside the fan, both in [-1, 1], one pair of vectors a case.
    source
        What is in the place of the ultrasound.
    """
    counts, sums, targets = np.zeros(_BINS), np.zeros(_BINS), np.zeros(_BINS)
    for ultrasound, target in pairs:
        index = _bin(ultrasound)
        counts += np.bincount(index, minlength=_BINS)
        sums += np.bincount(index, weights=target, minlength=_BINS)
        targets += np.bincount(_bin(target), minlength=_BINS)
    means = sums / np.maximum(counts, 1)
    # Ultrasound and MR may be related either way: take the direction that explains more.
    rising, falling = isotonic(means, counts), -isotonic(-means, counts)
    best = min((rising, falling), key=lambda levels: float((counts * (levels - means) ** 2).sum()))
    total = max(counts.sum(), 1)
    return Baselines(float(sums.sum() / total), best, np.append(0, np.cumsum(targets)) / total, source)


def isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Nearest non-decreasing sequence in weighted least squares (pool adjacent violators).

    Examples
    --------
    >>> isotonic(np.array([1.0, 3.0, 2.0]), np.ones(3)).tolist()
    [1.0, 2.5, 2.5]
    """
    from scipy.optimize import isotonic_regression

    return isotonic_regression(values, weights=np.maximum(weights, 1e-9)).x


def _bin(image: np.ndarray) -> np.ndarray:
    return np.clip(((image + 1) / 2 * _BINS).astype(int), 0, _BINS - 1)
