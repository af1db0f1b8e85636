"""A supervised U-Net with an error head: the generator that ships first.

MONAI's BasicUNet (Falk et al. 2019) with batch normalisation, which is folded into the convolutions at inference and
keeps a slice's intensities independent of how much of it the fan fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .family import Family

if TYPE_CHECKING:
    import torch

FEATURES = (32, 64, 96, 128, 192, 32)


def build(dimensions: int, inputs: int, outputs: int, *, features: Sequence[int] = FEATURES) -> torch.nn.Module:
    """Make a U-Net without an activation at the end, of so many features at each size; it halves sizes four times."""
    from monai.networks.nets import BasicUNet

    return BasicUNet(
        spatial_dims=dimensions,
        in_channels=inputs,
        out_channels=outputs,
        features=tuple(features),
        act=("LeakyReLU", {"inplace": True, "negative_slope": 0.1}),
        norm="batch",
        upsample="nontrainable",
    )


FAMILY = Family(
    build=build,
    regimes=("2D", "2.5D"),
    objective="training.objectives.adversarial:unet",
    estimates_error=True,
    foldable=True,
    size_multiple=16,
    windows={2: (192, 192), 3: (96, 96, 96)},
    fusion_scale=5,  # chosen on validation heads and by eye on real sweeps
    half=True,
    encoder=("down_1", "down_2"),  # half and a quarter of the size
)
