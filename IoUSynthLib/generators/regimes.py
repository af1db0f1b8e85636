"""From volumes to what a generator takes, and back: slices, slices with neighbours, patches, and 3D refinement.

Knows nothing of families. Volumes are (B, C, D0, D1, D2) tensors in [-1, 1], -1 where there is no data. The order of
the three axes is the caller's: [z, y, x] in this library; published weights saw [x, y, z], see :class:`ReversedAxes`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .blocks import ChannelNorm, ResidualBlock, convolution, leaky, upsample

#: Intensity where there is no data.
OUTSIDE = -1.0
#: The refiner's input must be a multiple of this along every axis.
REFINER_MULTIPLE = 4
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


def build_refiner(targets: Sequence[str], width: int = 16) -> Refiner:
    """Build the untrained second stage of 2D+3D-refine; ``width`` is 16 as published."""
    return Refiner(len(targets), width)


class Refiner(nn.Module):
    """Residual 3D U-Net that corrects an assembled prediction: (B, channels, D0, D1, D2) to the same, in [-1, 1].

    As the authors' released code of the GAN families does (smcch/ious2mr-benchmark, ``src/gan``; 160,289 parameters for
    one target): it sees the prediction alone, two halvings, two residual blocks between them, and the correction is
    added and the sum clipped. Trained on triplanar predictions in patches of 64 x 64 x 32 voxels (the last axis is the
    axial one), applied in the same patches with half overlap.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.down1 = nn.Sequential(convolution(3, channels, width, 3, stride=2), ChannelNorm(width), leaky())
        self.down2 = nn.Sequential(convolution(3, width, 2 * width, 3, stride=2), ChannelNorm(2 * width), leaky())
        self.bottleneck = nn.Sequential(ResidualBlock(3, 2 * width, 2 * width), ResidualBlock(3, 2 * width, 2 * width))
        self.up1 = nn.Sequential(upsample(), convolution(3, 2 * width, width, 3), ChannelNorm(width), nn.ReLU())
        self.join = nn.Sequential(convolution(3, 2 * width, width, 3), ChannelNorm(width), nn.ReLU())
        self.up2 = nn.Sequential(upsample(), convolution(3, width, width, 3), ChannelNorm(width), nn.ReLU())
        self.head = convolution(3, width, channels, 3, bias=True)

    def forward(self, prediction: torch.Tensor) -> torch.Tensor:
        """Return the corrected prediction."""
        half = self.down1(prediction)
        x = self.up1(self.bottleneck(self.down2(half)))
        x = self.up2(self.join(torch.cat([x, half], dim=1)))
        return (prediction + self.head(x)).clamp(-1.0, 1.0)


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


class ReversedAxes(nn.Module):
    """A network that was trained on arrays with the axes in the opposite order.

    The benchmark indexed its NIfTI files as [x, y, z] and took slices [x, y]; this library has [z, y, x] and [y, x].
    Reversing the spatial axes before and after the network makes the one of the other.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map (B, C, ...) to (B, T, ...) with the spatial axes of the caller."""
        return self._reverse(self.network(self._reverse(image)))

    @staticmethod
    def _reverse(image: torch.Tensor) -> torch.Tensor:
        return image.permute(0, 1, *range(image.ndim - 1, 1, -1))
