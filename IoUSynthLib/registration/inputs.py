"""What a registration is given: whether an image looks like ultrasound, and the transform to start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files.transforms import matrix_of, read_transform
from ..synthesis.quality import looks_like_ultrasound, sampled
from ..volume import InputError, Volume


def resembles_ultrasound(volume: Volume) -> bool:
    """Tell whether a volume looks like a sweep, by a sample of its voxels."""
    return looks_like_ultrasound(sampled(volume))[0]


def read_initial(path: Path) -> np.ndarray:
    """Read the transform that a search starts from.

    Parameters
    ----------
    path
        Rigid or affine transform in a format of ITK (.h5, .tfm, .txt, .mat), such as ``register`` and 3D Slicer write.

    Returns
    -------
    numpy.ndarray
        4x4, from LPS points of the ultrasound to LPS points of the MRI.

    Raises
    ------
    InputError
        The file is missing, no such transform, or bends, mirrors or flattens space.
    """
    matrix = matrix_of(read_transform(path))
    if matrix is None:
        raise InputError(f"{path}: is not a rigid or affine transform of space, from which a search starts; give one")
    if not np.isfinite(matrix).all() or np.linalg.det(matrix[:3, :3]) < 1e-3:
        raise InputError(f"{path}: mirrors or flattens space, which no two images of a head differ by; give another")
    return matrix
