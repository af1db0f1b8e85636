"""The rigid and affine searches on a phantom with a known displacement."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from support.phantom import CENTRE, displaced, displacement, field_of_view, head, points_of

from IoUSynthLib.registration.level import Level, Pair
from IoUSynthLib.registration.rigid import (
    LARGEST_SCALE,
    about,
    bounded,
    mean_distance,
    rotation_degrees,
    rotation_matrix,
    to_sitk,
    tried_rotations,
)
from IoUSynthLib.registration.search import Search, register_rigid
from IoUSynthLib.registration.workflow import eroded
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture(scope="module")
def scene() -> tuple[Volume, dict[str, Volume], Volume, dict[str, Volume]]:
    images = head()
    ultrasound, synthetic, fan = field_of_view(images)
    return ultrasound, synthetic, eroded(fan, 3.0), images


@pytest.mark.usefixtures("few_voxels")
@pytest.mark.parametrize(("degrees", "shift"), [(0, 0), (4, 6), (9, 15)])
def test_synthetic_mri_finds_a_displacement_in_the_capture_range(scene: tuple, degrees: float, shift: float) -> None:
    _, synthetic, mask, images = scene
    truth = displacement(degrees, shift, seed=int(shift))
    found = register_rigid(synthetic["T2w"], displaced(images, truth)["T2w"], mask)
    assert mean_distance(found.matrix, truth, points_of(mask)) < 0.4
    assert found.value >= found.initial_value
    assert np.linalg.svd(found.matrix[:3, :3], compute_uv=False) == pytest.approx(np.ones(3), abs=1e-6)


@pytest.mark.usefixtures("few_voxels")
def test_raw_ultrasound_finds_it_by_lc2(scene: tuple) -> None:
    ultrasound, _, mask, images = scene
    truth = displacement(5, 10)
    found = register_rigid(ultrasound, displaced(images, truth)["T2w"], mask, gradient=True, positive=False)
    assert mean_distance(found.matrix, truth, points_of(mask)) < 0.8


def test_an_initial_transform_is_where_the_search_starts(scene: tuple) -> None:
    """On as many voxels as a registration takes."""
    _, synthetic, mask, images = scene
    truth = displacement(6, 60)
    near = truth @ displacement(3, 6, seed=9)
    found = register_rigid(synthetic["T2w"], displaced(images, truth)["T2w"], mask, initial=near)
    assert mean_distance(found.matrix, truth, points_of(mask)) < 0.4


@pytest.mark.usefixtures("few_voxels")
def test_affine_refinement_finds_scales_within_its_bounds(scene: tuple) -> None:
    _, synthetic, mask, images = scene
    scale = about(CENTRE, np.concatenate([np.diag([0.04, 0.0, -0.05]).ravel(), np.zeros(3)]))
    truth = displacement(3, 4) @ scale
    search = Search([Pair(synthetic["T2w"], (displaced(images, truth)["T2w"],), positive=True)], mask)
    rigid = search.run()
    affine = search.affine(rigid.matrix)
    points = points_of(mask)
    assert mean_distance(affine.matrix, truth, points) < 0.5 * mean_distance(rigid.matrix, truth, points)
    values = np.linalg.svd(affine.matrix[:3, :3], compute_uv=False)
    assert 1 - LARGEST_SCALE - 1e-9 <= values.min() <= values.max() <= 1 + LARGEST_SCALE + 1e-9


def test_force_is_the_derivative_of_the_similarity(scene: tuple) -> None:
    _, synthetic, mask, images = scene
    level = Level([Pair(synthetic["T2w"], (images["T2w"],), positive=True)], mask, 3.0, initial=np.eye(4))
    start = about(level.centre, np.array([0.02, -0.03, 0.025, 1.2, -0.7, 0.9]))
    force = level.evaluate(to_sitk(start), derivatives=True).force
    for axis in range(3):
        step = np.zeros(6)
        step[3 + axis] = 0.05
        ahead, behind = (level.evaluate(to_sitk(start @ about(level.centre, s * step))).value for s in (1, -1))
        assert force[:, axis].sum() == pytest.approx((ahead - behind) / 0.1, rel=0.2)


def test_bounded_clips_singular_values_and_keeps_the_centre() -> None:
    matrix = about(CENTRE, np.concatenate([np.diag([0.2, 0.01, -0.2]).ravel(), [1.0, 2.0, 3.0]]))
    result = bounded(matrix, CENTRE)
    assert np.linalg.svd(result[:3, :3], compute_uv=False) == pytest.approx([1.06, 1.01, 0.94])
    np.testing.assert_allclose(result @ [*CENTRE, 1], matrix @ [*CENTRE, 1])


def test_matrices_are_those_of_simpleitk() -> None:
    vector = np.array([0.2, -0.3, 0.1])
    versor = sitk.VersorTransform((vector / np.linalg.norm(vector)).tolist(), float(np.linalg.norm(vector)))
    np.testing.assert_allclose(rotation_matrix(vector).ravel(), versor.GetMatrix(), atol=1e-12)
    matrix = about(CENTRE, np.concatenate([vector, [4.0, 5.0, 6.0]]))
    np.testing.assert_allclose(to_sitk(matrix).TransformPoint((1.0, 2.0, 3.0)), (matrix @ [1, 2, 3, 1])[:3])
    assert rotation_degrees(matrix) == pytest.approx(np.degrees(np.linalg.norm(vector)))


def test_rotations_that_are_tried_cover_all_directions() -> None:
    rotations = tried_rotations()
    assert len(rotations) == 27
    assert np.abs(sum(rotations)).max() < 1e-12


def test_an_empty_mask_and_images_apart_are_refused(scene: tuple) -> None:
    _, synthetic, mask, images = scene
    with pytest.raises(InputError, match="mask is empty"):
        register_rigid(synthetic["T2w"], images["T2w"], mask.with_array(np.zeros_like(mask.array)))
    far = Volume(images["T2w"].array, images["T2w"].spacing, (500.0, 0.0, 0.0))
    with pytest.raises(InputError, match="do not overlap"):
        register_rigid(synthetic["T2w"], far, mask)
    with pytest.raises(InputError, match="nothing is left 300 mm inside"):
        eroded(mask, 300.0)
