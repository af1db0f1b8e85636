"""Fidelity of a synthetic MRI in and around the lesion, as the ioUS-to-MR benchmark does (arXiv 2606.00630, 2.6.1).

The regions are lesion, tumour and cavity, as drawn and with a margin of 5 mm. The benchmark crops each slice to its
region and sets what lies in the crop but outside the region to 0 in both images, where SSIM then is 1; ``outside``
offers to leave the images whole instead and to average the map of SSIM over the region alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity
from skimage.transform import resize

from . import perceptual
from .fidelity import FEWEST_VOXELS, voxel_errors
from .protocol import OUTSIDES
from .surface import structure_masks

#: Margins in mm that the structures are scored with.
MARGINS_MM = (0, 5)
_FEWEST_PIXELS = 50
_PADDING, _SMALLEST_SIDE = 2, 11
_WINDOW = 7
_LPIPS_SIDE = 64


def region_masks(labels: np.ndarray, spacing: Sequence[float]) -> dict[str, np.ndarray]:
    """Masks of the regions by name, such as "lesion 5 mm".

    Parameters
    ----------
    labels
        (z, y, x): 0 background, 1 tumour, 2 cavity.
    spacing
        Of the voxels along z, y and x, in mm.

    Returns
    -------
    dict
        (z, y, x) bool; without those of structures that are not there.
    """
    masks = {}
    for structure, mask in structure_masks(labels).items():
        if mask.any():
            distance = ndimage.distance_transform_edt(~mask, sampling=spacing)
            masks |= {f"{structure} {margin} mm": distance <= margin for margin in MARGINS_MM}
    return masks


def region_score(
    prediction: np.ndarray, target: np.ndarray, region: np.ndarray, *, outside: str = "zero"
) -> dict[str, float]:
    """Score a volume in a region.

    Parameters
    ----------
    prediction, target
        (z, y, x) in [-1, 1].
    region
        (z, y, x) bool.
    outside
        One of :data:`.protocol.OUTSIDES`.

    Returns
    -------
    dict
        ``PSNR``, ``MAE``, ``MSE`` and ``NMSE`` over the region, NaN of fewer than 100 voxels; ``SSIM`` and ``LPIPS``,
        means over the slices with at least 50 pixels of it, each cropped to the region's box with a padding of 2 pixels
        and at least 11 a side, as far as the slice reaches. LPIPS is that of the crop brought to 64x64 pixels, NaN
        where its weights are absent. What cannot be computed is NaN; see :func:`.fidelity.score`.

    Raises
    ------
    ValueError
        The arrays differ in shape, or ``outside`` is none of the two.
    """
    if not prediction.shape == target.shape == region.shape:
        raise ValueError(f"shapes {prediction.shape}, {target.shape} and {region.shape} differ")
    if outside not in OUTSIDES:
        raise ValueError(f"outside {outside!r} is none of {', '.join(OUTSIDES)}")
    predicted, true = ((array.astype(np.float32) + 1) / 2 for array in (prediction, target))
    crops = []
    for k in np.flatnonzero(region.sum((1, 2)) >= _FEWEST_PIXELS):
        box = _box(region[k])
        pair = predicted[k][box], true[k][box]
        inside = region[k][box]
        crops.append((*((np.where(inside, image, 0) for image in pair) if outside == "zero" else pair), inside))
    errors = dict.fromkeys(("PSNR", "MAE", "MSE", "NMSE"), float("nan"))
    if region.sum() >= FEWEST_VOXELS:
        errors = voxel_errors(predicted[region], true[region])
    similarities = [_similarity(crop, outside) for crop in crops if min(crop[2].shape) >= _WINDOW]
    return {"SSIM": float(np.mean(similarities)) if similarities else float("nan"), **errors, "LPIPS": _lpips(crops)}


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """The box of a mask (y, x) with its padding, widened to the smallest side where the image lets it."""
    return tuple(
        _side(np.flatnonzero(mask.any(axis=1 - axis)), length) for axis, length in enumerate(mask.shape)
    )


def _side(hits: np.ndarray, length: int) -> slice:
    start, stop = int(hits[0]) - _PADDING, int(hits[-1]) + 1 + _PADDING
    short = max(0, _SMALLEST_SIDE - (stop - start))
    return slice(max(0, start - short // 2), min(length, stop + short - short // 2))


def _similarity(crop: tuple[np.ndarray, np.ndarray, np.ndarray], outside: str) -> float:
    predicted, true, inside = crop
    mean, full = structural_similarity(true, predicted, data_range=1.0, full=True)
    return float(mean if outside == "zero" else full[inside].mean())


def _lpips(crops: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> float:
    network = perceptual.load()
    if network is None or not crops:
        return float("nan")
    predicted, true = (np.stack([_brought_to_side(crop[part]) for crop in crops]) for part in (0, 1))
    return float(network(true, predicted).mean())


def _brought_to_side(image: np.ndarray) -> np.ndarray:
    """An image in [0, 1], clipped to it, as LPIPS takes it."""
    size = (_LPIPS_SIDE, _LPIPS_SIDE)
    return 2 * resize(image.clip(0, 1), size, order=1, mode="edge", anti_aliasing=False) - 1
