"""Cavities in real volumes: what changes, what does not, and where the probe was."""

import numpy as np
import pytest

from IoUSynthLib.cases.case import read_case
from IoUSynthLib.cases.index import read_index
from IoUSynthLib.simulation.face import find_face
from IoUSynthLib.simulation.painted import Curve, paint_cavity, paint_cohort
from IoUSynthLib.volume import Volume

SHAPE = (56, 60, 64)


@pytest.fixture(scope="module")
def real():
    """Speckle of level 30 in a box, with a bright band at the face, which looks along +y."""
    rng = np.random.default_rng(0)
    inside = np.zeros(SHAPE, bool)
    inside[6:50, 8:56, 6:58] = True
    image = np.clip(30 * rng.gamma(20, 1 / 20, SHAPE), 1, 200)
    image[:, 8:10] = 180
    return Volume((image * inside).astype(np.uint8), (0.8,) * 3), inside


def test_the_face_is_the_bright_side(real):
    volume, inside = real
    face = find_face(volume.array, inside, 0.8)
    assert face.direction == pytest.approx([0, 1, 0], abs=0.02)
    assert face.depth(SHAPE, 0.8)[:, 8].mean() == pytest.approx(0, abs=0.8)
    with pytest.raises(ValueError, match="no bright band"):
        find_face(np.zeros(SHAPE), inside, voxel=0.8)


def test_the_scanners_curve_is_undone():
    import torch

    curve = Curve(dynamic_range=70.0, tissue=0.5, gamma=2.5, white=200.0)
    grey = torch.tensor([1.0, 30.0, 120.0, 200.0])
    assert curve.grey(curve.decibel(grey)).tolist() == pytest.approx(grey.tolist(), rel=1e-4)
    assert curve.decibel(torch.tensor([200 * 0.5**2.5])).item() == pytest.approx(0, abs=1e-4)


def test_a_cavity_is_dark_with_a_bright_wall_and_enhancement_behind(real):
    volume, inside = real
    cases = (paint_cavity(volume, inside, seed=seed) for seed in range(30))
    case = next(case for case in cases if (case.labels.array > 0).sum() > 4000)
    before, after = volume.array.astype(float), case.images["ioUS"].array.astype(float)
    hollow = case.labels.array == 2
    assert np.median(after[hollow]) < 0.85 * np.median(before[hollow])
    assert not after[~inside].any()
    assert (after[inside] > 0).all()
    depth = np.indices(SHAPE)[1]
    columns = hollow.any(1)
    deepest = np.where(hollow, depth, -1).max(1)
    behind = inside & columns[:, None] & (depth > deepest[:, None] + 5)
    front = inside & ~columns[:, None] & (depth > 40)
    if behind.sum() > 200:
        assert np.median(after[behind]) > 1.02 * np.median(after[front])
    assert case.parameters["labelled"] == ["cavity"]
    again = paint_cavity(volume, inside, seed=case.parameters["seed"])
    assert np.array_equal(again.images["ioUS"].array, case.images["ioUS"].array)


def test_a_cohort_of_painted_volumes_is_read_back(real, tmp_path):
    volume, _ = real
    names = dict.fromkeys(("a", "b", "c", "d"), volume)
    entries = paint_cohort(names, 4, tmp_path, seed=2)
    assert [entry["split"] for entry in entries] == ["train"] * 3 + ["validation"]
    (folder,) = read_index(tmp_path, "validation")
    case = read_case(folder)
    assert case.parameters["head"] == "d"
    assert set(case.images) == {"ioUS"}
