"""Fixtures of the training's tests."""

import pytest
from support.finished_runs import write_run
from support.training import NoBoard

from IoUSynthLib.models.bundle import load
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.training.release import export_run


@pytest.fixture(scope="session")
def no_board():
    """A class for ``trainer.Board`` that writes nothing."""
    return NoBoard


@pytest.fixture(scope="session")
def released_segmenter(tmp_path_factory):
    """The bundle that was exported of a run of ``lesion-3d`` of toy size, and the run's stage.

    Once for all: to export a network of volumes of any size takes half a minute.
    """
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("released")
    with pytest.MonkeyPatch.context() as patch:
        write_run(patch, folder / "run", "lesion-3d")
        stage = PRESETS["lesion-3d"].last
        export_run(folder / "run", folder / "own", torchscript=False)
    return load(folder / "own"), stage
