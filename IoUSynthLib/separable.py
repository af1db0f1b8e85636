"""Separable filters of volumes as products of matrices, one along each axis, for which there is BLAS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Voxels along an axis that ITK's recursive Gaussian needs; it goes on beyond the border with the outermost ones.
_FEWEST_SMOOTHED = 4


def along_axes(array: np.ndarray, matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Multiply by a matrix along each axis.

    Parameters
    ----------
    array
        (z, y, x), finite.
    matrices
        One (new length, length) for each axis.

    Returns
    -------
    numpy.ndarray
        float32.

    Examples
    --------
    >>> double = np.repeat(np.eye(2), 2, axis=0)
    >>> along_axes(np.arange(8).reshape(2, 2, 2), [np.eye(2), np.eye(2), double])[1, 1].tolist()
    [6.0, 6.0, 7.0, 7.0]
    """
    along_z, along_y, along_x = (matrix.astype(np.float32) for matrix in matrices)
    array = np.ascontiguousarray(array, dtype=np.float32)
    array = (along_z @ array.reshape(len(array), -1)).reshape(-1, *array.shape[1:])
    array = along_y @ array
    return (array.reshape(-1, array.shape[2]) @ along_x.T).reshape(*array.shape[:2], -1)


def interpolation(places: np.ndarray, length: int) -> np.ndarray:
    """Matrix (places, length) that interpolates linearly; beyond the outer faces of the voxels there is 0."""
    lower = np.floor(places).astype(int)
    share = places - lower
    matrix = np.zeros((len(places), length))
    rows = np.flatnonzero((places >= -0.5) & (places < length - 0.5))
    matrix[rows, lower[rows].clip(0)] = 1 - share[rows]
    matrix[rows, (lower[rows] + 1).clip(max=length - 1)] += share[rows]
    return matrix


def smoothing(length: int, sigma: float) -> np.ndarray:
    """Matrix (length, length) that smooths by a Gaussian of ``sigma`` voxels, with the outermost ones going on."""
    import SimpleITK as sitk

    if sigma == 0:
        return np.eye(length)
    units = sitk.GetImageFromArray(np.eye(length))
    return sitk.GetArrayFromImage(sitk.DiscreteGaussian(units, [0.0, sigma**2], useImageSpacing=False))


def gaussian(length: int, sigma: float) -> np.ndarray:
    """Matrix (length, length) of ITK's recursive Gaussian of ``sigma`` voxels."""
    import SimpleITK as sitk

    lacking = max(0, _FEWEST_SMOOTHED - length)
    units = sitk.GetImageFromArray(np.pad(np.eye(length), [(0, lacking), (0, 0)], mode="edge"))
    return sitk.GetArrayFromImage(sitk.RecursiveGaussian(units, sigma, direction=1))[:length]
