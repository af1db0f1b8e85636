"""``iousynth translate``: MRI of MRI on the input's grid, whatever its axes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from support.tiny_models import write_kind

from IoUSynthLib.cli import main
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.models.bundle import load
from IoUSynthLib.outputs.case_files import is_synthetic
from IoUSynthLib.pipeline import load_models
from IoUSynthLib.preprocessing import normalize_mri, scale_min_max, to_intensity
from IoUSynthLib.volume import InputError, Volume

#: Sagittal slices from front to back, as scanners store them, of 1 mm.
DIRECTION = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@pytest.fixture(scope="module")
def mri() -> Volume:
    """A ball of noise, 0 outside."""
    z, y, x = np.indices((30, 34, 32)) - 15
    ball = x**2 + y**2 + z**2 < 144
    array = np.where(ball, np.random.default_rng(0).integers(50, 250, ball.shape), 0).astype(np.int16)
    return Volume(array, (1.0, 1.0, 1.0), (5.0, -7.0, 9.0), DIRECTION)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    plan = {"inputs": ["T1w"], "spacing": [1.0, 1.0, 1.0]}
    write_kind(folder / "z-score", "2D", **plan)
    write_kind(folder / "min-max", "3D", **plan, scaling="min-max")
    write_kind(folder / "ultrasound", "2D")
    return folder


@pytest.mark.parametrize(("name", "scaled"), [("z-score", normalize_mri), ("min-max", scale_min_max)])
def test_mri_comes_back_on_its_own_grid(name, scaled, mri: Volume, models: Path, tmp_path: Path, capsys) -> None:
    """The network halves and inverts what it sees, so that every voxel is known."""
    write_volume(tmp_path / "t1.nii.gz", mri)
    command = ["translate", str(tmp_path / "t1.nii.gz"), "--model", str(models / name), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    made, ball = read_volume(tmp_path / "out" / "t1_T2w.nii.gz"), mri.array > 0
    assert made.same_grid(mri, 1e-4)
    np.testing.assert_allclose(made.array[ball], to_intensity(-0.5 * scaled(mri.array))[ball], atol=0.5)
    assert is_synthetic(tmp_path / "out" / "t1_T2w.nii.gz")
    report = json.loads((tmp_path / "out" / "t1_report.json").read_text())
    assert (report["input"]["contrast"], report["scaling"], report["synthetic"]) == ("T1w", name, True)
    assert "ultrasound" not in report["notice"]
    assert (tmp_path / "out" / "t1.png").stat().st_size > 0
    capsys.readouterr()
    assert main(command) == 0
    assert "is complete, --again makes it anew" in capsys.readouterr().out


def test_voxels_of_another_size_are_those_that_were_learned(mri: Volume, models: Path, tmp_path: Path) -> None:
    coarse = Volume(mri.array, (1.6, 1.6, 1.6), mri.origin, mri.direction)
    write_volume(tmp_path / "t1.nii.gz", coarse)
    files = [str(tmp_path / name) for name in ("t1.nii.gz", "out")]
    command = ["translate", files[0], "--model", str(models / "z-score"), "-o", files[1]]
    assert main(command) == 0
    report = json.loads((tmp_path / "out" / "t1_report.json").read_text())
    assert report["grid"]["spacing_mm"] == [1.0, 1.0, 1.0]
    made = read_volume(tmp_path / "out" / "t1_T2w.nii.gz")
    assert made.same_grid(coarse, 1e-4)
    inside = mri.array > 0
    expected = to_intensity(-0.5 * normalize_mri(mri.array))
    assert np.corrcoef(made.array[inside], expected[inside])[0, 1] > 0.8


def test_models_of_ultrasound_and_of_mri_are_not_confused(mri: Volume, models: Path, tmp_path: Path, capsys) -> None:
    write_volume(tmp_path / "t1.nii.gz", mri)
    command = ["translate", str(tmp_path / "t1.nii.gz"), "-o", str(tmp_path / "out"), "--model"]
    assert main([*command, str(models / "ultrasound")]) == 2
    assert "reads ioUS; use iousynth synthesize with it" in capsys.readouterr().err
    with pytest.raises(InputError, match="needs T1w, not just ioUS; use iousynth translate"):
        load_models(models / "z-score")
    assert load(models / "min-max").scaling == "min-max"


def test_an_image_that_is_synthetic_is_refused(mri, models: Path, tmp_path: Path, capsys) -> None:
    write_volume(tmp_path / "t1.nii.gz", mri, {"descrip": "SYNTHETIC - NOT ACQUIRED; T1w"})
    files = [str(tmp_path / name) for name in ("t1.nii.gz", "out")]
    command = ["translate", files[0], "-o", files[1], "--model", str(models / "z-score")]
    assert main(command) == 2
    assert "was made by IoUSynth, not acquired" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
