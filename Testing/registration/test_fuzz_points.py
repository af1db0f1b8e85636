"""Landmarks and transforms: sound files give the points that were written, damaged ones a line or finite numbers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import damaged, examples, read_or_refuse
from support.tiny_models import oblique_direction

from IoUSynthLib.registration.inputs import read_initial
from IoUSynthLib.registration.landmarks import read_landmarks
from IoUSynthLib.registration.rigid import to_sitk

COORDINATE = st.floats(-300, 300, allow_subnormal=False)
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), min_size=3, max_size=6).map(np.array)
LABEL = st.sampled_from(["", "1", "left horn", "50 % deep; second try", "vorn, außen", "Volumes = 2"])


def tag(points: np.ndarray, label: str) -> str:
    """An MNI tag file of one volume; RAS."""
    rows = (f' {x!r} {y!r} {z!r} "{label}"' for x, y, z in (points * [-1, -1, 1]).tolist())
    return "MNI Tag Point File\nVolumes = 1;\n% MRI\n\nPoints =\n" + "\n".join(rows) + ";\n"


def markups(points: np.ndarray, label: str) -> str:
    """Markups of 3D Slicer, in RAS centimetres."""
    control = [{"position": row, "label": label} for row in (points * [-0.1, -0.1, 0.1]).tolist()]
    return json.dumps({"markups": [{"coordinateSystem": "RAS", "coordinateUnits": "cm", "controlPoints": control}]})


def fcsv(points: np.ndarray, label: str) -> str:
    """Fiducials of Slicer 4, LPS."""
    name = label.replace(",", " ").replace(";", " ")
    rows = (f"F{n},{x!r},{y!r},{z!r},0,0,0,1,1,1,0,{name},," for n, (x, y, z) in enumerate(points.tolist()))
    return "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n" + "\n".join(rows) + "\n"


WRITERS = {".tag": tag, ".mrk.json": markups, ".fcsv": fcsv}


@pytest.mark.parametrize("suffix", WRITERS)
def test_points_come_back_in_lps(suffix, tmp_path):
    file = tmp_path / f"a{suffix}"

    @examples(40, 0.2)
    @given(POINTS, LABEL)
    def run(points: np.ndarray, label: str) -> None:
        file.write_text(WRITERS[suffix](points, label), encoding="utf-8")
        (found,) = read_landmarks(file)
        assert np.allclose(found, points, rtol=0, atol=1e-9)

    run()


@pytest.mark.parametrize("suffix", WRITERS)
def test_damaged_landmarks_are_refused_or_finite(suffix, tmp_path):
    file = tmp_path / f"a{suffix}"
    sound = WRITERS[suffix](np.arange(12.0).reshape(4, 3), "tip of the horn").encode()

    @examples(100)
    @given(damaged(sound))
    def run(content: bytes) -> None:
        file.write_bytes(content)
        for points in read_or_refuse(lambda: read_landmarks(file), file) or ():
            assert points.shape[1:] == (3,)
            assert len(points) >= 3
            assert np.isfinite(points).all()

    run()


def rigid() -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = oblique_direction(), (3, -4, 5)
    return matrix


@pytest.mark.parametrize("suffix", [".tfm", ".h5", ".mat", ".txt"])
def test_damaged_transforms_are_refused_or_finite(suffix, tmp_path):
    sitk.WriteTransform(to_sitk(rigid()), str(tmp_path / f"a{suffix}"))
    sound = (tmp_path / f"a{suffix}").read_bytes()
    assert np.allclose(read_initial(tmp_path / f"a{suffix}"), rigid())

    @examples(40)
    @given(damaged(sound))
    def run(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"a{suffix}"
            file.write_bytes(content)
            matrix = read_or_refuse(lambda: read_initial(file), file)
            assert matrix is None or np.isfinite(matrix).all()
            assert [path.name for path in Path(folder).iterdir()] == [file.name]

    run()
