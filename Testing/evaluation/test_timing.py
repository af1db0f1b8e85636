"""Time and memory of models, as table 10 of the benchmark has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_models import write_kind, write_refined

from IoUSynthLib.evaluation import timing
from IoUSynthLib.evaluation.timing import read_timing, runs_of, time_model, write_timing
from IoUSynthLib.models.bundle import load
from IoUSynthLib.volume import InputError


@pytest.mark.parametrize(("side", "overlap", "runs"), [(96, 24, 8), (64, 16, 27)])
def test_as_many_windows_as_published(tmp_path: Path, side: int, overlap: int, runs: int) -> None:
    """Section 3.3: eight windows of 96 voxels that share 24, twenty-seven of 64 that share 16."""
    folder = write_kind(tmp_path / "model", "3D", window=[side] * 3, overlap=overlap / side)
    assert runs_of(load(folder)) == runs


def test_two_stages_are_timed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The 3x3 convolution of one slice, and the 3x3x3 one of the refiner: 9 + 1 and 27 + 1 parameters."""
    pytest.importorskip("onnx")
    monkeypatch.setattr(timing, "TIMED", 3)
    monkeypatch.setattr(timing, "WARM_UP", 1)
    found = time_model(str(write_refined(tmp_path / "refined")), "cpu")
    write_timing(tmp_path / "timing.json", found)
    assert read_timing(tmp_path / "timing.json") == found
    assert found["parameters"] == 10 + 28
    window = load(tmp_path / "refined").window
    assert found["multiplications"] == 50 * 9 * window[0] * window[1] + 15 * 10 * 10 * 27 * 16 * 24 * 24
    assert [one["runs"] for one in found["networks"]] == [50, 15 * 10 * 10]
    assert found["seconds"] == sum(one["runs"] * one["seconds"] for one in found["networks"]) > 0
    assert (found["device"], found["gpu_mib"]) == ("cpu", None)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert read_timing(tmp_path / "timing.json") == {}
    (tmp_path / "timing.json").write_text("{}")
    with pytest.raises(InputError, match=r"timing.json: is damaged .* remove it, or measure again"):
        read_timing(tmp_path / "timing.json")
