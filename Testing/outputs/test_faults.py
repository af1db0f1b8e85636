"""Faults of the output folder, put in on purpose: one line, and no file that is only half there.

The table of Resources/Documentation/faults.md names these tests.
"""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support.worker import posix_only

from IoUSynthLib import cli
from IoUSynthLib.outputs.case import synthesize_file
from IoUSynthLib.outputs.case_files import staging_folder
from IoUSynthLib.volume import InputError

ROOT = Path(__file__).resolve().parents[2]

#: No file may grow beyond so many bytes, and no signal tells of it: writing more fails, as on a full disk.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
from IoUSynthLib.cli import main
sys.exit(main(sys.argv[1:]))
"""


@posix_only
@pytest.mark.parametrize("limit", [0, 1000, 20_000])
def test_a_full_disk_is_one_line_and_nothing_stays(tiny_models, ultrasound_file, tmp_path, limit):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(limit=limit), "synthesize", str(ultrasound_file), "-o", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "error" in line]
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(said) == 1
    assert "free space" in said[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


#: Writes one image with so much room; every format must notice that it does not fit.
WRITING = """
import resource, signal, sys
import numpy as np
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.volume import InputError, Volume
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
volume = Volume(np.random.default_rng(0).normal(size=(20, 30, 40)).astype(sys.argv[2]))
write_volume(sys.argv[1], volume)  # with room it is written
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    write_volume(sys.argv[1], volume)
except InputError as error:
    print(error)
"""


@posix_only
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
@pytest.mark.parametrize(("kind", "room"), [("float32", 0), ("float32", 50_000), ("uint8", 3000)])
def test_an_image_that_ends_early_is_noticed(tmp_path, name, kind, room):
    command = [sys.executable, "-c", WRITING, str(tmp_path / name), kind, str(room)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout


def test_a_read_only_folder_is_said_before_the_work_begins(tiny_models, ultrasound_file, tmp_path, monkeypatch, capsys):
    def refuse(*_arguments, **_keywords):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert cli.main(["synthesize", str(ultrasound_file), "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "cannot be written (Read-only file system); choose another output folder" in told
    assert "synthesizing" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["synthesizing", "finishing"])
def test_a_drive_that_vanishes_is_one_line(tiny_models, ultrasound_file, tmp_path, stage):
    output = tmp_path / "drive" / "out"

    def vanish(reached: str, _fraction: float) -> None:
        if reached == stage:
            shutil.rmtree(tmp_path / "drive", ignore_errors=True)

    with pytest.raises(InputError, match="cannot be written") as caught, staging_folder(output) as staging:
        synthesize_file(ultrasound_file, output, staging, progress=vanish)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "drive").exists()


def test_an_earlier_result_survives_a_run_that_cannot_be_written(tiny_models, ultrasound_file, tmp_path):
    output = tmp_path / "out"
    with staging_folder(output) as staging:
        synthesize_file(ultrasound_file, output, staging)
    before = {file.name: file.read_bytes() for file in output.iterdir()}

    def lose(reached: str, _fraction: float) -> None:
        if reached == "finishing":
            for folder in output.glob(".iousynth-*"):
                shutil.rmtree(folder)

    with pytest.raises(InputError, match="cannot be written"), staging_folder(output) as staging:
        synthesize_file(ultrasound_file, output, staging, again=True, progress=lose)
    assert {file.name: file.read_bytes() for file in output.iterdir()} == before
