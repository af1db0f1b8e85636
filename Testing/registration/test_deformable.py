"""The free-form step: it recovers a known shift, folds nowhere, and moves nothing beyond its taper."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from support.phantom import CENTRE, field_of_view, head, points_of

from IoUSynthLib.preprocessing import resample_like
from IoUSynthLib.registration import deformable
from IoUSynthLib.registration.deformable import (
    LEAST_JACOBIAN,
    TAPER_MM,
    conjugate_gradients,
    jacobian_determinant,
    register_deformable,
)
from IoUSynthLib.registration.level import Pair
from IoUSynthLib.registration.workflow import eroded
from IoUSynthLib.volume import Volume

DOWN = np.array([0.6, 0.0, -0.8])


def sunk(points: np.ndarray) -> np.ndarray:
    """How far tissue has sunk: 6 mm 15 mm from the middle, over about 18 mm."""
    near = np.exp(-((points - CENTRE + 15 * DOWN) ** 2).sum(-1) / (2 * 18.0**2))
    return 6.0 * near[..., None] * DOWN


def lps(volume: Volume) -> np.ndarray:
    index = np.moveaxis(np.indices(volume.array.shape), 0, -1)[..., ::-1]
    return index @ volume.ijk_to_lps[:3, :3].T + volume.ijk_to_lps[:3, 3]


@pytest.fixture(scope="module")
def scene() -> dict:
    """Today's images, and the MRI before the shift: what is at y now was at ``y - sunk(y)``."""
    images = head()
    ultrasound, synthetic, fan = field_of_view(images)
    before = lps(images["T2w"])
    now = before
    for _ in range(20):
        now = before + sunk(now)
    field = sitk.GetImageFromArray(now - before, isVector=True)
    field.CopyInformation(images["T2w"].to_sitk())
    transform = sitk.DisplacementFieldTransform(field)
    mri = {name: resample_like(images[name], images["T2w"], transform=transform) for name in synthetic}
    pairs = [Pair(synthetic[name], (mri[name],), positive=True) for name in synthetic]
    return {"pairs": pairs, "fan": fan, "mask": eroded(fan, 3.0), "ultrasound": ultrasound}


@pytest.fixture(scope="module")
def result(scene: dict) -> deformable.Deformation:
    return register_deformable(scene["pairs"], scene["mask"], scene["fan"], matrix=np.eye(4))


def errors(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    mapped = np.array([transform.TransformPoint(point) for point in points.tolist()])
    return np.linalg.norm(mapped - (points - sunk(points)), axis=1)


def test_more_than_half_of_the_shift_is_recovered(scene: dict, result: deformable.Deformation) -> None:
    points = points_of(scene["mask"])
    transforms = sitk.Transform(), result.after_rigid(np.eye(4))
    before, after = (errors(transform, points).mean() for transform in transforms)
    assert before > 2.0
    assert after < 0.5 * before
    assert result.after > result.before


def test_nothing_folds_and_nothing_moves_beyond_the_taper(scene: dict, result: deformable.Deformation) -> None:
    determinant = jacobian_determinant(result.field, result.grid)
    assert determinant.min() >= LEAST_JACOBIAN
    image = sitk.Cast(sitk.GetImageFromArray(result.field, isVector=True), sitk.sitkVectorFloat64)
    image.CopyInformation(result.grid.to_sitk())
    independent = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
    assert independent[1:-1, 1:-1, 1:-1].min() > 0
    inside = resample_like(scene["fan"], result.grid, nearest=True).to_sitk()
    distance = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(inside, False, False, True))
    assert np.abs(result.field[distance >= TAPER_MM]).max() == 0
    assert all(np.abs(np.take(result.field, index, axis)).max() == 0 for axis in range(3) for index in (0, -1))


def test_the_rigid_part_is_applied_after_the_displacement(result: deformable.Deformation) -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = (5, 6, 7)
    moved = result.to_sitk().TransformPoint(CENTRE.tolist())
    expected = np.add(moved, (5, 6, 7))
    np.testing.assert_allclose(result.after_rigid(matrix).TransformPoint(CENTRE.tolist()), expected)


def test_the_cavity_does_not_pull(scene: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bright hole that the MRI does not have deforms the field less when it is marked."""
    monkeypatch.setattr(deformable, "_VOXELS", 8_000)  # a quarter
    cavity = np.linalg.norm(lps(scene["fan"]) - CENTRE, axis=-1) < 9
    images = head()
    pairs = []
    for pair, name in zip(scene["pairs"], ("T2w", "FLAIR"), strict=True):
        torn = pair.fixed.with_array(np.where(cavity & (scene["fan"].array > 0), 1000, pair.fixed.array))
        pairs.append(Pair(torn, (images[name],), positive=True))
    marked = scene["fan"].with_array(cavity.astype(np.uint8))
    points = points_of(scene["mask"])

    def moved(mark: Volume | None) -> float:
        transform = register_deformable(pairs, scene["mask"], scene["fan"], matrix=np.eye(4), cavity=mark).to_sitk()
        steps = [np.subtract(transform.TransformPoint(point), point) for point in points.tolist()]
        return float(np.linalg.norm(steps, axis=1).mean())

    assert moved(marked) < 0.6 * moved(None)


def test_jacobian_determinant_of_a_stretch_is_its_factor() -> None:
    grid = Volume(np.zeros((8, 9, 10)), (1.0, 2.0, 0.5), (3.0, 4.0, 5.0), np.eye(3)[[1, 2, 0]])
    field = (lps(grid) - CENTRE) * (0.1, -0.2, 0.3)
    np.testing.assert_allclose(jacobian_determinant(field, grid), 1.1 * 0.8 * 1.3)


def test_conjugate_gradients_solve_a_system() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((12, 12))
    matrix, wanted = root @ root.T + np.eye(12), rng.standard_normal(12)
    found = conjugate_gradients(lambda x: matrix @ x, matrix @ wanted, 60, tolerance=1e-9)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
