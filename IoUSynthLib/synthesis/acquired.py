"""Acquired MRI beside an ultrasound: that it is no ultrasound, and what networks see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..preprocessing import foreground, mri_statistics, normalize_mri, resample_like
from ..volume import InputError, Volume
from .quality import sampled

if TYPE_CHECKING:
    import SimpleITK as sitk

#: MRI that has data for less of the fan than this is of another patient or in another frame.
LEAST_COVERED = 0.5
#: Correlation of the smoothed images: at most 0.85 of MRI with ultrasound at the same place, 0.98 or more of ultrasound
#: with itself resampled to 1 or 2 mm, or with its square root (RESECT case 4, the sample case, a phantom).
_SAME_IMAGE = 0.95
#: Standard deviation of that smoothing, in voxels of a sample: it leaves no speckle, which no resampling keeps.
_SMOOTH = 2.0


@dataclass(frozen=True, eq=False)
class AcquiredMRI:
    """MRI on the grid of an ultrasound.

    Attributes
    ----------
    images
        (z, y, x) float32 in [-1, 1] by contrast, normalised by eq. 2.
    statistics
        Mean and standard deviation that eq. 2 took, by contrast.
    seen
        (z, y, x) bool: the part of the fan where all contrasts have data.
    covered
        Share of the fan that this is, in [0, 1].
    """

    images: dict[str, np.ndarray]
    statistics: dict[str, tuple[float, float]]
    seen: np.ndarray
    covered: float


def on_ultrasound(
    mri: Mapping[str, Volume],
    fan: Volume,
    *,
    names: Mapping[str, str] | None = None,
    transform: sitk.Transform | None = None,
) -> AcquiredMRI:
    """Bring MRI onto the grid of an ultrasound.

    Parameters
    ----------
    mri
        By contrast.
    fan
        Above 0 inside the ultrasound fan.
    names
        What messages call each contrast; by default "T2w MRI" and so on.
    transform
        From the ultrasound's LPS points to the MRI's; the identity by default.

    Raises
    ------
    InputError
        The MRI covers too little of the fan, or holds no image there.
    """
    names = names or {name: f"{name} MRI" for name in mri}
    inside = fan.array > 0
    seen = inside & covered_by(mri, fan, transform)
    covered = float(seen.sum() / inside.sum())
    if covered < LEAST_COVERED:
        raise InputError(
            f"{names[next(iter(mri))]}: the MRI covers only {covered:.0%} of the ultrasound; give images of one "
            "patient in one frame"
        )
    images, statistics = {}, {}
    for name, volume in mri.items():
        resampled = resample_like(volume, fan, transform=transform).array
        found = mri_statistics(resampled)
        if found is None:
            raise InputError(f"{names[name]}: holds no image where the ultrasound is; give images in one frame")
        images[name], statistics[name] = normalize_mri(resampled), found
    return AcquiredMRI(images, statistics, seen, covered)


def covered_by(mri: Mapping[str, Volume], grid: Volume, transform: sitk.Transform | None) -> np.ndarray:
    """Where all contrasts have data on the grid, bool (z, y, x)."""
    ones = (volume.with_array(np.ones(volume.array.shape, np.uint8)) for volume in mri.values())
    return np.all([resample_like(one, grid, nearest=True, transform=transform).array > 0 for one in ones], axis=0)


def match(image: np.ndarray, reference: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Give an image mean and standard deviation of another inside a mask, all (z, y, x); clipped to [-1, 1].

    MRI has no scale of its own, and eq. 2 of the benchmark gives it another one than networks for synthetic MRI know.
    """
    own, other = ((values.mean(), values.std()) for values in (image[inside], reference[inside]))
    return np.clip((image - own[0]) * (other[1] / max(own[1], 1e-6)) + other[0], -1.0, 1.0)


def check_is_mri(
    image: Volume, ultrasound: Volume, name: str, *, transform: sitk.Transform | None = None
) -> None:
    """Raise :class:`InputError` when what is given as MRI is the ultrasound, whatever its file or its format.

    Parameters
    ----------
    image
        Given as MRI.
    ultrasound
        What it goes with.
    name
        What messages call it.
    transform
        From the ultrasound's LPS points to the MRI's; the identity by default.
    """
    fixed = sampled(ultrasound)
    at_place = resample_like(image, fixed, transform=transform).array
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
