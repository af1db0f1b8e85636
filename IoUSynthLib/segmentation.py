"""From class probabilities to the outlines that are shown: tumour and resection cavity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Label values of the segmentation.
LABELS = {"background": 0, "tumour": 1, "cavity": 2}

#: Connected pieces below this volume are removed: a sphere of 6 mm diameter.
SMALLEST_PIECE_ML = 0.1


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities over axis 1 of (B, classes, ...)."""
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponential / exponential.sum(axis=1, keepdims=True)


def weighted(probabilities: np.ndarray, weights: Sequence[float]) -> np.ndarray:
    """Return (classes, z, y, x) probabilities times a factor for each class: the operating point of a segmenter."""
    return probabilities * np.asarray(weights, dtype=np.float32).reshape(-1, 1, 1, 1)


def without_cavity(probabilities: np.ndarray) -> np.ndarray:
    """Count the cavity of (3, z, y, x) probabilities as tumour: before resection, a cyst or necrosis looks like one."""
    background, tumour, cavity = probabilities
    return np.stack([background, tumour + cavity, np.zeros_like(cavity)])


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
    labels = np.where(valid, np.argmax(probabilities, axis=0), 0).astype(np.uint8)
    for name, value in LABELS.items():
        if name != "background":
            labels[_specks(labels == value, voxel_volume_ml)] = 0
    return labels


def _specks(mask: np.ndarray, voxel_volume_ml: float) -> np.ndarray:
    """Return the voxels of a mask in connected pieces (by faces) below :data:`SMALLEST_PIECE_ML`."""
    import SimpleITK as sitk

    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), False))
    small = np.bincount(pieces.ravel()) * voxel_volume_ml < SMALLEST_PIECE_ML
    small[0] = False
    return small[pieces]


def volumes_ml(labels: np.ndarray, voxel_volume_ml: float) -> dict[str, float]:
    """Return the volume of tumour and cavity in millilitres."""
    return {
        name: round(float((labels == value).sum()) * voxel_volume_ml, 3)
        for name, value in LABELS.items()
        if name != "background"
    }
