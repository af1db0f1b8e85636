"""The benchmark's 48 experiments: six families in four regimes, for T2w alone and for T2w and FLAIR."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from ..cases.index import read_index
from ..constants import TARGETS
from ..generators import REGIMES, build, build_refiner
from .data import Batches, PatchBatches, SliceBatches, TrainingVolume, generator_volume, load_volumes, refiner_volume
from .discriminators import MultiScale, PatchGAN, StepDiscriminator, gan_discriminator, resvit_discriminator
from .losses import WeightedLoss
from .objectives.adversary import Adversary
from .objectives.contrastive import Contrastive
from .objectives.cycle import Cycle
from .objectives.diffusion import AdversarialDiffusion
from .objectives.objective import Adversarial, Objective
from .recipes import TABLE, Recipe
from .samples import draw_generator
from .selection import perceptual_score
from .trainer import Schedule, Trainer

FAMILIES = ("pix2pix", "swin_pix2pix", "cyclegan", "cut", "resvit", "syndiff")
REFINED = "2D+3D-refine"
#: What a run that can be exported says about itself.
RUN = "run.json"
#: Folders within a run of 2D+3D-refine: its first stage, that one's bundle, and what it made of the cohort.
SLICES, BUNDLE, PREDICTIONS = "slices", "bundle", "predictions"
#: Folder within a run of ResViT: its earlier phase.
PRETRAINING = "pretraining"
#: Windows of slices are multiples of this, which every network can halve as often as it must.
_MULTIPLE = 32


@dataclass(frozen=True)
class Size:
    """Sizes other than the published ones, passed to the generator's, the refiner's and the discriminator's makers."""

    generator: Mapping[str, Any] = field(default_factory=dict)
    refiner: Mapping[str, Any] = field(default_factory=dict)
    discriminator: Mapping[str, Any] = field(default_factory=dict)


_TOY_GAN = Size({"width": 4}, {"width": 4}, {"width": 4})
_TOY_RESVIT = {"filters": 4, "blocks": 2, "transformer_blocks": (1,), "heads": 4, "pairs": 1}
_TOY_SYNDIFF = {"filters": 8, "multipliers": (1, 2, 2), "blocks": 1, "attention_level": 2}
_TOY_STEPS = {"filters": 8, "multipliers": (2, 2), "embedding": 16}
#: Networks that learn something within seconds, for trials.
TOYS = {
    **dict.fromkeys(FAMILIES, _TOY_GAN),
    "swin_pix2pix": Size({"width": 6}, {"width": 4}, {"width": 4}),
    "resvit": Size(_TOY_RESVIT, {"filters": 4}, {"width": 4}),
    "syndiff": Size(_TOY_SYNDIFF, {"filters": 4}, _TOY_STEPS),
}
_REDUCED_GAN = Size({"width": 16}, {"width": 8}, {"width": 16})
#: A quarter, or for SwinPix2Pix a third, of the published widths: what a processor can train within minutes.
REDUCED = {
    **dict.fromkeys(FAMILIES, _REDUCED_GAN),
    "swin_pix2pix": Size({"width": 12}, {"width": 8}, {"width": 16}),
    "resvit": Size({"filters": 16}, {"filters": 8}, {"width": 16}),
    "syndiff": Size({"filters": 8}, {"filters": 8}, {"filters": 8}),
}


@dataclass(frozen=True)
class FamilyPreset:
    """One of the 48 experiments.

    Attributes
    ----------
    family, regime, targets
        What is trained.
    recipe
        Of the generator or, in 2D+3D-refine, of the refiner.
    first
        In 2D+3D-refine, the recipe of the 2D generator, which is trained first; None elsewhere.
    size
        Sizes other than the published ones.
    """

    family: str
    regime: str
    targets: tuple[str, ...]
    recipe: Recipe
    first: Recipe | None = None
    size: Size = field(default_factory=Size)

    kind = "generator"
    inputs = ("ioUS",)

    @property
    def name(self) -> str:
        """Name of the preset."""
        return "-".join([self.family.replace("_", "-"), self.regime.lower(), *map(str.lower, self.targets)])

    @property
    def outputs(self) -> tuple[str, ...]:
        """Channels that the network gives."""
        return self.targets

    @property
    def schedule(self) -> Schedule:
        """Of the last training."""
        return self.recipe.schedule()

    @property
    def dimensions(self) -> int:
        """Of what goes through the trained network: 2 for slices, 3 for patches."""
        return len(self.recipe.window)

    @property
    def slice_axes(self) -> tuple[int, ...]:
        """Axes along which slices are cut: all three and averaged, as the GAN families' released code does, or one."""
        return (0,) if self.family in ("resvit", "syndiff") else (0, 1, 2)

    @property
    def refiner_sees_ultrasound(self) -> bool:
        """Whether a refiner of the family has the ultrasound behind the images of the first stage."""
        return self.family == "syndiff"

    def cases(self, cohort: Path, split: str) -> list[Path]:
        """Folders of the cases of a split."""
        return read_index(cohort, split)

    def slices(self) -> FamilyPreset:
        """The first stage of 2D+3D-refine."""
        return replace(self, regime="2D", recipe=self.first, first=None)

    def network(self) -> torch.nn.Module:
        """The untrained network."""
        if self.first is not None:
            return build_refiner(self.family, self.targets, **self.size.refiner)
        return build(self.family, self.regime, self.targets, **self.size.generator)

    def objective(self) -> Objective:
        """What the network learns for, with untrained discriminators."""
        if self.first is not None:
            return _refiner_objective(self)
        return _OBJECTIVES[self.family](self)

    def shortened(self, steps: int) -> FamilyPreset:
        """The preset with so many steps for each of its trainings."""
        return self._each(lambda recipe: {"steps": steps, "checkpoint_every": max(1, steps // 2)})

    def toy(self, steps: int = 8, slice_window: int = 64, patch: int = 32) -> FamilyPreset:
        """The preset with tiny networks, windows and batches, and a rate that lets them learn in a few steps."""
        exact = {"warm_up": 0, "average": 0.0, "mixed": False, "validation_batches": 1, "batch_size": 2}
        return self._resized(TOYS, steps, slice_window, patch, 2e-3, exact)

    def reduced(self, steps: int, slice_window: int = 96, patch: int = 32) -> FamilyPreset:
        """The preset with narrow networks, small windows and batches, for a real training without a GPU."""
        return self._resized(REDUCED, steps, slice_window, patch, 1e-3, {
            "warm_up": steps // 10, "average": 0.999, "mixed": True, "batch_size": 4,
        })

    def _resized(
        self, sizes: Mapping[str, Size], steps: int, slice_window: int, patch: int, rate: float,
        others: Mapping[str, Any],
    ) -> FamilyPreset:
        """Refiners keep a low rate: they begin with images of the first stage, which a high one would first spoil."""

        def small(recipe: Recipe) -> dict[str, Any]:
            window = (slice_window,) * 2 if len(recipe.window) == 2 else (patch,) * 3
            refines = self.first is not None and recipe is self.recipe
            rates = {"rate": 1e-4 if refines else rate, "discriminator_rate": 2e-4, "pretraining_rate": rate}
            return {"window": window, **rates, **others}

        return replace(self._each(small), size=sizes[self.family]).shortened(steps)

    def _each(self, change: Callable[[Recipe], dict[str, Any]]) -> FamilyPreset:
        def changed(recipe: Recipe | None) -> Recipe | None:
            if recipe is None:
                return None
            values = change(recipe)
            early = {"pretraining": values["steps"]} if recipe.pretraining and "steps" in values else {}
            return replace(recipe, **values, **early)

        return replace(self, recipe=changed(self.recipe), first=changed(self.first))


def _preset(family: str, regime: str, targets: tuple[str, ...]) -> FamilyPreset:
    def recipe(what: str) -> Recipe:
        found = TABLE[family, what]
        two = len(targets) > 1
        return replace(
            found,
            steps=found.steps_for_two if two and found.steps_for_two else found.steps,
            identity=0.0 if two or regime == "2.5D" else found.identity,  # channels must be as many there and back
            weighed=found.weighed and two,
        )

    if regime == REFINED:
        return FamilyPreset(family, regime, targets, recipe("refiner"), recipe("slices"))
    return FamilyPreset(family, regime, targets, recipe("volumes" if regime == "3D" else "slices"))


FAMILY_PRESETS: dict[str, FamilyPreset] = {
    preset.name: preset
    for family in FAMILIES
    for regime in REGIMES
    for targets in (TARGETS[:1], tuple(TARGETS))
    for preset in [_preset(family, regime, targets)]
}


# Objectives -----------------------------------------------------------------------------------------------------------


def _loss(recipe: Recipe) -> WeightedLoss:
    return WeightedLoss(recipe.absolute, recipe.structure, recipe.gradient)


def _adversary(recipe: Recipe, discriminator: MultiScale, condition: Sequence[int]) -> Adversary:
    layers = sum(len(scale.layers) - 1 for scale in discriminator.scales)
    return Adversary(
        discriminator, recipe.discriminator_rate, recipe.adversarial, recipe.matching / layers, condition=condition,
        betas=recipe.betas, penalty=recipe.penalty, every=recipe.every, clip=1.0,
    )


def _ultrasound(preset: FamilyPreset) -> int:
    """Channels of ultrasound that go into the generator."""
    return 3 if preset.regime == "2.5D" else 1


def _pix2pix(preset: FamilyPreset) -> Objective:
    """The judge sees the middle slice beside the MRI."""
    count = len(preset.targets)
    discriminator = gan_discriminator(preset.dimensions, 1 + count, conditional=True, **preset.size.discriminator)
    adversary = _adversary(preset.recipe, discriminator, [_ultrasound(preset) // 2])
    return Adversarial(_loss(preset.recipe), adversary, count if preset.recipe.weighed else 0)


def _judge(preset: FamilyPreset, channels: int) -> Adversary:
    """A judge of one kind of image alone."""
    discriminator = gan_discriminator(preset.dimensions, channels, conditional=False, **preset.size.discriminator)
    return _adversary(preset.recipe, discriminator, [])


def _cyclegan(preset: FamilyPreset) -> Objective:
    from ..generators.cyclegan import WIDTHS, ResidualGenerator

    ultrasound, count = _ultrasound(preset), len(preset.targets)
    width = preset.size.generator.get("width", WIDTHS[preset.dimensions])
    way_back = ResidualGenerator(preset.dimensions, count, ultrasound, width)
    judges = _judge(preset, count), _judge(preset, ultrasound)
    return Cycle(_loss(preset.recipe), way_back, judges, preset.recipe.cycle, preset.recipe.identity)


def _cut(preset: FamilyPreset) -> Objective:
    from ..generators.pix2pix import WIDTHS

    recipe, adversary = preset.recipe, _judge(preset, len(preset.targets))
    if not recipe.contrast:
        return Adversarial(_loss(recipe), adversary)
    width = preset.size.generator.get("width", WIDTHS[2])
    channels = [width, width, 2 * width, 8 * width]
    return Contrastive(_loss(recipe), adversary, channels, recipe.contrast, recipe.identity)


def _resvit(preset: FamilyPreset) -> Objective:
    """The judge sees all slices that the generator sees."""
    ultrasound = _ultrasound(preset)
    channels = ultrasound + len(preset.targets)
    discriminator = resvit_discriminator(preset.dimensions, channels, **preset.size.discriminator)
    return Adversarial(_loss(preset.recipe), _adversary(preset.recipe, discriminator, range(ultrasound)))


def _syndiff(preset: FamilyPreset) -> Objective:
    recipe = preset.recipe
    discriminator = StepDiscriminator(preset.dimensions, 2 * len(preset.targets), **preset.size.discriminator)
    return AdversarialDiffusion(
        _loss(recipe), discriminator, recipe.discriminator_rate, recipe.betas, recipe.penalty, recipe.every
    )


_OBJECTIVES: dict[str, Callable[[FamilyPreset], Objective]] = {
    "pix2pix": _pix2pix, "swin_pix2pix": _pix2pix, "cyclegan": _cyclegan, "cut": _cut, "resvit": _resvit,
    "syndiff": _syndiff,
}


def _refiner_objective(preset: FamilyPreset) -> Objective:
    """SynDiff's refiner has a judge, which sees the ultrasound, too; the others learn from the true MRI alone."""
    if not preset.recipe.adversarial:
        return Adversarial(_loss(preset.recipe))
    width = preset.size.refiner.get("filters", 24)
    count = len(preset.targets)
    discriminator = MultiScale([PatchGAN(3, 1 + count, [width << number for number in range(4)], spectral=False)])
    return Adversarial(_loss(preset.recipe), _adversary(preset.recipe, discriminator, [count]))


# Training -------------------------------------------------------------------------------------------------------------


def train_family(
    preset: FamilyPreset, cohort: Path, output: Path, seed: int = 0, device: str = "cpu",
    report: Callable[[str], None] = print,
) -> torch.nn.Module:
    """Train a preset, in all its stages, and return the averaged network of the last.

    Parameters
    ----------
    preset
        What to train.
    cohort
        Folder of a prepared or simulated cohort.
    output
        Folder of the run (:class:`.trainer.Trainer` says what it holds), with ``pretraining`` for ResViT, and
        ``slices`` and ``predictions`` for 2D+3D-refine. A run that is there is resumed.
    seed, device, report
        As in :func:`.presets.train`.
    """
    predictions = None
    if preset.first is not None:
        train_family(preset.slices(), cohort, output / SLICES, seed, device, report)
        predictions = _predict(preset, cohort, output, device)
    torch.manual_seed(seed)
    train, validation = (
        _batches(preset, cohort, split, predictions, seed, augment)
        for split, augment in (("train", True), ("validation", False))
    )
    _write_run(preset, output, train, seed)
    network, objective = preset.network(), preset.objective()
    if preset.recipe.pretraining:
        early, objective = objective, preset.objective()  # the main phase has optimizers of its own
        _pretrain(preset, network, early, (train, validation), output / PRETRAINING, device, report)
        objective.start_from(early.state_dict())
    return _trainer(preset, network, objective, (train, validation), "main", output, device).run(report)


def _batches(
    preset: FamilyPreset, cohort: Path, split: str, predictions: Path | None, seed: int, augment: bool
) -> SliceBatches | PatchBatches:
    folders = preset.cases(cohort, split)
    if not folders:
        raise ValueError("the cohort has no cases for training or validation; simulate more heads")
    load: Callable[[Path], TrainingVolume] = partial(generator_volume, targets=preset.targets)
    if predictions is not None:
        ultrasound = preset.refiner_sees_ultrasound
        load = partial(refiner_volume, predictions=predictions, targets=preset.targets, ultrasound=ultrasound)
    volumes, recipe = load_volumes(folders, load), preset.recipe
    if preset.dimensions == 3:
        return PatchBatches(volumes, recipe.batch_size, recipe.window, seed, augment and predictions is None)
    context = 1 if preset.regime == "2.5D" else 0
    size = _window(recipe.window[0], volumes)
    return SliceBatches(volumes, recipe.batch_size, size, seed, augment, context, preset.slice_axes)


def _window(published: int, volumes: Sequence[TrainingVolume]) -> int:
    """The published window, or a smaller one where that would hold nothing but padding beyond the cases."""
    largest = max(max(volume.fan.shape) for volume in volumes)
    return min(published, -(-largest // _MULTIPLE) * _MULTIPLE)


def _pretrain(
    preset: FamilyPreset, network: torch.nn.Module, objective: Objective, batches: tuple[Batches, Batches],
    folder: Path, device: str, report: Callable[[str], None],
) -> None:
    """Train ResViT without its transformer branches, and leave the best weights in ``network``."""
    _enable_transformer(network, False)
    _trainer(preset, network, objective, batches, PRETRAINING, folder, device).run(report)
    network.load_state_dict(average_weights(folder, network))
    _enable_transformer(network, True)


def _enable_transformer(network: torch.nn.Module, on: bool) -> None:
    """Switch ResViT's transformer branches, and whether they learn."""
    network.transformer = on
    for name, parameter in network.named_parameters():
        if ".trans." in name or ".agg." in name:
            parameter.requires_grad_(on)


def _trainer(
    preset: FamilyPreset, network: torch.nn.Module, objective: Objective, batches: tuple[Batches, Batches], phase: str,
    folder: Path, device: str,
) -> Trainer:
    inputs = preset.inputs
    if preset.first is not None:
        inputs = [f"{target} by slices" for target in preset.targets]
        inputs += [*preset.inputs] * preset.refiner_sees_ultrasound
    picture = partial(draw_generator, inputs=inputs, targets=preset.targets)
    score = perceptual_score(batches[1])
    return Trainer(network, objective, *batches, preset.recipe.schedule(phase), folder, device, score, picture)


def average_weights(run: Path, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The averaged weights of a run's best checkpoint, or of the last when none was scored."""
    average = AveragedModel(network, use_buffers=True)
    chosen = run / "best.pt" if (run / "best.pt").exists() else run / "checkpoint.pt"
    average.load_state_dict(torch.load(chosen, map_location="cpu", weights_only=True)["average"])
    return average.module.state_dict()


def _write_run(preset: FamilyPreset, output: Path, batches: SliceBatches | PatchBatches, seed: int) -> None:
    window = [batches.size] * 2 if isinstance(batches, SliceBatches) else list(batches.size)
    output.mkdir(parents=True, exist_ok=True)
    (output / RUN).write_text(json.dumps({"preset": preset.name, "window": window, "seed": seed}) + "\n")


def _predict(preset: FamilyPreset, cohort: Path, output: Path, device: str) -> Path:
    """Let the first stage predict the cases to learn from, once."""
    from ..models.bundle import load
    from .family_bundle import export_run
    from .predictions import predict_cohort

    bundle, predictions = output / SLICES / BUNDLE, output / PREDICTIONS
    if not bundle.exists():
        export_run(output / SLICES, bundle, preset.slices())
    folders = [folder for split in ("train", "validation") for folder in preset.cases(cohort, split)]
    predict_cohort(folders, load(bundle), predictions, device=device)
    return predictions
