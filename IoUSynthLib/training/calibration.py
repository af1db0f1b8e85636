"""What is set on a trained segmenter: how readily it calls a voxel tumour, and how far to trust its outlines.

The loss of training does not fix how readily: an uncertain structure loses against the background, and thin residual
tumour is more uncertain than one that nobody has touched. So a factor on the tumour's probability, the operating point,
is chosen for cases without and with a resection cavity in view; then the confidence of the outlines that it gives is
related to their Dice. Both come from one pass over the same cases, in which every factor is tried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import LABELS
from ..evaluation.baselines import isotonic
from ..evaluation.fidelity import dice
from ..inference import open_session, predict
from ..models.bundle import Bundle
from ..synthesis.outlines import confidences, labels_from_probabilities, softmax, weighted
from .data import TrainingVolume

#: Factors on the tumour's probability that are tried; 1 is among them, for a segmenter that has no operating point.
CANDIDATES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0)
#: What is called tumour in the median case without one may not be more: a sphere of 10 mm diameter.
FALSE_LIMIT_ML = 0.5
#: Names in the metadata: cases without and with a resection cavity.
BEFORE, AFTER = "class_weights", "class_weights_with_cavity"
#: Points of a table of expected Dice; each is the mean of as many outlines as any other.
POINTS = 8
_FILE = "operating_point.json"

Table = dict[str, list[float]]


@dataclass(frozen=True)
class Outlined:
    """What a factor makes of a case.

    Attributes
    ----------
    tumour_dice
        Dice of the tumour, 0 to 1; None where the case has none.
    tumour_ml
        Volume that is called tumour.
    outlines
        Confidence and Dice of what is outlined; a Dice of 0 where nothing was to outline.
    """

    tumour_dice: float | None
    tumour_ml: float
    outlines: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Tried:
    """A case with every factor of :data:`CANDIDATES`, and whether it has a resection cavity."""

    has_cavity: bool
    outlined: dict[float, Outlined]


@dataclass(frozen=True)
class TumourScore:
    """What a factor on the tumour's probability does.

    Attributes
    ----------
    dice
        Mean over the cases with tumour, 0 to 1.
    false_ml
        Median volume that is called tumour in the cases without.
    """

    dice: float
    false_ml: float


Scores = dict[float, TumourScore]


def calibrate(
    bundle: Bundle, volumes: Sequence[TrainingVolume], voxel_volume_ml: float, *, measured_on: str = ""
) -> dict[str, Any]:
    """Choose a segmenter's operating point, and measure how far to trust the outlines that it gives.

    Parameters
    ----------
    bundle
        A segmenter whose outputs are background, tumour and cavity; what it has of an operating point is not looked at.
    volumes
        Cases, best of heads that were not trained on.
    voxel_volume_ml
        Volume of a voxel in millilitres.
    measured_on
        What these cases are, in words.

    Returns
    -------
    dict
        Entries for the section ``iousynth`` of the metadata.
    """
    cases = try_weights(bundle, volumes, voxel_volume_ml)
    point = choose_weights(score_weights(cases))
    tables = {"expected_dice": measure_expected_dice(cases, point)}
    return {**point, **tables, **({"expected_dice_measured_on": measured_on} if measured_on else {})}


def try_weights(bundle: Bundle, volumes: Sequence[TrainingVolume], voxel_volume_ml: float) -> list[Tried]:
    """Outline every case with every factor; the parameters are those of :func:`calibrate`."""
    session, cases = open_session(bundle), []
    for volume in volumes:
        probabilities = predict(session, volume.image.astype(np.float32), volume.fan, bundle, activation=softmax)
        truth, outlined = volume.target[0], {}
        for weight in CANDIDATES:
            shown = weighted(probabilities, (1, weight, 1))
            labels = labels_from_probabilities(shown, volume.fan, voxel_volume_ml)
            outlined[weight] = _compare(shown, labels, truth, voxel_volume_ml=voxel_volume_ml)
        cases.append(Tried(bool((truth == LABELS["cavity"]).any()), outlined))
    return cases


def _compare(shown: np.ndarray, labels: np.ndarray, truth: np.ndarray, *, voxel_volume_ml: float) -> Outlined:
    tumour, true_tumour = (values == LABELS["tumour"] for values in (labels, truth))
    outlines = {
        name: (confidence, dice(labels == LABELS[name], truth == LABELS[name]))
        for name, confidence in confidences(shown, labels).items()
    }
    overlap = dice(tumour, true_tumour) if true_tumour.any() else None
    return Outlined(overlap, float(tumour.sum()) * voxel_volume_ml, outlines)


def score_weights(cases: Sequence[Tried]) -> dict[str, Scores]:
    """Score every factor on the tumour.

    Returns
    -------
    dict
        ``class_weights`` from the cases without a cavity, ``class_weights_with_cavity`` from those with one; a phase
        without any tumour is left out.
    """
    scores: dict[str, Scores] = {}
    for phase in (BEFORE, AFTER):
        of_phase = [case for case in cases if case.has_cavity == (phase == AFTER)]
        for weight in CANDIDATES:
            found = [case.outlined[weight] for case in of_phase]
            overlaps = [one.tumour_dice for one in found if one.tumour_dice is not None]
            false_ml = [one.tumour_ml for one in found if one.tumour_dice is None]
            if overlaps:
                score = TumourScore(float(np.mean(overlaps)), float(np.median(false_ml)) if false_ml else 0.0)
                scores.setdefault(phase, {})[weight] = score
    return scores


def choose_weights(scores: Mapping[str, Scores]) -> dict[str, Any]:
    """The best factor of each phase, and how all of them did, as the metadata hold them.

    The best has the highest Dice among those that call little tumour in most cases without one.
    """
    point: dict[str, Any] = {}
    for phase, of_weights in scores.items():
        allowed = [weight for weight, score in of_weights.items() if score.false_ml <= FALSE_LIMIT_ML]
        best = max(allowed or of_weights, key=lambda weight: of_weights[weight].dice)
        point[phase] = [1.0, best, 1.0]
        rows = {weight: [round(score.dice, 4), round(score.false_ml, 2)] for weight, score in of_weights.items()}
        measure = "mean tumour Dice, and median ml of tumour in cases without one"
        point[f"{phase}_chosen_by"] = {"measure": measure, "scores": rows}
    return point


def measure_expected_dice(cases: Sequence[Tried], point: Mapping[str, Any]) -> dict[str, Table]:
    """Relate the confidence of each outline to its Dice.

    Parameters
    ----------
    cases
        As :func:`try_weights` returns them.
    point
        The operating point. Which of its factors holds for a case follows as on real ones, from whether the first
        shows a cavity (:func:`.synthesis.outlines.weighted_by_phase`).

    Returns
    -------
    dict
        For tumour and cavity ``confidence`` and ``dice``; a structure with fewer than :data:`POINTS` outlines is left
        out.
    """
    weight = point.get(BEFORE, [1.0] * 3)[1]
    with_cavity = point.get(AFTER, [1.0, weight, 1.0])[1]
    pairs: dict[str, list[tuple[float, float]]] = {}
    for case in cases:
        shown = case.outlined[weight]
        shown = case.outlined[with_cavity] if "cavity" in shown.outlines else shown
        for name, pair in shown.outlines.items():
            pairs.setdefault(name, []).append(pair)
    return {name: _table(np.array(found)) for name, found in pairs.items() if len(found) >= POINTS}


def _table(pairs: np.ndarray) -> Table:
    """Means of (n, 2) confidence and Dice in groups of rising confidence, the Dice made to rise with it."""
    groups = np.array_split(pairs[np.argsort(pairs[:, 0], kind="stable")], POINTS)
    confidence, overlap = np.array([group.mean(axis=0) for group in groups]).T
    confidence, first = np.unique(confidence.round(4), return_index=True)
    rising = isotonic(overlap[first], np.array([len(group) for group in groups], float)[first])
    return {"confidence": confidence.tolist(), "dice": rising.round(3).tolist()}


def write_calibration(run: Path, calibration: Mapping[str, Any]) -> None:
    """Keep what :func:`calibrate` returned in the run's folder."""
    (run / _FILE).write_text(json.dumps(calibration, indent=1) + "\n", encoding="utf-8")


def read_calibration(run: Path) -> dict[str, Any]:
    """What :func:`write_calibration` wrote; empty when there is nothing."""
    return json.loads((run / _FILE).read_text(encoding="utf-8")) if (run / _FILE).exists() else {}
