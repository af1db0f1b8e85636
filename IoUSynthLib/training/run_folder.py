"""What a training leaves on disk, and reading it back.

The folder of a run holds ``run.json`` (what was trained, how, and on which cohort: all that a bundle can say of it;
and where that cohort lies, which no bundle says) and what :class:`.trainer.Trainer` keeps: ``checkpoint.pt``,
``best.pt``, ``curve.csv``, ``samples`` and ``tensorboard``. A recipe with an earlier phase has that phase's in
``pretraining``. A run of 2D+3D-refine has its first stage's in ``slices``, with the bundle of it in ``slices/bundle``,
and what that made of the cohort in ``predictions``. A segmenter that was calibrated has ``operating_point.json``
(:mod:`.calibration`), a generator that was exported ``familiarity.json`` (:mod:`.familiarity`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel

from ..generators.diffusion import Sampler
from ..generators.recipe import PUBLISHED
from ..volume import InputError
from .preset import REFINER, Preset, Stage
from .presets import PRESETS

RUN = "run.json"
#: Folders within a run, or a stage of it.
PRETRAINING, BUNDLE, PREDICTIONS = "pretraining", "bundle", "predictions"


def chosen_checkpoint(folder: Path) -> Path:
    """The best checkpoint in a folder, or the last when none was scored."""
    return folder / "best.pt" if (folder / "best.pt").exists() else folder / "checkpoint.pt"


def average_weights(folder: Path, network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The averaged weights of a folder's :func:`chosen_checkpoint`."""
    average = AveragedModel(network, use_buffers=True)
    average.load_state_dict(torch.load(chosen_checkpoint(folder), map_location="cpu", weights_only=True)["average"])
    return average.module.state_dict()


def _preset(record: dict[str, Any]) -> Preset:
    """What a run says that it has trained."""
    preset = PRESETS[record["preset"]]
    preset = preset.published() if record.get("recipe") == PUBLISHED else preset
    source = record.get("input", preset.first.inputs[0])
    return preset if source == preset.first.inputs[0] else preset.reading(source, record["voxels_mm"])


@dataclass(frozen=True)
class FinishedRun:
    """A run that has weights.

    Attributes
    ----------
    folder
        What ``iousynth train`` wrote.
    preset
        What was trained.
    record
        What the run says of itself.
    """

    folder: Path
    preset: Preset
    record: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, preset: Preset | None = None) -> FinishedRun:
        """Find out what a run is.

        Parameters
        ----------
        folder
            Its folder.
        preset
            What was trained, where that is none of :data:`.presets.PRESETS`.

        Raises
        ------
        InputError
            There is no such run, or it has not come so far as to have weights.
        """
        try:
            record = json.loads((folder / RUN).read_text(encoding="utf-8"))
            preset = preset or _preset(record)
            known = len(record["stages"]) >= len(preset.stages)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder}: is no run of a preset; give the output folder of iousynth train (see its --list)"
            ) from error
        if not known or not (folder / preset.last.folder / "checkpoint.pt").is_file():
            raise InputError(f"{folder}: has no checkpoint of a known preset; let iousynth train finish first")
        return cls(folder, preset, record)

    @property
    def cohort(self) -> Path | None:
        """Where what it learned from lies, or lay; None for a run that has not kept it."""
        place = self.record.get("cohort_folder")
        return None if place is None else Path(place)

    def window(self, stage: Stage) -> list[int]:
        """Size of the windows that a stage learned from."""
        return next(entry["window"] for entry in self.record["stages"] if entry["name"] == stage.name)

    def network(self, stage: Stage) -> torch.nn.Module:
        """The averaged network of a stage's best checkpoint, ready to predict; a diffusion within its sampler."""
        network = stage.network()
        network.load_state_dict(average_weights(self.folder / stage.folder, network))
        if stage.traits.diffusion and stage.name != REFINER:
            network = Sampler(network, len(stage.outputs), self.window(stage))
        return without_parametrizations(network.eval())


def without_parametrizations(network: torch.nn.Module) -> torch.nn.Module:
    """The network with plain weights: normalised once, as in evaluation, since no export can follow how they are."""
    for module in [module for module in network.modules() if parametrize.is_parametrized(module)]:
        for name in list(module.parametrizations):
            parametrize.remove_parametrizations(module, name)
    return network
