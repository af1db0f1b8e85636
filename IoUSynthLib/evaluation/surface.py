"""How well an outline follows the true one: Dice, HD95 and normalised surface Dice (NSD), as the ioUS-to-MR benchmark
does (arXiv 2606.00630, 2.7; Nikolov et al. 2018 for NSD).

A structure that is not there is not scored. One that is there and was not found has a Dice and an NSD of 0, and no
HD95. The benchmark's released code differs in two places, which ``as_released`` gives: NSD is absent there as well,
which drops the failures from its mean, and HD95 takes the distance of *all* voxels of one mask to the other mask, 0
inside it, which is smaller than that of the surfaces which the paper describes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..constants import LABELS
from ..preprocessing import bounding_box
from .fidelity import dice

# Label values of what is scored; the lesion is the union of tumour and cavity.
_VALUES = {
    "tumour": (LABELS["tumour"],), "cavity": (LABELS["cavity"],), "lesion": (LABELS["tumour"], LABELS["cavity"]),
}  # fmt: skip
#: Distance in mm up to which NSD takes two surfaces for the same.
TOLERANCE_MM = 2.0


def structure_masks(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of tumour, cavity and lesion in labels (0 background, 1 tumour, 2 cavity)."""
    return {name: np.isin(labels, values) for name, values in _VALUES.items()}


def outline_scores(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], *, as_released: bool = False
) -> dict[str, float]:
    """Score the outline of one structure.

    Parameters
    ----------
    prediction, truth
        (z, y, x) bool.
    spacing
        Of the voxels along z, y and x, in mm.
    as_released
        Whether HD95 and NSD are those of the benchmark's released code.

    Returns
    -------
    dict
        ``Dice`` and ``NSD``, the share of both surfaces within 2 mm of the other, from 0 to 1; ``HD95``, the larger of
        the two directed 95th percentiles of the distance, in mm; ``missed``, 1 where the structure is there and nothing
        was found, else 0. All NaN where the structure is not there; see the module for one that was not found.

    Raises
    ------
    ValueError
        The masks differ in shape.

    Examples
    --------
    >>> truth = np.zeros((1, 20, 20), bool)
    >>> truth[0, 5:15, 5:15] = True
    >>> outline_scores(np.roll(truth, 1, axis=2), truth, (1, 1, 1))
    {'Dice': 0.9, 'HD95': 1.0, 'NSD': 1.0, 'missed': 0.0}
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    nan = float("nan")
    if not truth.any():
        return dict.fromkeys(("Dice", "HD95", "NSD", "missed"), nan)
    if not prediction.any():
        return {"Dice": 0.0, "HD95": nan, "NSD": nan if as_released else 0.0, "missed": 1.0}
    box = bounding_box(prediction | truth)
    found, true = prediction[box], truth[box]
    surfaces = _surface(found), _surface(true)
    distances = _distances(surfaces, surfaces, spacing)
    compared = _distances((found, true), (found, true), spacing) if as_released else distances
    return {
        "Dice": dice(found, true),
        "HD95": float(max(np.percentile(values, 95) for values in compared)),
        "NSD": float((np.concatenate(distances) <= TOLERANCE_MM).mean()),
        "missed": 0.0,
    }


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels of a mask of which one of the six neighbours is not in it."""
    return mask & ~ndimage.binary_erosion(mask)


def _distances(
    voxels: tuple[np.ndarray, np.ndarray], masks: tuple[np.ndarray, np.ndarray], spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distance in mm of each voxel of the first to the second mask, and of the second to the first."""
    to_first, to_second = (ndimage.distance_transform_edt(~mask, sampling=spacing) for mask in masks)
    return to_second[voxels[0]], to_first[voxels[1]]
