"""``iousynth reconstruct``: volume and mask, or one line that says what to do."""

from __future__ import annotations

import numpy as np
import pytest
from support.sequences import frames_of, poses

from IoUSynthLib import cli
from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.input_checks import check_input


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    np.save(folder / "frames.npy", frames_of(poses()))
    np.save(folder / "poses.npy", poses())
    return folder


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_volume_and_mask(suffix, sweep, tmp_path, capsys):
    output = tmp_path / "out" / f"scan{suffix}"
    options = ["--spacing", "0.8", "--interpolation", "linear", "--compounding", "latest", "--fill", "3"]
    assert cli.main(["reconstruct", str(sweep), "-o", str(output), *options]) == 0
    assert sorted(path.name for path in output.parent.iterdir()) == sorted([f"scan{suffix}", f"scan_mask{suffix}"])
    volume, mask = read_volume(output), read_volume(output.parent / f"scan_mask{suffix}")
    check_input(volume)
    assert volume.same_grid(mask, 1e-4)
    assert volume.spacing == pytest.approx((0.8, 0.8, 0.8), abs=1e-6)
    assert set(np.unique(mask.array)) == {0, 1}
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "24 frames: linear, latest, gaps up to 3 mm filled" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.mha", "-o", "a.nrrd"], "no such file or folder; check the name"),
        (["sweep", "-o", "a.png"], "name it .nrrd, .nii.gz or .mha"),
        (["sweep", "-o", "a.nrrd", "--spacing", "-1"], "sweep: a voxel spacing of -1 mm"),
        (["sweep", "-o", "a.nrrd", "--spacing", "nan"], "give one above 0"),
        (["sweep", "-o", "sweep/frames.npy/a.nrrd"], "cannot be written"),
        (["sweep", "-o", "a.nrrd", "--fan", "absent.png"], "absent.png: no such file; check the name"),
        (["absent.mha", "-o", "a.nrrd", "--calibration", "absent.xml"], "absent.mha: no such file or folder"),
        (["sweep.igs.mha", "-o", "a.nrrd", "--calibration", "absent.xml"], "absent.xml: no such file; check the name"),
        (["a.mha", "-o", "a.mha"], "would overwrite the sweep"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, sweep, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if arguments[0].startswith("sweep.igs"):
        (tmp_path / "sweep" / "sweep.igs.mha").touch()
        arguments = [f"sweep/{arguments[0]}", *arguments[1:]]
    assert cli.main(["reconstruct", *arguments]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("...")]
    assert len(errors) == 1
    assert message in errors[0]
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
