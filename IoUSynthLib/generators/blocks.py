"""Layers as Keras computes them, and the blocks that the GAN generators of the benchmark are made of.

The four GAN families of the ioUS-to-MR benchmark (seed section 2.4.1) were trained with Keras 3, so what counts is
what Keras computes: "same" padding that puts the odd voxel behind, layer normalisation over the channels of one voxel,
epsilon 1e-3. Layers follow the authors' released code (smcch/ious2mr-benchmark, ``src/gan``); where the paper's text
differs, the family's docstring says so.

Sub-modules are registered in the order in which Keras numbers the layers of a functional model (by depth, shortcuts
after the path that they bridge), so that the n-th convolution here is the n-th convolution of a published file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

#: Default of Keras's LayerNormalization and GroupNormalization; torch's is 1e-5.
KERAS_EPSILON = 1e-3
_SLOPE = 0.2
_DEVIATION = 0.02


def convolution(
    dimensions: int, inputs: int, outputs: int, *, kernel: int, stride: int = 1, bias: bool = False
) -> nn.Module:
    """Convolution with zero padding "same" as TensorFlow defines it, for sizes that the stride divides.

    The padding, ``kernel - stride`` in all, goes half before and half behind; an odd voxel goes behind. A 3-wide kernel
    with stride 2 thus pads 0 before and 1 behind, where torch's ``padding=1`` would shift the image by one voxel.
    Weights start from N(0, 0.02), biases from 0, as in the released code.
    """
    before, odd = divmod(kernel - stride, 2)
    kind = nn.Conv3d if dimensions == 3 else nn.Conv2d
    layer = kind(inputs, outputs, kernel, stride, padding=0 if odd else before, bias=bias)
    nn.init.normal_(layer.weight, std=_DEVIATION)
    if bias:
        nn.init.zeros_(layer.bias)
    if not odd:
        return layer
    pad = nn.ZeroPad3d if dimensions == 3 else nn.ZeroPad2d
    return nn.Sequential(pad((before, before + 1) * dimensions), layer)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of each voxel over its channels, of (B, C, ...), as Keras's default axis has it."""

    def __init__(self, channels: int, eps: float = KERAS_EPSILON) -> None:
        super().__init__(channels, eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise and scale; the shape stays."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def instance_norm(dimensions: int, channels: int) -> nn.Module:
    """Affine instance normalisation, epsilon 1e-5 (the authors' own layer, not one of Keras's)."""
    return (nn.InstanceNorm3d if dimensions == 3 else nn.InstanceNorm2d)(channels, eps=1e-5, affine=True)


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with as many groups as divide the channels, 32 at most."""
    groups = next(count for count in range(min(32, channels), 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels, eps=KERAS_EPSILON)


def upsample() -> nn.Upsample:
    """Nearest neighbour, twice the size: the benchmark has no transposed convolutions."""
    return nn.Upsample(scale_factor=2, mode="nearest")


def leaky() -> nn.LeakyReLU:
    """Leaky ReLU with the slope of all encoders of the benchmark, 0.2."""
    return nn.LeakyReLU(_SLOPE)


class ResidualBlock(nn.Module):
    """Two 3-wide convolutions with channel normalisation beside a shortcut: (B, inputs, ...) to (B, outputs, ...).

    The shortcut is a 1-wide convolution where the number of channels changes; in the released code it has a bias in 2D
    and none in 3D.
    """

    def __init__(self, dimensions: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = convolution(dimensions, inputs, outputs, kernel=3)
        self.norm1 = ChannelNorm(outputs)
        self.conv2 = convolution(dimensions, outputs, outputs, kernel=3)
        self.norm2 = ChannelNorm(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = convolution(dimensions, inputs, outputs, kernel=1, bias=dimensions == 2)
        self.activation = leaky()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activate after the first convolution and after the sum."""
        path = self.activation(self.norm1(self.conv1(x)))
        return self.activation(self.shortcut(x) + self.norm2(self.conv2(path)))


class EncoderBlock(nn.Sequential):
    """4-wide convolution with stride 2, normalisation unless it is the first, and a residual block: half the size."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, *, normalise: bool = True) -> None:
        super().__init__(
            convolution(dimensions, inputs, outputs, kernel=4, stride=2),
            ChannelNorm(outputs) if normalise else nn.Identity(),
            leaky(),
            ResidualBlock(dimensions, outputs, outputs),
        )


class AttentionGate(nn.Module):
    """Additive attention (Oktay et al. 2018): weighs each voxel of a skip connection by what the decoder knows there.

    Parameters
    ----------
    skip, gating
        Channels of the skip connection and of the decoder's features, both at the same size.
    hidden
        Channels in which they are compared.
    bias
        Whether the map to one channel has a bias.
    """

    def __init__(self, dimensions: int, skip: int, gating: int, *, hidden: int, bias: bool = False) -> None:
        super().__init__()
        self.skip = convolution(dimensions, skip, hidden, kernel=1)
        self.gating = convolution(dimensions, gating, hidden, kernel=1)
        self.weight = convolution(dimensions, hidden, 1, kernel=1, bias=bias)

    def forward(self, skip: torch.Tensor, gating: torch.Tensor) -> torch.Tensor:
        """Return the skip connection, weighed."""
        return skip * torch.sigmoid(self.weight(F.relu(self.skip(skip) + self.gating(gating))))


class DecoderBlock(nn.Module):
    """Up-sampling, a gated skip connection and a residual block: (B, inputs, ...) to (B, outputs, ...), twice the size.

    Parameters
    ----------
    skip
        Channels of the skip connection.
    dropout
        Share of the features that are dropped in training.
    """

    def __init__(self, dimensions: int, inputs: int, outputs: int, *, skip: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.up = upsample()
        self.conv = convolution(dimensions, inputs, outputs, kernel=3)
        self.norm = ChannelNorm(outputs)
        self.dropout = nn.Dropout(dropout)
        self.gate = AttentionGate(dimensions, skip, outputs, hidden=outputs // 2)
        self.residual = ResidualBlock(dimensions, outputs + skip, outputs)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Take the features below and the skip connection at twice their size."""
        x = F.relu(self.dropout(self.norm(self.conv(self.up(x)))))
        return self.residual(torch.cat([x, self.gate(skip, x)], dim=1))
