"""Similarity of two images on one grid, patch by patch: local normalised cross-correlation and MIND-SSC. NumPy only."""

from __future__ import annotations

import numpy as np

#: Radius in voxels of the cubic patches: 7x7x7 voxels.
RADIUS = 3
#: Variance relative to the image's own below which a patch counts as flat.
_FLAT = 1e-6


def box_sum(array: np.ndarray, radius: int = RADIUS) -> np.ndarray:
    """Sum over the cube of side ``2 radius + 1`` round every voxel; beyond the array there is nothing.

    Parameters
    ----------
    array
        (..., z, y, x) float.
    radius
        In voxels.

    Returns
    -------
    numpy.ndarray
        Of the same shape and type.
    """
    for axis in (-3, -2, -1):
        array = _running_sum(array, axis, radius)
    return array


def _running_sum(array: np.ndarray, axis: int, radius: int) -> np.ndarray:
    """Sums of ``2 radius + 1`` neighbours along an axis, put together from sums of 1, 2, 4, ... by binary digits."""
    length, width = array.shape[axis], 2 * radius + 1
    array = np.moveaxis(array, axis, 0)
    part = np.zeros((length + 2 * radius, *array.shape[1:]), dtype=array.dtype)
    part[radius : radius + length] = array
    total, size, done = part[:length], 1, 1
    while done < width:
        part = part[size:] + part[:-size]
        size *= 2
        if width & size:
            total = total + part[done : done + length]
            done += size
    return np.moveaxis(total, 0, axis)


def standardise(array: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return float32 of zero mean and unit variance inside the mask (zero everywhere when it is constant there)."""
    values = array[mask]
    deviation = float(values.std(dtype=np.float64)) if values.size else 0.0
    if deviation < 1e-12:
        return np.zeros(array.shape, dtype=np.float32)
    return ((array - values.mean(dtype=np.float64)) / deviation).astype(np.float32)


def local_ncc(fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray, *, radius: int = RADIUS) -> float:
    """Mean correlation coefficient of the patches in which more than half of the voxels are inside the mask.

    Parameters
    ----------
    fixed, moving
        (z, y, x), any linear scale.
    mask
        (z, y, x) bool; other voxels are not looked at.
    radius
        Of the patches, in voxels.

    Returns
    -------
    float
        -1 to 1; patches that are flat in either image count as 0. NaN where there is no such patch.
    """
    inside = mask.astype(np.float32)
    a, b = (standardise(image, mask) * inside for image in (fixed, moving))
    count = box_sum(inside, radius)
    mean_a, mean_b, aa, bb, ab = box_sum(np.stack([a, b, a * a, b * b, a * b]), radius) / np.maximum(count, 1)
    product = (aa - mean_a**2) * (bb - mean_b**2)
    correlation = np.where(product > _FLAT**2, (ab - mean_a * mean_b) / np.sqrt(np.maximum(product, _FLAT**2)), 0.0)
    enough = count > (2 * radius + 1) ** 3 / 2
    return float(correlation[enough].mean()) if enough.any() else float("nan")


#: The six neighbours of a voxel, as steps along (z, y, x).
_NEIGHBOURS = np.array([(0, 0, -1), (0, 0, 1), (0, -1, 0), (0, 1, 0), (-1, 0, 0), (1, 0, 0)])
#: Pairs of neighbours a distance of the square root of two apart: all but the opposite ones.
PAIRS = [
    (first, second)
    for first in range(6)
    for second in range(first + 1, 6)
    if np.sum((_NEIGHBOURS[first] - _NEIGHBOURS[second]) ** 2) == 2
]


def mind_ssc(image: np.ndarray, radius: int = 1, dilation: int = 2) -> np.ndarray:
    """Self-similarity context of an image, which does not depend on its contrast.

    Twelve patch distances between pairs of neighbours, mapped by ``exp(-(D - min D) / V)`` with their mean V, held to
    0.001 to 1000 times its own mean over the image (Heinrich et al. 2013, "Towards realtime multimodal fusion for
    image-guided interventions using self-similarities").

    Parameters
    ----------
    image
        (z, y, x).
    radius
        Of the patches that are compared, in voxels.
    dilation
        Distance of the neighbours from the voxel.

    Returns
    -------
    numpy.ndarray
        float32 (12, z, y, x) in (0, 1].
    """
    reach = dilation + radius
    padded = np.pad(image.astype(np.float32), reach, mode="edge")
    shifted = [_shifted(padded, step * dilation, dilation) for step in _NEIGHBOURS]
    inner = (slice(radius, -radius or None),) * 3
    distance = np.stack([box_sum((shifted[a] - shifted[b]) ** 2, radius)[inner] for a, b in PAIRS])
    distance = np.maximum(distance, 0)  # rounding of the running sums
    distance -= distance.min(axis=0)
    variance = distance.mean(axis=0)
    mean = float(variance.mean())
    return np.exp(-distance / np.clip(variance, max(0.001 * mean, 1e-12), max(1000 * mean, 1e-12)))


def _shifted(padded: np.ndarray, step: np.ndarray, margin: int) -> np.ndarray:
    """The array without ``margin`` voxels on every side, taken ``step`` further on."""
    offsets = zip(step, padded.shape, strict=True)
    return padded[tuple(slice(margin + offset, length - margin + offset) for offset, length in offsets)]


def mind_distance(fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray) -> float:
    """Mean squared difference of the two images' MIND-SSC inside the mask: 0 for equal structure, below 1."""
    difference = mind_ssc(fixed) - mind_ssc(moving)
    return float((difference**2).mean(axis=0)[mask].mean())
