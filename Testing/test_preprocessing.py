"""Equations 1 and 2, the field of view, resampling in an oblique frame, and the ultrasound check."""

from __future__ import annotations

import numpy as np
import pytest
from support.tiny_models import SHARED, oblique_direction

from IoUSynthLib import preprocessing as pre
from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.volume import Volume

ORACLE = SHARED / "oracles" / "resvit_fixtures" / "inference" / "normalisation.npz"


def test_equation_1_by_hand():
    array = np.array([0.0, 0.5, *range(10, 111)], dtype=np.float32)  # foreground is above 1.1
    low, high = np.percentile(np.arange(10, 111), (2, 98))
    normalized = pre.normalize_ultrasound(array)
    assert normalized.dtype == np.float32
    assert list(normalized[:2]) == [-1, -1]
    assert normalized[2] == -1
    assert normalized[-1] == 1
    assert normalized[52] == pytest.approx(-1 + 2 * (60 - low) / (high - low), abs=1e-6)
    assert pre.ultrasound_statistics(array) == pytest.approx((low, high))


def test_equation_2_by_hand():
    array = np.array([0.0, 0.0, 2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])  # foreground: mean 5, standard deviation 2
    expected = [-1, -1, -1.5 / 3, -0.5 / 3, -0.5 / 3, -0.5 / 3, 0, 0, 1 / 3, 2 / 3]
    assert np.allclose(pre.normalize_mri(array), expected)
    far = np.array([1.0] * 99 + [1000.0])
    assert pre.normalize_mri(np.append(far, 500.0)).max() <= 1


@pytest.mark.parametrize("array", [np.zeros(9), np.full(9, 4.0), np.full(9, -2.0), np.zeros(0)])
def test_nothing_to_normalize_is_background(array):
    assert (pre.normalize_ultrasound(array) == -1).all()
    assert (pre.normalize_mri(array) == -1).all()


def test_inverses(ultrasound):
    low, high = statistics = pre.ultrasound_statistics(ultrasound.array)
    back = pre.denormalize_ultrasound(pre.normalize_ultrasound(ultrasound.array), statistics)
    unclipped = (ultrasound.array >= low) & (ultrasound.array <= high) & pre.foreground(ultrasound.array)
    assert np.allclose(back[unclipped], ultrasound.array[unclipped], atol=1e-3)
    mri = np.random.default_rng(0).uniform(50, 100, (5, 6, 7)).astype(np.float32)
    assert np.allclose(pre.denormalize_mri(pre.normalize_mri(mri), pre.mri_statistics(mri)), mri, atol=1e-3)


def test_agrees_with_the_benchmark():
    if not ORACLE.exists():
        pytest.skip("the benchmark's fixtures are not here")
    with np.load(ORACLE) as oracle:
        assert np.abs(pre.normalize_ultrasound(oracle["raw_us"]) - oracle["us_norm"]).max() < 1e-6
        assert np.abs(pre.normalize_mri(oracle["raw_mr"]) - oracle["mr_norm"]).max() < 1e-6
        assert np.array_equal(pre.foreground(oracle["raw_us"]), oracle["us_fg"])


def test_intensities_leave_zero_for_no_data():
    assert np.allclose(pre.to_intensity(np.array([-1.5, -1, 0, 1, 2])), [1, 1, 500, 1000, 1000])


def fan_and_speckle(side: int = 120) -> tuple[np.ndarray, np.ndarray]:
    z, y, x = np.mgrid[:side, :side, :side].astype(np.float32)
    middle = side / 2
    radius, angle = np.hypot(x - middle, y + side / 20), np.abs(np.arctan2(x - middle, y + side / 20))
    fan = (radius > side / 8) & (radius < side * 0.95) & (angle < 0.7) & (z > side / 6) & (z < side * 5 / 6)
    return fan, np.where(fan, 20 + 80 * np.random.default_rng(0).random(fan.shape), 0).astype(np.float32)


def test_field_of_view_holds_black_ventricles_and_not_the_outside():
    fan, array = fan_and_speckle()
    z, y, x = np.mgrid[:120, :120, :120]
    ventricle = np.hypot(np.hypot(x - 60, y - 60), z - 60) < 12
    array[ventricle] = 0
    array[2:5, 2:5, 2:5] = 90  # a caliper mark outside
    found = pre.field_of_view(array)
    assert found[ventricle].all()
    assert not found[2:5, 2:5, 2:5].any()
    assert (found & ~fan).sum() < 0.001 * fan.sum()
    assert (fan & ~found).sum() < 0.001 * fan.sum()


def test_field_of_view_fills_a_hole_that_a_slice_encloses():
    """A black band from one end of the sweep to the other is open in 3D but lies within every frame."""
    fan, array = fan_and_speckle(60)
    _, y, x = np.mgrid[:60, :60, :60]
    band = (np.hypot(x - 30, y - 35) < 6) & fan
    array[band] = 0
    found = pre.field_of_view(array)
    assert (band & ~found).sum() < 0.05 * band.sum()
    assert (found & ~fan).sum() < 0.01 * fan.sum()


def test_field_of_view_bridges_sparse_speckle():
    fan, array = fan_and_speckle(60)
    array[np.random.default_rng(1).random(fan.shape) < 0.8] = 0
    found = pre.field_of_view(array)
    assert (fan & ~found).sum() < 0.08 * fan.sum()
    assert not pre.field_of_view(np.zeros((5, 5, 5))).any()


def test_field_of_view_of_the_real_case(resect_case_4):
    array = read_volume(resect_case_4).array
    found = pre.field_of_view(array)
    inside = pre.foreground(array)
    assert (inside & ~found).sum() == 0
    assert (found & ~inside).sum() < 0.01 * inside.sum()


def test_crop_keeps_world_coordinates():
    volume = Volume(np.arange(60.0).reshape(3, 4, 5), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), oblique_direction())
    mask = volume.array == 33  # k = 1, j = 2, i = 3
    cropped, box = pre.crop_to_mask(volume, mask)
    assert cropped.array.tolist() == [[[33.0]]]
    assert box == (slice(1, 2), slice(2, 3), slice(3, 4))
    assert np.allclose(cropped.ijk_to_lps @ [0, 0, 0, 1], volume.ijk_to_lps @ [3, 2, 1, 1])
    assert pre.bounding_box(mask, margin=9) == (slice(0, 3), slice(0, 4), slice(0, 5))
    assert pre.bounding_box(np.zeros((2, 3), dtype=bool)) == (slice(0, 2), slice(0, 3))


def ramp(volume: Volume) -> np.ndarray:
    """Return 100 + a linear function of the LPS position of every voxel."""
    k, j, i = np.indices(volume.array.shape)
    points = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ volume.ijk_to_lps.T
    return (100 + points[..., :3] @ [0.5, -0.25, 0.75]).astype(np.float32)


def test_resampling_keeps_the_oblique_frame_and_comes_back():
    volume = Volume(np.zeros((20, 24, 28)), (0.5, 0.6, 0.7), (5.0, 6.0, 7.0), oblique_direction())
    volume = volume.with_array(ramp(volume))
    coarse = pre.resample_to_spacing(volume, (0.8, 0.8, 0.8))
    assert np.array_equal(coarse.direction, volume.direction)
    assert coarse.spacing == (0.8, 0.8, 0.8)
    inner = (slice(2, -2),) * 3
    assert np.allclose(coarse.array[inner], ramp(coarse)[inner], atol=1e-3)
    middle = [(np.array(v.ijk_to_lps) @ [*(np.array(v.size) - 1) / 2, 1]) for v in (coarse, volume)]
    assert np.allclose(*middle)
    back = pre.resample_like(coarse, volume)
    assert back.same_grid(volume, 0)
    inner = (slice(4, -4),) * 3
    assert np.allclose(back.array[inner], volume.array[inner], atol=1e-3)


def test_axial_slices_of_an_image_that_is_stored_otherwise():
    """A sagittal acquisition: i runs to the back, j down, k to the left. Every voxel keeps its place."""
    turn = oblique_direction()
    stored = turn[:, [1, 2, 0]] * [1, -1, 1]
    volume = Volume(np.zeros((4, 6, 5)), (0.9, 0.8, 2.5), (5.0, -6.0, 7.0), stored)
    volume = volume.with_array(ramp(volume))
    result = pre.axial(volume)
    assert np.allclose(result.direction, turn)
    assert result.spacing == (2.5, 0.9, 0.8)
    assert np.allclose(result.array, ramp(result))
    assert sorted(result.array.ravel()) == sorted(volume.array.ravel())


def test_resampling_onto_the_patients_axes():
    volume = Volume(np.zeros((20, 24, 28)), (0.5, 0.6, 0.7), (5.0, 6.0, 7.0), oblique_direction())
    volume = volume.with_array(ramp(volume))
    everywhere = np.ones(volume.array.shape, dtype=bool)
    (grid,), _ = pre.resample_inside([volume], (0.6, 0.6, 0.9), everywhere, direction=np.eye(3))
    assert np.array_equal(grid.direction, np.eye(3))
    middle = [(np.array(v.ijk_to_lps) @ [*(np.array(v.size) - 1) / 2, 1]) for v in (grid, volume)]
    assert np.allclose(*middle)
    inner = (slice(3, -3),) * 3
    core = np.zeros(volume.array.shape)
    core[inner] = 1
    deep, near = (
        pre.resample_to_spacing(volume.with_array(array), (0.6, 0.6, 0.9), direction=np.eye(3)).array
        for array in (core, np.ones(volume.array.shape))
    )
    assert np.allclose(grid.array[deep > 0.999], ramp(grid)[deep > 0.999], atol=1e-2)
    assert not grid.array[near == 0].any()
    back = pre.resample_like(grid, volume)
    assert np.allclose(back.array[inner], volume.array[inner], atol=1e-1), "the grid holds the whole volume"


def test_resampling_does_not_darken_the_rim():
    mask = np.zeros((24, 24, 24), dtype=bool)
    mask[5:17, 6:19, 4:20] = True
    volume = Volume(np.where(mask, 50.0, 0.0), (0.4, 0.4, 0.4))
    images, inside = pre.resample_inside([volume, volume.with_array(2 * volume.array)], (0.8, 0.8, 0.8), mask)
    for image, value in zip(images, (50.0, 100.0), strict=True):
        assert set(np.round(np.unique(image.array), 3)) == {0.0, value}
        assert np.array_equal(image.array > 0, inside)


def test_nearest_keeps_labels():
    labels = Volume(np.random.default_rng(0).integers(0, 3, (6, 6, 6)).astype(np.uint8))
    reference = Volume(np.zeros((9, 9, 9)), (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))
    resampled = pre.resample_like(labels, reference, nearest=True).array
    assert resampled.dtype == np.uint8
    assert set(np.unique(resampled)) <= {0, 1, 2}
