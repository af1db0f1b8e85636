"""How readily a segmenter calls a voxel tumour: chosen on validation heads, after training.

The loss of training does not fix this balance: averaging the probabilities of three slicing directions makes an
uncertain structure lose against the background.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..evaluation.fidelity import dice
from ..inference import open_session, predict
from ..segmentation import labels_from_probabilities, softmax, weighted
from .data import TrainingVolume

CANDIDATES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_FILE = "operating_point.json"


def score_tumour_weights(
    bundle: Bundle, volumes: Sequence[TrainingVolume], voxel_volume_ml: float
) -> dict[float, float]:
    """Mean tumour Dice of every candidate factor on the tumour's probability.

    A case without tumour counts 1 when none is found, else 0.

    Parameters
    ----------
    bundle
        A segmenter whose outputs are background, tumour and cavity.
    volumes
        Cases of heads that were not trained on.
    voxel_volume_ml
        Volume of a voxel in millilitres.
    """
    scores: dict[float, list[float]] = {weight: [] for weight in CANDIDATES}
    session = open_session(bundle)
    for volume in volumes:
        probabilities = predict(session, volume.image.astype(np.float32), volume.fan, bundle, softmax)
        truth = volume.target[0] == 1
        for weight, values in scores.items():
            labels = labels_from_probabilities(weighted(probabilities, (1, weight, 1)), volume.fan, voxel_volume_ml)
            values.append(float(np.nan_to_num(dice(labels == 1, truth), nan=1.0)))
    return {weight: float(np.mean(values)) for weight, values in scores.items()}


def write_operating_point(run: Path, scores: dict[float, float]) -> None:
    """Keep the best factor and how all of them did in the run's folder."""
    best = max(scores, key=scores.__getitem__)
    point = {
        "class_weights": [1.0, best, 1.0],
        "class_weights_chosen_by": {"measure": "tumour Dice on validation heads", "scores": scores},
    }
    (run / _FILE).write_text(json.dumps(point, indent=1) + "\n")


def has_operating_point(run: Path) -> bool:
    """Tell whether the run's operating point has been chosen."""
    return (run / _FILE).exists()


def read_operating_point(run: Path) -> dict:
    """What :func:`write_operating_point` wrote, for the metadata; empty when there is none."""
    return json.loads((run / _FILE).read_text()) if has_operating_point(run) else {}
