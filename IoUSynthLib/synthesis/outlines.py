"""From class probabilities to the outlines that are shown: tumour and resection cavity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constants import LABELS
from ..preprocessing import bounding_box, gaussian_mean

#: Connected pieces below this volume are removed: a sphere of 6 mm diameter.
SMALLEST_PIECE_ML = 0.1

#: Before a resection there is a tumour. Where less of it stands out than a sphere of 10 mm diameter, its most probable
#: place can be outlined, as large as a sphere of 18 mm. Chosen, as the smoothing, on 153 simulated tumours of heads for
#: training and validation.
FAINT_BELOW_ML = 0.5
PROBABLE_PLACE_ML = 3.0
_SMOOTHING_MM = 4.0


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities over axis 1 of (B, classes, ...)."""
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def weighted(probabilities: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Return (classes, z, y, x) probabilities times a factor for each class: the operating point of a segmenter."""
    return probabilities * np.asarray(weights, dtype=np.float32).reshape(-1, 1, 1, 1)


def weighted_by_phase(
    probabilities: np.ndarray,
    valid: np.ndarray,
    voxel_volume_ml: float,
    *,
    weights: Sequence[float],
    weights_with_cavity: Sequence[float],
) -> np.ndarray:
    """Return (3, z, y, x) weighted probabilities, by ``weights_with_cavity`` where those of ``weights`` show a cavity.

    Residual tumour is thin and lies beside a cavity's wall, which is as bright: it has to be called more readily.
    """
    usual = weighted(probabilities, weights)
    labels = labels_from_probabilities(usual, valid, voxel_volume_ml)
    return weighted(probabilities, weights_with_cavity) if (labels == LABELS["cavity"]).any() else usual


def without_cavity(probabilities: np.ndarray) -> np.ndarray:
    """Count the cavity of (3, z, y, x) probabilities as tumour: before resection, a cyst or necrosis looks like one."""
    background, tumour, cavity = probabilities
    return np.stack([background, tumour + cavity, np.zeros_like(cavity)])


def tumour_stands_out(probabilities: np.ndarray, valid: np.ndarray, voxel_volume_ml: float) -> bool:
    """Tell whether (3, z, y, x) probabilities show a tumour of :data:`FAINT_BELOW_ML` or more."""
    return _tumour_ml(probabilities, valid, voxel_volume_ml) >= FAINT_BELOW_ML


def _tumour_ml(probabilities: np.ndarray, valid: np.ndarray, voxel_volume_ml: float) -> float:
    labels = labels_from_probabilities(probabilities, valid, voxel_volume_ml)
    return volumes_ml(labels, voxel_volume_ml)["tumour"]


def with_probable_place(
    probabilities: np.ndarray, valid: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, bool]:
    """Return probabilities that show a tumour where none stands out, and whether they do.

    The odds of tumour against background are smoothed, since single voxels say little, and raised everywhere alike
    until :data:`PROBABLE_PLACE_ML` are more probable than not.

    Parameters
    ----------
    probabilities
        (3, z, y, x) of background, tumour and no cavity.
    valid
        (z, y, x) bool; there is no tumour outside.
    spacing
        Edges of the voxels (x, y, z) in mm.

    Returns
    -------
    tuple of numpy.ndarray and bool
        Those given and False where no place is more probable than the others.
    """
    if not valid.any():
        return probabilities, False
    voxel_volume_ml = float(np.prod(spacing)) / 1000

    def found_ml(candidate: np.ndarray) -> float:
        return _tumour_ml(candidate, valid, voxel_volume_ml)

    logarithms = np.log(np.maximum(probabilities[:2], np.finfo(np.float32).tiny))
    odds = gaussian_mean(logarithms[1] - logarithms[0], valid, spacing, sigma=_SMOOTHING_MM)

    def raised(threshold: float) -> np.ndarray:
        tumour = 1 / (1 + np.exp(threshold - odds))
        return np.stack([1 - tumour, tumour, np.zeros_like(tumour)])

    low, high = float(odds[valid].min()) - 1, float(odds[valid].max())
    for _ in range(16):  # bisection: the lower the threshold, the larger the volume
        middle = (low + high) / 2
        low, high = (middle, high) if found_ml(raised(middle)) >= PROBABLE_PLACE_ML else (low, middle)
    place = raised(low)
    return (place, True) if found_ml(place) < 2 * PROBABLE_PLACE_ML else (probabilities, False)


def labels_from_probabilities(probabilities: np.ndarray, valid: np.ndarray, voxel_volume_ml: float) -> np.ndarray:
    """Return the most probable class of each voxel, without specks and within the fan.

    Parameters
    ----------
    probabilities
        (3, z, y, x) of background, tumour and cavity; need not sum to one.
    valid
        (z, y, x) bool; outside is background.
    voxel_volume_ml
        Volume of a voxel in millilitres.

    Returns
    -------
    numpy.ndarray
        uint8 (z, y, x): 0 background, 1 tumour, 2 cavity.
    """
    background, tumour, cavity = probabilities
    labels = (tumour > background).astype(np.uint8)
    labels[cavity > np.maximum(background, tumour)] = LABELS["cavity"]
    labels[~valid] = 0
    for name, value in LABELS.items():
        mask = labels == value
        if name != "background" and mask.any():
            box = bounding_box(mask)
            labels[box][_specks(mask[box], voxel_volume_ml)] = 0
    return labels


def _specks(mask: np.ndarray, voxel_volume_ml: float) -> np.ndarray:
    """Return the voxels of a mask in connected pieces (by faces) below :data:`SMALLEST_PIECE_ML`."""
    import SimpleITK as sitk

    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), False))
    small = np.bincount(pieces.ravel()) * voxel_volume_ml < SMALLEST_PIECE_ML
    small[0] = False
    return small[pieces]


def confidences(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the mean probability of tumour and of cavity over their own outlines; what is not outlined is left out.

    Over an outline's voxels a network's doubt grows as the outline's Dice falls (Mehrtash et al., IEEE Transactions on
    Medical Imaging 2020, who average the entropy). What Dice it stands for has to be learned:
    :attr:`.models.bundle.Bundle.expected_dice`.

    Parameters
    ----------
    probabilities
        (3, z, y, x) of background, tumour and cavity, weighted as for the outline; need not sum to one.
    labels
        (z, y, x), the outlines.
    """
    found = {}
    for name, value in LABELS.items():
        inside = probabilities[:, labels == value]
        if name != "background" and inside.size:
            found[name] = float((inside[value] / inside.sum(axis=0)).mean())
    return found


def volumes_ml(labels: np.ndarray, voxel_volume_ml: float) -> dict[str, float]:
    """Return the volume of tumour and cavity in millilitres."""
    return {
        name: round(float((labels == value).sum()) * voxel_volume_ml, 3)
        for name, value in LABELS.items()
        if name != "background"
    }
