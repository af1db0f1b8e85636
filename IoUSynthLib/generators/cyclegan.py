"""CycleGAN: a residual generator with instance normalisation (Zhu et al. 2017; seed section 2.4.1).

One network translates ultrasound to MRI; training has a second one for the way back, an instance of the same class
with the channels exchanged. As in the authors' released code, and unlike the original: zero padding instead of
reflection, nearest neighbour up-sampling with a 3-wide convolution instead of transposed convolutions, affine
normalisation. In 3D the code has three instead of two halvings, six instead of nine residual blocks, and skip
connections, none of which the text mentions; the published 23,629,057 parameters need them (11,370,881 in 2D).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from .blocks import INPUTS, convolution, dimensions_of, instance_norm, upsample

#: Sizes must be multiples of this: they are halved twice, in 3D three times.
SIZE_MULTIPLE = 8
#: Width of the first layer as published, by number of dimensions.
WIDTHS = {2: 64, 3: 32}
_HALVINGS = {2: 2, 3: 3}
_BLOCKS = {2: 9, 3: 6}


def build(regime: str, targets: Sequence[str], width: int | None = None) -> ResidualGenerator:
    """CycleGAN's way from ultrasound to MRI: (B, 1 or 3, H, W) to (B, targets, H, W), in 3D (B, 1, D, H, W) likewise.

    Parameters
    ----------
    regime
        2D and 2D+3D-refine take one slice (the refiner is :func:`.regimes.build_refiner`), 2.5D its neighbours too.
    targets
        MR contrasts, one output channel each, in [-1, 1].
    width
        Channels of the first layer; 64 in 2D and 32 in 3D, as published.
    """
    dimensions = dimensions_of(regime)
    return ResidualGenerator(dimensions, INPUTS[regime], len(targets), width or WIDTHS[dimensions])


class ResidualGenerator(nn.Module):
    """Residual blocks at a quarter (in 3D an eighth) of the size, output in [-1, 1].

    Parameters
    ----------
    dimensions
        2 or 3; in 3D each up-sampling is joined by the features of the same size.
    inputs, outputs
        Numbers of channels.
    width
        Channels at full size.
    """

    def __init__(self, dimensions: int, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        widths = [width << number for number in range(_HALVINGS[dimensions] + 1)]
        steps = list(itertools.pairwise(widths))
        self.stem = _layer(dimensions, inputs, width, 7)
        self.down = nn.ModuleList(_layer(dimensions, a, b, 3, stride=2) for a, b in steps)
        self.blocks = nn.Sequential(*(_Residual(dimensions, widths[-1]) for _ in range(_BLOCKS[dimensions])))
        self.up = nn.ModuleList(_Up(dimensions, b, a, join=dimensions == 3) for a, b in reversed(steps))
        self.head = nn.Sequential(convolution(dimensions, width, outputs, 7, bias=True), nn.Tanh())

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features at every size, and last those behind the residual blocks."""
        features = [self.stem(image)]
        for layer in self.down:
            features.append(layer(features[-1]))
        return [*features, self.blocks(features[-1])]

    def decode(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the image for what :meth:`encode` returned."""
        x = features[-1]
        for layer, skip in zip(self.up, features[-3::-1], strict=True):
            x = layer(x, skip)
        return self.head(x)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Translate an image."""
        return self.decode(self.encode(image))


def _layer(dimensions: int, inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        convolution(dimensions, inputs, outputs, kernel, stride), instance_norm(dimensions, outputs), nn.ReLU()
    )


class _Residual(nn.Module):
    """Two convolutions with instance normalisation beside the identity, no activation after the sum."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            _layer(dimensions, width, width, 3),
            convolution(dimensions, width, width, 3),
            instance_norm(dimensions, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.path(x)


class _Up(nn.Module):
    """Up-sampling and convolution, then, where wished, a 1-wide convolution that joins the features of that size."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, join: bool) -> None:
        super().__init__()
        self.expand = nn.Sequential(upsample(), _layer(dimensions, inputs, outputs, 3))
        self.join = _layer(dimensions, 2 * outputs, outputs, 1) if join else None

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.expand(x)
        return x if self.join is None else self.join(torch.cat([x, skip], dim=1))
