"""Train a preset; :mod:`.run_folder` says what that leaves on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..cases.case import read_parameters
from ..cases.index import describe_index, read_index
from ..constants import VOXEL_MM
from ..files.volumes import read_volume
from ..generators.recipe import DEFAULT
from ..models.bundle import Bundle, load
from ..synthesis.quality import training_range
from ..volume import InputError
from .data import Batches, DrawnAhead, RandomBatches, load_volumes, real_volume
from .distributed import World
from .initial import start_from
from .objectives.objective import Objective
from .predictions import maker_of, predict_cohort
from .preset import REFINER, Preset, Stage
from .presets import find_preset
from .release import export_run
from .run_folder import BUNDLE, PREDICTIONS, PRETRAINING, RUN, average_weights
from .trainer import Trainer


def train(
    preset: str | Preset,
    cohort: Path,
    output: Path,
    *,
    predictions: Path | None = None,
    seed: int = 0,
    steps: int | None = None,
    device: str = "cpu",
    report: Callable[[str], None] = print,
    initial: Bundle | None = None,
    real: Sequence[Path] = (),
    painted: Path | None = None,
    workers: int = 0,
    patient: Mapping[str, str] | None = None,
) -> torch.nn.Module:
    """Train a preset in all its stages, and return the averaged network of the last.

    Parameters
    ----------
    preset
        A name in :data:`.presets.PRESETS`, or one of your own.
    cohort
        Folder of a prepared or simulated cohort.
    output
        Folder of the run. A run that is there is resumed.
    predictions
        Synthetic MRI of the cohort (:func:`.predictions.predict_cohort`), for segmenters; the true MRI without it.
    seed
        Seed of the weights and of every batch.
    steps
        Other length of every training than the preset's, for a quick trial.
    device
        "cpu" or "cuda".
    report
        Receives a line at every checkpoint.
    initial
        Bundle to start from, for the networks that ship; random weights without it.
    real
        Files of real ultrasound without MRI, whose texture and grey levels the cohort's ultrasound takes over
        (:mod:`.texture`).
    painted
        Cohort of real ultrasound with painted cavities (:mod:`..simulation.painted`), whose cases for training a
        segmenter learns from, too. ``predictions`` has their synthetic MRI.
    workers
        Processes that load cases and draw batches ahead of time, for GPUs; this one does it where there are none.
    patient
        SHA-256 of the MRI, by contrast, of the one patient that all cases are of (:mod:`.personal`).

    Raises
    ------
    ValueError
        Unknown preset, or a cohort without cases for training.
    InputError
        No case has all targets, where the recipe wants them, or any; the preset cannot learn from the cohort's input;
        or the run was begun with another preset, recipe or cohort.
    """
    preset = find_preset(preset) if isinstance(preset, str) else preset
    preset = preset if steps is None else preset.shortened(steps)
    preset = for_cohort(preset, cohort)
    run = _Run(
        preset=preset, cohort=cohort, output=output, predictions=predictions, seed=seed, device=device, report=report,
        initial=initial, real=real, painted=painted, workers=workers, patient=dict(patient or {}),
    )
    run.check_begun()
    return [run.train(stage) for stage in preset.stages][-1]


def for_cohort(preset: Preset, cohort: Path) -> Preset:
    """The preset as it reads the cohort, whose input may be a contrast of MRI, if it reads that at all."""
    if "ioUS" not in preset.first.inputs:
        return preset
    known = [read_parameters(folder) for folder in read_index(cohort, "train")]
    if {case.get("input", "ioUS") for case in known} <= {"ioUS"}:
        return preset
    inputs = {(case.get("input", "ioUS"), *np.ravel(case.get("spacing_mm", VOXEL_MM))) for case in known}
    if len(inputs) > 1:
        raise InputError(f"{cohort}: its cases differ in input or voxel size; prepare those that are alike")
    ((source, *grid),) = inputs
    return preset.reading(source, grid)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The arguments of :func:`train`, and what is known of the stages that have begun."""

    preset: Preset
    cohort: Path
    output: Path
    predictions: Path | None
    seed: int
    device: str
    report: Callable[[str], None]
    initial: Bundle | None
    real: Sequence[Path]
    painted: Path | None
    workers: int
    patient: dict[str, str]
    stages: list[dict[str, Any]] = field(default_factory=list)

    def check_begun(self) -> None:
        """Refuse to go on from a run of another preset, recipe or cohort."""
        earlier = self._earlier
        begun = earlier.get("preset", self.preset.name)
        if begun != self.preset.name:
            raise InputError(f"{self.output}: was begun with the preset {begun}; give that, or another output folder")
        begun = earlier.get("recipe", DEFAULT)
        if earlier and begun != self.preset.recipe:
            raise InputError(
                f"{self.output}: was begun with the {begun} recipe; give --recipe {begun}, or another output folder"
            )
        known, cohort = describe_index(self.cohort), earlier.get("cohort", {})
        source = self.preset.first.inputs[0]
        if earlier.get("input", source) != source or any(cohort.get(key, known[key]) != known[key] for key in known):
            raise InputError(
                f"{self.output}: was begun on another cohort, then in {earlier.get('cohort_folder', 'some folder')}; "
                "give that, or another output folder"
            )

    def train(self, stage: Stage) -> torch.nn.Module:
        """Train a stage, in both phases where it has two, and return its averaged network."""
        predictions = self._predict() if stage.name == REFINER else self.predictions
        torch.manual_seed(self.seed)
        batches, validation = (
            self._batches(stage, split, predictions, augment=split == "train") for split in ("train", "validation")
        )
        self._write(stage, batches)
        network = stage.network()
        if self.initial is not None:
            start_from(network, stage.inputs, self.initial, batches=batches)
        drawn = DrawnAhead(batches, self.workers) if self.workers else batches
        objective = stage.objective()
        if stage.recipe.pretraining:
            objective = self._pretrain(stage, network, objective, train=drawn, validation=validation)
        trainer = self._trainer(stage, network, objective, train=drawn, validation=validation)
        return trainer.run(self.report)

    def _batches(self, stage: Stage, split: str, predictions: Path | None, *, augment: bool) -> RandomBatches:
        folders = read_index(self.cohort, split)
        if not folders:
            raise ValueError("the cohort has no cases for training or validation; simulate more heads")
        if augment and self.painted is not None:
            folders = folders + read_index(self.painted, split)
        volumes = load_volumes(folders, partial(stage.load, predictions=predictions), self.workers)
        if stage.kind == "generator" and not any(np.isfinite(volume.target).any() for volume in volumes):
            wanted = " or ".join(stage.outputs)
            raise InputError(f"{self.cohort}: no case for {split} has {wanted}; choose another preset")
        if stage.recipe.complete:
            volumes = [volume for volume in volumes if volume.complete]
            if not volumes:
                raise InputError(
                    f"{self.cohort}: no case for {split} has {' and '.join(stage.outputs)}, and the published recipe "
                    "learns from no others; leave --recipe out"
                )
        real = load_volumes(self.real, partial(real_volume, spacing=stage.spacing), self.workers) if augment else []
        return stage.batches(volumes, seed=self.seed, augment=augment, real=real)

    def _pretrain(
        self, stage: Stage, network: torch.nn.Module, objective: Objective, *, train: Batches, validation: Batches
    ) -> Objective:
        """Train the earlier phase, leave its best weights in ``network``, and return the objective of the next one."""
        early = replace(stage, recipe=stage.recipe.earlier_phase())
        folder = self.output / stage.folder / PRETRAINING
        network.pretrain(True)
        self._trainer(early, network, objective, train=train, validation=validation, folder=folder).run(self.report)
        network.load_state_dict(average_weights(folder, network))
        network.pretrain(False)
        later = stage.objective()  # with optimizers of its own
        later.start_from(objective.state_dict())
        return later

    def _trainer(
        self, stage: Stage, network: torch.nn.Module, objective: Objective, *, train: Batches, validation: Batches,
        folder: Path | None = None,
    ) -> Trainer:
        return Trainer(
            network, objective, train=train, validation=validation, schedule=stage.recipe,
            folder=folder or self.output / stage.folder, device=self.device, score=stage.score(validation),
            picture=stage.picture(),
        )

    def _write(self, stage: Stage, batches: RandomBatches) -> None:
        """Write down what the run is, up to a stage that begins."""
        recipe = replace(stage.recipe, window=batches.window)
        self.stages.append({
            "name": stage.name,
            "steps": recipe.steps,
            "pretraining": recipe.pretraining,
            "window": list(recipe.window),
            "recipe": recipe.describe(),
        })
        if not World.from_environment().is_first:
            return
        content = {
            "preset": self.preset.name,
            "recipe": self.preset.recipe,
            "seed": self.seed,
            "initial": self.initial.title if self.initial else None,
            "predictions": self.predictions is not None,
            "generator": maker_of(self.predictions) if self.predictions else None,
            "input": self.preset.first.inputs[0],
            "voxels_mm": list(self.preset.first.voxels),
            "scaling": self._scaling,
            "real_ultrasound": len(self.real),
            "painted": len(read_index(self.painted, "train")) if self.painted is not None else 0,
            **({"patient": self.patient} if self.patient else {}),
            "cohort": self._about_cohort,
            "cohort_folder": str(self.cohort.resolve()),
            "stages": self.stages,
        }
        self.output.mkdir(parents=True, exist_ok=True)
        (self.output / RUN).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @cached_property
    def _earlier(self) -> dict[str, Any]:
        """What a run that is there says of itself."""
        try:
            return json.loads((self.output / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    @cached_property
    def _about_cohort(self) -> dict[str, Any]:
        """What is known of the cohort, and how the ultrasound that is learned from looks, which is measured once."""
        known, earlier = describe_index(self.cohort), self._earlier.get("cohort", {})
        if {**earlier, **known} == earlier and "training_range" in earlier:
            return earlier
        if not (read_index(self.cohort, "train")[0] / "ioUS.mha").is_file():
            return known
        volumes = (read_volume(folder / "ioUS.mha") for folder in read_index(self.cohort, "train"))
        return {**known, "training_range": training_range(volume for volume in volumes if volume.array.any())}

    @property
    def _scaling(self) -> str | None:
        """How the MRI of a cohort that has it as input was scaled."""
        return read_parameters(read_index(self.cohort, "train")[0]).get("scaling")

    def _predict(self) -> Path:
        """Let the first stage predict the cases to learn from, once."""
        first = replace(self.preset, stages=(self.preset.first,))
        bundle, predictions = self.output / first.last.folder / BUNDLE, self.output / PREDICTIONS
        if not bundle.exists():
            export_run(self.output, bundle, preset=first)
        folders = [folder for split in ("train", "validation") for folder in read_index(self.cohort, split)]
        predict_cohort(folders, load(bundle), predictions, device=self.device)
        return predictions
