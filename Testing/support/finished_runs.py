"""Runs of toy size that have weights, without a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from IoUSynthLib.training.preset import Preset
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.training.run_folder import RUN

from .toy_presets import toy_unet


def write_run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, *, small: Callable[[Preset], Preset] = toy_unet,
    **record: object,
) -> Path:
    """Write a run of a preset, made small, with random weights; ``record`` is what it has kept."""
    monkeypatch.setitem(PRESETS, name, small(PRESETS[name]))
    stage = PRESETS[name].last
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    average = AveragedModel(stage.network(), use_buffers=True)
    torch.save({"average": average.state_dict()}, folder / "checkpoint.pt")
    kept = {"preset": name, "stages": [{"name": stage.name, "window": list(stage.recipe.window)}], **record}
    (folder / RUN).write_text(json.dumps(kept))
    return folder
