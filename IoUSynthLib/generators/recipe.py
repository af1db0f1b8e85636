"""How long, how fast and from what a network learns: the figures that the file of a family states.

Those of the benchmark's families are the figures of the released code (smcch/ious2mr-benchmark, commit 77cb8d9f:
``src/gan``, ``src/resvit`` and ``docs/methodology_training.md``), which made the published weights; SynDiff's trainer
was not released, and its figures are the text's (arXiv 2606.00630, section 2.4.3) and that document's. Where text and
code differ, the code decides; the files of the families and :mod:`.gan` say where.

What differs here from the code, for every family unless one is named. Where it says *, ``iousynth train --recipe
published`` does as the authors did:

* Slices and patches come from the grid of the cohort (0.8 mm, along the probe, unless it was prepared on the MRI's
  grid), and are not stretched to the window. All terms of the loss count inside the ultrasound fan alone, and images
  are blank outside it; CUT's contrast, and the discriminators of whole images, see that blank part, too.
* The GAN families learn from slices along all three axes, as they are run; * along the first alone, the axial one of
  axial MRI. ResViT and SynDiff learn from those along the first anyhow.
* Ultrasound is varied in gain, noise and sharpness, always and also in 3D, slices are transposed, and nothing is
  turned, because simulated cases lie at random angles; * gamma and noise, on slices alone, and turns by up to 15
  degrees, 10 in 3D.
* Patches lie around voxels of the fan, and what is beyond the case is blank; * they lie anywhere in the box of the fan,
  which is mirrored where it is smaller.
* The checkpoint with the lowest LPIPS on validation cases is kept; * of the GAN families the last, of ResViT that with
  the lowest absolute difference, of SynDiff that with the best SSIM, on validation cases: its authors took test cases.
* Of two targets, one may be missing: it takes no part; the discriminators weigh such a case as any other. * The GAN
  families and SynDiff learn only from cases with both, as their code or text has no masks.
* Gradients are clipped by their norm over all weights, not weight by weight as Keras's ``clipnorm`` does, and of every
  family; * not SynDiff's, whose own program does not.
* In 3D the GAN families' SSIM is of every slice of a patch; * of every second.
* CUT's contrast compares features of the ultrasound with themselves, as the code does; * those of the synthetic MRI
  with the ultrasound's, as the text does (eq. 5). Its discriminator learns from the images that the generator has just
  been trained on, which in the code it does not.
* CycleGAN's images in the middle of a round trip are blank outside the fan; the code knows no fan.

Epochs are given as steps: 694 a ResViT epoch, 736 a SynDiff epoch on slices and 416 in 3D (the document's counts), 832
patches and 104 volumes a ResViT epoch in 3D and of its refiner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

#: What a training may follow: this library's choices, or those of the benchmark's authors.
DEFAULT, PUBLISHED = "default", "published"


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
        ``floor`` along half a wave), "steps" (is halved at each of ``milestones``) or "constant".
    floor
        The rate at the end of a cosine.
    milestones
        Shares of the steps after which the rate is halved.
    average
        Decay of the moving average of the weights; 0 for the weights themselves.
    betas, weight_decay
        Of the optimizer; AdamW without weight decay is Adam.
    mixed
        Whether the networks run in bfloat16 where that is safe, if the device has it.
    clip
        Largest norm of the generator's gradient.
    optimizer
        Of the generator, a name in :mod:`torch.optim`; ``betas`` and ``weight_decay`` are its.
    """

    steps: int
    rate: float = 2e-3
    warm_up: int = 300
    average: float = 0.999
    checkpoint_every: int = 500
    validation_batches: int = 16
    decay: str = "cycle"
    floor: float = 0.0
    milestones: tuple[float, ...] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    mixed: bool = True
    clip: float = 1.0
    optimizer: str = "AdamW"

    def factor(self, step: int, peak: float | None = None) -> float:
        """The learning rate at a step, as a multiple of its peak: ``rate``, or another that falls to the same floor."""
        warm = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        if self.decay == "constant":
            return warm
        if self.decay == "steps":
            return warm * 0.5 ** sum(step >= share * self.steps for share in self.milestones)
        if self.decay == "cosine":
            passed = min(1.0, max(0.0, (step - self.warm_up) / max(1, self.steps - self.warm_up)))
            lowest = self.floor / (self.rate if peak is None else peak)
            return warm * (lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * passed)))
        left = max(0.0, 1 - step / self.steps)
        return warm * min(1.0, left / 0.6) ** 1.5 + 1e-3


@dataclass(frozen=True)
class Augmentation:
    """How slices and patches are varied.

    Attributes
    ----------
    intensities
        Of the ultrasound: "gain" (always another gain curve, often noise and another sharpness), "gamma" as published,
        or "none" (:mod:`...training.augmentation`).
    rotation
        Largest angle in degrees by which three of ten are turned, in the plane of slices or of two axes drawn at
        random; 0 for none.
    transposed
        Whether slices are transposed half of the time, and the neighbours of 2.5D exchanged.
    flipped
        Whether they are flipped along each of their axes half of the time.
    """

    intensities: str = "gain"
    rotation: float = 0.0
    transposed: bool = True
    flipped: bool = True

    def describe(self) -> str:
        """Return it in words."""
        words = ["ultrasound " + {"none": "as it is"}.get(self.intensities, f"varied in {self.intensities}")]
        words += [f"turned by up to {self.rotation:g} degrees"] if self.rotation else []
        words += ["transposed"] if self.transposed else []
        return ", ".join(words + ([] if self.flipped else ["never flipped"]))


#: As the text (section 2.2) has it, and without rotations, as it has it for SynDiff in 3D.
PUBLISHED_SLICES = Augmentation("gamma", 15.0, transposed=False)
PUBLISHED_VOLUMES = Augmentation("none", 10.0, transposed=False)
NOT_VARIED = Augmentation("none", transposed=False)
NOT_AUGMENTED = Augmentation("none", transposed=False, flipped=False)


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
    squared, divergence
        Weights of the mean squared difference, and of the divergence: a variational autoencoder's from the normal
        distribution, summed over its latent variables; that of a unified family's posteriors from their priors, a pixel
        and image, which it reaches after some steps.
    adversarial, matching
        Weights of the discriminator's term, and of feature matching, mean over the layers.
    scores
        What is demanded of the discriminator's scores: "least squares" (half the mean squared distance from 0 or 1),
        "cross entropy" (the binary one, of logits), or of 3D-mDAUNet "relativistic"; SynDiff has a term of its own.
    perception, features
        Weight of the difference in the features of a network of photographs, and which: "alexnet" or "vgg19".
    unpaired
        Whether inputs and targets that are learned from are of different cases, so that nothing can be compared with
        the true MRI.
    penalty, every
        Weight of R1, and how many steps lie between.
    cycle, identity, contrast
        Weights of CycleGAN's and CUT's terms; the identity's is CycleGAN's or CUT's, and counts for one slice in and
        one target only.
    late
        Share of the steps before the adversarial term counts.
    weighed
        Whether two targets are weighed by their uncertainty.
    axes
        Axes along which slices to learn from are cut; those that the network is run along where there are none.
    augmentation
        How what is learned from is varied.
    anywhere
        Whether patches lie anywhere in the box of the fan, mirrored where that is smaller; else around its voxels.
    complete
        Whether only cases with all targets are learned from; else missing targets take part in no term.
    keep
        Which checkpoint is kept: "best" for LPIPS (segmenters: Dice), the "last", or that with the lowest "absolute"
        difference or the best "structure" (SSIM) on validation cases.
    similarity_every
        Every so many slices of a patch are compared by SSIM.
    generated
        Whether CUT's contrast compares features of the synthetic MRI with those of the ultrasound; else those of the
        ultrasound with themselves.
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
    squared: float = 0.0
    divergence: float = 0.0
    adversarial: float = 0.0
    matching: float = 0.0
    scores: str = "least squares"
    perception: float = 0.0
    features: str = "alexnet"
    unpaired: bool = False
    penalty: float = 0.0
    every: int = 16
    cycle: float = 0.0
    identity: float = 0.0
    contrast: float = 0.0
    late: float = 0.0
    weighed: bool = False
    axes: tuple[int, ...] = ()
    augmentation: Augmentation = Augmentation()
    anywhere: bool = False
    complete: bool = False
    keep: str = "best"
    similarity_every: int = 1
    generated: bool = False

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
        names = (
            "absolute", "structure", "gradient", "squared", "divergence", "adversarial", "matching", "cycle",
            "identity", "contrast",
        )  # fmt: skip
        weights = [f"{name} {getattr(self, name):g}" for name in names if getattr(self, name)]
        if self.perception:
            weights.append(f"perception {self.perception:g} by {self.features}")
        if self.penalty:
            weights.append(f"R1 {self.penalty:g} every {self.every}")
        if self.weighed:
            weights.append("weighed by uncertainty")
        weights += self._choices()
        early = ""
        if self.pretraining:
            early = f"after {self.pretraining} steps without transformer at {self.pretraining_rate:g}: "
        figures = f"{early}batches of {self.batch_size} x {size}, rate {rates} {self.decay}"
        return f"{figures}; {', '.join(weights)}" if weights else figures

    def _choices(self) -> list[str]:
        """In words, what is chosen otherwise than by default."""
        usual = {field.name: field.default for field in fields(self)}
        words = {
            "late": f"adversarial after {100 * self.late:g} % of the steps",
            "axes": f"slices along axis {', '.join(map(str, self.axes))}",
            "augmentation": self.augmentation.describe(),
            "scores": f"by {self.scores}",
            "unpaired": "unpaired",
            "anywhere": "patches from anywhere in the box of the fan",
            "complete": "cases with all targets",
            "keep": "last checkpoint kept" if self.keep == "last" else f"checkpoint kept by {self.keep}",
            "similarity_every": f"SSIM of one slice in {self.similarity_every}",
            "generated": "contrast of the synthetic MRI",
            "clip": "gradients not clipped" if math.isinf(self.clip) else f"gradients up to {self.clip:g}",
        }
        return [text for name, text in words.items() if getattr(self, name) != usual[name]]


#: What to cite for the families of the benchmark.
CITATION = "Network and training after the benchmark of intraoperative ultrasound to MRI synthesis, arXiv 2606.00630."
#: What all trainings of the benchmark share.
BENCHMARK = {"decay": "cosine", "weight_decay": 0.0, "mixed": False, "checkpoint_every": 1000, "validation_batches": 8}
#: How refiners that learn from the true MRI alone are trained; their rate is constant.
SUPERVISED_REFINER = {
    **BENCHMARK, "batch_size": 1, "rate": 1e-4, "betas": (0.9, 0.999), "warm_up": 0, "decay": "constant",
}
