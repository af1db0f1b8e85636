"""How the benchmark trained its six families: one table, from which all 48 presets are made.

Figures are those of the released code (smcch/ious2mr-benchmark, commit 77cb8d9f: ``src/gan``, ``src/resvit`` and
``docs/methodology_training.md``), which made the published weights; SynDiff's trainer was not released, and its figures
are the text's (arXiv 2606.00630, section 2.4.3) and that document's. Where text and code differ, the code decides:

* GAN families: R1 acts on slices alone, not in 3D; in 3D the generator's least-squares term has no factor 1/2; the
  supervised terms of two targets are weighed by their uncertainty for Pix2Pix and SwinPix2Pix on slices alone; CycleGAN
  has no gradient term; CUT has no contrastive term in 3D; the refiner's rate is constant.
* ResViT: no factor 1/2 in the generator's least-squares term either; in 3D gradients of two patches are added up, not
  of four; the refiner learns from L1 alone.

What differs here: gradients are clipped by their norm over all weights, not weight by weight as Keras's ``clipnorm``
does; SSIM and all other terms count inside the ultrasound fan alone; slices are not stretched to the window; the
discriminator learns from the images that the generator has just been trained on, which in the code CUT's does not; and
there are no small rotations, because simulated cases lie at random angles. Epochs are given as steps: 694 a ResViT
epoch, 736 a SynDiff epoch on slices and 416 in 3D (the document's counts), 832 patches and 104 volumes a ResViT epoch
in 3D and of its refiner.
"""

from __future__ import annotations

from dataclasses import dataclass

from .trainer import Schedule


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of one training.

    Attributes
    ----------
    steps
        Number of batches; ``steps_for_two`` for two targets, where that differs.
    pretraining
        Steps of an earlier phase without ResViT's transformer branches, at ``pretraining_rate``.
    batch_size, window
        Number of slices or patches, and their size in voxels, [y, x] or [z, y, x].
    rate, discriminator_rate, betas, warm_up, course, floor, average, mixed
        As in :class:`.trainer.Schedule`; betas also of the discriminator.
    absolute, structure, gradient
        Weights of the supervised terms (:class:`.losses.WeightedLoss`).
    adversarial, matching
        Weights of half the mean squared distance of a judgement from 1, or of SynDiff's softplus, and of feature
        matching, mean over the layers.
    penalty, every
        Weight of R1, and how many steps lie between.
    cycle, identity, contrast
        Weights of CycleGAN's and CUT's terms; the identity's is CycleGAN's or CUT's, and counts for one slice in and
        one target only.
    weighed
        Whether two targets are weighed by their uncertainty.
    """

    steps: int
    batch_size: int
    window: tuple[int, ...]
    rate: float
    absolute: float
    steps_for_two: int = 0
    pretraining: int = 0
    pretraining_rate: float = 0.0
    discriminator_rate: float = 0.0
    betas: tuple[float, float] = (0.0, 0.999)
    warm_up: int = 1000
    course: str = "cosine"
    floor: float = 0.0
    average: float = 0.999
    mixed: bool = False
    structure: float = 0.0
    gradient: float = 0.0
    adversarial: float = 0.0
    matching: float = 0.0
    penalty: float = 0.0
    every: int = 16
    cycle: float = 0.0
    identity: float = 0.0
    contrast: float = 0.0
    weighed: bool = False
    checkpoint_every: int = 1000
    validation_batches: int = 8

    def schedule(self, phase: str = "main") -> Schedule:
        """The schedule of the "main" phase or of "pretraining"."""
        early = phase == "pretraining"
        return Schedule(
            self.pretraining if early else self.steps, self.pretraining_rate if early else self.rate, self.warm_up,
            self.average, self.checkpoint_every, self.validation_batches, self.course, self.floor, self.betas, 0.0,
            self.mixed,
        )

    def describe(self) -> str:
        """Return a line with everything that is not at rest."""
        size = "x".join(map(str, self.window))
        rates = f"{self.rate:g}" + (f"/{self.discriminator_rate:g}" if self.discriminator_rate else "")
        names = ("absolute", "structure", "gradient", "adversarial", "matching", "cycle", "identity", "contrast")
        weights = [f"{name} {getattr(self, name):g}" for name in names if getattr(self, name)]
        if self.penalty:
            weights.append(f"R1 {self.penalty:g} every {self.every}")
        if self.weighed:
            weights.append("weighed by uncertainty")
        early = ""
        if self.pretraining:
            early = f"after {self.pretraining} steps without transformer at {self.pretraining_rate:g}: "
        return f"{early}batches of {self.batch_size} x {size}, rate {rates} {self.course}; {', '.join(weights)}"


_PATCH = (32, 64, 64)
_SLICES = {"steps": 20_000, "window": (192, 192), "rate": 2e-4, "absolute": 10, "structure": 8}
_VOLUMES = {"steps": 50_000, "batch_size": 1, "window": _PATCH, "rate": 2e-4, "absolute": 10, "structure": 8}
_SUPERVISED_PATCHES = {"batch_size": 1, "rate": 1e-4, "betas": (0.9, 0.999), "warm_up": 0, "course": "constant"}
_GAN_REFINER = Recipe(steps=10_000, window=_PATCH, absolute=10, structure=8, **_SUPERVISED_PATCHES)
_PIX2PIX = {"discriminator_rate": 5e-5, "gradient": 5, "matching": 2}
_RESVIT = {
    "rate": 1e-4, "pretraining_rate": 2e-4, "discriminator_rate": 1e-4, "betas": (0.5, 0.999), "warm_up": 0,
    "floor": 1e-6, "average": 0.0, "mixed": True, "absolute": 100, "adversarial": 2, "matching": 10,
}
_SYNDIFF = {
    "rate": 1.6e-4, "discriminator_rate": 1e-4, "betas": (0.5, 0.9), "warm_up": 0, "floor": 1e-5, "mixed": True,
    "absolute": 10, "adversarial": 1,
}
_R1 = {"penalty": 10, "every": 16}

#: By family and by what goes through the network: "slices" (2D, 2.5D, and the first stage of 2D+3D-refine), "volumes"
#: (3D), "refiner" (the second stage).
TABLE: dict[tuple[str, str], Recipe] = {
    ("pix2pix", "slices"): Recipe(batch_size=16, adversarial=1, weighed=True, **_SLICES, **_PIX2PIX, **_R1),
    ("pix2pix", "volumes"): Recipe(adversarial=2, **_VOLUMES, **_PIX2PIX),
    ("pix2pix", "refiner"): _GAN_REFINER,
    ("swin_pix2pix", "slices"): Recipe(batch_size=16, adversarial=1, weighed=True, **_SLICES, **_PIX2PIX, **_R1),
    ("swin_pix2pix", "volumes"): Recipe(adversarial=2, **_VOLUMES, **_PIX2PIX),
    ("swin_pix2pix", "refiner"): _GAN_REFINER,
    ("cyclegan", "slices"): Recipe(
        batch_size=4, discriminator_rate=2e-4, adversarial=1, cycle=10, identity=5, **_SLICES, **_R1
    ),
    ("cyclegan", "volumes"): Recipe(discriminator_rate=2e-4, adversarial=2, cycle=10, identity=5, **_VOLUMES),
    ("cyclegan", "refiner"): _GAN_REFINER,
    ("cut", "slices"): Recipe(
        batch_size=8, discriminator_rate=2e-4, gradient=2, adversarial=1, contrast=1, identity=0.5, **_SLICES, **_R1
    ),
    ("cut", "volumes"): Recipe(discriminator_rate=2e-4, gradient=2, adversarial=2, **_VOLUMES),
    ("cut", "refiner"): _GAN_REFINER,
    ("resvit", "slices"): Recipe(steps=69_400, pretraining=69_400, batch_size=8, window=(256, 256), **_RESVIT),
    ("resvit", "volumes"): Recipe(steps=41_600, pretraining=41_600, batch_size=2, window=(96, 96, 96), **_RESVIT),
    ("resvit", "refiner"): Recipe(
        steps=3_120, window=(96, 96, 96), absolute=1, average=0.0, **_SUPERVISED_PATCHES
    ),
    ("syndiff", "slices"): Recipe(
        steps=220_800, steps_for_two=147_200, batch_size=8, window=(256, 256), penalty=1, every=64, **_SYNDIFF
    ),
    ("syndiff", "volumes"): Recipe(
        steps=83_200, batch_size=1, window=(64, 64, 64), penalty=1, every=32, **_SYNDIFF
    ),
    # The text says no more of its losses than "adversarially"; weights and rates are those of the first stage.
    ("syndiff", "refiner"): Recipe(steps=41_600, batch_size=1, window=(64, 64, 64), **_SYNDIFF),
}
