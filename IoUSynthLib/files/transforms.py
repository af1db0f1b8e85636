"""Transforms of space as ITK has them: in files, as matrices and as displacement fields."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..volume import InputError, Volume
from .itk import ERRORS, quiet
from .paths import check_path

if TYPE_CHECKING:
    import SimpleITK as sitk


def read_transform(path: Path) -> sitk.Transform:
    """Read a transform of space (.h5, .tfm, .txt, .mat), such as ``iousynth register`` and 3D Slicer write.

    Raises
    ------
    InputError
        The file is missing or no such transform.
    """
    import SimpleITK as sitk

    check_path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the name")
    try:
        with quiet():
            transform = sitk.ReadTransform(str(path))
    except ERRORS as error:
        raise InputError(f"{path}: is no transform that ITK can read; give an .h5 or .tfm of 3D space") from error
    if transform.GetDimension() != 3:
        raise InputError(f"{path}: is a transform of {transform.GetDimension()} dimensions; give one of 3D space")
    return transform


def matrix_of(transform: sitk.Transform) -> np.ndarray | None:
    """Return a linear transform of space as a 4x4 matrix, LPS mm to LPS mm; None for one that bends.

    Examples
    --------
    >>> import SimpleITK as sitk
    >>> matrix_of(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)))[:3, 3].tolist()
    [1.0, 2.0, 3.0]
    """
    if not transform.IsLinear():
        return None
    corners = np.vstack([np.zeros(3), 100 * np.eye(3)])
    mapped = np.array([transform.TransformPoint(corner) for corner in corners.tolist()])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (mapped[1:] - mapped[0]).T / 100, mapped[0]
    return matrix


def field_transform(field: np.ndarray, grid: Volume) -> sitk.DisplacementFieldTransform:
    """Return a displacement field (z, y, x, 3) in mm along LPS, on a grid, as a transform; the identity beyond it."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(field, dtype=np.float64), isVector=True)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    return sitk.DisplacementFieldTransform(image)


def field_of(transform: sitk.DisplacementFieldTransform) -> tuple[np.ndarray, Volume]:
    """Return what :func:`field_transform` was given; the grid holds zeros."""
    import SimpleITK as sitk

    image = transform.GetDisplacementField()
    field = sitk.GetArrayFromImage(image)
    direction = np.reshape(image.GetDirection(), (3, 3))
    return field, Volume(np.zeros(field.shape[:3], np.uint8), image.GetSpacing(), image.GetOrigin(), direction)
