"""What is trained, from what and for what: a preset is a model in one stage or, in 2D+3D-refine, in two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import torch

from ..constants import LABELS, VOXEL_MM
from ..generators import build, build_refiner, get_family, unet
from ..generators.family import REFINED, Family, Size
from ..generators.recipe import DEFAULT, NOT_AUGMENTED, PUBLISHED, Recipe
from ..volume import InputError
from .data import (
    Batches,
    PatchBatches,
    RandomBatches,
    SliceBatches,
    TrainingVolume,
    generator_volume,
    refiner_volume,
    segmenter_volume,
)
from .losses import WeightedLoss, segmenter_loss
from .objectives.objective import Objective
from .preoperative import CONTRASTS as PREOPERATIVE_CONTRASTS
from .preoperative import PreoperativeBatches, preoperative_volume
from .samples import Picture, draw_generator, draw_segmenter
from .selection import loss_score, overlap_score, perceptual_score
from .trainer import Score

#: Names of stages; the first two are those of 2D+3D-refine.
SLICES, REFINER, MAIN = "slices", "refiner", "main"
#: What chooses the checkpoint that is kept, by the names of :class:`..generators.recipe.Recipe`, beside the best.
_LOSSES = {"absolute": WeightedLoss(1.0), "structure": WeightedLoss(0.0, structure=1.0)}
_LIBRARY = __name__.partition(".")[0]
#: Windows of slices are multiples of this, which most networks can halve as often as they must.
_MULTIPLE = 32


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """The training of one network.

    Attributes
    ----------
    name
        "main", or in 2D+3D-refine "slices" and then "refiner".
    recipe
        How it is trained; its window says whether from slices or from patches.
    regime
        "2D", "2.5D" or "3D": what goes through the network.
    size, discriminator
        Sizes of the network and of its discriminators other than the published ones, for their makers.
    spacing
        Edge of the voxels in mm.
    """

    name: str = MAIN
    recipe: Recipe
    regime: str = "3D"
    size: Mapping[str, Any] = field(default_factory=dict)
    discriminator: Mapping[str, Any] = field(default_factory=dict)
    spacing: float = VOXEL_MM

    #: What the network gives: "generator" for images, "segmenter" for classes.
    kind: ClassVar[str] = "generator"

    @property
    @abstractmethod
    def traits(self) -> Family:
        """How the network's family is built and run."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """Images that the network reads; in 2.5D three neighbouring slices of each."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Channels that it gives."""

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """The untrained network."""

    @abstractmethod
    def objective(self) -> Objective:
        """What the network learns for, with untrained discriminators where some take part."""

    @abstractmethod
    def load(self, folder: Path, predictions: Path | None = None) -> TrainingVolume:
        """A case as the network learns from it; ``predictions`` is a folder of synthetic MRI of the cohort."""

    @abstractmethod
    def picture(self) -> Picture:
        """What draws the sample pictures."""

    def score(self, validation: Batches) -> Score | None:
        """What chooses the checkpoint that is kept; nothing where that is the last."""
        if self.recipe.keep == "last":
            return None
        if self.recipe.keep in _LOSSES:
            return loss_score(validation, _LOSSES[self.recipe.keep])
        return perceptual_score(validation)

    def published(self) -> Stage:
        """The stage with the recipe that was published."""
        kind = "refiner" if self.name == REFINER else "volumes" if self.dimensions == 3 else "slices"
        return replace(self, recipe=replace(self.recipe, **self.traits.published[kind]))

    @property
    def bundle_inputs(self) -> tuple[str, ...]:
        """Those of the inputs that a bundle's network reads."""
        return self.inputs

    @property
    def bundle_outputs(self) -> tuple[str, ...]:
        """Those of the outputs that it gives."""
        return self.outputs

    @property
    def details(self) -> dict[str, Any]:
        """What a bundle's metadata say beside what they say of all."""
        return {}

    @property
    def folder(self) -> str:
        """Where the stage stands within the folder of the run."""
        return SLICES if self.name == SLICES else ""

    @property
    def voxels(self) -> tuple[float, float, float]:
        """Edges (x, y, z) of the voxels in mm."""
        return (self.spacing,) * 3

    @property
    def dimensions(self) -> int:
        """Of what goes through the network: 2 for slices, 3 for patches."""
        return len(self.recipe.window)

    @property
    def channels(self) -> int:
        """Of what goes into the network."""
        return len(self.inputs) * (3 if self.regime == "2.5D" else 1)

    @property
    def slice_axes(self) -> tuple[int, ...]:
        """Axes along which slices are cut; none for patches."""
        return ()

    @property
    def foldable(self) -> bool:
        """Whether it may start from the weights of a bundle (:mod:`.initial`)."""
        return False

    def batches(
        self, volumes: Sequence[TrainingVolume], *, seed: int, augment: bool, real: Sequence[TrainingVolume] = ()
    ) -> RandomBatches:
        """Batches of the volumes; those to learn from, ``augment``, are unpaired where the recipe wants it.

        In these the ultrasound is varied, too, but what was made of it never is, nor is MRI.
        """
        recipe = self.recipe
        how = {
            "seed": seed, "augment": augment and self.inputs[0] == "ioUS", "augmentation": recipe.augmentation,
            "real": real, "unpaired": augment and recipe.unpaired,
        }
        if self.dimensions == 3:
            return PatchBatches(volumes, recipe.batch_size, recipe.window, anywhere=recipe.anywhere, **how)
        multiple = max(_MULTIPLE, self.traits.size_multiple)
        window, context = _window(recipe.window[0], volumes, multiple), 1 if self.regime == "2.5D" else 0
        axes = recipe.axes or self.slice_axes
        return self._slices(volumes, recipe.batch_size, window, context=context, axes=axes, **how)

    def _slices(self, *what: Any, **how: Any) -> SliceBatches:
        """Batches of slices, by their arguments."""
        return SliceBatches(*what, **how)


def _window(wanted: int, volumes: Sequence[TrainingVolume], multiple: int) -> int:
    """The window of the recipe, or a smaller one where that would hold nothing but padding beyond the cases."""
    largest = max(max(volume.fan.shape) for volume in volumes)
    return min(wanted, -(-largest // multiple) * multiple)


@dataclass(frozen=True, kw_only=True)
class _FamilyStage(Stage):
    """A stage of a family of generators.

    Attributes
    ----------
    family
        A name in :data:`..generators.FAMILIES`.
    targets
        MR contrasts that it gives.
    """

    family: str
    targets: tuple[str, ...]

    @property
    def traits(self) -> Family:
        return get_family(self.family)


@dataclass(frozen=True, kw_only=True)
class Synthesis(_FamilyStage):
    """From ultrasound, or MRI of another contrast, to MRI, on slices or in 3D.

    Attributes
    ----------
    source
        What it reads: "ioUS", or a contrast of MRI.
    grid
        Edges (x, y, z) in mm of the voxels of a cohort of MRI, which keeps its own; without it, ``spacing`` tells.
    """

    source: str = "ioUS"
    grid: tuple[float, float, float] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def voxels(self) -> tuple[float, float, float]:
        return self.grid or super().voxels

    @property
    def outputs(self) -> tuple[str, ...]:
        return (*self.targets, "log_error") if self.traits.estimates_error else self.targets

    @property
    def slice_axes(self) -> tuple[int, ...]:
        return () if self.regime == "3D" else self.traits.slice_axes

    @property
    def foldable(self) -> bool:
        return self.traits.foldable

    @property
    def details(self) -> dict[str, Any]:
        """Whether samples can be drawn, as a diffusion's can."""
        return {"draws": True} if self.traits.diffusion else {}

    def network(self) -> torch.nn.Module:
        return build(self.family, self.regime, self.targets, **self.size)

    def objective(self) -> Objective:
        return _made(self.traits.objective)(self)

    def load(self, folder: Path, predictions: Path | None = None) -> TrainingVolume:
        return generator_volume(folder, self.targets, source=self.source)

    def picture(self) -> Picture:
        return partial(draw_generator, inputs=self.inputs, targets=self.targets)


@dataclass(frozen=True, kw_only=True)
class PreoperativeSynthesis(Synthesis):
    """From ultrasound and any of the patient's MRI from before the operation to MRI, on slices.

    Attributes
    ----------
    optional
        Contrasts of MRI that it reads beside ultrasound, any of which may be missing.
    """

    optional: tuple[str, ...] = PREOPERATIVE_CONTRASTS

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.source, *self.optional)

    @property
    def details(self) -> dict[str, Any]:
        return {"optional": list(self.optional)}

    def network(self) -> torch.nn.Module:
        return self.traits.build(self.dimensions, self.channels, len(self.outputs), **self.size)

    def load(self, folder: Path, predictions: Path | None = None) -> TrainingVolume:
        return preoperative_volume(folder, self.targets, self.optional)

    def _slices(self, *what: Any, **how: Any) -> SliceBatches:
        return PreoperativeBatches(*what, **how)


class Refinement(_FamilyStage):
    """From assembled slices, and the ultrasound where the family's refiner sees it, to better ones."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return (*self.targets, "ioUS") if self.traits.refiner_sees_ultrasound else self.targets

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.targets

    def network(self) -> torch.nn.Module:
        return build_refiner(self.family, self.targets, **self.size)

    def objective(self) -> Objective:
        return _made(self.traits.refiner_objective)(self)

    def load(self, folder: Path, predictions: Path | None = None) -> TrainingVolume:
        return refiner_volume(folder, predictions, self.targets, ultrasound=self.traits.refiner_sees_ultrasound)

    def picture(self) -> Picture:
        named = [f"{name} by slices" if name in self.targets else name for name in self.inputs]
        return partial(draw_generator, inputs=named, targets=self.targets)


def _made(objective: str) -> Callable[[Stage], Objective]:
    """The function that makes an objective, named as a family names it."""
    return resolve_name(f"{_LIBRARY}.{objective}")


@dataclass(frozen=True, kw_only=True)
class Segmentation(Stage):
    """From ultrasound and MRI, true or synthetic, to tumour and resection cavity, in 3D.

    Attributes
    ----------
    images
        Those that are read, of ioUS, T2w and FLAIR.
    """

    images: tuple[str, ...]

    kind = "segmenter"
    outputs = tuple(LABELS)
    traits = unet.FAMILY
    foldable = True

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.images

    def network(self) -> torch.nn.Module:
        return unet.build(self.dimensions, self.channels, len(self.outputs), **self.size)

    def objective(self) -> Objective:
        return Objective(segmenter_loss)

    def load(self, folder: Path, predictions: Path | None = None) -> TrainingVolume:
        return segmenter_volume(folder, self.images, predictions, spacing=self.spacing)

    def score(self, validation: Batches) -> Score | None:
        return overlap_score(validation)

    def picture(self) -> Picture:
        return partial(draw_segmenter, inputs=self.images)


@dataclass(frozen=True)
class Preset:
    """A model to train: what its stages are, which learn one after the other.

    Attributes
    ----------
    name
        What it is called on the command line.
    stages
        One, "main", or in 2D+3D-refine "slices" and "refiner", which learns from what the first stage makes of the
        cohort.
    recipe
        ``DEFAULT``, or ``PUBLISHED`` for what :meth:`published` gives.
    """

    name: str
    stages: tuple[Stage, ...]
    recipe: str = DEFAULT

    @property
    def first(self) -> Stage:
        """The stage that sees the ultrasound."""
        return self.stages[0]

    @property
    def last(self) -> Stage:
        """The stage that makes the outputs."""
        return self.stages[-1]

    @property
    def regime(self) -> str:
        """Of the whole, a name in :data:`..generators.REGIMES`."""
        return REFINED if self.last.name == REFINER else self.last.regime

    def published(self) -> Preset:
        """The preset with its authors' recipe (:mod:`..generators.recipe` and the family's file say what that changes).

        Raises
        ------
        InputError
            There is no such recipe.
        """
        if not self.first.traits.published:
            raise InputError(f"--recipe: {self.name} has no published recipe; leave the option out")
        return replace(self._each(Stage.published), recipe=PUBLISHED)

    def reading(self, source: str, grid: Sequence[float]) -> Preset:
        """The preset for a cohort with another input than ultrasound.

        Parameters
        ----------
        source
            The contrast that is the cohort's input.
        grid
            Edges (x, y, z) of its voxels in mm.

        Raises
        ------
        InputError
            The preset is none of a generator in one stage, or makes that contrast.
        """
        if self.stages[1:] or not isinstance(self.last, Synthesis) or len(self.last.inputs) > 1:
            raise InputError(
                f"{self.name}: learns from ultrasound, and the cohort's input is {source}; choose another cohort, or a "
                "preset of a generator in one stage (see --list)"
            )
        if source in self.last.targets:
            raise InputError(f"{self.name}: makes {source}, which is the cohort's input; choose another preset")
        return replace(self, stages=(replace(self.last, source=source, grid=tuple(map(float, grid))),))

    def unaugmented(self) -> Preset:
        """The preset with nothing varied of what is learned from, not even flipped."""
        return self._each(lambda stage: replace(stage, recipe=replace(stage.recipe, augmentation=NOT_AUGMENTED)))

    def shortened(self, steps: int) -> Preset:
        """The preset with so many steps for each of its trainings."""
        return self._each(lambda stage: replace(stage, recipe=stage.recipe.shortened(steps)))

    def resized(self, size: Size, *, slices: int, patch: int, **figures: Any) -> Preset:
        """The preset with other sizes, for trials.

        Parameters
        ----------
        size
            Of its networks.
        slices, patch
            Edge of the windows, in voxels, on slices and in 3D.
        figures
            Others of the recipes. Refiners keep a low rate: they begin with images of the first stage, which a high
            one would first spoil.
        """

        def small(stage: Stage) -> Stage:
            window = (slices,) * 2 if stage.dimensions == 2 else (patch,) * 3
            rate = {"rate": 1e-4} if stage.name == REFINER else {}
            network = size.refiner if stage.name == REFINER else size.generator
            recipe = replace(stage.recipe, window=window, **{**figures, **rate})
            network, discriminator = {**stage.size, **network}, {**stage.discriminator, **size.discriminator}
            return replace(stage, recipe=recipe, size=network, discriminator=discriminator)

        return self._each(small)

    def _each(self, change: Callable[[Stage], Stage]) -> Preset:
        return replace(self, stages=tuple(map(change, self.stages)))
