"""A supervised U-Net with an error head: the generator that ships first.

MONAI's BasicUNet (Falk et al. 2019) with batch normalisation, which is folded into the convolutions at inference and
keeps a slice's intensities independent of how much of it the fan fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FEATURES = (32, 64, 96, 128, 192, 32)
#: Height, width and depth must be multiples of this, because the network halves them four times.
SIZE_MULTIPLE = 16


def build(regime: str, targets: Sequence[str], features: Sequence[int] = FEATURES) -> torch.nn.Module:
    """U-Net for slices: (B, 1 or 3, H, W) to (B, targets + 1, H, W); the last channel is the logarithm of the error.

    Raises
    ------
    ValueError
        The regime is not 2D or 2.5D.
    """
    channels = {"2D": 1, "2.5D": 3}
    if regime not in channels:
        raise ValueError(f"the U-Net family works in 2D and 2.5D, not in {regime}")
    return plain_network(channels[regime], len(targets) + 1, features)


def plain_network(
    inputs: int, outputs: int, features: Sequence[int] = FEATURES, dimensions: int = 2
) -> torch.nn.Module:
    """U-Net with the given numbers of input and output channels, no activation at the end."""
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
