"""Steps of a rigid or affine registration: candidates over the capture range, and Gauss-Newton steps that refine them.

Candidates come from correlating locally normalised images over all shifts at once by the Fourier transform, for a set
of rotations. A candidate climbs the patch-wise similarity of :mod:`.lc2` by Levenberg-Marquardt steps in the tangent
space of the transform. :mod:`.search` puts them together.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..progress import PartProgress
from .level import Level, widened
from .similarity import box_sum

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Largest displacement in mm and rotation in degrees that the search covers.
CAPTURE_MM, CAPTURE_DEG = 16.0, 9.0
#: Results further from the initial transform than this many times the capture range are refused.
_SLACK = 1.5
#: Singular values of an affine refinement lie within this of 1.
LARGEST_SCALE = 0.06
#: Angle in degrees of the rotations that are tried beside none.
_TRIED_DEG = 7.0
#: Number of transforms that the coarse search returns, and the mean distance in mm below which two of them are one.
_CANDIDATES, _DISTINCT_MM = 24, 3.0
#: A step that moves the points by less than this many voxels is the last.
_CONVERGED = 0.04


def coarse_candidates(level: Level, initial: np.ndarray, progress: PartProgress | None = None) -> list[np.ndarray]:
    """Correlate over all shifts of the capture range for every tried rotation, and return the best transforms."""
    reach = int(np.ceil(CAPTURE_MM / level.spacing)) + 1
    grid = widened(level.grid, reach)
    shape = grid.array.shape
    fixed = [_fixed_spectra(term.measure.image, level.mask, shape) for term in level.terms]
    found = []
    rotations = tried_rotations()
    for number, rotation in enumerate(rotations):
        matrix = initial @ about(level.centre, np.concatenate([rotation, np.zeros(3)]))
        score = np.zeros((2 * reach + 1,) * 3, dtype=np.float32)
        for term, spectra in zip(level.terms, fixed, strict=True):
            moving = level.warp(term, to_sitk(matrix), grid)
            score += _explained(spectra, moving, positive=term.measure.positive, shape=shape, reach=reach)
        found += [(value, matrix @ _shift(level, index, reach)) for value, index in _peaks(score)]
        if progress:
            progress((number + 1) / len(rotations))
    found.sort(key=lambda entry: -entry[0])
    return distinct([matrix for _, matrix in found], level.points, _CANDIDATES)


def distinct(
    matrices: Sequence[np.ndarray], points: np.ndarray, number: int, *, apart: float = _DISTINCT_MM
) -> list[np.ndarray]:
    """Return the first ``number`` matrices that send (n, 3) points over ``apart`` mm from where those before do."""
    chosen: list[np.ndarray] = []
    for matrix in matrices:
        if len(chosen) < number and all(mean_distance(matrix, other, points) > apart for other in chosen):
            chosen.append(matrix)
    return chosen


def tried_rotations() -> list[np.ndarray]:
    """Rotation vectors in radians: none, and one angle about the 26 directions to a cube's neighbours."""
    directions = [np.array(step, dtype=float) for step in itertools.product((-1, 0, 1), repeat=3) if any(step)]
    return [np.zeros(3), *(np.radians(_TRIED_DEG) * step / np.linalg.norm(step) for step in directions)]


def _locally_normalised(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image without its local mean, over its local deviation, damped where there is little of either."""
    inside = mask.astype(np.float32)
    count = np.maximum(box_sum(inside), 1)
    mean, square = box_sum(np.stack([image * inside, image**2 * inside])) / count
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    return (image - mean) / (deviation + 0.3) * inside  # images have unit variance


def _fixed_spectra(image: np.ndarray, mask: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    normalised = _locally_normalised(image, mask)
    spectra = (np.conj(np.fft.rfftn(array, shape, axes=(0, 1, 2))) for array in (normalised, mask.astype(np.float32)))
    return (*spectra, float((normalised**2).sum()))


def _explained(
    fixed: tuple[np.ndarray, np.ndarray, float], moving: np.ndarray, *, positive: bool, shape: tuple[int, ...],
    reach: int,
) -> np.ndarray:
    """Share of the fixed image's variance that the moving channels explain, for every shift."""
    spectrum, mask, total = fixed
    kept = (slice(0, 2 * reach + 1),) * 3

    def over_shifts(array: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.fft.irfftn(np.fft.rfftn(array) * kernel, shape, axes=(0, 1, 2))[kept].astype(np.float32)

    known = np.isfinite(moving)
    moving = np.stack([_locally_normalised(np.where(k, m, 0), k) for k, m in zip(known, moving, strict=True)])
    number = len(moving)
    along = np.stack([over_shifts(channel, spectrum) for channel in moving])
    matrix = np.empty((*along.shape[:1], *along.shape), dtype=np.float32)
    for k in range(number):
        for other in range(k + 1):
            matrix[k, other] = matrix[other, k] = over_shifts(moving[k] * moving[other], mask)
    matrix = np.moveaxis(matrix, (0, 1), (-2, -1)) + 0.05 * total * np.eye(number, dtype=np.float32)
    if positive:
        along = np.maximum(along, 0)
    along = np.moveaxis(along, 0, -1)
    return (np.linalg.solve(matrix, along[..., None])[..., 0] * along).sum(-1) / total


def _peaks(score: np.ndarray, number: int = 2) -> list[tuple[float, tuple[int, ...]]]:
    """The highest values with their indices, each outside the other's neighbourhood."""
    score, peaks = score.copy(), []
    for _ in range(number):
        index = np.unravel_index(int(np.argmax(score)), score.shape)
        peaks.append((float(score[index]), tuple(int(value) for value in index)))
        score[tuple(slice(max(0, value - 1), value + 2) for value in index)] = -np.inf
    return peaks


def _shift(level: Level, index: tuple[int, ...], reach: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = level.grid.ijk_to_lps[:3, :3] @ (np.array(index[::-1]) - reach)
    return matrix


def refine(
    level: Level, matrix: np.ndarray, *, steps: int, initial: np.ndarray, least: float = 0.5, affine: bool = False
) -> np.ndarray:
    """Climb to the nearest maximum by Levenberg-Marquardt steps, and return its matrix.

    Parameters
    ----------
    level
        The images.
    matrix
        4x4 to start from.
    steps
        At most so many evaluations.
    initial
        4x4 matrix; steps that lead out of the capture range round it are refused.
    least
        Steps that leave data for less than this fraction of the mask are refused.
    affine
        Vary all twelve parameters; singular values stay within ``LARGEST_SCALE`` of 1.
    """
    jacobian = _jacobian(level.points - level.centre, affine)
    parameters = jacobian.shape[2]
    damping = 1e-2
    current = level.evaluate(to_sitk(matrix), derivatives=True)
    for _ in range(steps):
        gradient = jacobian.reshape(-1, parameters).T @ current.force.ravel()
        hessian = jacobian.reshape(-1, parameters).T @ (current.stiffness @ jacobian).reshape(-1, parameters)
        scale = np.diag(hessian) + 1e-12 * np.trace(hessian) + 1e-20
        step = np.linalg.solve(hessian + damping * np.diag(scale), gradient)
        moved = float(np.sqrt(((jacobian @ step) ** 2).sum(1).mean()))
        step *= min(1.0, 2 * level.spacing / max(moved, 1e-12))
        proposed = matrix @ about(level.centre, step)
        if affine:
            proposed = bounded(proposed, level.centre)
        evaluation = level.evaluate(to_sitk(proposed), derivatives=True)
        allowed = evaluation.covered >= least and _within_reach(proposed, initial, level.points)
        if allowed and evaluation.value > current.value:
            matrix, current, damping = proposed, evaluation, damping / 4
            if moved < _CONVERGED * level.spacing:
                break
        else:
            damping *= 8
            if damping > 1e4:
                break
    return matrix


def _within_reach(matrix: np.ndarray, initial: np.ndarray, points: np.ndarray) -> bool:
    turned = rotation_degrees(matrix @ np.linalg.inv(initial))
    return turned <= _SLACK * CAPTURE_DEG and mean_distance(matrix, initial, points) <= _SLACK * CAPTURE_MM


def rotation_degrees(matrix: np.ndarray) -> float:
    """Angle of a 4x4 matrix's rotation, for one whose scales are near 1."""
    return float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))


def _jacobian(points: np.ndarray, affine: bool) -> np.ndarray:
    """Derivative (n, 3, parameters) of the moved points by rotation vector (or matrix) and translation."""
    number = len(points)
    identity = np.broadcast_to(np.eye(3), (number, 3, 3))
    if affine:
        linear = np.einsum("ij,nk->nijk", np.eye(3), points).reshape(number, 3, 9)
    else:
        x, y, z = points.T
        zero = np.zeros(number)
        linear = np.stack([zero, z, -y, -z, zero, x, y, -x, zero], axis=1).reshape(number, 3, 3)
    return np.concatenate([linear, identity], axis=2)


def about(centre: np.ndarray, step: np.ndarray) -> np.ndarray:
    """4x4 matrix of a step about a centre: rotation vector (3), or matrix (9) to add to the identity, and shift (3)."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(step[:3]) if len(step) == 6 else np.eye(3) + step[:9].reshape(3, 3)
    matrix[:3, 3] = centre + step[-3:] - matrix[:3, :3] @ centre
    return matrix


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rotation by the vector's length in radians about its direction (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def bounded(matrix: np.ndarray, centre: np.ndarray, scale: float = LARGEST_SCALE) -> np.ndarray:
    """The transform with its singular values within ``scale`` of 1, and the centre mapped to the same point."""
    left, values, right = np.linalg.svd(matrix[:3, :3])
    result = matrix.copy()
    result[:3, :3] = left * np.clip(values, 1 - scale, 1 + scale) @ right
    result[:3, 3] += (matrix[:3, :3] - result[:3, :3]) @ centre
    return result


def to_sitk(matrix: np.ndarray) -> sitk.AffineTransform:
    """Return a 4x4 matrix as a SimpleITK transform."""
    import SimpleITK as sitk

    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def mean_distance(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> float:
    """Mean distance in mm of where two matrices send (n, 3) points."""
    difference = first - second
    return float(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1).mean())
