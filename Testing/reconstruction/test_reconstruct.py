"""Reconstruction of sweeps whose every value and place is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.sequences import PIXEL_MM, known_sweep, pattern

from IoUSynthLib.reconstruction import Sweep, estimate_fan, reconstruct
from IoUSynthLib.volume import InputError, Volume


def places(volume: Volume) -> np.ndarray:
    """LPS of every voxel, shape (z, y, x, 3)."""
    k, j, i = np.indices(volume.array.shape)
    return (np.stack([i, j, k, np.ones_like(i)], axis=-1) @ volume.ijk_to_lps.T)[..., :3]


def flat_sweep(values: list[int], positions: list[float], shape: tuple[int, int] = (12, 10)) -> Sweep:
    """Uniform parallel frames with 1 mm pixels at positions along z."""
    poses = np.tile(np.eye(4), (len(values), 1, 1))
    poses[:, 2, 3] = positions
    frames = np.broadcast_to(np.array(values, dtype=np.uint8)[:, None, None], (len(values), *shape))
    return Sweep(frames, poses, np.ones(shape, dtype=bool))


@pytest.mark.parametrize("axes", ["frame", "world"])
@pytest.mark.parametrize(("interpolation", "tolerance"), [("nearest", 2.5), ("linear", 2.5)])
def test_values_lie_where_they_belong(axes, interpolation, tolerance):
    volume, mask = reconstruct(known_sweep(), 0.5, interpolation=interpolation, axes=axes)
    assert volume.same_grid(mask)
    assert volume.array.dtype == np.float32
    inside = mask.array
    errors = np.abs(volume.array - pattern(places(volume)))[inside]
    assert np.quantile(errors, 0.95) < tolerance
    assert errors.max() < 8
    assert (volume.array[~inside] == 0).all()
    # Against a frame shifted by two pixels this tolerance would fail.
    shifted = np.abs(volume.array - pattern(places(volume) + 2 * PIXEL_MM))[inside]
    assert np.quantile(shifted, 0.95) > 3 * tolerance


def test_the_grid_follows_the_middle_frame_and_is_tight():
    sweep = known_sweep()
    volume, mask = reconstruct(sweep, 0.5)
    pose = sweep.image_to_world[len(sweep.frames) // 2]
    np.testing.assert_allclose(volume.direction[:, :2], pose[:3, :2] / PIXEL_MM, atol=1e-9)
    assert np.linalg.det(volume.direction) == pytest.approx(1.0)
    assert mask.array.mean() > 0.7
    assert all(mask.array.any(axis=others)[:-1].all() for others in ((1, 2), (0, 2), (0, 1)))
    world, _ = reconstruct(sweep, 0.5, axes="world")
    np.testing.assert_array_equal(world.direction, np.eye(3))
    assert world.array.size > volume.array.size


def test_agrees_with_a_loop_over_pixels():
    sweep = known_sweep()
    sweep = replace(sweep, frames=np.random.default_rng(0).integers(0, 256, sweep.frames.shape, dtype=np.uint8))
    volume, mask = reconstruct(sweep, 1.5, fill_gap_mm=0)
    to_voxel, heap = np.linalg.inv(volume.ijk_to_lps), {}
    for frame, pose in zip(sweep.frames, sweep.image_to_world, strict=True):
        for row in range(frame.shape[0]):
            for column in range(frame.shape[1]):
                voxel = tuple(np.rint((to_voxel @ pose @ [column, row, 0, 1])[:3]).astype(int))
                heap.setdefault(voxel[::-1], []).append(int(frame[row, column]))
    assert {tuple(voxel) for voxel in np.argwhere(mask.array)} == set(heap)
    means = [np.mean(heap[tuple(voxel)]) for voxel in np.argwhere(mask.array)]
    np.testing.assert_allclose(volume.array[mask.array], means, rtol=1e-5)


@pytest.mark.parametrize(("compounding", "expected"), [("mean", 70), ("maximum", 120), ("latest", 60)])
@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
def test_frames_that_meet(compounding, expected, interpolation):
    sweep = flat_sweep([30, 120, 60, 200], [0, 0, 0, 5])
    volume, _ = reconstruct(sweep, 1.0, interpolation=interpolation, compounding=compounding, fill_gap_mm=0)
    np.testing.assert_allclose(volume.array[0, :12, :10], expected, rtol=1e-6)
    np.testing.assert_allclose(volume.array[5, :12, :10], 200, rtol=1e-6)


def test_gaps_are_bridged_up_to_their_limit():
    sweep = flat_sweep([50, 110, 20], [0, 3, 9])
    volume, mask = reconstruct(sweep, 1.0, fill_gap_mm=3)
    np.testing.assert_allclose(volume.array[:4, 5, 5], [50, 70, 90, 110], rtol=1e-5)
    np.testing.assert_array_equal(mask.array[:, 5, 5], [1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 0])
    assert (volume.array[4:9] == 0).all()
    _, every = reconstruct(sweep, 1.0, fill_gap_mm=6)
    assert every.array[:10, :12, :10].all()
    assert not every.array[10:].any()
    _, none = reconstruct(sweep, 1.0, fill_gap_mm=0)
    np.testing.assert_array_equal(np.flatnonzero(none.array[:, 5, 5]), [0, 3, 9])


def test_nothing_is_extrapolated():
    _, mask = reconstruct(known_sweep(), 0.5, fill_gap_mm=50)
    _, usual = reconstruct(known_sweep(), 0.5)
    assert usual.array.sum() <= mask.array.sum() < 1.1 * usual.array.sum()


def sector(shape: tuple[int, int] = (120, 140)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    radius, angle = np.hypot(columns - 70, rows + 20), np.abs(np.arctan2(columns - 70, rows + 20))
    return (radius > 30) & (radius < 125) & (angle < 0.5)


def speckled(count: int = 6) -> np.ndarray:
    """Speckle in a curved sector with a black cyst; beside it a text and a ruler that stay."""
    frames = 60 * np.random.default_rng(1).rayleigh(1.0, (count, 120, 140)) * sector() + 8 * sector()
    rows, columns = np.mgrid[:120, :140]
    frames[:, np.hypot(columns - 75, rows - 60) < 12] = 0
    frames[:, 5:12, 2:20] = 255
    frames[:, ::6, 130:134] = 200
    return np.clip(frames, 0, 255).astype(np.uint8)


def test_the_fan_is_found_with_what_is_black_in_it():
    fan, truth = estimate_fan(speckled()), sector()
    assert (fan & truth).sum() / (fan | truth).sum() > 0.97
    assert fan[60, 75]  # the cyst
    assert not fan[8, 70]  # above the concave face of the probe, below its chord
    assert not fan[:, 130:].any()
    assert not fan[5:12, 2:20].any()


def test_black_inside_the_fan_is_data_and_outside_is_not():
    poses = np.tile(np.diag([0.5, 0.5, 0.5, 1.0]), (6, 1, 1))
    poses[:, 2, 3] = np.arange(6)
    sweep = Sweep(speckled(), poses)
    volume, mask = reconstruct(sweep, 1.0)
    index = np.linalg.inv(volume.ijk_to_lps) @ [75 * 0.5, 60 * 0.5, 3.0, 1.0]
    i, j, k = np.rint(index[:3]).astype(int)
    assert mask.array[k, j, i]
    assert volume.array[k, j, i] == 0
    assert not mask.array[k, 0, 0]
    given, _ = reconstruct(replace(sweep, fan=np.ones((120, 140), dtype=bool)), 1.0)
    assert given.size[0] > volume.size[0]


def test_a_fan_that_never_changes_is_taken_where_it_is_lit():
    still = np.zeros((3, 40, 40), dtype=np.uint8)
    still[:, 5:30, 10:35] = 99
    assert estimate_fan(still).sum() == 25 * 25


def test_progress_ends_at_one():
    seen = []
    reconstruct(flat_sweep([1, 2], [0, 1]), 1.0, progress=lambda stage, fraction: seen.append((stage, fraction)))
    assert list(dict.fromkeys(stage for stage, _ in seen)) == ["finding the fan", "placing the frames", "filling gaps"]
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_unusable_sweeps_are_refused():
    frames, poses = np.full((3, 8, 8), 9, dtype=np.uint8), np.tile(np.eye(4), (3, 1, 1))
    with pytest.raises(InputError, match="identical; check that the probe was tracked"):
        Sweep(frames, poses)
    with pytest.raises(InputError, match="fewer than 2 frames"):
        Sweep(frames[:1], poses[:1])
    poses[:, 2, 3] = 0, 1, np.nan
    with pytest.raises(InputError, match="not finite"):
        Sweep(frames, poses)
    poses[:, 2, 3] = 0, 1, 2
    with pytest.raises(InputError, match=r"give one 4x4 matrix for each"):
        Sweep(frames, poses[:2])
    with pytest.raises(InputError, match="fan mask of"):
        Sweep(frames, poses, np.ones((8, 9), dtype=bool))
    with pytest.raises(InputError, match="black"):
        reconstruct(Sweep(0 * frames, poses), 1.0)
    with pytest.raises(InputError, match="spacing of 0 mm"):
        reconstruct(Sweep(frames, poses), 0)
    with pytest.raises(InputError, match="choose a larger spacing"):
        reconstruct(Sweep(frames, poses), 0.001)
    with pytest.raises(InputError, match="gaps of -1 mm"):
        reconstruct(Sweep(frames, poses), 1.0, fill_gap_mm=-1)
    with pytest.raises(ValueError, match="none of nearest, linear"):
        reconstruct(Sweep(frames, poses), 1.0, interpolation="cubic")
