"""Acquired MRI on the grid of an ultrasound, as networks see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..preprocessing import mri_statistics, normalize_mri, resample_like
from ..volume import InputError, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

#: MRI that has data for less of the fan than this is of another patient or in another frame.
LEAST_COVERED = 0.5


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
    names: Mapping[str, str],
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
        What messages call each contrast.
    transform
        From the ultrasound's LPS points to the MRI's; the identity by default.

    Raises
    ------
    InputError
        The MRI covers too little of the fan, or holds no image there.
    """
    inside = fan.array > 0
    seen = inside & _covered(mri, fan, transform)
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


def _covered(mri: Mapping[str, Volume], grid: Volume, transform: sitk.Transform | None) -> np.ndarray:
    """Where all contrasts have data on the grid, bool (z, y, x)."""
    ones = (volume.with_array(np.ones(volume.array.shape, np.uint8)) for volume in mri.values())
    return np.all([resample_like(one, grid, nearest=True, transform=transform).array > 0 for one in ones], axis=0)
