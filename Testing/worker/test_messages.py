"""What goes to the child and comes back, as JSON."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np

from IoUSynthLib.pipeline import Options
from IoUSynthLib.volume import Volume
from IoUSynthLib.worker.messages import read_options, write_options


def sent(options):
    return read_options(json.loads(json.dumps(write_options(options))))


def test_every_choice_goes_through():
    assert vars(sent(Options())) == vars(Options())
    grid = Volume(np.ones((3, 4, 5)), (1.2, 1.1, 1.7), (4.0, 5.0, 6.0), np.eye(3)[[1, 2, 0]])
    given = Options(
        "ious2mr-3d", "cpu", grid, before_resection=True, probable_place=True, samples=8, seed=3, temperature=0.5,
        mri_sha256=("a", "b"),
    )
    received = sent(given)
    assert all(getattr(given, field.name) != field.default for field in fields(Options)), "each is another than usual"
    assert (received.model, received.device, received.before_resection) == ("ious2mr-3d", "cpu", True)
    assert (received.samples, received.seed, received.temperature) == (8, 3, 0.5)
    assert received.mri_sha256 == ("a", "b")
    assert received.mr_grid.spacing == grid.spacing
    assert np.array_equal(received.mr_grid.direction, grid.direction)
    assert received.mr_grid.size == (1, 1, 1), "its voxels stay behind"


def test_a_model_is_found_from_the_childs_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sent(Options("ious2mr-3d")).model == "ious2mr-3d"
    assert sent(Options(Path("models") / "mine")).model == str(tmp_path / "models" / "mine")
