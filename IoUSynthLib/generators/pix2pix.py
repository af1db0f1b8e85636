"""Pix2Pix: an attention-gated residual U-Net (Isola et al. 2017; seed section 2.4.1).

Where the text and the authors' released code differ, the code decides, because the published weights were made by it:

* the text names five gated decoder blocks; the code has four, and a plain up-sampling to full size;
* the first encoder block is not normalised, and the convolutions before a normalisation have no bias;
* gates compare in half the decoder's channels, and without bias;
* dropout (0.5) acts on the features of the deepest decoder block, not on its skip connection;
* in 3D there are four encoder and three decoder blocks;
* the supervised terms of two targets are weighed by their uncertainty on slices alone.

With this 37,022,817 parameters come out for T2w in 2D and 13,967,377 in 3D, as published.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from . import gan
from .blocks import ChannelNorm, DecoderBlock, EncoderBlock, ResidualBlock, convolution, leaky, upsample
from .family import Family, Size
from .recipe import CITATION, Recipe

#: Width of the first encoder block as published, by number of dimensions.
WIDTHS = {2: 64, 3: 32}
#: Widths of the encoder blocks, in multiples of the first.
_FACTORS = {2: (1, 2, 4, 8, 8), 3: (1, 2, 4, 8)}
_DROPOUT = 0.5


class AttentionUNet(nn.Module):
    """Attention-gated residual U-Net, output in [-1, 1]; sizes in multiples of 32, in 3D of 16.

    Parameters
    ----------
    dimensions
        2 or 3.
    inputs, outputs
        Numbers of channels.
    width
        Channels of the first encoder block; 64 in 2D and 32 in 3D, as published.
    stem
        Whether a 7-wide convolution at full size comes first, as in CUT.
    """

    def __init__(
        self, dimensions: int, inputs: int, outputs: int, *, width: int | None = None, stem: bool = False
    ) -> None:
        super().__init__()
        width = width or WIDTHS[dimensions]
        widths = [factor * width for factor in _FACTORS[dimensions]]
        self.stem = nn.Identity()
        if stem:
            self.stem = nn.Sequential(convolution(dimensions, inputs, width, kernel=7), ChannelNorm(width), leaky())
        steps = itertools.pairwise([width if stem else inputs, *widths])
        self.encoder = nn.ModuleList(
            EncoderBlock(dimensions, a, b, normalise=number > 0) for number, (a, b) in enumerate(steps)
        )
        self.bottleneck = ResidualBlock(dimensions, widths[-1], widths[-1])
        deep = widths[::-1]
        self.decoder = nn.ModuleList(
            DecoderBlock(dimensions, a, b, skip=b, dropout=0.0 if number else _DROPOUT)
            for number, (a, b) in enumerate(itertools.pairwise(deep))
        )
        self.head = nn.Sequential(upsample(), convolution(dimensions, width, outputs, kernel=3, bias=True), nn.Tanh())

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the stem's features, those of every encoder block, and the bottleneck's in place of the last."""
        features = [self.stem(image)]
        for block in self.encoder:
            features.append(block(features[-1]))
        features[-1] = self.bottleneck(features[-1])
        return features

    def decode(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the image for what :meth:`encode` returned."""
        x = features[-1]
        for block, skip in zip(self.decoder, features[-2:0:-1], strict=True):
            x = block(x, skip)
        return self.head(x)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Translate an image."""
        return self.decode(self.encode(image))


#: What Pix2Pix's two trainings share.
_LOSSES = {"discriminator_rate": 5e-5, "gradient": 5, "matching": 2}
FAMILY = Family(
    build=AttentionUNet,
    build_refiner=gan.Refiner,
    objective="training.objectives.adversarial:pix2pix",
    recipes={
        "slices": Recipe(batch_size=16, adversarial=1, weighed=True, **gan.SLICES, **_LOSSES),
        "volumes": Recipe(adversarial=2, **gan.VOLUMES, **_LOSSES),
        "refiner": gan.REFINER,
    },
    published=gan.PUBLISHED,
    citation=CITATION,
    size_multiple=32,
    reduced=Size({"width": 16}, {"width": 8}, {"width": 16}),
    **gan.INFERENCE,
)
