"""Pix2Pix of the T1-to-T2 study: a U-Net of eight levels (Alqutayfi and Al-Azani, section 3.3.1).

It halves slices of 256 x 256 pixels to one. With three channels in and out, as the study's images had, it has
54,413,955 parameters, and its discriminator 2,768,705; of one channel, as here, 54,407,809 and 2,764,609. Dropout in
three decoder blocks is customary; the study does not say. What it leaves open is chosen as Isola et al. (2017) did.

The study learned from batches of 256 slices for 30 epochs of 11,439, which are 1,350 steps, without any variation, and
kept the last weights: ``--recipe published``. By default as many slices come in batches of 16. Slices are not stretched
to the window, unlike there, but lie in it as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..constants import TARGETS
from .family import Family, Size
from .recipe import NOT_AUGMENTED, Recipe
from .skip_unet import SkipUNet

WIDTHS = (64, 128, 256, 512, 512, 512, 512, 512)
#: Blocks of the decoder with dropout.
_DROPPED = 3
CITATION = "Network and training after the T1-to-T2 study of Alqutayfi and Al-Azani (MRI Cross-Modal Synthesis)."
#: 30 epochs of 11,439 slices in batches of 16; and as published, of 256.
SLICES = {
    "steps": 21_450, "batch_size": 16, "window": (256, 256), "rate": 2e-4, "betas": (0.5, 0.999), "warm_up": 0,
    "decay": "constant", "average": 0.0, "weight_decay": 0.0, "mixed": False, "clip": float("inf"),
    "checkpoint_every": 715, "validation_batches": 8,
}  # fmt: skip
PUBLISHED = {"steps": 1350, "batch_size": 256, "checkpoint_every": 45, "keep": "last", "augmentation": NOT_AUGMENTED}
#: What the study's families share: single contrasts, of axial slices, which lie in one window.
COMMON = {
    "regimes": ("2D",), "targets": tuple((name,) for name in TARGETS), "published": {"slices": PUBLISHED},
    "slice_axes": (0,), "size_multiple": 2 ** len(WIDTHS), "citation": CITATION, "reduced_window": 192,
}  # fmt: skip
#: A quarter of the widths, of as many levels as slices of 192 pixels can be halved.
REDUCED = Size({"widths": (16, 32, 64, 128, 128, 128)}, {}, {"width": 16})


def build(dimensions: int, inputs: int, outputs: int, *, widths: Sequence[int] = WIDTHS) -> SkipUNet:
    """Make a U-Net of as many levels as widths; sizes in multiples of 2 to their number."""
    return SkipUNet(dimensions, inputs, outputs, widths=widths, dropped=_DROPPED)


FAMILY = Family(
    build=build,
    objective="training.objectives.adversarial:unet_pix2pix",
    recipes={
        "slices": Recipe(absolute=100, adversarial=1, scores="cross entropy", discriminator_rate=2e-4, **SLICES),
    },
    reduced=REDUCED,
    **COMMON,
)
