"""What Dice the confidence of an outline stands for: measured once the operating point has been chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..evaluation.baselines import isotonic
from ..evaluation.fidelity import dice
from ..inference import open_session, predict
from ..models.bundle import Bundle
from ..synthesis.outlines import LABELS, confidences, labels_from_probabilities, softmax, weighted_by_phase
from .data import TrainingVolume

#: Points of a table; each is the mean of as many outlines as any other.
POINTS = 8

Table = dict[str, list[float]]


def measure_expected_dice(
    bundle: Bundle, volumes: Sequence[TrainingVolume], voxel_volume_ml: float
) -> dict[str, Table]:
    """Outline cases and relate the confidence of each outline to its Dice, which is 0 where nothing was to outline.

    Parameters
    ----------
    bundle
        A segmenter with its operating point.
    volumes, voxel_volume_ml
        As :func:`.operating_point.score_tumour_weights` takes them.

    Returns
    -------
    dict
        For tumour and cavity ``confidence`` and ``dice``, as the metadata hold them under ``expected_dice``; a
        structure with fewer than :data:`POINTS` outlines is left out.
    """
    pairs: dict[str, list[tuple[float, float]]] = {}
    session = open_session(bundle)
    for volume in volumes:
        probabilities = predict(session, volume.image.astype(np.float32), volume.fan, bundle, softmax)
        weights = bundle.class_weights, bundle.class_weights_with_cavity
        shown = weighted_by_phase(probabilities, volume.fan, voxel_volume_ml, *weights)
        labels = labels_from_probabilities(shown, volume.fan, voxel_volume_ml)
        for name, confidence in confidences(shown, labels).items():
            overlap = dice(labels == LABELS[name], volume.target[0] == LABELS[name])
            pairs.setdefault(name, []).append((confidence, overlap))
    return {name: _table(np.array(found)) for name, found in pairs.items() if len(found) >= POINTS}


def _table(pairs: np.ndarray) -> Table:
    """Means of (n, 2) confidence and Dice in groups of rising confidence, the Dice made to rise with it."""
    groups = np.array_split(pairs[np.argsort(pairs[:, 0], kind="stable")], POINTS)
    confidence, overlap = np.array([group.mean(axis=0) for group in groups]).T
    confidence, first = np.unique(confidence.round(4), return_index=True)
    rising = isotonic(overlap[first], np.array([len(group) for group in groups], float)[first])
    return {"confidence": confidence.tolist(), "dice": rising.round(3).tolist()}
