"""The two real sweeps, where the development data are."""

from __future__ import annotations

import time

import numpy as np
import pytest
import SimpleITK as sitk
from support.sequences import numbers
from support.tiny_models import SHARED

from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.reconstruction import Sweep, estimate_fan, read_sweep, reconstruct
from IoUSynthLib.volume import Volume

DATA = SHARED / "data"

#: ImageToProbe of the spine phantom, from PlusLibData (BSD-3), file
#: ConfigFiles/Testing/PlusDeviceSet_SpinePhantomFreehandReconstructionOnly.xml.
SPINE_PHANTOM = np.array(
    [
        [-0.00157821, 0.0785919, -0.00803285, 15.3978],
        [-0.0839128, 0.00372697, 0.0153803, 49.5705],
        [0.0159024, 0.00714276, 0.0803604, -8.63446],
        [0, 0, 0, 1],
    ]
)


@pytest.fixture(scope="module")
def brain() -> Sweep:
    if not (DATA / "resect_sweep").exists():
        pytest.skip("the RESECT sweep is not here")
    return read_sweep(DATA / "resect_sweep")


def test_the_phantom_as_plus_reconstructs_it(tmp_path):
    path = DATA / "tracked_us" / "SpinePhantomFreehand.igs.mha"
    if not path.exists():
        pytest.skip("the tracked sequence is not here")
    (tmp_path / "calibration.txt").write_text(numbers(SPINE_PHANTOM))
    volume, mask = reconstruct(read_sweep(path, tmp_path / "calibration.txt"), 0.5, fill_gap_mm=4.5)
    reference = read_volume(path.with_name("SpinePhantomFreehandReconstructed.mha"))
    # PLUS wrote the reference's RAS coordinates into the file as they are.
    flip = np.diag([-1.0, -1.0, 1.0])
    reference = Volume(reference.array, reference.spacing, tuple(flip @ reference.origin), flip @ reference.direction)
    grid = reference.to_sitk()
    ours = sitk.GetArrayFromImage(sitk.Resample(volume.to_sitk(), grid))
    valid = sitk.GetArrayFromImage(sitk.Resample(mask.to_sitk(), grid, sitk.Transform(), sitk.sitkNearestNeighbor)) > 0
    both = valid & (reference.array > 0)
    assert both.sum() > 0.93 * (reference.array > 0).sum()
    correlation = np.corrcoef(ours[both], reference.array[both])[0, 1]
    assert correlation > 0.985  # 0.990 measured
    for axis in range(3):  # one voxel beside it is worse
        for shift in (-1, 1):
            assert np.corrcoef(np.roll(ours, shift, axis)[both], reference.array[both])[0, 1] < correlation - 0.005


def test_the_brain_sweep_has_plausible_extents(brain):
    assert brain.frames.shape == (40, 480, 640)
    assert brain.steps.min() == pytest.approx(0.5, abs=0.1)
    assert brain.steps.max() == pytest.approx(3.7, abs=0.1)
    started = time.perf_counter()
    volume, mask = reconstruct(brain, 0.5)
    assert time.perf_counter() - started < 30  # 1 to 2 s on one core
    extent = np.multiply(volume.size, 0.5)
    np.testing.assert_allclose(extent, [111, 91, 69], atol=3)
    assert 0.38 < mask.array.mean() < 0.44
    values = volume.array[mask.array]
    assert 40 < values.mean() < 70
    assert (values < 3).mean() > 0.1  # black in the fan counts as data


def test_the_brain_sweeps_fan_matches_its_geometry(brain):
    rows, columns = np.mgrid[:480, :640]
    radius, angle = np.hypot(columns - 319, rows - 39), np.degrees(np.arctan2(np.abs(columns - 319), rows - 39))
    # The scanner cuts the fan off at the right margin of its window.
    truth = (radius > 22) & (radius < 380) & (angle < 44) & (columns < 544)
    fan = estimate_fan(brain.frames)
    assert (fan & truth).sum() / (fan | truth).sum() > 0.97


def agreement(sweep: Sweep) -> float:
    """Mean correlation of a frame with its next, looked up where the pixels come to lie across it.

    What all frames share, such as the loss with depth, moves with the probe and is taken out.
    """
    rows, columns = np.mgrid[70:260:4, 220:420:4]
    pixels = np.stack([columns, rows, 0 * rows, 1 + 0 * rows]).reshape(4, -1).astype(float)
    own = sweep.frames - sweep.frames.mean(axis=0, dtype=np.float32)
    smooth = [sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(f), 3.0)) for f in own]
    result = []
    for number in range(len(smooth) - 1):
        here, there = sweep.image_to_world[number], sweep.image_to_world[number + 1]
        column, row = np.rint(np.linalg.lstsq(there[:3, :2], (here @ pixels)[:3] - there[:3, 3:], rcond=None)[0])
        shown = smooth[number + 1][row.astype(int), column.astype(int)]
        result.append(np.corrcoef(shown, smooth[number][rows.ravel(), columns.ravel()])[0, 1])
    return float(np.mean(result))


def test_neighbours_agree_best_with_y_up(brain):
    # The sweep's README does not say which way y points. The motion of what the frames show does.
    down, still = brain.image_to_world.copy(), np.repeat(brain.image_to_world[:1], 40, axis=0)
    down[:, :3, 3] += down[:, :3, 1] * (brain.frames.shape[1] - 1)
    down[:, :3, 1] *= -1
    still[:, :3, 3] += 0.1 * np.arange(40)[:, None] * still[:, :3, 2]
    unmoved = agreement(Sweep(brain.frames, still))
    assert agreement(brain) > unmoved > agreement(Sweep(brain.frames, down))
