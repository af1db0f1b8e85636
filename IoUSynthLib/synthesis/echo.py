"""Where in its fan an ultrasound carries no echo, so that whatever is shown there was made up.

Tissue echoes as speckle and structure, which stay visible when the image is smoothed over less than a millimetre. The
noise of a receiver does not: it is independent from one sample to the next, and what is left of it is an even grey, as
bright as the gain makes it, or black. So the ultrasound carries no echo where, after such smoothing, the grey hardly
varies within some millimetres. That alone is true of fluid, too, which lets the sound pass: it is surrounded by echoes,
while a shadow, or the depth that no echo comes back from, reaches the rim of the fan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constants import LABELS
from ..preprocessing import bounding_box, gaussian_mean, resample_like
from .grid import FieldOfView, NetworkGrid

#: Values of the mask of a fan (``SynthesisResult.valid``): with echo and without.
ECHO, NO_ECHO = 1, 2

#: Least deviation of smoothed grey that is an echo, as a share of the range up to the ultrasound's 98th percentile. Of
#: a display of 50 dB this is 1.5 dB, while speckle has 5.6 dB before smoothing (Wagner et al., IEEE Transactions on
#: Sonics and Ultrasonics 1983). Chosen by eye on nine real volumes before resection (RESECT cases 4, 5, 6, 8, 12, 15,
#: 21, 23 and 25): what looks like deep noise has 0.01 to 0.03, the median of a fan 0.07 to 0.10.
_LEAST_CONTRAST = 0.03
#: Standard deviations in mm of the Gaussian that takes the noise away, and of the window in which the grey varies.
_SMOOTHING_MM, _WINDOW_MM = 0.8, 2.5
#: The same of one that rounds the corners of what was found.
_ROUNDING_MM = 1.6
#: Width of the stripes of :func:`hatched`.
_STRIPE_MM = 2.0
#: Smaller pieces are left out.
_SMALLEST_ML = 1.0


def find_no_echo(grid: NetworkGrid) -> np.ndarray:
    """Find the part of the fan that carries no echo: bool (z, y, x), on a grid of about a millimetre."""
    if grid.percentiles is None:
        return np.zeros_like(grid.valid)
    smoothed = gaussian_mean(grid.image.array, grid.valid, grid.image.spacing, sigma=_SMOOTHING_MM)
    # Every second voxel tells as much of what was smoothed, in an eighth of the time.
    every = (slice(None, None, 2),) * 3
    coarse, valid, spacing = smoothed[every], grid.valid[every], np.multiply(grid.image.spacing, 2)
    mean, square = (gaussian_mean(part, valid, spacing, sigma=_WINDOW_MM) for part in (coarse, coarse**2))
    low, high = grid.percentiles  # which are -1 and 1 in the grid's image
    contrast = np.sqrt(np.maximum(square - mean**2, 0)) * (high - low) / (2 * abs(high))
    rim = valid & _grown(~valid, beyond=True)
    found = _reaching(valid & (contrast < _LEAST_CONTRAST), rim, float(np.prod(spacing)) / 1000)
    found |= _grown(found) & ~valid  # every second voxel may miss the outermost of the fan
    for axis, length in enumerate(grid.valid.shape):
        found = np.repeat(found, 2, axis=axis).take(range(length), axis=axis)
    return gaussian_mean(found, grid.valid, grid.image.spacing, sigma=_ROUNDING_MM) > 0.5


def no_echo_within(field: FieldOfView, grid: NetworkGrid) -> np.ndarray:
    """Return :func:`find_no_echo` of an input's ``grid`` within the box of its fan, on its own voxels: bool."""
    mask = find_no_echo(grid)
    mask |= _grown(mask) & ~grid.valid  # the input's voxels may reach beyond the grid's
    mask = grid.image.with_array(mask.astype(np.uint8))
    return resample_like(mask, field.cropped, nearest=True).array > 0


def mark_no_echo(fan: np.ndarray, found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the fan, uint8: 0 outside, :data:`ECHO` or :data:`NO_ECHO`.

    Parameters
    ----------
    fan, found, labels
        Within the box of the fan: the fan, :func:`no_echo_within`, and the outlines. A resection cavity that opens to
        the probe reaches the rim of the fan, as shadows do, but is filled with fluid.
    """
    marked = np.where(fan, np.uint8(ECHO), np.uint8(0))
    marked[fan & found & (labels != LABELS["cavity"])] = NO_ECHO
    return marked


def hatched(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Return a mask (z, y, x) as stripes, uint8: 0 outside it, 1 and 2 by turns inside, oblique in all three planes.

    A flat grey could be taken for tissue; ``spacing`` (x, y, z) is in mm.

    Examples
    --------
    >>> hatched(np.ones((1, 1, 8), bool), (1.0, 1.0, 1.0)).tolist()
    [[[1, 1, 2, 2, 1, 1, 2, 2]]]
    """
    box, stripes = bounding_box(mask), np.zeros(mask.shape, np.uint8)
    z, y, x = np.ogrid[box]
    along = x * spacing[0] + y * spacing[1] + z * spacing[2]
    stripes[box] = np.where(mask[box], 1 + along // _STRIPE_MM % 2, 0)
    return stripes


def _grown(mask: np.ndarray, beyond: bool = False) -> np.ndarray:
    """Voxels with a neighbour, by faces, in a mask, to which all ``beyond`` the array belongs or does not."""
    padded = np.pad(mask, 1, constant_values=beyond)
    neighbours = [np.roll(padded, step, axis=axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (-1, 1)]
    return np.logical_or.reduce(neighbours)


def _reaching(mask: np.ndarray, rim: np.ndarray, voxel_volume_ml: float) -> np.ndarray:
    """The connected pieces of a mask that are large enough and reach the rim."""
    import SimpleITK as sitk

    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), False))
    kept = np.bincount(pieces.ravel()) * voxel_volume_ml >= _SMALLEST_ML
    kept &= np.bincount(pieces[rim], minlength=len(kept)) > 0
    kept[0] = False
    return kept[pieces]
