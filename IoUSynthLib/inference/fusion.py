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
        float32 (channels, z, y, x). Where all predictions are the same, so is this.

    Examples
    --------
    >>> passes = [np.full((1, 4, 4, 4), value, np.float32) for value in (0.0, 1.0)]
    >>> fuse(passes, (0, 1), 2.0).mean().round(2).item()
    0.5
    """
    if not scale or len(passes) == 1:
        return sum(passes) / np.float32(len(passes))
    shape = passes[0].shape[1:]
    # Room for the Gaussian, so that a border of the volume does not reach the opposite one.
    padded = tuple(-(-(length + int(3 * scale)) // 8) * 8 for length in shape)
    weights = _weights(padded, axes, scale)
    inner = tuple(slice(length) for length in shape)
    fused = np.empty(passes[0].shape, np.float32)

    def fuse_channel(number: int) -> None:
        spectrum = sum(
            np.fft.rfftn(one[number], padded, axes=(0, 1, 2)) * weight
            for one, weight in zip(passes, weights, strict=True)
        )
        fused[number] = np.fft.irfftn(spectrum, padded, axes=(0, 1, 2))[inner]

    side_by_side(fuse_channel, range(len(fused)))
    return fused


def _weights(shape: tuple[int, ...], axes: Sequence[int], scale: float) -> list[np.ndarray]:
    """Weight of each prediction for every frequency of a real transform: arrays of (z, y, x // 2 + 1)."""
    frequencies = [*(np.fft.fftfreq(length) for length in shape[:-1]), np.fft.rfftfreq(shape[-1])]
    trusted = [
        np.moveaxis((np.exp(-2 * (np.pi * scale * frequencies[axis]) ** 2) + _SMALLEST_WEIGHT)[:, None, None], 0, axis)
        for axis in axes
    ]
    total = sum(trusted)
    return [(weight / total).astype(np.float32) for weight in trusted]
