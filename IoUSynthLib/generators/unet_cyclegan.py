"""CycleGAN of the T1-to-T2 study: two U-Nets as in its Pix2Pix, learned from unpaired slices (section 3.3.2).

Input and target of a batch are of different patients, so that nothing is ever compared with the true MRI. The study
gives the terms but no weights: cycle 10 and identity 5 are those of Zhu et al. (2017), and the scores are weighed by
cross-entropy, as its Pix2Pix's are. There is no pool of earlier images. The discriminators see one image alone:
2,765,633 parameters of three channels, 2,763,585 of one.
"""

from __future__ import annotations

from .family import Family
from .recipe import Recipe
from .unet_pix2pix import COMMON, REDUCED, SLICES, build

FAMILY = Family(
    build=build,
    objective="training.objectives.cycle:unet_cyclegan",
    recipes={
        "slices": Recipe(
            adversarial=1, scores="cross entropy", cycle=10, identity=5, unpaired=True, discriminator_rate=2e-4,
            **SLICES,
        ),
    },
    reduced=REDUCED,
    **COMMON,
)
