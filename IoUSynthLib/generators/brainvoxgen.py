"""BrainVoxGen: Pix2Pix in 3D on blocks of 128 x 128 x 8 voxels (Singh et al.).

The paper gives no layers, widths or rates: what follows is a proposal of ours that fits its text. The generator is a
U-Net of five levels, of which the two deepest keep the eight slices apart that are one by then, with 22,560,961
parameters; the discriminator is of convolutions, pooling and two dense layers, with 2,212,129. Loss weights and rates
are Pix2Pix's (Isola et al. 2017). Its 70,000 "epochs" are steps here. A volume is cut into blocks without overlap.

The paper learned from RESECT, which has T1w and FLAIR and no T2w; it does not say which of them it made.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..constants import TARGETS
from .family import Family, Size
from .recipe import NOT_AUGMENTED, Augmentation, Recipe
from .skip_unet import SkipUNet

WIDTHS = (64, 128, 256, 512, 512)
#: Levels that keep the length of the first axis.
_FLAT = 2


def build(dimensions: int, inputs: int, outputs: int, *, widths: Sequence[int] = WIDTHS) -> SkipUNet:
    """Make a U-Net in 3D; sizes in multiples of 8 along the first axis and of 32 along the others."""
    return SkipUNet(3, inputs, outputs, widths=widths, flat=_FLAT, norm="instance")


FAMILY = Family(
    build=build,
    regimes=("3D",),
    targets=tuple((name,) for name in TARGETS),
    objective="training.objectives.adversarial:brainvoxgen",
    recipes={
        "volumes": Recipe(
            steps=70_000, batch_size=1, window=(8, 128, 128), rate=2e-4, discriminator_rate=2e-4, betas=(0.5, 0.999),
            warm_up=0, decay="constant", average=0.0, weight_decay=0.0, mixed=False, clip=float("inf"),
            checkpoint_every=1000, validation_batches=8, absolute=100, adversarial=1, scores="cross entropy",
            keep="structure", augmentation=Augmentation("none", transposed=False),
        ),
    },
    published={
        "volumes": {
            "keep": "last", "complete": True, "anywhere": True, "checkpoint_every": 10_000,
            "augmentation": NOT_AUGMENTED,
        },
    },
    overlap=0.0,
    blending="uniform",
    size_multiple=32,
    reduced=Size({"widths": (16, 32, 64, 64, 64)}, {}, {"width": 8}),
    citation="Network and training after Singh et al., BrainVoxGen; its layers and rates are ours.",
)
