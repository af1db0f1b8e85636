"""World position and value of a voxel survive crop, resampling and back, save and load, on any grid.

Tolerances: 1e-6 mm for what only computes, 1e-3 mm for what a NIfTI header rounds to float32, 1e-9 of the range for
values that are only moved, 1e-3 of it for those that are interpolated where the image is linear.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import examples

from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.preprocessing import axial, crop_to_mask, resample_like, resample_to_spacing
from IoUSynthLib.registration.rigid import rotation_matrix, to_sitk
from IoUSynthLib.synthesis.grid import FieldOfView
from IoUSynthLib.volume import Volume

COMPUTED_MM, STORED_MM = 1e-6, 1e-3
#: Libraries that were compiled for speed take subnormal numbers for 0.
NUMBER = partial(st.floats, allow_subnormal=False)
LENGTH = st.floats(0.1, 5.0)
TURN = st.tuples(*[NUMBER(-np.pi, np.pi)] * 3).map(lambda vector: rotation_matrix(np.array(vector)))
PLACE = st.tuples(*[NUMBER(-300, 300)] * 3)


@st.composite
def grids(draw: st.DrawFn) -> Volume:
    """A grid of 6 to 14 voxels along each axis, anywhere, turned anyhow, perhaps left-handed; its voxels are 0."""
    shape = [draw(st.integers(6, 14)) for _ in range(3)]
    direction = draw(TURN) @ np.diag([1, 1, draw(st.sampled_from([1, -1]))])
    spacing = tuple(draw(LENGTH) for _ in range(3))
    return Volume(np.zeros(shape, np.float32), spacing, draw(PLACE), direction)


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    """A rigid transform."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = draw(TURN), draw(PLACE)
    return matrix


def points(volume: Volume) -> np.ndarray:
    """LPS mm of all voxel centres, (z, y, x, 3)."""
    z, y, x = np.indices(volume.array.shape)
    return np.stack([x, y, z, np.ones(x.shape)], axis=-1) @ volume.ijk_to_lps.T[:, :3]


def ramp(volume: Volume, about: Volume) -> np.ndarray:
    """What each voxel sees of a world in which brightness rises evenly, from about 1 to 3 on another grid."""
    middle = points(about).reshape(-1, 3).mean(axis=0)
    reach = np.linalg.norm(np.multiply(about.size, about.spacing))
    return 2 + (points(volume) - middle) @ np.array([0.3, 0.5, 0.8]) / reach


def filled(volume: Volume) -> Volume:
    return volume.with_array(ramp(volume, volume).astype(np.float32))


@examples(15)
@given(grids(), st.data())
def test_a_crop_leaves_every_voxel_in_its_place_and_embedding_brings_it_back(grid, data):
    volume = filled(grid)
    mask = np.zeros(volume.array.shape, bool)
    first, last = (tuple(data.draw(st.integers(0, n - 1)) for n in mask.shape) for _ in range(2))
    mask[tuple(slice(min(a, b), max(a, b) + 1) for a, b in zip(first, last, strict=True))] = True
    cropped, box = crop_to_mask(volume, mask, margin=1)
    assert np.abs(points(cropped) - points(volume)[box]).max() < COMPUTED_MM
    assert np.array_equal(cropped.array, volume.array[box])
    back = FieldOfView(volume, mask, box, cropped).embed(cropped.array)
    assert back.same_grid(volume, 0.0)
    assert np.array_equal(back.array, np.where(mask, volume.array, 0))


@examples(15)
@given(grids(), st.floats(0.3, 2.0))
def test_values_survive_another_spacing_and_the_way_back(grid, factor):
    """Where the image is linear, linear interpolation is exact inside; smoothing before a reduction leaves it, too."""
    volume, spacing = filled(grid), factor * max(grid.spacing)
    other = resample_to_spacing(volume, (spacing,) * 3)
    centre = [points(one).reshape(-1, 3).mean(axis=0) for one in (volume, other)]
    assert np.abs(centre[0] - centre[1]).max() < 1e-3, "round the same middle"
    reach = max(1.5 * max(volume.spacing), 3 * spacing)
    corner = np.abs((points(other) - centre[1]) @ volume.direction)
    deep = (corner < np.multiply(volume.size, volume.spacing) / 2 - reach).all(axis=-1)
    assert np.abs(other.array - ramp(other, volume))[deep].max(initial=0) < 1e-3
    back = resample_like(other, volume)
    assert back.same_grid(volume, COMPUTED_MM)
    corner = np.abs((points(volume) - centre[0]) @ volume.direction)
    deep = (corner < np.multiply(volume.size, volume.spacing) / 2 - 2 * reach).all(axis=-1)
    assert np.abs(back.array - volume.array)[deep].max(initial=0) < 1e-3


@examples(15)
@given(grids(), matrices())
def test_resampling_through_a_transform_takes_the_value_of_the_point_that_it_leads_to(grid, matrix):
    volume = filled(grid)
    onto = Volume(grid.array, grid.spacing, *placed(np.linalg.inv(matrix), grid))
    moved = resample_like(volume, onto, transform=to_sitk(matrix))
    inner = (slice(1, -1),) * 3
    assert np.abs(moved.array - volume.array)[inner].max() < 1e-3
    assert np.abs(points(onto) @ matrix[:3, :3].T + matrix[:3, 3] - points(volume)).max() < COMPUTED_MM


def placed(matrix: np.ndarray, grid: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Origin and direction of a grid that a rigid matrix moves."""
    return (matrix @ [*grid.origin, 1])[:3], matrix[:3, :3] @ grid.direction


@examples(15)
@given(grids())
def test_axial_order_is_the_same_image(grid):
    volume = filled(grid)
    turned = axial(volume)
    assert np.abs(turned.array - ramp(turned, volume)).max() < 1e-5
    assert sorted(turned.array.ravel().tolist()) == sorted(volume.array.ravel().tolist())


KINDS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.float32, np.float64]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_files_keep_place_and_values_of_every_type(suffix, tmp_path):
    file = tmp_path / f"a{suffix}"

    @examples(15, 0.5)
    @given(grids(), st.sampled_from(KINDS), st.sampled_from("<>"), st.booleans())
    def run(grid: Volume, kind: type, order: str, turned: bool) -> None:
        voxels = (np.random.default_rng(0).random(grid.array.shape) * 120).astype(np.dtype(kind).newbyteorder(order))
        if turned:  # the same voxels, not contiguous
            voxels = np.ascontiguousarray(voxels.T).T
        write_volume(file, grid.with_array(voxels))
        back = read_volume(file)
        assert np.array_equal(back.array, voxels.astype(np.float32))
        assert np.abs(points(back) - points(grid)).max() < STORED_MM
        assert back.warnings == ()

    run()
