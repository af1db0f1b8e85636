"""Sulci as sheets: where the two banks of a fold meet, also where a label map shows no fluid between them.

In heads from real MRI sheets are the lines of fluid that T2w and FLAIR show, which are the targets there.

Label maps and 1 mm MRI show the fluid of wide sulci only. In brains that a tumour presses, sulci are 1 to 2 mm wide,
with cortex on both sides. Their middle is the ridge of the distance to white matter (the medial surface by which
cortical thickness is measured, Das et al. 2009, NeuroImage 45:867), and mass effect narrows what fluid there is.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy import ndimage, special

from .tissues import TUMOUR, Tissue

#: Smoothing of the distance to white matter in mm: sheets are found as far as twice this from their middle.
_SMOOTHING = 1.0
#: Blur of MRI of 1 mm, as the standard deviation in mm.
_BLUR = 0.5
#: A sheet of fluid in MRI curves by so much and is brighter than brain by so much; by eye on two of the BraTS patients.
_FAINTEST_FLUID, _LEAST_ABOVE_BRAIN = 0.03, 0.03
#: Slope of a distance map away from ridges: voxel steps take a little from one.
_FULL_SLOPE = 0.95
#: Ridges nearer to white matter than this are steps of the label map, not sulci; cortex is 2 to 4 mm thick.
_THINNEST_CORTEX = 1.2
#: Distance in mm over which tissue follows the bank of a sulcus that closes.
_REACH = 5.0
FAR = 4.0
#: What has cortex around it; a tumour counts, so that the sulci beside it stay where they are.
_WITHIN = (Tissue.WHITE_MATTER, Tissue.DEEP_GREY, Tissue.VENTRICLE, Tissue.CHOROID_PLEXUS, *TUMOUR, Tissue.OEDEMA)


def signed_distance(mask: np.ndarray, spacing: float) -> np.ndarray:
    """Distance in mm to the mask's border, negative inside; float32."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask, np.uint8))
    image.SetSpacing((spacing,) * 3)
    return sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True))


def fold(tissues: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Sheets of the sulci and the way their banks close.

    Parameters
    ----------
    tissues
        Uint8 array [z, y, x] of :class:`Tissue`, fluid of sulci apart from that of ventricles.
    spacing
        Isotropic voxel size in mm.

    Returns
    -------
    tuple of numpy.ndarray
        Distance in mm to the nearest sheet, ``FAR`` where there is none, float16; and (3, z, y, x) displacement in mm
        along x, y, z from where the bank of a closed sulcus is seen to where it lies in ``tissues``, float16.
    """
    white = np.isin(tissues, _WITHIN)
    distance = ndimage.gaussian_filter(signed_distance(white, spacing), _SMOOTHING / spacing)
    slope = np.stack(np.gradient(distance, spacing))
    steepness = np.sqrt(np.square(slope).sum(0))
    foldable = np.isin(tissues, (Tissue.CORTEX, Tissue.SULCUS, Tissue.FALX)) & (distance > _THINNEST_CORTEX)
    sheet = np.full(tissues.shape, FAR, np.float32)
    sheet[foldable] = distance_to_ridge(steepness[foldable])
    fluid = signed_distance(np.isin(tissues, (Tissue.SULCUS, Tissue.FALX)), spacing)
    width = _half_width(fluid, spacing) * np.exp(-np.square(fluid.clip(0) / _REACH))
    direction = -slope[::-1] / np.maximum(steepness, 0.5)
    return _continued(sheet, spacing), (direction * width).astype(np.float16)


def distance_to_ridge(steepness: np.ndarray) -> np.ndarray:
    """Distance in mm to the ridge of a tent, from the slope of the tent smoothed by a Gaussian.

    The smoothed slope is erf(u / (sqrt(2) s)) at the distance u from the ridge, which is inverted; it saturates two
    standard deviations away.
    """
    share = steepness / _FULL_SLOPE
    return np.where(share < 0.97, np.sqrt(2) * _SMOOTHING * special.erfinv(np.clip(share, 0, 0.97)), FAR)


def fluid_sheet(contrast: np.ndarray, tissues: np.ndarray, spacing: float) -> np.ndarray:
    """Distance in mm to the nearest sheet of fluid that MRI shows, ``FAR`` where there is none.

    Sheets are where the image falls to both sides: the ridge lies where its slope along the direction of the strongest
    curvature is zero, to which Newton's step leads from beside it (Steger 1998, IEEE PAMI 20:113).

    Parameters
    ----------
    contrast
        (z, y, x) T2w less FLAIR, relative to fluid in T2w: about 0.9 in fluid and 0 in brain.
    tissues
        Uint8 array of :class:`Tissue`; ventricles have no sheets.
    spacing
        Isotropic voxel size in mm.

    Returns
    -------
    numpy.ndarray
        float16.
    """
    sigma = _SMOOTHING / spacing
    smooth = ndimage.gaussian_filter(contrast.astype(np.float32), sigma)
    slope = np.gradient(smooth, spacing)
    curved = -ndimage.laplace(smooth) / spacing**2 * _SMOOTHING**2 > _FAINTEST_FLUID / 2
    # A tumour is darker: where it ends, brain looks like a ridge beside it.
    curved &= smooth > np.median(smooth[tissues == Tissue.WHITE_MATTER]) + _LEAST_ABOVE_BRAIN
    curved &= ~np.isin(tissues, (Tissue.OUTSIDE, Tissue.SKULL, Tissue.VENTRICLE, Tissue.CHOROID_PLEXUS))
    second = [[np.gradient(part, spacing, axis=axis)[curved] for axis in range(3)] for part in slope]
    values, vectors = np.linalg.eigh(np.moveaxis(np.array(second), -1, 0))
    across = np.einsum("ni,ni->n", vectors[:, :, 0], np.stack([part[curved] for part in slope], 1))
    strong = -values[:, 0] * _SMOOTHING**2 > _FAINTEST_FLUID
    step = np.abs(across / np.minimum(values[:, 0], -1e-6)).clip(1e-6)
    sheet = np.full(tissues.shape, FAR, np.float32)
    sheet[curved] = np.where(strong, np.minimum(_from_newton(step), FAR), FAR)
    return _continued(sheet, spacing)


def _from_newton(step: np.ndarray) -> np.ndarray:
    """Distance u to the ridge from Newton's step, which is u / (1 - u^2 / s^2) beside a Gaussian ridge of width s."""
    square = _SMOOTHING**2 + _BLUR**2
    return (np.sqrt(square**2 + 4 * square * step**2) - square) / (2 * step)


def _continued(sheet: np.ndarray, spacing: float) -> np.ndarray:
    """Distances to sheets, float16, with those beside where they are known: a lookup between voxels needs both."""
    beside = signed_distance(sheet < spacing / 2, spacing).clip(spacing / 2, FAR)
    return np.where(sheet < FAR, sheet, beside).astype(np.float16)


def _half_width(fluid: np.ndarray, spacing: float) -> np.ndarray:
    """Half of the width in mm of the fluid nearby: a mean of its depths in which the greatest weigh most."""
    depth = np.where(fluid <= 0, spacing / 2 - fluid, 0).clip(0, 3)
    smooth = [ndimage.gaussian_filter(depth**power, 1.5 / spacing) for power in (6, 5)]
    return smooth[0] / np.maximum(smooth[1], 1e-3)
