"""A case on disk: what was written comes back, and the networks' range."""

import json

import numpy as np
import pytest

from IoUSynthLib.cases.case import Case, is_complete, read_case, read_parameters, to_network_range, write_case
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture
def case():
    """Noise on an oblique grid."""
    rng = np.random.default_rng(4)
    direction = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    direction[:, 2] *= np.linalg.det(direction)
    grid = Volume(np.zeros((5, 6, 7), np.uint8), (0.8,) * 3, tuple(rng.normal(0, 50, 3)), direction)
    images = {"ioUS": rng.integers(0, 256, (5, 6, 7)).astype(np.uint8)}
    images |= {name: rng.integers(0, 1200, (5, 6, 7)).astype(np.int16) for name in ("T2w", "FLAIR")}
    masks = [grid.with_array(rng.integers(0, most, (5, 6, 7)).astype(np.uint8)) for most in (3, 2)]
    parameters = {"seed": 5, "lesion": {"kind": "low grade", "centre": (1.0, 2.0, 3.0)}}
    return Case({name: grid.with_array(array) for name, array in images.items()}, *masks, parameters)


def test_case_survives_its_files(case, tmp_path):
    write_case(case, tmp_path / "case")
    back = read_case(tmp_path / "case")
    assert back.parameters == json.loads(json.dumps(case.parameters))
    for name, volume in {**case.images, "labels": case.labels, "fan": case.fan}.items():
        other = {**back.images, "labels": back.labels, "fan": back.fan}[name]
        assert np.array_equal(volume.array, other.array)
        assert volume.same_grid(other)


def test_a_folder_is_a_case_when_its_parameters_are_there(case, tmp_path):
    write_case(case, tmp_path / "case")
    assert is_complete(tmp_path / "case")
    (tmp_path / "case" / "case.json").unlink()
    assert not is_complete(tmp_path / "case")
    with pytest.raises(InputError, match=r"case: no case\.json; make a cohort with `iousynth simulate -n 32"):
        read_parameters(tmp_path / "case")


def test_network_range():
    assert to_network_range(np.array([0.0, 0.55, 1.1, 2.0])) == pytest.approx([-1, 0, 1, 1])
