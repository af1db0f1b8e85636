"""Free-form deformation of what is inside the ultrasound fan, after a rigid registration.

A cubic B-spline control grid (Rueckert et al. 1999) carries the displacement, and a taper brings it to zero outside the
fan, where nothing was seen. Gauss-Newton steps climb the patch-wise similarity of :mod:`.lc2` less the field's mean
squared gradient; a step that would fold the field is refused. NumPy and SimpleITK only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..files.transforms import field_transform
from ..progress import PartProgress
from ..volume import Volume
from .level import Level, Pair, widened
from .rigid import to_sitk

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Distance of the control points in mm: brain shift is smooth, and a finer grid follows the errors of the synthesis.
CONTROL_MM = 25.0
#: Over this distance outside the fan, in mm, the displacement falls to zero.
TAPER_MM = 15.0
#: Weight of the mean squared gradient of the field against the similarity.
SMOOTHNESS = 3.0
#: Volume changes by no less than this factor anywhere.
LEAST_JACOBIAN = 0.2
_VOXELS = 30_000
_FINEST = 1.6
_STEPS = 12
_CONJUGATE_STEPS = 40
#: A step that raises the objective by less than this fraction is the last.
_CONVERGED = 5e-4


@dataclass(frozen=True, eq=False)
class Deformation:
    """A displacement field in the frame of the ultrasound.

    Attributes
    ----------
    field
        (z, y, x, 3) displacement in mm along LPS; zero at the rim.
    grid
        Where it lies; its voxels are the taper, 1 inside the fan.
    before, after
        Similarity without and with it.
    """

    field: np.ndarray
    grid: Volume
    before: float
    after: float

    @property
    def least_jacobian(self) -> float:
        """Smallest determinant of the Jacobian of ``y + u(y)``: above 0 nothing folds."""
        return float(jacobian_determinant(self.field, self.grid).min())

    def to_sitk(self) -> sitk.DisplacementFieldTransform:
        """Return it as a transform of LPS points of the ultrasound; the identity beyond its grid."""
        return field_transform(self.field, self.grid)

    def after_rigid(self, matrix: np.ndarray) -> sitk.CompositeTransform:
        """Return the transform that applies the displacement and then the 4x4 matrix."""
        return _composed(matrix, self.to_sitk())


def register_deformable(
    pairs: list[Pair], mask: Volume, fan: Volume, *, matrix: np.ndarray, cavity: Volume | None = None,
    progress: PartProgress | None = None,
) -> Deformation:
    """Find the displacement field that remains after a rigid or affine registration.

    Parameters
    ----------
    pairs
        What is compared, best synthetic with preoperative MRI and the ultrasound itself with it.
    mask
        Where the fixed images have data that can be trusted, as a volume of 0 and 1.
    fan
        The whole ultrasound fan: inside, the displacement is free.
    matrix
        4x4 matrix of the rigid or affine registration.
    cavity
        Above 0 in the resection cavity, for which the preoperative MRI has no counterpart.
    progress
        Called with the fraction that is done.

    Raises
    ------
    InputError
        The mask is empty, or the images do not overlap.
    """
    data = mask.array > 0
    if cavity is not None:
        data = data & ~(cavity.array > 0)
    volume = float(data.sum()) * mask.voxel_volume_ml * 1000
    spacing = max(_FINEST, (volume / _VOXELS) ** (1 / 3))
    level = Level(pairs, mask.with_array(data.astype(np.uint8)), spacing, initial=matrix)
    form = _FreeForm(level, fan)
    coefficients = np.zeros((*form.shape, 3))
    objective = _Objective(level, form, matrix)
    state = objective.evaluate(coefficients)
    before, damping = state.value, 1e-2
    for number in range(_STEPS):
        step = objective.step(state, coefficients, damping)
        proposed = coefficients + step
        candidate = objective.evaluate(proposed) if objective.unfolded(proposed) else None
        if candidate is not None and candidate.total > state.total:
            gain = candidate.total - state.total
            coefficients, state, damping = proposed, candidate, damping / 3
            if gain < _CONVERGED * abs(state.total):
                break
        else:
            damping *= 10
            if damping > 1e5:
                break
        if progress:
            progress((number + 1) / _STEPS)
    return Deformation(form.field(coefficients), form.grid, before, state.value)


def jacobian_determinant(field: np.ndarray, grid: Volume) -> np.ndarray:
    """Determinant of the Jacobian of ``y + u(y)`` at every voxel, by central differences.

    Parameters
    ----------
    field
        (z, y, x, 3) displacement in mm along LPS.
    grid
        Where it lies.
    """
    return np.linalg.det(_jacobian(field, grid))


def _jacobian(field: np.ndarray, grid: Volume) -> np.ndarray:
    """(z, y, x, 3, 3): derivative of ``y + u(y)``; the last index is the direction."""
    along = [np.gradient(field, grid.spacing[axis], axis=2 - axis) for axis in range(3)]  # i, j, k
    return np.eye(3) + np.stack(along, axis=-1) @ grid.direction.T


class _FreeForm:
    """Cubic B-splines on a control grid, times the taper.

    Attributes
    ----------
    grid
        The level's grid, widened to hold the taper; its voxels are the taper.
    inner
        Where the level's grid lies in it.
    bases
        For z, y, x: (voxels, control points).
    """

    def __init__(self, level: Level, fan: Volume) -> None:
        margin = int(np.ceil(TAPER_MM / level.spacing)) + 2 + _rim(fan, level)
        wide = widened(level.grid, margin)
        self.inner = (slice(margin, -margin),) * 3
        self.grid = wide.with_array(_taper(fan, wide))
        self.bases = [_basis(length, level.spacing) for length in wide.array.shape]
        self.shape = tuple(basis.shape[1] for basis in self.bases)
        steps = [np.gradient(basis, level.spacing, axis=0) for basis in self.bases]
        masses = [basis.T @ basis / len(basis) for basis in self.bases]
        stiff = [step.T @ step / len(step) for step in steps]
        self.masses = masses
        self.membrane = [[stiff[a] if a == axis else masses[a] for a in range(3)] for axis in range(3)]

    def field(self, coefficients: np.ndarray) -> np.ndarray:
        """Displacement (z, y, x, 3) in mm."""
        return _separable(self.bases, coefficients) * self.grid.array[..., None]

    def pulled_back(self, forces: np.ndarray) -> np.ndarray:
        """The transpose of :meth:`field`."""
        return _separable([basis.T for basis in self.bases], forces * self.grid.array[..., None])

    def roughness_gradient(self, coefficients: np.ndarray) -> np.ndarray:
        """Half the derivative of the mean squared gradient of the field without taper."""
        return sum(_separable(matrices, coefficients) for matrices in self.membrane)


def _rim(fan: Volume, level: Level) -> int:
    """How many voxels the fan may reach beyond the level's grid."""
    index = np.argwhere(fan.array > 0)[:: max(1, int((fan.array > 0).sum() // 20000)), ::-1]
    points = index @ fan.ijk_to_lps[:3, :3].T + fan.ijk_to_lps[:3, 3]
    to_index = np.linalg.inv(level.grid.ijk_to_lps)
    place = points @ to_index[:3, :3].T + to_index[:3, 3]
    beyond = np.maximum(-place.min(axis=0), place.max(axis=0) - (np.array(level.grid.size) - 1)).max()
    return max(0, int(np.ceil(beyond)))


def _taper(fan: Volume, grid: Volume) -> np.ndarray:
    """1 inside the fan, falling as a cosine to 0 at ``TAPER_MM`` outside it."""
    import SimpleITK as sitk

    from ..preprocessing import resample_like

    inside = resample_like(fan.with_array((fan.array > 0).astype(np.uint8)), grid, nearest=True)
    distance = sitk.SignedMaurerDistanceMap(inside.to_sitk(), squaredDistance=False, useImageSpacing=True)
    outside = np.clip(sitk.GetArrayFromImage(distance) / TAPER_MM, 0, 1)
    return 0.5 * (1 + np.cos(np.pi * outside))


def _basis(length: int, spacing: float) -> np.ndarray:
    """Cubic B-splines (voxels, control points) ``CONTROL_MM`` apart that cover all voxels."""
    place = np.arange(length) * spacing / CONTROL_MM
    control = np.arange(-1, int(np.ceil(place[-1])) + 2)
    distance = np.abs(place[:, None] - control[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)


def _separable(matrices: list[np.ndarray], array: np.ndarray) -> np.ndarray:
    """Apply one matrix along each of the first three axes."""
    for axis, matrix in enumerate(matrices):
        array = np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis)
    return array


@dataclass(frozen=True, eq=False)
class _State:
    value: float
    total: float
    force: np.ndarray  # (n, 3)
    stiffness: np.ndarray  # (n, 3, 3)


class _Objective:
    """Similarity less roughness, with its Gauss-Newton model."""

    def __init__(self, level: Level, form: _FreeForm, matrix: np.ndarray) -> None:
        self.level, self.form, self.matrix = level, form, matrix

    def evaluate(self, coefficients: np.ndarray) -> _State:
        field = self.form.field(coefficients)
        transform = _composed(self.matrix, field_transform(field, self.form.grid))
        found = self.level.evaluate(transform, derivatives=True)
        # The slopes are those of the warped image: the field's own Jacobian is taken out again.
        back = np.linalg.inv(_jacobian(field, self.form.grid)[self.form.inner][self.level.mask])
        force = np.einsum("nji,nj->ni", back, found.force)
        stiffness = np.swapaxes(back, 1, 2) @ found.stiffness @ back
        roughness = float((coefficients * self.form.roughness_gradient(coefficients)).sum())
        return _State(found.value, found.value - SMOOTHNESS * roughness, force, stiffness)

    def step(self, state: _State, coefficients: np.ndarray, damping: float) -> np.ndarray:
        """Solve the damped Gauss-Newton system by conjugate gradients."""
        form, mask = self.form, self.level.mask
        typical = damping * float(np.trace(state.stiffness, axis1=1, axis2=2).sum() / 3)

        def apply(direction: np.ndarray) -> np.ndarray:
            along = form.field(direction)[form.inner][mask]
            pulled = self._spread(np.einsum("nij,nj->ni", state.stiffness, along))
            rough = 2 * SMOOTHNESS * form.roughness_gradient(direction)
            return pulled + rough + typical * _separable(form.masses, direction)

        right = self._spread(state.force) - 2 * SMOOTHNESS * form.roughness_gradient(coefficients)
        return conjugate_gradients(apply, right, _CONJUGATE_STEPS)

    def _spread(self, forces: np.ndarray) -> np.ndarray:
        inner = np.zeros((*self.level.mask.shape, 3))
        inner[self.level.mask] = forces
        wide = np.zeros((*self.form.grid.array.shape, 3))
        wide[self.form.inner] = inner
        return self.form.pulled_back(wide)

    def unfolded(self, coefficients: np.ndarray) -> bool:
        field = self.form.field(coefficients)
        return float(jacobian_determinant(field, self.form.grid).min()) > LEAST_JACOBIAN


def conjugate_gradients(
    apply: Callable[[np.ndarray], np.ndarray], right: np.ndarray, steps: int, *, tolerance: float = 1e-2
) -> np.ndarray:
    """Solve ``apply(x) = right`` for a symmetric positive definite operator (Hestenes and Stiefel 1952)."""
    solution = np.zeros_like(right)
    residual, direction = right.copy(), right.copy()
    square = float((residual**2).sum())
    target = tolerance**2 * square
    for _ in range(steps):
        if square <= target:
            break
        applied = apply(direction)
        length = square / float((direction * applied).sum())
        solution += length * direction
        residual -= length * applied
        previous, square = square, float((residual**2).sum())
        direction = residual + square / previous * direction
    return solution


def _composed(matrix: np.ndarray, field: sitk.DisplacementFieldTransform) -> sitk.CompositeTransform:
    import SimpleITK as sitk

    return sitk.CompositeTransform([to_sitk(matrix), field])  # ITK applies the last one first
