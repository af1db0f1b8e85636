"""What happens to an image before and after a network sees it. NumPy and SimpleITK only.

Normalised intensities lie in [-1, 1]; -1 is also the value outside the ultrasound fan. In every scalar image that is
handed out, 0 means "no data" and voxels with data are above 0 (:func:`to_intensity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .morphology import dilated, fill_holes, fill_slice_holes
from .parallel import side_by_side
from .separable import along_axes, gaussian, interpolation, smoothing
from .volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

#: A voxel belongs to the foreground above this fraction of the maximum.
FOREGROUND_FRACTION = 0.01

#: Percentiles of the foreground that eq. 1 maps to -1 and 1.
ULTRASOUND_PERCENTILES = (2.0, 98.0)

#: Standard deviations of the foreground that eq. 2 maps to -1 and 1.
MRI_CLIP = 3.0

#: Percentiles of the foreground that :func:`normalize_preoperative` maps to -1 and 1.
PREOPERATIVE_PERCENTILES = (0.5, 99.5)

#: Highest value of :func:`to_intensity`.
INTENSITY_RANGE = 1000.0

#: What varies by less than this share of its height is constant.
_FLAT = 1e-6

Box = tuple[slice, ...]


def foreground(array: np.ndarray) -> np.ndarray:
    """Return where the array is above 1 % of its maximum (nowhere when the maximum is not positive)."""
    if array.size == 0:
        return np.zeros(array.shape, dtype=bool)
    maximum = float(array.max())
    return array > FOREGROUND_FRACTION * maximum if maximum > 0 else np.zeros(array.shape, dtype=bool)


def ultrasound_statistics(array: np.ndarray) -> tuple[float, float] | None:
    """Return the 2nd and 98th percentile of the foreground, or None when there is none or they are equal."""
    values = array[foreground(array)]
    if values.size == 0:
        return None
    low, high = (float(value) for value in np.percentile(values, ULTRASOUND_PERCENTILES))
    return (low, high) if high - low > _FLAT * abs(high) else None


def normalize_ultrasound(array: np.ndarray) -> np.ndarray:
    """Map ultrasound to [-1, 1] by eq. 1 of the benchmark.

    ``u = -1 + 2 (clip(u, p2, p98) - p2) / (p98 - p2)`` in the foreground, with its 2nd and 98th percentiles; -1
    elsewhere, and everywhere when there is no foreground or its percentiles are equal.

    Parameters
    ----------
    array
        Any shape, any scale, finite; at or near 0 outside the fan.

    Returns
    -------
    numpy.ndarray
        float32 in [-1, 1].

    Examples
    --------
    >>> normalize_ultrasound(np.array([0.0, 50.0, 100.0, 150.0, 200.0])).astype(float).round(2).tolist()
    [-1.0, -1.0, -0.35, 0.35, 1.0]
    """
    result = np.full(array.shape, -1.0, dtype=np.float32)
    statistics = ultrasound_statistics(array)
    if statistics is None:
        return result
    low, high = statistics
    inside = foreground(array)
    result[inside] = 2.0 * (np.clip(array[inside], low, high) - low) / (high - low) - 1.0
    return result


def denormalize_ultrasound(normalized: np.ndarray, statistics: tuple[float, float]) -> np.ndarray:
    """Invert eq. 1 between the two percentiles; what it clipped stays clipped, and the background becomes p2."""
    low, high = statistics
    return ((normalized + 1.0) / 2.0 * (high - low) + low).astype(np.float32)


def mri_statistics(array: np.ndarray) -> tuple[float, float] | None:
    """Return mean and standard deviation (ddof 0) of the foreground, or None when there is none or the latter is 0."""
    values = array[foreground(array)]
    if values.size == 0:
        return None
    mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return (mean, deviation) if deviation > _FLAT * abs(mean) else None


def normalize_mri(array: np.ndarray) -> np.ndarray:
    """Map an MRI to [-1, 1] by eq. 2 of the benchmark.

    ``m = clip((m - mean) / sd, -3, 3) / 3`` with mean and standard deviation of the foreground; -1 elsewhere, and
    everywhere when there is no foreground or it is constant.

    Parameters
    ----------
    array
        Any shape, any scale, finite; at or near 0 in the background.

    Returns
    -------
    numpy.ndarray
        float32 in [-1, 1].

    Examples
    --------
    >>> normalize_mri(np.array([0.0, 100.0, 200.0, 300.0])).astype(float).round(2).tolist()
    [-1.0, -0.41, 0.0, 0.41]
    """
    result = np.full(array.shape, -1.0, dtype=np.float32)
    statistics = mri_statistics(array)
    if statistics is None:
        return result
    mean, deviation = statistics
    inside = foreground(array)
    result[inside] = np.clip((array[inside] - mean) / deviation, -MRI_CLIP, MRI_CLIP) / MRI_CLIP
    return result


def normalize_preoperative(data: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Map the patient's MRI, as a generator sees it beside ultrasound, to [-1, 1] by what it shows within the fan.

    Percentiles bear any scanner's scale, a bright vessel and a dark rim; they are taken where the ultrasound sees, so
    that neither skull nor neck has a say.

    Parameters
    ----------
    data
        Any shape, any scale, finite; at or near 0 where there is no data.
    mask
        bool, of the same shape: the part of the fan that the MRI covers.

    Returns
    -------
    numpy.ndarray
        float32 in [-1, 1]; -1 outside the mask, where there is no data, and everywhere where that is constant.

    Examples
    --------
    >>> data, mask = np.array([0.0, 100.0, 200.0, 300.0, 9000.0]), np.array([True, True, True, True, False])
    >>> normalize_preoperative(data, mask).astype(float).round(2).tolist()
    [-1.0, -1.0, 0.0, 1.0, -1.0]
    """
    result = np.full(data.shape, -1.0, dtype=np.float32)
    limits = preoperative_range(data, mask)
    if limits is not None:
        low, high = limits
        inside = mask & foreground(np.where(mask, data, 0))
        result[inside] = np.clip(2.0 * (data[inside] - low) / (high - low) - 1.0, -1.0, 1.0)
    return result


def preoperative_range(data: np.ndarray, mask: np.ndarray) -> tuple[float, float] | None:
    """Return what :func:`normalize_preoperative` maps to -1 and 1, or None where there is no data or it is constant."""
    values = data[mask & foreground(np.where(mask, data, 0))]
    if values.size == 0:
        return None
    low, high = (float(value) for value in np.percentile(values, PREOPERATIVE_PERCENTILES))
    return (low, high) if high - low > _FLAT * abs(high) else None


def scale_min_max(array: np.ndarray) -> np.ndarray:
    """Map an MRI to [-1, 1] by its lowest and highest value, as 3D-mDAUNet does (its [0, 1]); a constant one to -1.

    Parameters
    ----------
    array
        Any shape, any scale, finite.

    Returns
    -------
    numpy.ndarray
        float32 in [-1, 1].

    Examples
    --------
    >>> scale_min_max(np.array([0.0, 100.0, 400.0])).tolist()
    [-1.0, -0.5, 1.0]
    """
    low, high = float(array.min()), float(array.max())
    if high - low <= _FLAT * abs(high):
        return np.full(array.shape, -1.0, dtype=np.float32)
    return (2.0 * (array.astype(np.float32) - low) / (high - low) - 1.0).astype(np.float32)


#: How MRI is brought to [-1, 1], by the names of ``iousynth prepare --scaling``.
SCALINGS = {"z-score": normalize_mri, "min-max": scale_min_max}


def denormalize_mri(normalized: np.ndarray, statistics: tuple[float, float]) -> np.ndarray:
    """Invert eq. 2 within three standard deviations of the mean."""
    mean, deviation = statistics
    return (normalized * (MRI_CLIP * deviation) + mean).astype(np.float32)


def to_intensity(normalized: np.ndarray) -> np.ndarray:
    """Map [-1, 1] to float32 in [1, 1000], so that 0 is left for "no data"."""
    intensity = np.multiply(normalized, INTENSITY_RANGE / 2.0, dtype=np.float32)
    intensity += INTENSITY_RANGE / 2.0
    return intensity.clip(1.0, INTENSITY_RANGE, out=intensity)


def bounding_box(mask: np.ndarray, margin: int = 0) -> Box:
    """Return the slices of the smallest box round the mask, widened by a margin in voxels within the array.

    The box of an empty mask is the whole array.
    """
    if not mask.any():
        return tuple(slice(0, length) for length in mask.shape)
    box = []
    while mask.ndim:  # the axes that are done fall away
        hits = np.flatnonzero(mask.any(axis=tuple(range(1, mask.ndim))))
        start, stop = int(hits[0]), int(hits[-1]) + 1
        box.append(slice(max(0, start - margin), min(mask.shape[0], stop + margin)))
        mask = mask[start:stop].any(axis=0)
    return tuple(box)


def crop(volume: Volume, box: Box) -> Volume:
    """Cut a box of voxels ``[z, y, x]`` out of a volume; each voxel keeps its place in the patient."""
    start = np.array([part.start for part in reversed(box)], dtype=np.float64)
    origin = volume.ijk_to_lps[:3, :3] @ start + volume.origin
    array = np.ascontiguousarray(volume.array[box])
    return Volume(array, volume.spacing, tuple(origin), volume.direction, volume.notes)


def box_within(volume: Volume, other: Volume) -> Box:
    """Return the smallest box of a volume that holds its voxels between the outermost ones of another volume.

    Examples
    --------
    >>> fine, coarse = Volume(np.zeros((9, 9, 9))), Volume(np.zeros((2, 2, 2)), (2.5, 3, 3), (1, 1, 5))
    >>> [(part.start, part.stop) for part in box_within(fine, coarse)]
    [(5, 9), (1, 5), (1, 4)]
    """
    corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.reshape(other.size, (3, 1)) - 1)
    places = np.linalg.inv(volume.ijk_to_lps) @ other.ijk_to_lps @ np.vstack([corners, np.ones(8)])
    first, last = np.ceil(places[:3].min(axis=1)), np.floor(places[:3].max(axis=1))
    return tuple(
        slice(min(max(0, int(start)), length), min(max(0, int(stop) + 1), length))
        for start, stop, length in zip(first[::-1], last[::-1], volume.array.shape, strict=True)
    )


def crop_to_mask(volume: Volume, mask: np.ndarray, margin: int = 0) -> tuple[Volume, Box]:
    """Return the volume cropped to a mask with a margin in voxels, and the box.

    Examples
    --------
    >>> volume = Volume(np.arange(64.0).reshape(4, 4, 4), spacing=(2, 2, 2))
    >>> cropped, box = crop_to_mask(volume, volume.array > 40)
    >>> cropped.array.shape, cropped.origin
    ((2, 4, 4), (0.0, 0.0, 4.0))
    """
    box = bounding_box(mask, margin)
    return crop(volume, box), box


def field_of_view(array: np.ndarray) -> np.ndarray:
    """Return the part of the grid that the ultrasound saw.

    The foreground is closed and its holes are filled, so that black ventricles, cysts and cavities inside the fan
    belong to it; specks outside the fan (caliper marks, text) do not. Closing runs on a coarser grid: about 0.5 s for
    a fan of 150^3 voxels on one core.

    Parameters
    ----------
    array
        Ultrasound ``[z, y, x]``; at or near 0 outside the fan.

    Returns
    -------
    numpy.ndarray
        bool, of the same shape.

    Examples
    --------
    >>> ultrasound = np.zeros((12, 12, 12))
    >>> ultrasound[2:10, 2:10, 2:10] = 100
    >>> ultrasound[5, 5, 5] = 0  # a cyst
    >>> int(field_of_view(ultrasound).sum()) == 8**3
    True
    """
    inside = foreground(array)
    result = np.zeros(array.shape, dtype=bool)
    if not inside.any():
        return result
    box = bounding_box(inside)
    result[box] = _closed(inside[box])
    return result


#: Length of the longest side of the coarse grid on which the foreground is closed.
_COARSE_SIDE = 96
#: Radius of the closing in voxels of that grid: gaps up to about 8 % of the longest side are bridged.
_CLOSING_RADIUS = 4
#: Components smaller than this fraction of the largest are specks.
_SPECK_FRACTION = 0.02


def _closed(inside: np.ndarray) -> np.ndarray:
    factor = max(1, -(-max(inside.shape) // _COARSE_SIDE))
    pad = _CLOSING_RADIUS + 1
    coarse = np.pad(_any_in_blocks(inside, factor), pad)
    coarse = _without_specks(coarse)
    closed = ~dilated(~dilated(coarse, _CLOSING_RADIUS), _CLOSING_RADIUS)
    filled = fill_slice_holes(fill_holes(closed))
    # A block counts when any voxel in it does: taking one block off all round keeps the outside out.
    core = ~dilated(~filled, 1) if factor > 1 else filled
    unpadded = (slice(pad, -pad),) * 3
    fine_core, fine_near = (_enlarge(part[unpadded], factor, inside.shape) for part in (core, filled))
    return fill_holes(fine_core | (inside & fine_near))


def _any_in_blocks(mask: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return mask
    padded = np.pad(mask, [(0, -length % factor) for length in mask.shape])
    for axis in range(3):
        shape = (*padded.shape[:axis], padded.shape[axis] // factor, factor, *padded.shape[axis + 1 :])
        padded = padded.reshape(shape).any(axis=axis + 1)
    return padded


def _enlarge(mask: np.ndarray, factor: int, shape: Sequence[int]) -> np.ndarray:
    for axis in range(3):
        mask = np.repeat(mask, factor, axis=axis)
    return mask[tuple(slice(0, length) for length in shape)]


def _without_specks(mask: np.ndarray) -> np.ndarray:
    import SimpleITK as sitk

    labels = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return (sizes >= _SPECK_FRACTION * sizes.max())[labels] & mask


def gaussian_mean(
    values: np.ndarray, valid: np.ndarray, spacing: Sequence[float], *, sigma: float
) -> np.ndarray:
    """Return the Gaussian mean of values over valid voxels alone; 0 elsewhere.

    Parameters
    ----------
    values, valid
        (z, y, x), the latter bool.
    spacing
        Edges of the voxels (x, y, z) in mm.
    sigma
        Standard deviation of the Gaussian in mm.

    Examples
    --------
    >>> halves = np.zeros((8, 8, 8))
    >>> halves[4:] = 100
    >>> gaussian_mean(halves, halves > 0, (1, 1, 1), sigma=2.0)[[0, 4, 7], 4, 4].round().astype(int).tolist()
    [0, 100, 100]
    """
    along_x, along_y, along_z = (
        gaussian(length, sigma / step) for length, step in zip(values.shape[::-1], spacing, strict=True)
    )

    def smooth(array: np.ndarray) -> np.ndarray:
        return along_axes(array, [along_z, along_y, along_x])

    return np.where(valid, smooth(np.where(valid, values, 0)) / np.maximum(smooth(valid), 1e-3), 0)


def axial(volume: Volume) -> Volume:
    """Reorder and flip a volume's axes, without resampling, so that they lie nearest to the patient's.

    Then i runs mostly to the left, j to the back and k up, whatever the scanner stored first, and its slices are the
    axial ones.
    """
    import SimpleITK as sitk

    turned = Volume.from_sitk(sitk.DICOMOrient(volume.to_sitk(), "LPS"), volume.notes)
    return replace(turned, warnings=volume.warnings)


def resample_to_spacing(
    volume: Volume, spacing: Sequence[float], *, direction: np.ndarray | None = None
) -> Volume:
    """Resample a volume linearly to another spacing round the same middle.

    Before a reduction the image is smoothed by a Gaussian of ``(factor - 1) / 2`` voxels, as scikit-image does.

    Parameters
    ----------
    volume
        Image ``[z, y, x]``.
    spacing
        (x, y, z) in mm.
    direction
        3x3 matrix of other axes to lay the grid along, as ``Volume.direction``; it is then large enough to hold the
        whole volume.

    Returns
    -------
    Volume
        float32.
    """
    old, new, size = np.asarray(volume.spacing), np.asarray(spacing, dtype=np.float64), np.asarray(volume.size)
    axes = volume.direction if direction is None else direction
    turn = np.eye(3) if direction is None else volume.direction.T @ direction
    new_size = np.maximum(np.ceil(np.abs(turn.T) @ (size * old) / new - 1e-3).astype(int), 1)
    sigma = np.maximum(np.linalg.norm(turn * new, axis=1) / old - 1.0, 0.0) / 2.0
    sigma = sigma if sigma.max() > _LEAST_SIGMA else np.zeros(3)
    middle = volume.direction @ ((size - 1) * old / 2.0) + volume.origin
    origin = middle - axes @ ((new_size - 1) * new / 2.0)
    if direction is not None:
        empty = np.broadcast_to(np.float32(0), new_size[::-1])
        return _onto_turned(volume, Volume(empty, new, origin, axes), sigma)
    matrices = []
    for length, voxels, step, deviation in zip(size, new_size, new / old, sigma, strict=True):
        places = (length - 1) / 2.0 + (np.arange(voxels) - (voxels - 1) / 2.0) * step
        # The outermost half voxel lies beyond the old voxel centres.
        matrices.append(interpolation(places.clip(0, length - 1), length) @ smoothing(length, deviation))
    return Volume(along_axes(volume.array, matrices[::-1]), new, origin, axes, volume.notes)


#: Smoothing by less, in voxels, changes nothing worth the time.
_LEAST_SIGMA = 0.1


def _onto_turned(volume: Volume, grid: Volume, sigma: np.ndarray) -> Volume:
    """Smooth by a Gaussian of ``sigma`` voxels (x, y, z) and resample linearly to a grid along other axes."""
    import SimpleITK as sitk

    image = volume.with_array(volume.array.astype(np.float32)).to_sitk()
    if sigma.any():
        image = sitk.DiscreteGaussian(image, (sigma**2).tolist(), useImageSpacing=False)
    return resample_like(Volume.from_sitk(image, volume.notes), grid, transform=sitk.Transform())


def resample_inside(
    volumes: Sequence[Volume],
    spacing: Sequence[float],
    mask: np.ndarray,
    *,
    direction: np.ndarray | None = None,
    share: Volume | None = None,
) -> tuple[list[Volume], np.ndarray]:
    """Resample as :func:`resample_to_spacing` does, so that voxels without data do not darken their neighbours.

    Parameters
    ----------
    volumes
        Images on one grid.
    spacing, direction
        As there.
    mask
        (z, y, x) bool: where they have data.
    share
        The mask, resampled, if that has been done.

    Returns
    -------
    tuple of list of Volume and numpy.ndarray
        The images, float32, 0 wherever less than half of a voxel has data; and where half of a voxel or more has, bool.
    """
    def resample(array: np.ndarray) -> Volume:
        masked = array if array is mask else array * mask
        return resample_to_spacing(volumes[0].with_array(masked), spacing, direction=direction)

    arrays = [volume.array for volume in volumes]
    share, *images = [share, *side_by_side(resample, arrays)] if share else side_by_side(resample, [mask, *arrays])
    inside, weight = share.array >= 0.5, np.maximum(share.array, 0.5)
    resampled = [
        replace(image.with_array(np.where(inside, image.array / weight, np.float32(0))), notes=volume.notes)
        for image, volume in zip(images, volumes, strict=True)
    ]
    return resampled, inside


def stretch(images: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Interpolate slices linearly to another number of pixels, corner pixels onto corner pixels.

    Parameters
    ----------
    images
        (..., height, width).
    shape
        Wanted height and width; the aspect is not kept.

    Returns
    -------
    numpy.ndarray
        float32, as ``scipy.ndimage.zoom`` of order 1 gives.
    """
    result = np.asarray(images, dtype=np.float32)
    for axis, length in zip((-2, -1), shape, strict=True):
        if result.shape[axis] == length:
            continue
        position = np.linspace(0.0, result.shape[axis] - 1, length)
        lower = np.minimum(position.astype(int), max(result.shape[axis] - 2, 0))
        upper = np.minimum(lower + 1, result.shape[axis] - 1)
        share = (position - lower).astype(np.float32).reshape(-1, *[1] * (-1 - axis))
        result = result.take(lower, axis) * (1.0 - share) + result.take(upper, axis) * share
    return result


def resample_like(
    volume: Volume,
    reference: Volume,
    *,
    nearest: bool = False,
    bspline: bool = False,
    transform: sitk.Transform | None = None,
) -> Volume:
    """Resample a volume onto the grid of another, by world coordinates; 0 where it has no data.

    Parameters
    ----------
    volume
        Image ``[z, y, x]``.
    reference
        The grid to fill; its voxels are not looked at.
    nearest
        Take the nearest voxel instead of interpolating linearly: for labels.
    bspline
        Interpolate by cubic B-splines instead, which may overshoot.
    transform
        From LPS points of the reference to LPS points of the volume; the identity when None.

    Examples
    --------
    >>> volume = Volume(np.arange(8.0).reshape(2, 2, 2))
    >>> finer = Volume(np.zeros((2, 2, 3)), spacing=(0.5, 1, 1))
    >>> resample_like(volume, finer).array[0, 0].tolist()
    [0.0, 0.5, 1.0]
    """
    import SimpleITK as sitk

    linear = not (nearest or bspline or transform) and volume.array.dtype == np.float32
    if linear and np.allclose(volume.direction, reference.direction, rtol=0, atol=_SAME_AXES):
        return _along_same_axes(volume, reference)
    resampler = sitk.ResampleImageFilter()
    resampler.SetTransform(transform or sitk.Transform())
    resampler.SetSize([int(length) for length in reference.size])
    resampler.SetOutputSpacing(reference.spacing)
    resampler.SetOutputOrigin(reference.origin)
    resampler.SetOutputDirection(reference.direction.ravel().tolist())
    resampler.SetInterpolator(
        sitk.sitkNearestNeighbor if nearest else sitk.sitkBSpline if bspline else sitk.sitkLinear
    )
    array = sitk.GetArrayFromImage(resampler.Execute(volume.to_sitk()))
    return Volume(array, reference.spacing, reference.origin, reference.direction, volume.notes)


#: Largest difference of directions that are the same but for rounding.
_SAME_AXES = 1e-9


def _along_same_axes(volume: Volume, reference: Volume) -> Volume:
    """Resample linearly onto a grid along the same axes."""
    start = volume.direction.T @ np.subtract(reference.origin, volume.origin)
    matrices = [
        interpolation((first + step * np.arange(voxels)) / spacing, length)
        for first, step, voxels, spacing, length in zip(
            start, reference.spacing, reference.size, volume.spacing, volume.size, strict=True
        )
    ]
    array = along_axes(volume.array, matrices[::-1])
    return Volume(array, reference.spacing, reference.origin, reference.direction, volume.notes)
