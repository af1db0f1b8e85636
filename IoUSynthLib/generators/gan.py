"""What the benchmark's four GAN families share: how they are trained and run, and the refiner of 2D+3D-refine.

Where its text and the released code (``src/gan``) differ, the code decides: R1 acts on slices alone, not in 3D; in 3D
the generator's least-squares term has no factor 1/2; the refiner's rate is constant.
"""

from __future__ import annotations

import torch
from torch import nn

from .blocks import ChannelNorm, ResidualBlock, convolution, leaky, upsample
from .recipe import BENCHMARK, PUBLISHED_SLICES, PUBLISHED_VOLUMES, SUPERVISED_REFINER, Recipe

#: The refiner's input must be a multiple of this along every axis.
REFINER_MULTIPLE = 4
_PATCH = (32, 64, 64)
_GENERATOR = {
    **BENCHMARK, "rate": 2e-4, "betas": (0.0, 0.999), "warm_up": 1000, "average": 0.999, "absolute": 10, "structure": 8,
}
#: Figures of the trainings on slices, with R1, and on volumes.
SLICES = {**_GENERATOR, "steps": 20_000, "window": (192, 192), "penalty": 10, "every": 16}
VOLUMES = {**_GENERATOR, "steps": 50_000, "batch_size": 1, "window": _PATCH}
REFINER = Recipe(steps=10_000, window=_PATCH, absolute=10, structure=8, **SUPERVISED_REFINER)
_PUBLISHED_3D = {"keep": "last", "complete": True, "anywhere": True, "similarity_every": 2}
#: What is otherwise in the released code and the text: its slices lie along the first axis, it keeps the last weights.
PUBLISHED = {
    "slices": {"keep": "last", "complete": True, "axes": (0,), "augmentation": PUBLISHED_SLICES},
    "volumes": {**_PUBLISHED_3D, "augmentation": PUBLISHED_VOLUMES},
    "refiner": _PUBLISHED_3D,
}
#: How the released code runs them: windows overlap by half and are averaged without weights.
INFERENCE = {"overlap": 0.5, "blending": "uniform"}


class Refiner(nn.Module):
    """Residual 3D U-Net that corrects an assembled prediction: (B, channels, D0, D1, D2) to the same, in [-1, 1].

    As the authors' released code of the GAN families does (smcch/ious2mr-benchmark, ``src/gan``; 160,289 parameters for
    one target): it sees the prediction alone, two halvings, two residual blocks between them, and the correction is
    added and the sum clipped. Trained on triplanar predictions in patches of 64 x 64 x 32 voxels (the last axis is the
    axial one), applied in the same patches with half overlap.
    """

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.down1 = nn.Sequential(*_normalised(channels, width, stride=2), leaky())
        self.down2 = nn.Sequential(*_normalised(width, 2 * width, stride=2), leaky())
        self.bottleneck = nn.Sequential(ResidualBlock(3, 2 * width, 2 * width), ResidualBlock(3, 2 * width, 2 * width))
        self.up1 = nn.Sequential(upsample(), *_normalised(2 * width, width), nn.ReLU())
        self.join = nn.Sequential(*_normalised(2 * width, width), nn.ReLU())
        self.up2 = nn.Sequential(upsample(), *_normalised(width, width), nn.ReLU())
        self.head = convolution(3, width, channels, kernel=3, bias=True)

    def forward(self, prediction: torch.Tensor) -> torch.Tensor:
        """Return the corrected prediction."""
        half = self.down1(prediction)
        x = self.up1(self.bottleneck(self.down2(half)))
        x = self.up2(self.join(torch.cat([x, half], dim=1)))
        return (prediction + self.head(x)).clamp(-1.0, 1.0)


def _normalised(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    return convolution(3, inputs, outputs, kernel=3, stride=stride), ChannelNorm(outputs)
