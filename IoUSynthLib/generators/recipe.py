"""How long, how fast and from what a network learns: the figures that the file of a family states.

Those of the benchmark's families are the figures of the released code (smcch/ious2mr-benchmark, commit 77cb8d9f:
``src/gan``, ``src/resvit`` and ``docs/methodology_training.md``), which made the published weights; SynDiff's trainer
was not released, and its figures are the text's (arXiv 2606.00630, section 2.4.3) and that document's. Where text and
code differ, the code decides; the files of the families and :mod:`.gan` say where.

What differs here: gradients are clipped by their norm over all weights, not weight by weight as Keras's ``clipnorm``
does; SSIM and all other terms count inside the ultrasound fan alone; slices are not stretched to the window; the
discriminator learns from the images that the generator has just been trained on, which in the code CUT's does not; and
there are no small rotations, because simulated cases lie at random angles. Epochs are given as steps: 694 a ResViT
epoch, 736 a SynDiff epoch on slices and 416 in 3D (the document's counts), 832 patches and 104 volumes a ResViT epoch
in 3D and of its refiner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes
    ----------
    steps
        Number of batches.
    rate
        Peak of the learning rate, after a linear warm-up.
    warm_up
        Steps to the peak.
    decay
        What the rate does then: "cycle" (stays, and falls to a thousandth over the last 60 %), "cosine" (falls to
        ``floor`` along half a wave) or "constant".
    floor
        The rate at the end of a cosine.
    average
        Decay of the moving average of the weights; 0 for the weights themselves.
    betas, weight_decay
        Of AdamW, which without weight decay is Adam.
    mixed
        Whether the networks run in bfloat16 where that is safe, if the device has it.
    """

    steps: int
    rate: float = 2e-3
    warm_up: int = 300
    average: float = 0.999
    checkpoint_every: int = 500
    validation_batches: int = 16
    decay: str = "cycle"
    floor: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    mixed: bool = True

    def factor(self, step: int, peak: float | None = None) -> float:
        """The learning rate at a step, as a multiple of its peak: ``rate``, or another that falls to the same floor."""
        warm = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        if self.decay == "constant":
            return warm
        if self.decay == "cosine":
            passed = min(1.0, max(0.0, (step - self.warm_up) / max(1, self.steps - self.warm_up)))
            lowest = self.floor / (self.rate if peak is None else peak)
            return warm * (lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * passed)))
        left = max(0.0, 1 - step / self.steps)
        return warm * min(1.0, left / 0.6) ** 1.5 + 1e-3


@dataclass(frozen=True, kw_only=True)
class Recipe(Schedule):
    """Hyper-parameters of one training: a schedule, batches, and the weights of the losses.

    Attributes
    ----------
    steps_for_two
        Number of batches for two targets, where that differs.
    pretraining
        Steps of an earlier phase, at ``pretraining_rate``, in which the generator's ``pretrain(True)`` holds: ResViT's
        without its transformer branches.
    batch_size, window
        Number of slices or patches, and their size in voxels, [y, x] or [z, y, x].
    discriminator_rate
        Peak of the discriminators' learning rate, which follows the generator's to the same floor, and in the earlier
        phase is as much higher or lower; ``betas`` are theirs, too.
    absolute, structure, gradient
        Weights of the supervised terms (:class:`...training.losses.WeightedLoss`).
    adversarial, matching
        Weights of half the mean squared distance of the discriminator's scores from 1, or of SynDiff's softplus, and
        of feature matching, mean over the layers.
    penalty, every
        Weight of R1, and how many steps lie between.
    cycle, identity, contrast
        Weights of CycleGAN's and CUT's terms; the identity's is CycleGAN's or CUT's, and counts for one slice in and
        one target only.
    weighed
        Whether two targets are weighed by their uncertainty.
    """

    batch_size: int
    window: tuple[int, ...]
    steps_for_two: int = 0
    pretraining: int = 0
    pretraining_rate: float = 0.0
    discriminator_rate: float = 0.0
    absolute: float = 0.0
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

    def shortened(self, steps: int) -> Recipe:
        """The recipe with so many steps for each of its phases."""
        early = steps if self.pretraining else 0
        return replace(self, steps=steps, pretraining=early, checkpoint_every=max(1, steps // 2))

    def adapted(self, targets: int, slices: int) -> Recipe:
        """The recipe for so many targets, and so many slices of ultrasound that go in together."""
        two = targets > 1
        return replace(
            self,
            steps=self.steps_for_two if two and self.steps_for_two else self.steps,
            identity=self.identity if targets == slices == 1 else 0.0,  # channels must be as many there and back
            weighed=self.weighed and two,
        )

    def earlier_phase(self) -> Recipe:
        """The recipe of the pretraining."""
        judging = self.discriminator_rate * self.pretraining_rate / self.rate
        return replace(
            self, steps=self.pretraining, rate=self.pretraining_rate, discriminator_rate=judging, pretraining=0
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
        figures = f"{early}batches of {self.batch_size} x {size}, rate {rates} {self.decay}"
        return f"{figures}; {', '.join(weights)}" if weights else figures


#: What to cite for the families of the benchmark.
CITATION = "Network and training after the benchmark of intraoperative ultrasound to MRI synthesis, arXiv 2606.00630."
#: What all trainings of the benchmark share.
BENCHMARK = {"decay": "cosine", "weight_decay": 0.0, "mixed": False, "checkpoint_every": 1000, "validation_batches": 8}
#: How refiners that learn from the true MRI alone are trained; their rate is constant.
SUPERVISED_REFINER = {
    **BENCHMARK, "batch_size": 1, "rate": 1e-4, "betas": (0.9, 0.999), "warm_up": 0, "decay": "constant",
}
