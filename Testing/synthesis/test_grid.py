"""From the input's grid to that of a network: axes, spacing, the fan's box, and back."""

from __future__ import annotations

import numpy as np
import pytest
from support.tiny_models import oblique_direction, write_kind

from IoUSynthLib.models.bundle import load
from IoUSynthLib.synthesis import grid
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture
def field(ultrasound):
    return grid.FieldOfView.of(ultrasound)


def on_grid(field, tmp_path, kind, mr_grid=None):
    return grid.network_grid(field, load(write_kind(tmp_path / "model", kind)), mr_grid)


def test_the_frame_of_the_ultrasound_keeps_its_directions(field, tmp_path):
    made = on_grid(field, tmp_path, "2D")
    assert np.allclose(made.image.direction, field.volume.direction)
    assert made.image.spacing == (0.8, 0.8, 0.8)
    assert made.valid[made.box].shape == made.valid.shape
    assert made.describe() == {"size": list(made.image.size), "spacing_mm": [0.8] * 3, "axes": "ultrasound"}


@pytest.mark.parametrize("with_mri", [False, True])
def test_the_patients_frame_ends_where_the_fan_ends(field, tmp_path, with_mri):
    mri = Volume(np.zeros((1, 1, 1)), (1.0, 0.9, 3.0), direction=oblique_direction().T) if with_mri else None
    made = on_grid(field, tmp_path, "stretched", mri)
    assert np.allclose(made.image.direction, mri.direction if with_mri else np.eye(3))
    assert made.image.spacing == (mri.spacing if with_mri else (0.94, 0.94, 2.0))
    inside = made.valid[made.box]
    for axis in range(3):
        assert inside.take(0, axis).any()
        assert inside.take(-1, axis).any()
    assert inside.sum() == made.valid.sum()
    # The fan has the same volume and the same middle on every grid.
    fan = field.fan.sum() * field.volume.voxel_volume_ml
    assert inside.sum() * made.image.voxel_volume_ml == pytest.approx(fan, rel=0.05)
    grids_of_it = ((field.volume, field.fan), (made.image, made.valid))
    middles = [volume.ijk_to_lps @ [*np.argwhere(mask).mean(axis=0)[::-1], 1.0] for volume, mask in grids_of_it]
    assert np.allclose(*middles, atol=0.3)


def test_there_and_back_is_the_same_place(field, tmp_path):
    """A ramp along the patient's axes on a coarse turned grid comes back as that ramp, up to the fan's rim."""
    made = on_grid(field, tmp_path, "stretched")

    def ramp(volume):
        places = np.indices(volume.array.shape)[::-1].reshape(3, -1)
        world = volume.ijk_to_lps[:3, :3] @ places + np.array(volume.origin)[:, None]
        return (np.array([0.01, -0.02, 0.015]) @ world).reshape(volume.array.shape)

    result = field.embed(grid.from_network_grid(ramp(made.image), made, field.cropped))
    difference = np.abs(result.array - ramp(field.volume))[field.fan]
    assert np.quantile(difference, 0.95) < 0.01
    assert difference.max() < 0.06, "at the rim the neighbours' mean is continued"
    assert not result.array[~field.fan].any()


def test_a_fan_between_the_voxels_is_refused(field, tmp_path):
    mri = Volume(np.zeros((1, 1, 1)), (500.0, 500.0, 500.0))
    with pytest.raises(InputError, match="smaller than a voxel"):
        on_grid(field, tmp_path, "stretched", mri)


def test_interpolation_at_the_rim_sees_no_edge():
    valid = np.zeros((12, 12, 12), dtype=bool)
    valid[3:9, 3:9, 3:9] = True
    extended = grid.extend(np.where(valid, 5.0, -1.0), valid, steps=2)
    assert np.allclose(extended[1:11, 1:11, 1:11], 5.0)
    assert not extended[0].any()


def test_larger_voxels_lie_where_the_smaller_ones_lay_and_the_dark_outside_does_not_leak_in(field, tmp_path):
    made = on_grid(field, tmp_path, "2D")
    step = np.where(np.arange(made.valid.shape[2]) < 30, 0.25, 0.75) * np.ones(made.valid.shape)
    image = np.where(made.valid, step, -9.0)
    coarse, images = grid.coarsened(made, {"T2w": image}, (1.6, 1.6, 1.6))
    volumes = [one.valid.sum() * one.image.voxel_volume_ml for one in (made, coarse)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.05)
    inside = images["T2w"][coarse.valid]
    assert inside.min() > 0.24
    assert inside.max() < 0.76
    returned = grid.from_network_grid(images["T2w"], coarse, made.image)
    away = made.valid & (np.abs(np.arange(made.valid.shape[2]) - 29.5) > 4)
    assert np.abs(returned - step)[away].max() < 0.02
    assert grid.coarsened(made, {"T2w": image}, (0.8, 0.8, 0.8))[0] is made


def test_what_a_further_network_sees_is_black_outside_the_fan(field, tmp_path):
    made = on_grid(field, tmp_path, "2D")
    stack = grid.stacked(made, {"T2w": np.full(made.valid.shape, 0.5)}, ("T2w", "ioUS"))
    assert stack.dtype == np.float32
    assert set(np.unique(stack[0])) == {-1.0, 0.5}
    assert (stack[:, ~made.valid] == -1).all()
    assert (stack[1][made.valid] == made.image.array[made.valid]).all()
