"""What a registration is given: whether an image looks like ultrasound, and the transform to start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files.itk import ERRORS, quiet
from ..files.paths import check_path
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
    import SimpleITK as sitk

    check_path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the name")
    try:
        with quiet():
            transform = sitk.ReadTransform(str(path))
    except ERRORS as error:
        raise InputError(f"{path}: is no transform that ITK can read; give a rigid or affine .h5 or .tfm") from error
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise InputError(f"{path}: is not a rigid or affine transform of space, from which a search starts; give one")
    corners = np.vstack([np.zeros(3), 100 * np.eye(3)])
    mapped = np.array([transform.TransformPoint(corner) for corner in corners.tolist()])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (mapped[1:] - mapped[0]).T / 100, mapped[0]
    if not np.isfinite(matrix).all() or np.linalg.det(matrix[:3, :3]) < 1e-3:
        raise InputError(f"{path}: mirrors or flattens space, which no two images of a head differ by; give another")
    return matrix
