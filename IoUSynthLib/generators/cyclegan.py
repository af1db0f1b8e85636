"""CycleGAN: a residual generator with instance normalisation (Zhu et al. 2017; seed section 2.4.1).

One network translates ultrasound to MRI; training has a second one for the inverse, an instance of the same class with
the channels exchanged. As in the authors' released code, and unlike the original: zero padding instead of
reflection, nearest neighbour up-sampling with a 3-wide convolution instead of transposed convolutions, affine
normalisation. In 3D the code has three instead of two halvings, six instead of nine residual blocks, and skip
connections, none of which the text mentions; the published 23,629,057 parameters need them (11,370,881 in 2D). There
is no gradient term among its losses.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from . import gan
from .blocks import convolution, instance_norm, upsample
from .family import Family, Size
from .recipe import CITATION, Recipe

#: Width of the first layer as published, by number of dimensions.
WIDTHS = {2: 64, 3: 32}
_HALVINGS = {2: 2, 3: 3}
_BLOCKS = {2: 9, 3: 6}


class ResidualGenerator(nn.Module):
    """Residual blocks at a quarter (in 3D an eighth) of the size, output in [-1, 1]; sizes in multiples of 4 (8).

    Parameters
    ----------
    dimensions
        2 or 3; in 3D each up-sampling is joined by the features of the same size.
    inputs, outputs
        Numbers of channels.
    width
        Channels at full size; 64 in 2D and 32 in 3D, as published.
    """

    def __init__(self, dimensions: int, inputs: int, outputs: int, *, width: int | None = None) -> None:
        super().__init__()
        width = width or WIDTHS[dimensions]
        widths = [width << number for number in range(_HALVINGS[dimensions] + 1)]
        steps = list(itertools.pairwise(widths))
        self.stem = _layer(dimensions, inputs, width, kernel=7)
        self.down = nn.ModuleList(_layer(dimensions, a, b, kernel=3, stride=2) for a, b in steps)
        self.blocks = nn.Sequential(*(_Residual(dimensions, widths[-1]) for _ in range(_BLOCKS[dimensions])))
        self.up = nn.ModuleList(_Up(dimensions, b, a, join=dimensions == 3) for a, b in reversed(steps))
        self.head = nn.Sequential(convolution(dimensions, width, outputs, kernel=7, bias=True), nn.Tanh())

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


def _layer(dimensions: int, inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    layer = convolution(dimensions, inputs, outputs, kernel=kernel, stride=stride)
    return nn.Sequential(layer, instance_norm(dimensions, outputs), nn.ReLU())


class _Residual(nn.Module):
    """Two convolutions with instance normalisation beside the identity, no activation after the sum."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            _layer(dimensions, width, width, kernel=3),
            convolution(dimensions, width, width, kernel=3),
            instance_norm(dimensions, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.path(x)


class _Up(nn.Module):
    """Up-sampling and convolution, then, where wished, a 1-wide convolution that joins the features of that size."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, *, join: bool) -> None:
        super().__init__()
        self.expand = nn.Sequential(upsample(), _layer(dimensions, inputs, outputs, kernel=3))
        self.join = _layer(dimensions, 2 * outputs, outputs, kernel=1) if join else None

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = self.expand(x)
        return x if self.join is None else self.join(torch.cat([x, skip], dim=1))


#: What CycleGAN's two trainings share.
_LOSSES = {"discriminator_rate": 2e-4, "cycle": 10, "identity": 5}
FAMILY = Family(
    build=ResidualGenerator,
    build_refiner=gan.Refiner,
    objective="training.objectives.cycle:cyclegan",
    recipes={
        "slices": Recipe(batch_size=4, adversarial=1, **gan.SLICES, **_LOSSES),
        "volumes": Recipe(adversarial=2, **gan.VOLUMES, **_LOSSES),
        "refiner": gan.REFINER,
    },
    published=gan.PUBLISHED,
    citation=CITATION,
    size_multiple=8,
    reduced=Size({"width": 16}, {"width": 8}, {"width": 16}),
    **gan.INFERENCE,
)
