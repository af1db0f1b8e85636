"""Predictions of one volume along several slice axes, made into one.

What a network makes of a slice differs from that of the next one by more than the tissue does. Such differences vary
fast along the slice axis and slowly within the slice, so that a plain mean of three axes shows them as stripes and
plaids along the grid. In the frequency domain they are told apart: of a wave that is short along an axis, the slices
across that axis know little, those that hold the axis know it well, and are weighted accordingly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..parallel import side_by_side
from ..separable import along_axes

#: Least weight of an axis: waves that are short along all axes are averaged.
_SMALLEST_WEIGHT = 0.02


def fuse(passes: Sequence[np.ndarray], axes: Sequence[int], scale: float) -> np.ndarray:
    """Weighted mean of a volume's predictions, with the weights of each spatial frequency summing to one.

    Parameters
    ----------
    passes
        Predictions (channels, z, y, x), all 0 outside the valid voxels.
    axes
        The axis, 0 to 2 for z, y and x, across which the slices of each prediction lie.
    scale
        Standard deviation in voxels of a Gaussian whose frequency response along an axis is the trust in the slices
        across that axis; 0 for the plain mean.

    Returns
    -------
    numpy.ndarray
        float32 (channels, z, y, x). Where all predictions are the same, so is this; a single one is returned as it is.

    Examples
    --------
    >>> passes = [np.full((1, 4, 4, 4), value, np.float32) for value in (0.0, 1.0)]
    >>> fuse(passes, (0, 1), 2.0).mean().round(2).item()
    0.5
    """
    if len(passes) == 1:
        return passes[0]
    if not scale:
        return sum(passes) / np.float32(len(passes))
    shape = passes[0].shape[1:]
    # Room for the Gaussian, so that a border of the volume does not reach the opposite one.
    padded = [-(-(length + int(3 * scale)) // 8) * 8 for length in shape]
    transforms = [_hartley(length) for length in padded]
    trusts = [np.exp(-2 * (np.pi * scale * np.fft.fftfreq(length)) ** 2) + _SMALLEST_WEIGHT for length in padded]
    there = [transform[:, :length] for transform, length in zip(transforms, shape, strict=True)]
    weighted = [trust[:, None] * transform for trust, transform in zip(trusts, there, strict=True)]
    total = sum(trusts[axis].reshape(np.roll((-1, 1, 1), axis)) for axis in axes).astype(np.float32)

    def fuse_channel(number: int) -> np.ndarray:
        spectrum = sum(
            along_axes(one[number], [*there[:axis], weighted[axis], *there[axis + 1 :]])
            for one, axis in zip(passes, axes, strict=True)
        )
        return along_axes(spectrum / total, [transform.T for transform in there])

    return np.stack(side_by_side(fuse_channel, range(len(passes[0]))))


def _hartley(length: int) -> np.ndarray:
    """Orthonormal matrix (frequencies, length) of Hartley's transform, Fourier's for real numbers; its own inverse.

    A filter that is symmetric, as a Gaussian is, weights its frequencies as it does Fourier's (Bracewell, Journal of
    the Optical Society of America 1983).
    """
    angles = 2 * np.pi * np.outer(np.arange(length), np.arange(length)) / length
    return (np.cos(angles) + np.sin(angles)) / np.sqrt(length)
