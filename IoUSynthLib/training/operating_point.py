"""How readily a segmenter calls a voxel tumour: chosen after training, without and with a resection cavity in view.

The loss of training does not fix this balance: an uncertain structure loses against the background, and thin residual
tumour is more uncertain than one that nobody has touched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluation.fidelity import dice
from ..inference import open_session, predict
from ..models.bundle import Bundle
from ..synthesis.outlines import LABELS, labels_from_probabilities, softmax, weighted
from .data import TrainingVolume
from .expected_dice import Table

CANDIDATES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0)
_FILE = "operating_point.json"
#: What is called tumour in the median case without one may not be more: a sphere of 10 mm diameter.
FALSE_LIMIT_ML = 0.5
#: Names in the metadata: cases without and with a resection cavity.
PHASES = ("class_weights", "class_weights_with_cavity")


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


def score_tumour_weights(
    bundle: Bundle, volumes: Sequence[TrainingVolume], voxel_volume_ml: float
) -> dict[str, Scores]:
    """Score every candidate factor on the tumour's probability.

    Parameters
    ----------
    bundle
        A segmenter whose outputs are background, tumour and cavity.
    volumes
        Cases, best of heads that were not trained on.
    voxel_volume_ml
        Volume of a voxel in millilitres.

    Returns
    -------
    dict
        ``class_weights`` from the cases without a cavity, ``class_weights_with_cavity`` from those with one; a phase
        without any tumour is left out.
    """
    measured = {(phase, weight): ([], []) for phase in PHASES for weight in CANDIDATES}
    session = open_session(bundle)
    for volume in volumes:
        probabilities = predict(session, volume.image.astype(np.float32), volume.fan, bundle, softmax)
        truth = volume.target[0] == LABELS["tumour"]
        phase = PHASES[int((volume.target[0] == LABELS["cavity"]).any())]
        for weight in CANDIDATES:
            labels = labels_from_probabilities(weighted(probabilities, (1, weight, 1)), volume.fan, voxel_volume_ml)
            tumour = labels == LABELS["tumour"]
            overlaps, false_ml = measured[phase, weight]
            if truth.any():
                overlaps.append(dice(tumour, truth))
            else:
                false_ml.append(float(tumour.sum()) * voxel_volume_ml)
    scores: dict[str, Scores] = {}
    for (phase, weight), (overlaps, false_ml) in measured.items():
        if overlaps:
            score = TumourScore(float(np.mean(overlaps)), float(np.median(false_ml)) if false_ml else 0.0)
            scores.setdefault(phase, {})[weight] = score
    return scores


def write_operating_point(run: Path, scores: dict[str, Scores]) -> None:
    """Keep the best factor of each phase, and how all of them did, in the run's folder.

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
    (run / _FILE).write_text(json.dumps(point, indent=1) + "\n")


def add_expected_dice(run: Path, tables: dict[str, Table], measured_on: str = "") -> None:
    """Keep what :func:`.expected_dice.measure_expected_dice` returned beside the operating point that it holds for, and
    what cases it was measured on, in words.
    """
    measured = {"expected_dice": tables} | ({"expected_dice_measured_on": measured_on} if measured_on else {})
    (run / _FILE).write_text(json.dumps(read_operating_point(run) | measured, indent=1) + "\n")


def has_operating_point(run: Path) -> bool:
    """Tell whether the run's operating point has been chosen, and measured how far to trust its outlines."""
    return "expected_dice" in read_operating_point(run)


def read_operating_point(run: Path) -> dict:
    """What has been written of it, for the metadata; empty when there is none."""
    return json.loads((run / _FILE).read_text()) if (run / _FILE).exists() else {}
