"""Where the probe's face was: known of a simulated case, found by the bright band in front of it in a real volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..volume import Volume

#: The bright band: this near the border of the fan in mm, above this percentile. All RESECT volumes have one.
_BAND, _BRIGHT = 3.0, 97.5


@dataclass(frozen=True, eq=False)
class Face:
    """Plane of a probe's face: a point in mm of the array [z, y, x], and the direction of sound."""

    point: np.ndarray
    direction: np.ndarray

    def depth(self, shape: tuple[int, ...], voxel: float) -> np.ndarray:
        """Depth of every voxel in mm."""
        grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) * voxel for n in shape), indexing="ij"))
        return np.einsum("a,azyx->zyx", self.direction, grid - self.point.reshape(3, 1, 1, 1)).astype(np.float32)


def find_face(array: np.ndarray, inside: np.ndarray, voxel: float) -> Face:
    """The plane through the largest bright piece of the fan's border, looking into the fan.

    Raises
    ------
    ValueError
        Nothing at the border is bright.
    """
    border = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1, 1:-1] * voxel < _BAND
    bright = inside & border & (array >= max(np.percentile(array[inside], _BRIGHT), 1))
    pieces, count = ndimage.label(ndimage.binary_dilation(bright))
    if not count:
        raise ValueError("no bright band at the border of the fan")
    places = np.argwhere(bright & (pieces == np.bincount(pieces[bright]).argmax())) * voxel
    middle = places.mean(0)
    direction = np.linalg.eigh(np.cov((places - middle).T))[1][:, 0]
    direction = direction * np.sign(direction @ (np.argwhere(inside).mean(0) * voxel - middle))
    # Sound starts where the fan does.
    start = np.percentile((places - middle) @ direction, 2)
    return Face(middle + start * direction, direction)


def known_face(parameters: dict, volume: Volume) -> Face:
    """The face of a simulated case."""
    to_index = np.linalg.inv(volume.ijk_to_lps)
    point = (to_index @ np.append(parameters["face"], 1))[:3]
    direction = to_index[:3, :3] @ np.array(parameters["axes"])[:, 1]
    return Face(point[::-1] * volume.spacing[0], direction[::-1] / np.linalg.norm(direction))
