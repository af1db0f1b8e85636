"""SwinPix2Pix: a small U-Net whose encoder is a Swin transformer (Liu et al. 2021; seed section 2.4.1).

The text embeds the transformer in Pix2Pix's skeleton, which has 37 million parameters. The authors' released code,
which the published weights and 1,444,120 parameters come from, decides: a network of its own after Swin UNETR
(Hatamizadeh et al. 2022) in 2D, and in 3D Pix2Pix's network, without any attention between voxels. Voxels that the
cyclic shift brings together from opposite edges attend to each other: the code has no mask.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import nn

from . import pix2pix
from .blocks import AttentionGate, ChannelNorm, convolution, group_norm, upsample
from .family import Size

#: Width of the first stage as published.
WIDTH = 36
_DEPTH = 2
_HEADS = (6, 6, 12)
_WINDOW = (4, 4)
_PATCH = 2


def build(dimensions: int, inputs: int, outputs: int, *, width: int | None = None) -> nn.Module:
    """Make the generator of slices, or Pix2Pix's of volumes.

    Parameters
    ----------
    dimensions
        2 or 3. Sizes must be multiples of 32, and in 2D at least twice as much: below, MONAI's blocks no longer shift
        windows.
    inputs, outputs
        Numbers of channels.
    width
        Channels of the first stage, a multiple of 6; 36 in 2D as published. In 3D as in Pix2Pix.

    Raises
    ------
    ValueError
        The width is not a multiple of the number of attention heads.
    """
    if dimensions == 3:
        return pix2pix.AttentionUNet(3, inputs, outputs, width=width)
    width = width or WIDTH
    if width % _HEADS[0]:
        raise ValueError(f"the width must be a multiple of {_HEADS[0]}, the number of attention heads, not {width}")
    return SwinUNet(inputs, outputs, width)


class SwinUNet(nn.Module):
    """Three Swin stages at half, a quarter and an eighth of the size, and a gated decoder, output in [-1, 1].

    Parameters
    ----------
    inputs, outputs
        Numbers of channels.
    width
        Channels of the first stage; each further one has twice as many.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        widths = [width << number for number in range(len(_HEADS))]
        self.stem = _layer(inputs, width)
        self.embedding = nn.Sequential(nn.Conv2d(inputs, width, _PATCH, _PATCH), ChannelNorm(width, eps=1e-5))
        self.stages = nn.ModuleList(_Stage(channels, heads) for channels, heads in zip(widths, _HEADS, strict=True))
        self.merging = nn.ModuleList(_Merging(channels) for channels in widths[:-1])
        self.bottleneck = nn.Sequential(_layer(widths[-1], widths[-1]), _layer(widths[-1], widths[-1]))
        self.decoder = nn.ModuleList([_Up(4 * width, 2 * width), _Up(2 * width, width), _Up(width, width)])
        self.head = nn.Sequential(convolution(2, width, outputs, kernel=1, bias=True), nn.Tanh())
        _initialise(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Translate an image."""
        skips = [self.stem(image)]
        x = self.embedding(image).permute(0, 2, 3, 1)
        for number, stage in enumerate(self.stages):
            x = stage(x)
            skips.append(x.permute(0, 3, 1, 2))
            if number < len(self.merging):
                x = self.merging[number](x)
        x = self.bottleneck(skips.pop())
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(x, skip)
        return self.head(x)


class _Stage(nn.Module):
    """Two Swin blocks on (B, H, W, C), the second with windows shifted by half."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        from monai.networks.nets.swin_unetr import SwinTransformerBlock

        shifts = [tuple(number % 2 * size // 2 for size in _WINDOW) for number in range(_DEPTH)]
        norm = partial(nn.LayerNorm, eps=1e-5)
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(channels, heads, _WINDOW, shift, norm_layer=norm) for shift in shifts
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, None)
        return x


class _Merging(nn.Module):
    """Two by two voxels become one with twice the channels: (B, H, W, C) to (B, H/2, W/2, 2C).

    Rows run slower than columns; MONAI's PatchMerging orders the four the other way, and has no choice of epsilon.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels, eps=1e-5)
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        four = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        return self.reduction(self.norm(torch.cat(four, dim=-1)))


class _Up(nn.Module):
    """Up-sampling, a gated skip connection of ``outputs`` channels, and two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(upsample(), _layer(inputs, outputs))
        self.gate = AttentionGate(2, outputs, outputs, hidden=outputs, bias=True)
        self.layers = nn.Sequential(_layer(2 * outputs, outputs), _layer(outputs, outputs))

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.expand(x)
        return self.layers(torch.cat([x, self.gate(skip, x)], dim=1))


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(convolution(2, inputs, outputs, kernel=3), group_norm(outputs), nn.ReLU())


def _initialise(network: nn.Module) -> None:
    """Start as the released code does: He et al. 2015 for convolutions, Glorot and Bengio 2010 for linear layers."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


#: Trained and run as Pix2Pix is; a third of the published width, of which the heads take multiples.
FAMILY = replace(pix2pix.FAMILY, build=build, reduced=Size({"width": 12}, {"width": 8}, {"width": 16}))
