"""Named recipes: what each shipped model is trained on and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ..cases.index import read_index
from ..constants import TARGETS, VOXEL_MM
from ..generators import build
from ..generators.unet import FEATURES, plain_network
from ..models.bundle import Bundle
from .data import (
    Batches,
    DrawnAhead,
    PatchBatches,
    SliceBatches,
    TrainingVolume,
    generator_volume,
    load_volumes,
    segmenter_volume,
)
from .discriminators import patch_discriminator
from .families import FAMILY_PRESETS, FamilyPreset, train_family
from .initial import start_from
from .losses import generator_loss, segmenter_loss
from .objectives.adversary import CONDITION, Adversary
from .objectives.objective import Adversarial, Objective
from .samples import Picture, draw_generator, draw_segmenter
from .selection import overlap_score, perceptual_score
from .trainer import Schedule, Score, Trainer


@dataclass(frozen=True)
class Preset:
    """A recipe.

    Attributes
    ----------
    kind
        "generator" or "segmenter".
    inputs
        Images that the network reads; in 2.5D, three neighbouring slices of each.
    outputs
        Channels that it gives.
    regime
        "2.5D" or "3D".
    size
        Edge of the square training slices, or of the cubic patches, in voxels.
    share
        Part of the training cases that is used; the first ones, which cover all heads evenly.
    adversarial
        Whether a discriminator adds its terms to a generator's loss.
    spacing
        Edge of the voxels in mm.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    schedule: Schedule
    regime: str = "2.5D"
    size: int = 96
    batch_size: int = 16
    features: tuple[int, ...] = FEATURES
    share: float = 1.0
    adversarial: bool = False
    spacing: float = VOXEL_MM

    @property
    def dimensions(self) -> int:
        """Of what goes through the network: 2 for slices, 3 for patches."""
        return 3 if self.regime == "3D" else 2

    @property
    def channels(self) -> int:
        """Of what goes into the network."""
        return len(self.inputs) * (1 if self.regime == "3D" else 3)

    def cases(self, cohort: Path, split: str) -> list[Path]:
        """Folders of the cases of a split that the preset uses."""
        folders = read_index(cohort, split)
        return folders[: round(self.share * len(folders))] if split == "train" else folders

    def volume(self, folder: Path, predictions: Path | None = None) -> TrainingVolume:
        """A case as the preset learns from it; the synthetic MRI of ``predictions`` is for segmenters."""
        if self.kind == "generator":
            return generator_volume(folder)
        return segmenter_volume(folder, self.inputs, predictions, self.spacing)

    def network(self) -> torch.nn.Module:
        """The untrained network."""
        if self.kind == "generator":
            return build("unet", "2.5D", TARGETS, features=self.features)
        return plain_network(self.channels, len(self.outputs), self.features, self.dimensions)

    def objective(self) -> Objective:
        """What the network learns for, with an untrained discriminator where one takes part."""
        if self.kind == "segmenter":
            return Objective(segmenter_loss)
        discriminator = patch_discriminator(len(CONDITION) + len(TARGETS)) if self.adversarial else None
        return Adversarial(generator_loss, Adversary(discriminator) if discriminator else None)

    def score(self, validation: Batches) -> Score | None:
        """What chooses the checkpoint that is kept."""
        return perceptual_score(validation) if self.kind == "generator" else overlap_score(validation)

    def picture(self) -> Picture:
        """What draws the sample pictures of its kind."""
        if self.kind == "generator":
            return partial(draw_generator, inputs=self.inputs, targets=self.outputs[:-1])
        return partial(draw_segmenter, inputs=self.inputs)


CLASSES = ("background", "tumour", "cavity")
_SEGMENTER = {
    # Voxels twice as large as the generator's: the network sees a tumour as a whole, and a volume takes a second.
    "kind": "segmenter", "outputs": CLASSES, "regime": "3D", "spacing": 2 * VOXEL_MM, "size": 64, "batch_size": 4,
    "features": (24, 48, 64, 96, 128, 24), "schedule": Schedule(4000, rate=1e-3),
}
PRESETS: dict[str, Preset | FamilyPreset] = {
    "ious2mr-2.5d": Preset("generator", ("ioUS",), (*TARGETS, "log_error"), Schedule(13000), batch_size=64),
    # For a GPU: texture that a discriminator asks for takes many more steps to learn.
    "ious2mr-2.5d-adversarial": Preset(
        "generator", ("ioUS",), (*TARGETS, "log_error"), Schedule(20000, rate=1e-3), adversarial=True
    ),
    "lesion-3d": Preset(inputs=("ioUS", *TARGETS), **_SEGMENTER),
    # The arms that the shipped segmenter is compared with: the same network, cases and steps, fewer inputs.
    "lesion-3d-ultrasound-only": Preset(inputs=("ioUS",), **_SEGMENTER),
    "lesion-3d-synthetic-only": Preset(inputs=TARGETS, **_SEGMENTER),
    "lesion-3d-true-mri": Preset(inputs=TARGETS, **_SEGMENTER),
    **FAMILY_PRESETS,
}


def train(
    name: str,
    cohort: Path,
    output: Path,
    predictions: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = print,
    initial: Bundle | None = None,
    workers: int = 0,
) -> torch.nn.Module:
    """Train the preset ``name`` and return the averaged network.

    Parameters
    ----------
    name
        A name in ``PRESETS``.
    cohort
        Folder of a prepared or simulated cohort.
    output
        Folder of the run (:class:`.trainer.Trainer` says what it holds). A run that is there is resumed.
    predictions
        Synthetic MRI of the cohort (:func:`.predictions.predict_cohort`), for segmenters; the true MRI without it.
    seed
        Seed of the weights and of every batch.
    steps
        Other length than the preset's, for a quick trial.
    device
        "cpu" or "cuda".
    report
        Receives a line at every checkpoint.
    initial
        Bundle to start from; random weights without it, and for the benchmark's families.
    workers
        Processes that load cases and draw batches ahead of time, for GPUs; this one does it where there are none. Not
        for the benchmark's families.

    Raises
    ------
    ValueError
        Unknown preset, or a cohort without cases for training.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if isinstance(preset, FamilyPreset):
        preset = preset if steps is None else preset.shortened(steps)
        return train_family(preset, cohort, output, seed, device, report)
    schedule = preset.schedule if steps is None else Schedule(steps, checkpoint_every=max(1, steps // 2))
    torch.manual_seed(seed)
    load = partial(preset.volume, predictions=predictions)
    train_batches, validation = (
        _batches(preset, preset.cases(cohort, split), load, seed, augment, workers)
        for split, augment in (("train", preset.inputs[0] == "ioUS"), ("validation", False))
    )
    network = preset.network()
    if initial is not None:
        start_from(network, preset.inputs, initial, train_batches)
    drawn = DrawnAhead(train_batches, workers) if workers else train_batches
    trainer = Trainer(
        network, preset.objective(), drawn, validation, schedule, output, device, preset.score(validation),
        preset.picture(),
    )
    return trainer.run(report)


def _batches(
    preset: Preset, folders: Sequence[Path], load: Callable[[Path], TrainingVolume], seed: int, augment: bool,
    workers: int,
) -> SliceBatches | PatchBatches:
    if not folders:
        raise ValueError("the cohort has no cases for training or validation; simulate more heads")
    volumes = load_volumes(folders, load, workers)
    if preset.regime == "3D":
        return PatchBatches(volumes, preset.batch_size, (preset.size,) * 3, seed, augment)
    return SliceBatches(volumes, preset.batch_size, preset.size, seed, augment)
