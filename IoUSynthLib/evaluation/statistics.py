"""Statistics of an evaluation, as the ioUS-to-MR benchmark (arXiv 2606.00630, 2.6 to 2.8) has them, and what it lacks.

The benchmark compares methods by Wilcoxon's signed-rank test and correlates the means of 48 experiments. It corrects
for no multiplicity, takes two studies of one patient as independent, and correlates across families whose means differ
for other reasons. Here p-values are also corrected by Holm's method, groups are compared on the means of patients,
intervals come from drawing patients, and correlations are also those within families.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

#: Number of values from which on an interval of their mean is given.
FEWEST_FOR_INTERVAL = 3
#: Fewest pairs that are tested.
FEWEST_PAIRS = 5
#: Score of the real MRI above which the ratio of a synthetic one to it is taken.
LEAST_REAL = 0.1
#: Metrics of which less is better.
LOWER_IS_BETTER = ("MAE", "MSE", "NMSE", "LPIPS", "HD95")
#: Times that patients are drawn for an interval.
DRAWS = 2000


def ranked(means: Mapping[str, float], metric: str) -> list[str]:
    """Names of methods by their mean of a metric, the best first; those that are equal stay in order.

    Examples
    --------
    >>> ranked({"a": 0.2, "b": 0.1}, "LPIPS")
    ['b', 'a']
    """
    return sorted(means, key=means.__getitem__, reverse=metric not in LOWER_IS_BETTER)


def signed_rank(first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """Wilcoxon's signed-rank test, two-sided, of two methods on the same studies.

    SciPy's defaults: exact up to 50 pairs where none are equal, pairs without a difference left out. A pair of which
    one is NaN does not count.

    Returns
    -------
    dict
        ``n`` pairs, the mean ``difference`` of first less second, the ``statistic`` and ``p``, which are NaN of fewer
        than five pairs and where no pair differs.
    """
    difference = np.subtract(np.asarray(first, float), np.asarray(second, float))
    difference = difference[np.isfinite(difference)]
    found = {"n": len(difference), "difference": float(difference.mean()) if len(difference) else float("nan")}
    if len(difference) < FEWEST_PAIRS or not difference.any():
        return found | {"statistic": float("nan"), "p": float("nan")}
    test = stats.wilcoxon(difference)
    return found | {"statistic": float(test.statistic), "p": float(test.pvalue)}


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down method (1979); NaN stay, and are not counted.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, float)
    order = [index for index in np.argsort(p) if np.isfinite(p[index])]
    corrected = p.copy()
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected.tolist()


def mann_whitney(
    values: Sequence[float], patients: Sequence[str], groups: Mapping[str, str]
) -> dict[str, float | dict[str, int]]:
    """Mann-Whitney U test, two-sided, of two groups of patients, on the mean of each patient's studies.

    Parameters
    ----------
    values, patients
        Score and patient of each study; NaN do not count.
    groups
        Group of each patient, such as "Low" and "High".

    Returns
    -------
    dict
        ``n``, the number of patients by group, groups in alphabetical order, ``statistic``, U of the first of them,
        and ``p``.

    Raises
    ------
    ValueError
        The patients are not of exactly two groups.
    """
    scores: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        if np.isfinite(value):
            scores.setdefault(patient, []).append(value)
    means: dict[str, list[float]] = {}
    for patient, own in scores.items():
        means.setdefault(groups[patient], []).append(float(np.mean(own)))
    if len(means) != 2:
        raise ValueError(f"two groups are compared, not {len(means)}: {', '.join(sorted(means))}")
    first, second = (means[name] for name in sorted(means))
    test = stats.mannwhitneyu(first, second)
    numbers = {name: len(means[name]) for name in sorted(means)}
    return {"n": numbers, "statistic": float(test.statistic), "p": float(test.pvalue)}


def correlation(
    first: Sequence[float], second: Sequence[float], families: Sequence[str] | None = None
) -> dict[str, float]:
    """Pearson's and Spearman's correlation of two figures over experiments.

    Parameters
    ----------
    first, second
        A figure each of every experiment.
    families
        Family of each: the correlation is then the partial one within families, that of what is left of the figures,
        or of their ranks, when the mean of the family is taken away. Its p-value has n - families - 1 degrees of
        freedom, as that of a slope that is fitted beside a mean for each family.

    Returns
    -------
    dict
        ``n``, ``pearson``, ``pearson p``, ``spearman``, ``spearman p``.
    """
    pair = np.array([first, second], float)
    names, index = np.unique(families if families is not None else ["all"] * pair.shape[1], return_inverse=True)
    found: dict[str, float] = {"n": pair.shape[1]}
    for name, values in (("pearson", pair), ("spearman", stats.rankdata(pair, axis=1))):
        found[name], found[f"{name} p"] = _partial(values, index, len(names))
    return found


def _partial(pair: np.ndarray, index: np.ndarray, groups: int) -> tuple[float, float]:
    """Correlation of a pair of rows less the means of groups of columns, and its p-value."""
    counts = np.bincount(index, minlength=groups)
    left = [row - (np.bincount(index, weights=row, minlength=groups) / counts)[index] for row in pair]
    freedom = pair.shape[1] - groups - 1
    with np.errstate(divide="ignore", invalid="ignore"):  # a figure that never differs has no correlation
        r = np.clip(left[0] @ left[1] / np.sqrt(left[0] @ left[0] * (left[1] @ left[1])), -1, 1)
        t = r * np.sqrt(freedom / (1 - r * r))
    return float(r), float(2 * stats.t.sf(abs(t), freedom))


def patient_interval(
    statistic: Callable[[np.ndarray], np.ndarray], patients: Sequence[str], *, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a statistic by drawing patients with replacement, each with all of its studies (cluster bootstrap).

    Parameters
    ----------
    statistic
        Of all draws at once, (draws,), NaN where a draw has none; it is given how often each has drawn every study,
        (draws, studies) float.
    patients
        Patient of each study.
    seed
        Of the draws; the same gives the same interval.
    level
        Share of the drawn statistics in the interval, which is the middle one (percentile bootstrap).

    Examples
    --------
    >>> scores = np.array([0.2, 0.4, 0.6])
    >>> low, high = patient_interval(lambda drawn: drawn @ scores / drawn.sum(1), ["a", "a", "b"])
    >>> round(low, 3), round(high, 3)
    (0.3, 0.6)
    """
    low, high = np.nanpercentile(statistic(_draws(tuple(patients), seed)), (50 - 50 * level, 50 + 50 * level))
    return float(low), float(high)


@functools.lru_cache(maxsize=8)
def _draws(patients: tuple[str, ...], seed: int) -> np.ndarray:
    """How often each draw has every study; kept, because many intervals are of the same patients."""
    names, index = np.unique(patients, return_inverse=True)
    drawn = np.random.default_rng(seed).integers(len(names), size=(DRAWS, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])
    return counts[:, index].astype(float)


def utility_ratio(synthetic: Sequence[float], real: Sequence[float]) -> float:
    """Mean over studies of the score on synthetic MRI by that on the real one, where the latter is above 0.1 (2.7).

    NaN where no study counts. It is not :func:`retention`, which the benchmark also quotes as a share of the ceiling.
    """
    pair = np.array([synthetic, real], float)
    counted = pair[:, np.isfinite(pair).all(0) & (pair[1] > LEAST_REAL)]
    return float((counted[0] / counted[1]).mean()) if counted.size else float("nan")


def retention(synthetic: Sequence[float], real: Sequence[float]) -> float:
    """Mean score on synthetic MRI by the mean score on the real one, over studies that have both.

    Examples
    --------
    >>> retention([0.4, 0.0], [0.5, 0.3]), utility_ratio([0.4, 0.0], [0.5, 0.3])
    (0.5, 0.4)
    """
    pair = np.array([synthetic, real], float)
    means = pair[:, np.isfinite(pair).all(0)].mean(1) if np.isfinite(pair).all(0).any() else np.array([np.nan, 1])
    return float(means[0] / means[1]) if means[1] else float("nan")
