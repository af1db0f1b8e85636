"""3D-mDAUNet: a multi-resolution dense-attention U-Net (Ha et al., Multi-resolution Guided 3D GANs, section 3.2).

The image comes in at full size, half, a quarter and an eighth, and goes out at these sizes, too. The encoder is made of
residual dense blocks, light at large sizes and heavy at small ones; in the decoder a convolutional block attention
module (CBAM; Woo et al. 2018) weighs the features of two levels together. The text gives figures for none of this; with
growths of 8, 16, 32 and 32 and the widths below there are 6,176,846 parameters, where about 6.2 M were published.

Inside, images are in [0, 1], as the authors' are, and the last layers have no activation: what a loss sees
(:meth:`DenseAttentionUNet.levels`) is in their scale, and what comes out is brought back to [-1, 1].

What the text leaves open, or its program does otherwise, is said in :mod:`...training.objectives.relativistic`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from ..constants import TARGETS
from .blocks import leaky
from .family import Family, Size, Variant
from .recipe import Augmentation, Recipe

#: Features of an image at each of its sizes; widths and growths of the encoder, from full size to an eighth.
STEM = 16
WIDTHS = (16, 32, 64, 128)
GROWTHS = (8, 16, 32, 32)
#: By what CBAM divides the channels, from full size on.
_REDUCTIONS = (2, 4, 8)
#: Share of a residual dense block, and of three of them, that is added; of Kaiming's deviation that weights start from.
_RESIDUAL = 0.2
_START = 0.1
_CONVOLUTIONS = 5


class DenseBlock(nn.Module):
    """Residual dense block: five 3-wide convolutions, each of all that came before; a fifth of the last is added."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [growth] * (_CONVOLUTIONS - 1) + [channels]
        self.convolutions = nn.ModuleList(
            nn.Conv3d(channels + number * growth, width, 3, padding=1) for number, width in enumerate(widths)
        )
        self.activation = leaky()
        for layer in self.convolutions:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
            layer.weight.data *= _START

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, channels, D, H, W) to the same."""
        features = [image]
        for layer in self.convolutions:
            features.append(self.activation(layer(torch.cat(features, 1))))
        return image + _RESIDUAL * features[-1]


class ResidualDense(nn.Sequential):
    """Three dense blocks, of which a fifth is added to what came in."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__(*(DenseBlock(channels, growth) for _ in range(3)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, channels, D, H, W) to the same."""
        return image + _RESIDUAL * super().forward(image)


class Attention(nn.Module):
    """CBAM: each channel is weighed by its mean and maximum, then each voxel by those of its channels."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = channels // reduction
        self.channels = nn.Sequential(
            nn.Conv3d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv3d(hidden, channels, 1, bias=False)
        )
        self.space = nn.Conv3d(2, 1, 7, padding=3, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, channels, D, H, W) to the same."""
        axes = (2, 3, 4)
        pooled = self.channels(features.mean(axes, True)) + self.channels(features.amax(axes, True))
        features = features * pooled.sigmoid()
        seen = torch.cat([features.mean(1, True), features.amax(1, True)], 1)
        return features * self.space(seen).sigmoid()


class DenseAttentionUNet(nn.Module):
    """Maps (B, inputs, D, H, W) in [-1, 1] to (B, outputs, D, H, W); sizes in multiples of 8, output not bounded.

    Parameters
    ----------
    inputs, outputs
        Numbers of channels.
    stem, widths, growths
        As published: :data:`STEM`, :data:`WIDTHS` and :data:`GROWTHS`.
    many_in, many_out
        Whether the image comes in, and goes out, at all sizes; else at full size alone.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stem: int = STEM, widths: Sequence[int] = WIDTHS,
        growths: Sequence[int] = GROWTHS, many_in: bool = True, many_out: bool = True,
    ) -> None:
        super().__init__()
        stems = len(widths) if many_in else 1
        self.stems = nn.ModuleList(_normalised(inputs, stem) for _ in range(stems))
        seen = [stem, *((stem if many_in else 0) + width for width in widths[:-1])]
        self.encoder = nn.ModuleList(
            nn.Sequential(ResidualDense(before, growth), nn.Conv3d(before, after, 3, padding=1), leaky())
            for before, after, growth in zip(seen, widths, growths, strict=True)
        )
        self.attention = nn.ModuleList(
            Attention(here + below, reduction)
            for (here, below), reduction in zip(itertools.pairwise(widths), _REDUCTIONS, strict=True)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(*(
                layer
                for number in range(3)
                for layer in (_normalised(here if number else here + below, here), leaky())
            ))
            for here, below in itertools.pairwise(widths)
        )
        self.heads = nn.ModuleList(
            nn.Conv3d(width, outputs, 3, padding=1) for width in (widths if many_out else widths[:1])
        )

    def levels(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Images in the scale of [0, 1], though not bounded: at full size, half, a quarter and an eighth."""
        image, below = (image + 1) / 2, None
        features: list[torch.Tensor] = []
        for level, block in enumerate(self.encoder):
            parts = [] if below is None else [below]
            if level < len(self.stems):
                seen = image if level == 0 else functional.interpolate(
                    image, scale_factor=0.5**level, mode="trilinear", align_corners=False
                )
                parts = [self.stems[level](seen), *parts]
            features.append(block(torch.cat(parts, 1)))
            below = features[-1][..., ::2, ::2, ::2]  # nearest neighbour, half the size
        decoded = features[-1:]
        for level in reversed(range(len(self.decoder))):
            raised = functional.interpolate(decoded[0], scale_factor=2, mode="nearest")
            joined = self.attention[level](torch.cat([features[level], raised], 1))
            decoded.insert(0, self.decoder[level](joined))
        return [head(part) for head, part in zip(self.heads, decoded, strict=False)]

    def forward(
        self, image: torch.Tensor, with_levels: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]:
        """Translate an image; on request give also what :meth:`levels` does."""
        levels = self.levels(image)
        prediction = 2 * levels[0] - 1
        return (prediction, levels) if with_levels else prediction


def _normalised(inputs: int, outputs: int) -> nn.Module:
    """A 3-wide convolution with spectral normalisation."""
    return spectral_norm(nn.Conv3d(inputs, outputs, 3, padding=1))


def build(dimensions: int, inputs: int, outputs: int, **size: object) -> DenseAttentionUNet:
    """Make one, in 3D; its sizes are those of :class:`DenseAttentionUNet`."""
    return DenseAttentionUNet(inputs, outputs, **size)


#: 1000 epochs of 100 steps; weights of equation 2. Flips are the only variation.
_RECIPE = Recipe(
    steps=100_000, batch_size=3, window=(96, 96, 96), rate=1e-4, discriminator_rate=1e-4, betas=(0.9, 0.999),
    warm_up=0, decay="steps", milestones=(0.2, 0.4, 0.6, 0.8), average=0.0, weight_decay=0.0, mixed=True,
    checkpoint_every=1000, validation_batches=8, clip=float("inf"), absolute=1, perception=1, adversarial=1e-4,
    scores="relativistic", augmentation=Augmentation("none", transposed=False),
)  # fmt: skip
FAMILY = Family(
    build=build,
    regimes=("3D",),
    targets=tuple((name,) for name in TARGETS),
    objective="training.objectives.relativistic:mdaunet",
    recipes={"volumes": _RECIPE},
    published={"volumes": {"keep": "last", "complete": True, "features": "vgg19"}},
    variants={
        "single-input": Variant(Size({"many_in": False})),
        "single-output": Variant(Size({"many_out": False})),
        "plain-discriminator": Variant(Size(discriminator={"voxelwise": False})),
        "cross-entropy": Variant(figures={"scores": "cross entropy"}),
        "without-perception": Variant(figures={"perception": 0.0}),
        "adversarial": Variant(figures={"adversarial": 1e-2}),
    },
    overlap=0.625,
    blending="gaussian",
    size_multiple=8,
    reduced=Size({"stem": 8, "widths": (8, 16, 24, 32), "growths": (4, 8, 8, 8)}, {}, {"width": 4}),
    citation="Network and training after Ha et al., Multi-resolution Guided 3D GANs for Medical Image Translation.",
)
