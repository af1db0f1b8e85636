"""Scores of one case and their summary over cases, for all methods that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..cases.case import Case, target_image
from ..constants import LABELS, OUTSIDE
from ..preprocessing import INTENSITY_RANGE
from .fidelity import confidence_interval, dice, score

Row = dict[str, str | float]
Summary = dict[str, dict[str, float]]

#: Number of values from which on an interval of their mean is given.
FEWEST_FOR_INTERVAL = 3

STRUCTURES = {name: value for name, value in LABELS.items() if name != "background"}


def predicted_image(intensities: np.ndarray) -> np.ndarray:
    """An image as the pipeline writes it, 0 or 1 to 1000, in the networks' range; voxels without data are NaN."""
    return np.where(intensities > 0, intensities * (2 / INTENSITY_RANGE) - 1, np.nan)


def fidelity_scores(
    case: Case, name: str, predictions: Mapping[str, np.ndarray], *, region: str = "fan"
) -> dict[str, float]:
    """Scores of predictions of the MRI ``name``, as ``name/method/metric``.

    Parameters
    ----------
    case
        The true case.
    name
        "T2w" or "FLAIR".
    predictions
        By method, on the case's grid, in [-1, 1]; NaN where there is no data, which is scored as -1.
    region
        "fan" or "crop"; see :func:`.fidelity.score`. On the crop, no data outside the fan is an error as any other.
    """
    fan, target = case.fan.array > 0, target_image(case, name)
    return {
        f"{name}/{method}/{metric}": value
        for method, prediction in predictions.items()
        for metric, value in score(np.nan_to_num(prediction, nan=OUTSIDE), target, fan, region=region).items()
    }


def overlap_scores(case: Case, labels: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Dice of each structure that is in the fan, false volume in ml of each that is not; the other of the two is NaN.

    Parameters
    ----------
    case
        The true case.
    labels
        By method, on the case's grid: 0 background, 1 tumour, 2 cavity.

    Returns
    -------
    dict
        ``Dice/method/structure`` and ``false ml/method/structure``.
    """
    fan = case.fan.array > 0
    scores = {}
    for method, predicted in labels.items():
        for structure, value in STRUCTURES.items():
            true, found = (case.labels.array == value) & fan, (predicted == value) & fan
            false_ml = float("nan") if true.any() else float(found.sum() * case.labels.voxel_volume_ml)
            scores[f"Dice/{method}/{structure}"] = dice(found, true) if true.any() else float("nan")
            scores[f"false ml/{method}/{structure}"] = false_ml
    return scores


def by_phase(row: Row) -> dict[str, float]:
    """The tumour Dice of a case again, as that of a tumour before resection or of residual tumour beside a cavity."""
    phase = "residual tumour" if "residual" in row["lesion"] else "tumour before resection"
    names = [name for name in row if name.startswith("Dice/") and name.endswith("/tumour")]
    return {
        f"{name.removesuffix('tumour')}{other}": row[name] if other == phase else float("nan")
        for name in names
        for other in ("tumour before resection", "residual tumour")
    }


def summarize(rows: Sequence[Row]) -> Summary:
    """Mean, median and number of the finite values of every numeric column, with the 95 % Student-t interval of the
    mean, ``low`` to ``high``, where there are three or more: of two it is nine times as wide as they differ.
    """
    summary = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows if isinstance(row[name], float) and np.isfinite(row[name])])
        if len(values):
            summary[name] = {"mean": float(values.mean()), "median": float(np.median(values)), "n": len(values)}
        if len(values) >= FEWEST_FOR_INTERVAL:
            summary[name] |= dict(zip(("low", "high"), confidence_interval(values), strict=True))
    return summary
