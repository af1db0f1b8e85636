"""What a registration is given: that the MRI is none of the ultrasound, and the transform to start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files.itk import quiet
from ..files.paths import check_path
from ..preprocessing import foreground, looks_like_ultrasound, resample_like
from ..synthesis.quality import sampled
from ..volume import InputError, Volume
from .rigid import to_sitk

#: Correlation of the smoothed images: at most 0.85 of MRI with ultrasound at the same place, 0.98 or more of ultrasound
#: with itself resampled to 1 or 2 mm, or with its square root (RESECT case 4, the sample case, a phantom).
_SAME_IMAGE = 0.95
#: Standard deviation of that smoothing, in voxels of a sample: it leaves no speckle, which no resampling keeps.
_SMOOTH = 2.0


def check_is_mri(image: Volume, ultrasound: Volume, name: str, *, initial: np.ndarray | None = None) -> None:
    """Raise :class:`InputError` when what is given as MRI is the ultrasound, whatever its file or its format.

    Parameters
    ----------
    image
        Given as MRI.
    ultrasound
        What it is to be registered to.
    name
        What messages call it.
    initial
        4x4 matrix from LPS points of the ultrasound to LPS points of the MRI; the identity by default.
    """
    fixed = sampled(ultrasound)
    at_place = resample_like(image, fixed, transform=to_sitk(np.eye(4) if initial is None else initial)).array
    same_voxels = image.array.shape == ultrasound.array.shape and np.array_equal(image.array, ultrasound.array)
    if same_voxels or _correlation(at_place, fixed.array) > _SAME_IMAGE:
        raise InputError(f"{name}: is the ultrasound itself, not a preoperative MRI; choose the MRI")


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two smoothed images (z, y, x) where both have data; 0 where that is next to nowhere."""
    import SimpleITK as sitk

    both = foreground(second) & (first != 0)
    if both.sum() < 100:
        return 0.0
    weights, *sums = (
        sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(image), _SMOOTH))[both]
        for image in (np.where(both, image, 0).astype(np.float32) for image in (np.ones(both.shape), first, second))
    )
    smooth = [total / np.maximum(weights, 1e-3) for total in sums]
    return float(np.corrcoef(*smooth)[0, 1]) if min(image.std() for image in smooth) > 0 else 0.0


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
    except RuntimeError as error:
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
