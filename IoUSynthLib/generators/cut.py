"""CUT: contrastive unpaired translation with paired supervision (Park et al. 2020; seed section 2.4.1).

In 2D the generator is Pix2Pix's U-Net behind a 7-wide convolution at full size. In 3D the authors' released code has
CycleGAN's residual generator, although table 10 of the text says "about Pix2Pix-3D": its 23,629,057 parameters (dual
target 23,640,034) are CycleGAN's. Besides the image, both give the four feature maps that PatchNCE compares.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from . import cyclegan, pix2pix
from .blocks import INPUTS, dimensions_of

Result = torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]
#: Sizes must be multiples of this, as for the U-Net.
SIZE_MULTIPLE = pix2pix.SIZE_MULTIPLE


def build(regime: str, targets: Sequence[str], width: int | None = None) -> SliceGenerator | VolumeGenerator:
    """CUT generator: (B, 1 or 3, H, W) to (B, targets, H, W), in 3D (B, 1, D, H, W) to (B, targets, D, H, W).

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
    if dimensions == 3:
        return VolumeGenerator(3, INPUTS[regime], len(targets), width or cyclegan.WIDTHS[3])
    return SliceGenerator(2, INPUTS[regime], len(targets), width or pix2pix.WIDTHS[2], stem=True)


class SliceGenerator(pix2pix.AttentionUNet):
    """The 2D and 2.5D generator."""

    def forward(self, image: torch.Tensor, with_features: bool = False) -> Result:
        """Translate an image; with features as :meth:`forward_with_features`, for training on several processes."""
        return self.forward_with_features(image) if with_features else super().forward(image)

    def forward_with_features(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the image, and the features of the stem, the first two encoder blocks and the bottleneck."""
        features = self.encode(image)
        return self.decode(features), [*features[:3], features[-1]]


class VolumeGenerator(cyclegan.ResidualGenerator):
    """The 3D generator."""

    def forward_with_features(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the image, and the features at full size, half, a quarter, and behind the residual blocks."""
        features = self.encode(image)
        return self.decode(features), [*features[:3], features[-1]]
