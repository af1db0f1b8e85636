"""Tracked sequences, calibrations and folders of frames that are damaged in any way: a line, or a usable sweep."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from support.fuzzing import damaged, examples, read_or_refuse
from support.sequences import COLUMNS, ROWS, frames_of, numbers, poses, write_plus

from IoUSynthLib.reconstruction import Sweep, read_sweep


def sequence(suffix: str) -> bytes:
    """A PLUS sequence of four frames."""
    image_to_world = poses(4, 2.0)
    fields = [{"ImageToReferenceTransform": numbers(np.diag([-1, -1, 1, 1]) @ pose)} for pose in image_to_world]
    fields = [{**part, "ImageToReferenceTransformStatus": "OK", "Timestamp": "1.5"} for part in fields]
    with tempfile.TemporaryDirectory() as folder:
        return write_plus(Path(folder) / f"a{suffix}", frames_of(image_to_world), fields).read_bytes()


def check(sweep: Sweep | None) -> None:
    if sweep is not None:
        assert sweep.frames.dtype == np.uint8
        assert np.isfinite(sweep.image_to_world).all()
        assert len(sweep.frames) == len(sweep.image_to_world) >= 2


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_damaged_sequence_is_refused_or_usable(suffix):
    sound = sequence(suffix)
    head = len(sound) - 4 * ROWS * COLUMNS

    @examples(60)
    @given(damaged(sound, head))
    def run(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"a{suffix}"
            file.write_bytes(content)
            check(read_or_refuse(lambda: read_sweep(file), file))
            assert [path.name for path in Path(folder).iterdir()] == [file.name]

    run()


CALIBRATIONS = {
    "a.xml": '<PlusConfiguration><CoordinateDefinitions><Transform From="Image" To="Reference" '
    'Matrix="0 0 0.5 11 -0.5 0 0 40 0 -0.5 0 -7 0 0 0 1"/></CoordinateDefinitions></PlusConfiguration>',
    "a.txt": "0 0 0.5 11\n-0.5 0 0 40\n0 -0.5 0 -7\n0 0 0 1\n",
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_damaged_calibration_is_refused_or_usable(name, tmp_path):
    image_to_world = poses(4, 2.0)
    fields = [{"ProbeToReferenceTransform": numbers(pose / 0.5)} for pose in image_to_world]
    file = write_plus(tmp_path / "s.mha", frames_of(image_to_world), fields)

    @examples(40)
    @given(damaged(CALIBRATIONS[name].encode()))
    def run(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        check(read_or_refuse(lambda: read_sweep(file, tmp_path / name), file, tmp_path / name))

    run()


@pytest.mark.parametrize("name", ["frames.npy", "poses.npy"])
def test_a_damaged_folder_of_frames_is_refused_or_usable(name, tmp_path):
    image_to_world = poses(4, 2.0)
    np.save(tmp_path / "frames.npy", frames_of(image_to_world))
    np.save(tmp_path / "poses.npy", image_to_world)
    sound = (tmp_path / name).read_bytes()

    @examples(60)
    @given(damaged(sound, 140))
    def run(content: bytes) -> None:
        (tmp_path / name).write_bytes(content)
        check(read_or_refuse(lambda: read_sweep(tmp_path), tmp_path))

    run()


def test_entities_that_grow_are_not_expanded_for_ever(tmp_path):
    """The parser of the calibration must bear a billion laughs."""
    layers = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    text = f'<!DOCTYPE x [<!ENTITY a0 "ha">{layers}]><x><Transform From="Image" To="&a9;" Matrix="1"/></x>'
    (tmp_path / "a.xml").write_text(text)
    file = write_plus(tmp_path / "s.mha", frames_of(poses(4, 2.0)), [{"ProbeToReferenceTransform": "1"}] * 4)
    assert read_or_refuse(lambda: read_sweep(file, tmp_path / "a.xml"), tmp_path / "a.xml") is None
