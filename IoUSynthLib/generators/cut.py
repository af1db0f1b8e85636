"""CUT: contrastive unpaired translation with paired supervision (Park et al. 2020; seed section 2.4.1).

In 2D the generator is Pix2Pix's U-Net behind a 7-wide convolution at full size. In 3D the authors' released code has
CycleGAN's residual generator, although table 10 of the text says "about Pix2Pix-3D": its 23,629,057 parameters (dual
target 23,640,034) are CycleGAN's. Besides the image, both give the four feature maps that PatchNCE compares; in 3D the
code has no contrastive term.
"""

from __future__ import annotations

import torch

from . import gan
from .cyclegan import ResidualGenerator
from .family import Family, Size
from .pix2pix import AttentionUNet
from .recipe import CITATION, Recipe

Result = torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]


def build(
    dimensions: int, inputs: int, outputs: int, *, width: int | None = None
) -> SliceGenerator | VolumeGenerator:
    """Make the generator of slices or volumes; ``width`` is 64 in 2D and 32 in 3D, as published."""
    if dimensions == 3:
        return VolumeGenerator(3, inputs, outputs, width=width)
    return SliceGenerator(2, inputs, outputs, width=width, stem=True)


class SliceGenerator(AttentionUNet):
    """The 2D and 2.5D generator."""

    def forward(self, image: torch.Tensor, with_features: bool = False) -> Result:
        """Translate an image; with features as :meth:`forward_with_features`, for training on several processes."""
        return self.forward_with_features(image) if with_features else super().forward(image)

    def forward_with_features(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the image, and the features of the stem, the first two encoder blocks and the bottleneck."""
        features = self.encode(image)
        return self.decode(features), [*features[:3], features[-1]]


class VolumeGenerator(ResidualGenerator):
    """The 3D generator."""

    def forward_with_features(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the image, and the features at full size, half, a quarter, and behind the residual blocks."""
        features = self.encode(image)
        return self.decode(features), [*features[:3], features[-1]]


#: What CUT's two trainings share.
_LOSSES = {"discriminator_rate": 2e-4, "gradient": 2}
FAMILY = Family(
    build=build,
    build_refiner=gan.Refiner,
    objective="training.objectives.contrastive:cut",
    recipes={
        "slices": Recipe(batch_size=8, adversarial=1, contrast=1, identity=0.5, **gan.SLICES, **_LOSSES),
        "volumes": Recipe(adversarial=2, **gan.VOLUMES, **_LOSSES),
        "refiner": gan.REFINER,
    },
    published={**gan.PUBLISHED, "slices": {**gan.PUBLISHED["slices"], "generated": True}},
    citation=CITATION,
    size_multiple=32,
    reduced=Size({"width": 16}, {"width": 8}, {"width": 16}),
    **gan.INFERENCE,
)
