"""Inference as the benchmark's released code does it, in torch: what the library's one loop is compared with.

Volumes are (B, C, D0, D1, D2) tensors in [-1, 1], -1 where there is no data, with the axes in any order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

OUTSIDE = -1.0
#: Slices that go through a network at once.
_BATCH = 8

Network = Callable[[torch.Tensor], torch.Tensor]


def slices(volume: torch.Tensor, axis: int, context: int = 0) -> torch.Tensor:
    """Cut a volume into slices.

    Parameters
    ----------
    volume
        (B, C, D0, D1, D2).
    axis
        0, 1 or 2: the axis to cut along.
    context
        Neighbours on either side that come as further channels: 0 in 2D, 1 in 2.5D. Edge slices are repeated.

    Returns
    -------
    torch.Tensor
        (B * n, C * (2 * context + 1), h, w), channel c of neighbour k at ``c * (2 * context + 1) + k``.
    """
    stack = volume.movedim(axis + 2, 1)
    count = stack.shape[1]
    offsets = torch.arange(-context, context + 1, device=volume.device)
    neighbours = (torch.arange(count, device=volume.device)[:, None] + offsets).clamp(0, count - 1)
    return stack[:, neighbours].transpose(2, 3).flatten(2, 3).flatten(0, 1)


def assemble(images: torch.Tensor, axis: int, batch: int = 1) -> torch.Tensor:
    """Stack slices (batch * n, C, h, w) along an axis to a volume (batch, C, D0, D1, D2)."""
    return images.unflatten(0, (batch, -1)).movedim(1, axis + 2)


def starts(length: int, window: int, step: int) -> list[int]:
    """Return where windows start that cover a length: in steps, and the last flush with the end."""
    last = max(length - window, 0)
    return sorted({*range(0, last + 1, step), last})


def predict_windows(
    network: Network, images: torch.Tensor, window: Sequence[int], step: Sequence[int], reflect: bool = False
) -> torch.Tensor:
    """Predict window by window and average where windows overlap, all with the same weight.

    Parameters
    ----------
    network
        Maps (B, C, \\*window) to (B, T, \\*window).
    images
        (B, C, ...) of any size; padded behind where smaller than the window.
    window, step
        Size of a window and distance of the next, one number an axis.
    reflect
        Pad by reflection instead of :data:`OUTSIDE`.

    Returns
    -------
    torch.Tensor
        (B, T, ...) of the images' size.
    """
    shape = images.shape[2:]
    padded = _pad(images, window, reflect)
    total: torch.Tensor | None = None
    count = torch.zeros(padded.shape[2:], dtype=images.dtype, device=images.device)
    positions = [starts(*axis) for axis in zip(padded.shape[2:], window, step, strict=True)]
    for start in itertools.product(*positions):
        part = tuple(slice(a, a + n) for a, n in zip(start, window, strict=True))
        prediction = network(padded[(..., *part)])
        if total is None:
            total = prediction.new_zeros((*prediction.shape[:2], *padded.shape[2:]))
        total[(..., *part)] += prediction
        count[part] += 1
    assert total is not None
    return (total / count)[(..., *(slice(n) for n in shape))]


def predict_slices(
    network: Network, volume: torch.Tensor, axes: Sequence[int], window: Sequence[int], context: int = 0
) -> torch.Tensor:
    """Predict slice by slice along each axis and average: the benchmark's released predictions take all three axes.

    Parameters
    ----------
    network
        Maps (B, C * (2 * context + 1), \\*window) to (B, T, \\*window).
    volume
        (B, C, D0, D1, D2).
    axes
        Axes to cut along; axial slices alone as the paper's text says, or (0, 1, 2) as its released code does.
    window
        Height and width that the network sees, 192 x 192 in the released code. Smaller slices are padded behind with
        :data:`OUTSIDE`; larger ones are covered in steps of half a window.
    context
        As in :func:`slices`.

    Returns
    -------
    torch.Tensor
        (B, T, D0, D1, D2).
    """
    step = [size // 2 for size in window]
    total: torch.Tensor | float = 0.0
    for axis in axes:
        images = slices(volume, axis, context)
        rows = [predict_windows(network, some, window, step) for some in images.split(_BATCH)]
        total = total + assemble(torch.cat(rows), axis, len(volume))
    assert isinstance(total, torch.Tensor)
    return total / len(axes)


def _pad(images: torch.Tensor, window: Sequence[int], reflect: bool) -> torch.Tensor:
    missing = [max(size - length, 0) for length, size in zip(images.shape[2:], window, strict=True)]
    if not reflect:
        return F.pad(images, [n for count in reversed(missing) for n in (0, count)], value=OUTSIDE)
    for axis, count in enumerate(missing, start=2):  # numpy reflects as often as needed, torch only once
        index = np.pad(np.arange(images.shape[axis]), (0, count), mode="reflect")
        images = images.index_select(axis, torch.as_tensor(index, device=images.device))
    return images


class RefinedSlices(nn.Module):
    """2D+3D-refine as one network: (B, 1, D0, D1, D2) to (B, targets, D0, D1, D2).

    Parameters
    ----------
    slice_network
        Translates (B, 1, h, w) to (B, targets, h, w).
    refiner
        Corrects the assembled volume.
    axes, window
        As in :func:`predict_slices`; 192 x 192 and all three axes in the released code.
    patch
        Size of the refiner's patches, which overlap by half.
    """

    def __init__(
        self,
        slice_network: nn.Module,
        refiner: nn.Module,
        axes: Sequence[int] = (0, 1, 2),
        window: Sequence[int] = (192, 192),
        patch: Sequence[int] = (64, 64, 32),
    ) -> None:
        super().__init__()
        self.slice_network, self.refiner = slice_network, refiner
        self.axes, self.window, self.patch = tuple(axes), tuple(window), tuple(patch)

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Predict slice by slice, clip, and refine patch by patch."""
        prediction = predict_slices(self.slice_network, volume, self.axes, self.window).clamp(-1.0, 1.0)
        return predict_windows(self.refiner, prediction, self.patch, [n // 2 for n in self.patch], reflect=True)


