"""The U-Net of the first Pix2Pix (Isola et al. 2017): strided and transposed convolutions, on slices and in 3D.

Families that follow a paper with it share it: the T1-to-T2 study's and BrainVoxGen's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from .blocks import leaky

_DROPOUT = 0.5


class SkipUNet(nn.Module):
    """Each level halves the size by a 4-wide convolution and doubles it by a transposed one; output in [-1, 1].

    Between them stand normalisation and leaky ReLU on the way down, normalisation, dropout and ReLU on the way up; what
    came down is joined to what goes up. The first and the deepest convolution are not normalised, and a convolution
    that is has no bias.

    Parameters
    ----------
    dimensions
        2 or 3.
    inputs, outputs
        Numbers of channels.
    widths
        Channels of the levels, as many as sizes are to be halved.
    flat
        Number of deepest levels that keep the length of the first axis, for slabs.
    norm
        "batch" or "instance", both with weights.
    dropped
        How many of the deepest levels have dropout (0.5) on the way up, the deepest left out; it takes no part at
        inference.
    """

    def __init__(
        self, dimensions: int, inputs: int, outputs: int, *, widths: Sequence[int], flat: int = 0, norm: str = "batch",
        dropped: int = 0,
    ) -> None:
        super().__init__()
        self.dimensions, self.norm = dimensions, norm
        last = len(widths) - 1
        pairs = list(enumerate(itertools.pairwise((inputs, *widths))))
        self.down = nn.ModuleList(
            nn.Sequential(*self._convolution("Conv", before, after, flat=level > last - flat, plain=level in (0, last)),
                          leaky())
            for level, (before, after) in pairs
        )  # fmt: skip
        self.up = nn.ModuleList(
            nn.Sequential(
                *self._convolution("ConvTranspose", (1 if level == last else 2) * after, before if level else outputs,
                                   flat=level > last - flat, plain=level == 0),
                nn.Dropout(_DROPOUT if last - dropped <= level < last else 0.0),
                nn.ReLU() if level else nn.Tanh(),
            )
            for level, (before, after) in reversed(pairs)
        )  # fmt: skip

    def _convolution(self, kind: str, inputs: int, outputs: int, *, flat: bool, plain: bool) -> list[nn.Module]:
        """A convolution and its normalisation; a ``plain`` one has none, and a bias where the counts need it."""
        kernel, stride, padding = (4,) * self.dimensions, (2,) * self.dimensions, (1,) * self.dimensions
        if flat:
            kernel, stride, padding = (1, *kernel[1:]), (1, *stride[1:]), (0, *padding[1:])
        bias = plain and (kind == "ConvTranspose" or self.norm == "instance")
        layer = getattr(nn, f"{kind}{self.dimensions}d")(inputs, outputs, kernel, stride, padding, bias=bias)
        nn.init.normal_(layer.weight, std=0.02)
        if plain:
            return [layer]
        name = "BatchNorm" if self.norm == "batch" else "InstanceNorm"
        return [layer, getattr(nn, f"{name}{self.dimensions}d")(outputs, affine=True)]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, inputs, ...) in [-1, 1] to (B, outputs, ...)."""
        skips = []
        for level in self.down:
            image = level(image)
            skips.append(image)
        image = self.up[0](skips.pop())
        for level in self.up[1:]:
            image = level(torch.cat([image, skips.pop()], 1))
        return image
