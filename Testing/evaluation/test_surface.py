"""Outlines by the closed form of shifted cubes, against MONAI, and what is scored where nothing is."""

import numpy as np
import pytest
from scipy import ndimage

from IoUSynthLib.evaluation.surface import outline_scores, structure_masks

#: 1 mm in the slice, 3 mm between slices; spacing is given along z, y, x.
SPACING = (3, 1, 1)
EDGE = 10


def cubes(slices):
    """A cube of 10 voxels, and the same some slices further on."""
    truth = np.zeros((40, 20, 20), bool)
    truth[2 : 2 + EDGE, 5:15, 5:15] = True
    return np.roll(truth, slices, axis=0), truth


def test_cubes_apart():
    """Every voxel has its nearest one straight below, in the last slice of the other cube."""
    moved, truth = cubes(15)
    slices = 3.0 * np.arange(15 - EDGE + 1, 16)
    surface = [EDGE**2] + [4 * (EDGE - 1)] * (EDGE - 2) + [EDGE**2]
    scores = outline_scores(moved, truth, SPACING)
    assert scores == {
        "Dice": 0.0, "HD95": np.percentile(np.repeat(slices, surface), 95), "NSD": 0.0, "missed": 0.0,
    }  # fmt: skip
    released = outline_scores(moved, truth, SPACING, as_released=True)
    assert released == {**scores, "HD95": np.percentile(np.repeat(slices, EDGE**2), 95)}


def test_cubes_one_slice_apart():
    """3 mm are too far for NSD, but the first slice of each, inside the other, is near its sides.

    Of its voxels those of the rim lie on the other's side, and the next two rings 1 and 2 mm from it.
    """
    scores = outline_scores(*cubes(1), SPACING)
    sides, first = 4 * (EDGE - 1) * (EDGE - 2), 4 * (EDGE - 1) + 4 * (EDGE - 3) + 4 * (EDGE - 5)
    assert scores["Dice"] == pytest.approx(0.9)
    assert scores["HD95"] == 3.0
    assert scores["NSD"] == pytest.approx((sides + first) / (sides + 2 * EDGE**2))
    # Of all voxels of a cube a tenth lies outside the other, 3 mm from it.
    assert outline_scores(*cubes(1), SPACING, as_released=True)["HD95"] == 3.0


def test_released_hd95_does_not_see_what_lies_inside():
    """A core of the truth: the core's surface is 3 mm and more from the truth's, but none of its voxels outside it."""
    _, truth = cubes(0)
    core = ndimage.binary_erosion(truth, np.ones((3, 7, 7)))
    every = [outline_scores(core, truth, SPACING, as_released=as_released)["HD95"] for as_released in (False, True)]
    assert every[1] < every[0]


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2.0, 0.859, 0.859), (0.8, 0.5, 3.0)])
def test_against_monai(spacing):
    pytest.importorskip("monai")
    torch = pytest.importorskip("torch")
    from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric

    rng = np.random.default_rng(5)
    masks = [ndimage.gaussian_filter(rng.normal(size=(20, 28, 32)), (1, 3, 3)) > 0.03 for _ in range(2)]
    masks[0] |= masks[1] & (rng.random(masks[1].shape) < 0.8)
    tensors = [torch.from_numpy(np.stack([~mask, mask])[None].astype(np.uint8)) for mask in masks]
    expected = {
        "Dice": DiceMetric(include_background=False)(*tensors),
        "HD95": HausdorffDistanceMetric(percentile=95)(*tensors, spacing=spacing),
        "NSD": SurfaceDiceMetric(class_thresholds=[2.0])(*tensors, spacing=spacing),
    }
    scores = outline_scores(*masks, spacing)
    assert 0.2 < scores["NSD"] < 0.999
    assert scores["HD95"] > 0
    for name, value in expected.items():
        assert scores[name] == pytest.approx(float(value), abs=1e-5), name


@pytest.mark.parametrize("as_released", [False, True])
def test_truth_table_of_empty_masks(as_released):
    full, empty, nan = np.ones((3, 3, 3), bool), np.zeros((3, 3, 3), bool), float("nan")

    def scores(prediction, truth):
        return outline_scores(prediction, truth, (1, 1, 1), as_released=as_released)

    nothing = {"Dice": nan, "HD95": nan, "NSD": nan, "missed": nan}
    missed = {"Dice": 0.0, "HD95": nan, "NSD": nan if as_released else 0.0, "missed": 1.0}
    assert scores(empty, empty) == pytest.approx(nothing, nan_ok=True)
    assert scores(full, empty) == pytest.approx(nothing, nan_ok=True)
    assert scores(empty, full) == pytest.approx(missed, nan_ok=True)
    assert scores(full, full) == {"Dice": 1.0, "HD95": 0.0, "NSD": 1.0, "missed": 0.0}


def test_the_lesion_is_the_union_and_255_is_nothing():
    masks = structure_masks(np.array([0, 1, 2, 255]))
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "tumour": [False, True, False, False], "cavity": [False, False, True, False],
        "lesion": [False, True, True, False],
    }  # fmt: skip


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        outline_scores(np.ones((2, 2, 2), bool), np.ones((2, 2, 1), bool), (1, 1, 1))
