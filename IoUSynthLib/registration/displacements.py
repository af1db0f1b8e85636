"""Random displacements: rigid ones from which registrations start, so that it shows how far they can be trusted, and
brain shift.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..volume import Volume
from .rigid import CAPTURE_DEG, about

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Limits in mm of the displacement of points, as in MMHVAE's Table V (Dorent et al.).
RANGES_MM = {"0-4": (0.0, 4.0), "4-8": (4.0, 8.0), "8-12": (8.0, 12.0), "12-16": (12.0, 16.0)}
#: A registration whose mean TRE lies below this, in mm, has succeeded.
SUCCESS_MM = 2.0
#: Of :func:`random_start`: shift in mm, and largest rotation in degrees.
START_MM, START_DEG = (3.0, 10.0), 5.0
#: Largest share of a displacement that the rotation makes, and what it is shortened by until it fits.
_TURNED, _SHORTER = 0.9, 0.7
#: Longest shift in mm; halving it as often finds the displacement to a millionth of a mm.
_LONGEST_MM, _HALVINGS = 60.0, 40
#: A mask's voxels that displacements are measured at: one in so many.
_EVERY = 997
#: Of :func:`brain_shift`, along an edge: random vectors, and points at which the transform holds the deformation.
_SHIFT_KNOTS, _FIELD_NODES = 4, 33


def points_within(mask: Volume) -> np.ndarray:
    """Some voxels of a mask, (n, 3) LPS points, for a displacement to be measured at."""
    indices = np.argwhere(mask.array > 0)[::_EVERY, ::-1]
    return indices @ mask.ijk_to_lps[:3, :3].T + mask.ijk_to_lps[:3, 3]


def random_displacement(
    points: np.ndarray, millimetres: float, rng: np.random.Generator, *, mean: Callable[[np.ndarray], float] = np.mean
) -> np.ndarray:
    """Draw a rotation about the points' middle, and a shift, that together displace the points by a length.

    Parameters
    ----------
    points
        (n, 3) LPS points.
    millimetres
        Displacement, from 0 on and below 60.
    rng
        Draws the axis and the angle, uniform up to :data:`.rigid.CAPTURE_DEG`, and the direction of the shift. A
        rotation that alone displaces the points too far is made smaller.
    mean
        Of the points' displacements: which one is to be that length.

    Returns
    -------
    numpy.ndarray
        4x4 matrix.

    Examples
    --------
    >>> points = np.array([[0.0, 0, 0], [40, 0, 0], [0, 40, 0], [0, 0, 40]])
    >>> matrix = random_displacement(points, 6.0, np.random.default_rng(0))
    >>> round(float(np.linalg.norm(points @ matrix[:3, :3].T + matrix[:3, 3] - points, axis=1).mean()), 6)
    6.0
    """
    centre, rotation = points.mean(axis=0), random_direction(rng) * np.radians(rng.uniform(0, CAPTURE_DEG))
    direction = random_direction(rng)
    if millimetres == 0:
        return np.eye(4)

    def matrix(length: float) -> np.ndarray:
        return about(centre, np.concatenate([rotation, length * direction]))

    def moved(length: float) -> float:
        found = matrix(length)
        return float(mean(np.linalg.norm(points @ found[:3, :3].T + found[:3, 3] - points, axis=1)))

    while moved(0.0) > _TURNED * millimetres:
        rotation = _SHORTER * rotation
    low, high = 0.0, _LONGEST_MM
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if moved(middle) < millimetres else (low, middle)
    return matrix(low)


def random_start(centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """4x4 matrix of a random rotation about a point (LPS, mm) and a random shift, within the ranges above."""
    axes = rng.standard_normal((2, 3))
    axes /= np.linalg.norm(axes, axis=1)[:, None]
    turn, shift = np.radians(rng.uniform(0, START_DEG)), rng.uniform(*START_MM)
    return about(centre, np.concatenate([turn * axes[0], shift * axes[1]]))


def random_direction(rng: np.random.Generator) -> np.ndarray:
    """A vector of length 1."""
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def brain_shift(fan: Volume, largest: float, rng: np.random.Generator) -> sitk.Transform:
    """A smooth deformation, random at knots a third of the volume apart, that moves the fan by at most so many mm."""
    import SimpleITK as sitk

    knots = rng.standard_normal((_SHIFT_KNOTS,) * 3 + (3,))
    field = ndimage.zoom(knots, (_FIELD_NODES / _SHIFT_KNOTS,) * 3 + (1,), order=3)
    inside = ndimage.zoom(fan.array > 0, np.divide(field.shape[:3], fan.array.shape), order=0)
    field *= largest / np.linalg.norm(field, axis=-1)[inside].max()
    image = sitk.GetImageFromArray(field, isVector=True)
    extent = (np.array(fan.size) - 1) * fan.spacing
    image.SetSpacing((extent / (_FIELD_NODES - 1)).tolist())
    image.SetOrigin([float(value) for value in fan.origin])
    image.SetDirection(fan.direction.ravel().tolist())
    return sitk.DisplacementFieldTransform(image)
