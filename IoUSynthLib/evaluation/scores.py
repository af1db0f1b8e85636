"""Scores of one case and their summary over cases, for all methods that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..cases.case import UNLABELLED, Case, target_image
from ..constants import LABELS, OUTSIDE
from ..preprocessing import INTENSITY_RANGE
from .fidelity import confidence_interval, score
from .phase import AFTER, BEFORE, UNKNOWN
from .protocol import PRESENT, Protocol
from .regions import region_masks, region_score
from .statistics import FEWEST_FOR_INTERVAL
from .surface import outline_scores, structure_masks

Row = dict[str, str | float]
Summary = dict[str, dict[str, float]]

#: What is outlined, with its label.
STRUCTURES = {name: value for name, value in LABELS.items() if name != "background"}


#: What is averaged over present classes.
_AVERAGED = ("Dice", "HD95", "NSD")


def outlined(case: Case) -> tuple[str, ...]:
    """Which of tumour, cavity and lesion, which is both, somebody has looked for and outlined where they are."""
    if (case.labels.array == UNLABELLED).any():
        return ()
    labelled = case.parameters.get("labelled")
    return tuple(labelled) if isinstance(labelled, list) else (*STRUCTURES, "lesion")


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


def region_scores(
    case: Case, name: str, predictions: Mapping[str, np.ndarray], protocol: Protocol
) -> dict[str, float]:
    """Scores in and around the lesion, as ``region/name/method/metric``; of structures that somebody has outlined.

    The parameters are those of :func:`fidelity_scores`. In the region "fan" nothing outside the fan counts.
    """
    fan, target, known = case.fan.array > 0, target_image(case, name), outlined(case)
    masks = region_masks(case.labels.array, case.labels.spacing[::-1])
    scores = {}
    for place, mask in ((place, mask) for place, mask in masks.items() if place.split()[0] in known):
        counted = mask & fan if protocol.region == "fan" else mask
        for method, prediction in predictions.items():
            image = np.nan_to_num(prediction, nan=OUTSIDE)
            found = region_score(image, target, counted, outside=protocol.roi)
            scores |= {f"{place}/{name}/{method}/{metric}": value for metric, value in found.items()}
    return scores


def overlap_scores(
    case: Case, labels: Mapping[str, np.ndarray], protocol: Protocol | None = None
) -> dict[str, float]:
    """Scores of each structure that is there, false volume in ml of each that is not; the other of the two is NaN.

    Parameters
    ----------
    case
        The true case.
    labels
        By method, on the case's grid: 0 background, 1 tumour, 2 cavity.
    protocol
        By default only what lies in the fan counts.

    Returns
    -------
    dict
        Of tumour, cavity and lesion ``Dice/method/structure`` and so on, see :func:`.surface.outline_scores`, and
        ``false ml/method/structure``; without structures that nobody has outlined. Dice, HD95 and NSD also as
        ``Dice/method/present classes``.
    """
    protocol = protocol or Protocol()
    known = outlined(case)
    counted = case.fan.array > 0 if protocol.region == "fan" else np.ones(case.fan.array.shape, bool)
    true = structure_masks(np.where(counted, case.labels.array, 0))
    scores = {}
    for method, predicted in labels.items():
        masks = structure_masks(np.where(counted, predicted, 0))
        for structure, found in ((name, masks[name]) for name in known):
            values = outline_scores(
                found, true[structure], case.labels.spacing[::-1], as_released=protocol.as_released
            )
            false_ml = float(found.sum() * case.labels.voxel_volume_ml)
            values["false ml"] = float("nan") if true[structure].any() else false_ml
            scores |= {f"{metric}/{method}/{structure}": value for metric, value in values.items()}
        for metric in _AVERAGED if known else ():
            found = [scores.get(f"{metric}/{method}/{structure}", np.nan) for structure in STRUCTURES]
            scores[f"{metric}/{method}/{PRESENT}"] = mean_of_known(found)
    return scores


def mean_of_known(values: Sequence[float]) -> float:
    """Mean of the finite values, NaN where there is none.

    Examples
    --------
    >>> mean_of_known([0.5, float("nan")])
    0.5
    """
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def by_phase(row: Row) -> dict[str, float]:
    """The tumour Dice of a case again, as that of a tumour before resection or of residual tumour after it."""
    phase = {BEFORE: "tumour before resection", AFTER: "residual tumour"}.get(row["phase"])
    names = [name for name in row if name.startswith("Dice/") and name.endswith("/tumour")]
    return {
        f"{name.removesuffix('tumour')}{other}": row[name] if other == phase else float("nan")
        for name in names
        for other in ("tumour before resection", "residual tumour")
    }


def group_by_phase(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their phase, in the order of the operation."""
    phases = {phase: [row for row in rows if row["phase"] == phase] for phase in (BEFORE, AFTER, UNKNOWN)}
    return {phase: found for phase, found in phases.items() if found}


def summarize(rows: Sequence[Row]) -> Summary:
    """Mean, median and number of the finite values of every numeric column; of three or more also their ``sd`` (ddof 1)
    and the 95 % Student-t interval of the mean, ``low`` to ``high``: of two it is nine times as wide as they differ.
    """
    summary = {}
    for name in columns_of(rows):
        found = (row.get(name) for row in rows)
        values = np.array([value for value in found if isinstance(value, float) and np.isfinite(value)])
        if len(values):
            summary[name] = {"mean": float(values.mean()), "median": float(np.median(values)), "n": len(values)}
        if len(values) >= FEWEST_FOR_INTERVAL:
            summary[name]["sd"] = float(values.std(ddof=1))
            summary[name] |= dict(zip(("low", "high"), confidence_interval(values), strict=True))
    return summary


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Names of all columns: not every case has every contrast, or an outline."""
    return list(dict.fromkeys(name for row in rows for name in row))
