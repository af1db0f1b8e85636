"""Distributing the pixels of tracked frames in a volume, and closing the gaps between the frames.

A pixel-nearest-neighbour or pixel-trilinear distribution followed by hole filling, in the terms of Solberg et al.,
"Freehand 3D ultrasound reconstruction algorithms: a review", Ultrasound Med Biol 33(7), 2007.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from ..progress import Progress
from ..volume import InputError, Volume
from .poses import jumps
from .sweep import Sweep, estimate_fan

#: How a pixel reaches the grid: its nearest voxel, or its eight nearest with trilinear weights.
INTERPOLATION = ("nearest", "linear")

#: What becomes of a voxel that several frames meet.
COMPOUNDING = ("mean", "maximum", "latest")

#: Orientation of the grid: along the frame in the middle of the sweep, or along the patient's axes.
AXES = ("frame", "world")

DEFAULT_SPACING_MM = 0.5

#: Measured freehand sweeps of the brain have steps of up to 3.7 mm.
DEFAULT_FILL_MM = 4.0

#: Largest volume that is made; its working arrays take about 4 GB.
MAX_VOXELS = 2**28

#: Sweeps fill a larger part of the tightest box round them: 40 % of a real one of the brain, less of a wide tilt.
LEAST_SHARE = 0.15


def reconstruct(
    sweep: Sweep,
    spacing: float = DEFAULT_SPACING_MM,
    *,
    interpolation: str = "nearest",
    compounding: str = "mean",
    fill_gap_mm: float = DEFAULT_FILL_MM,
    axes: str = "frame",
    progress: Progress | None = None,
) -> tuple[Volume, Volume]:
    """Make a volume of a sweep.

    Inside a frame, the pixels that reach a voxel are averaged by weight; ``compounding`` settles what the frames make
    of it together. Voxels that no pixel reaches are interpolated linearly between the nearest data on both sides of
    them along a grid axis, the axis with the shortest gap, when that gap is at most ``fill_gap_mm``. Nothing is
    extrapolated.

    Parameters
    ----------
    sweep
        Frames and poses. Pixels outside its fan are never used.
    spacing
        Voxel size in mm, the same along the three axes.
    interpolation
        "nearest" or "linear", see :data:`INTERPOLATION`.
    compounding
        "mean" (of all pixels), "maximum" (of the frames) or "latest" (the last frame).
    fill_gap_mm
        Longest distance in mm between data that is bridged; 0 bridges none.
    axes
        "frame" (i along the columns and j down the rows of the middle frame, a tight box) or "world" (LPS).
    progress
        Called with the name of the stage and the fraction done, from 0 to 1.

    Returns
    -------
    Volume
        float32, from 0 to 255; 0 where there is no data, but 0 can also be data. Its warnings say what makes the poses
        doubtful.
    Volume
        bool, True where there is data, on the same grid.

    Raises
    ------
    InputError
        The spacing or gap is not usable, the volume would be too large, or the frames are black.

    Examples
    --------
    Ten frames of 20 x 20 pixels of 0.5 mm, half a millimetre apart:

    >>> poses = np.stack([np.diag([0.5, 0.5, 0.5, 1.0])] * 10)
    >>> poses[:, 2, 3] = 0.5 * np.arange(10)
    >>> frames = np.full((10, 20, 20), 100, np.uint8)
    >>> volume, mask = reconstruct(Sweep(frames, poses), spacing=0.5)
    >>> volume.array.shape, float(volume.array.max())
    ((11, 21, 21), 100.0)
    """
    for value, choices in ((interpolation, INTERPOLATION), (compounding, COMPOUNDING), (axes, AXES)):
        if value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}")
    if not np.isfinite(spacing) or spacing <= 0:
        raise InputError(f"a voxel spacing of {spacing:g} mm; give one above 0")
    if not np.isfinite(fill_gap_mm) or fill_gap_mm < 0:
        raise InputError(f"gaps of {fill_gap_mm:g} mm to fill; give 0 or more")
    report = progress or (lambda stage, fraction: None)
    report("finding the fan", 0.0)
    fan = sweep.fan if sweep.fan is not None else estimate_fan(sweep.frames)
    grid = _grid(sweep, fan, spacing=float(spacing), axes=axes)
    value, known = _distribute(
        sweep, fan, grid, interpolation=interpolation, compounding=compounding, progress=report
    )
    report("filling gaps", 0.9)
    measured = np.count_nonzero(known)
    value, known = _fill(value, known, spacing=spacing, limit=fill_gap_mm)
    report("filling gaps", 1.0)
    filled = 1.0 - measured / np.count_nonzero(known)
    note = (
        f"Reconstructed from {len(sweep.frames)} frames: {interpolation}, {compounding}, "
        f"gaps up to {fill_gap_mm:g} mm filled ({filled:.0%} of the data)."
    )
    doubts = _doubts(sweep, fan, grid, known=np.count_nonzero(known))
    volume = Volume(value, grid.spacing, grid.origin, grid.direction, (*sweep.notes, note), doubts)
    return volume, Volume(known, grid.spacing, grid.origin, grid.direction)


def _doubts(sweep: Sweep, fan: np.ndarray, grid: Volume, *, known: int) -> tuple[str, ...]:
    """Say what makes the poses doubtful: jumps, and a box round the sweep that is nearly empty."""
    jump, share = jumps(sweep.steps), known / _grid(sweep, fan, spacing=grid.spacing[0], axes="frame").array.size
    if share >= LEAST_SHARE:
        return (jump,) if jump else ()
    empty = (
        f"Only {share:.0%} of the box round the sweep holds data: do the poses jump, or lead from the patient "
        "to the image?"
    )
    return (jump, empty) if jump else (empty,)


def _grid(sweep: Sweep, fan: np.ndarray, *, spacing: float, axes: str) -> Volume:
    """The smallest grid round all pixels of the fan; its array takes no memory."""
    direction = _frame_axes(sweep.image_to_world[len(sweep.frames) // 2]) if axes == "frame" else np.eye(3)
    ends = _row_ends(fan)  # the extreme points of a set of pixels are ends of its rows
    along = np.concatenate([(direction.T @ (pose @ ends)[:3]) for pose in sweep.image_to_world], axis=1)
    low, extent = along.min(axis=1), np.ptp(along, axis=1)
    size = (np.floor(extent / spacing) + 2).astype(np.int64)  # one more than needed, for the trilinear weights
    if np.prod(size.astype(np.float64)) > MAX_VOXELS:
        shown = " x ".join(f"{length:.0f}" for length in extent)
        raise InputError(
            f"the frames span {shown} mm, too much for voxels of {spacing:g} mm; choose a larger spacing, or record "
            "again if the tracking jumped"
        )
    nothing = np.broadcast_to(np.float32(0), size[::-1])
    return Volume(nothing, (spacing,) * 3, tuple(direction @ low), direction)


def _frame_axes(pose: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal axes along the columns, down the rows and across a frame."""
    i = pose[:3, 0] / np.linalg.norm(pose[:3, 0])
    across = np.cross(i, pose[:3, 1])
    k = across / np.linalg.norm(across)
    return np.column_stack([i, np.cross(k, i), k])


def _row_ends(fan: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(fan.any(axis=1))
    columns = np.concatenate([fan[rows].argmax(axis=1), fan.shape[1] - 1 - fan[rows, ::-1].argmax(axis=1)])
    return np.stack([columns, np.tile(rows, 2), np.zeros_like(columns), np.ones_like(columns)]).astype(np.float64)


def _distribute(
    sweep: Sweep, fan: np.ndarray, grid: Volume, *, interpolation: str, compounding: str, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Return the value of each voxel (0 without data) and whether it has one, both ``[z, y, x]``."""
    rows, columns = np.nonzero(fan)
    pixels = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)]).astype(np.float64)
    to_voxel = np.linalg.inv(grid.ijk_to_lps)
    value = np.zeros(grid.array.size, dtype=np.float32)
    weight = np.zeros(grid.array.size, dtype=np.float32)
    strides = (1, grid.size[0], grid.size[0] * grid.size[1])
    for number, (frame, pose) in enumerate(zip(sweep.frames, sweep.image_to_world, strict=True)):
        progress("placing the frames", 0.9 * number / len(sweep.frames))
        places = (to_voxel @ pose @ pixels)[:3]
        part, total, share = _place(places, frame[fan].astype(np.float64), strides=strides, interpolation=interpolation)
        if compounding == "mean":
            value[part] += total
            weight[part] += share
            continue
        met = share > 0
        here, mean = value[part], np.divide(total, share, out=np.zeros_like(total), where=met)
        here[met] = mean[met] if compounding == "latest" else np.maximum(here, mean)[met]
        weight[part] = np.maximum(weight[part], met)
    if compounding == "mean":
        np.divide(value, weight, out=value, where=weight > 0)
    return value.reshape(grid.array.shape), (weight > 0).reshape(grid.array.shape)


def _place(
    places: np.ndarray, values: np.ndarray, *, strides: tuple[int, ...], interpolation: str
) -> tuple[slice, np.ndarray, np.ndarray]:
    """Sum one frame's pixels by voxel.

    Parameters
    ----------
    places
        Voxel indices (i, j, k) that are not whole, shape (3, pixels).
    values
        Shape (pixels,).

    Returns
    -------
    slice
        The part of the flat volume between the first and the last voxel that the frame meets.
    numpy.ndarray, numpy.ndarray
        Sums of weighted values and of weights in that part.
    """
    base = np.rint(places) if interpolation == "nearest" else np.floor(places)
    base = np.maximum(base, 0)  # rounding can place the outermost pixel a hair before the first voxel
    steps = np.array(strides)
    flat = steps @ base.astype(np.int64)
    reach = 0 if interpolation == "nearest" else int(steps.sum())
    first, last = int(flat.min()), int(flat.max()) + reach
    total, share = np.zeros(last - first + 1), np.zeros(last - first + 1)
    for offset, weights in _corners(places - base, interpolation):
        index = flat + int(steps @ offset) - first
        total += np.bincount(index, values * weights, total.size)
        share += np.bincount(index, weights, total.size)
    return slice(first, last + 1), total, share


def _corners(fraction: np.ndarray, interpolation: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the offset (3,) of each voxel that a pixel reaches, and the weights (pixels,)."""
    if interpolation == "nearest":
        yield np.zeros(3, dtype=np.int64), np.ones(fraction.shape[1])
        return
    fraction = np.clip(fraction, 0.0, 1.0)
    for corner in product((0, 1), repeat=3):
        offset = np.array(corner)
        yield offset, np.where(offset[:, None], fraction, 1.0 - fraction).prod(axis=0)


def _fill(value: np.ndarray, known: np.ndarray, *, spacing: float, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate across gaps of at most ``limit`` mm between voxels that are known, along the axis of the shortest."""
    longest = int(np.floor(limit / spacing + 1e-6))  # in voxels, from known to known
    filled, shortest = value.copy(), np.full(value.shape, longest + 1, dtype=np.int32)
    for axis, other in ((0, 1), (1, 0), (2, 0)):  # slab by slab, so that memory stays small
        for slab in range(value.shape[other]):
            take = [np.take(array, slab, axis=other) for array in (value, known)]
            along = axis - (other < axis)
            length, between = _bridge(*(np.moveaxis(array, along, 0) for array in take))
            length, between = np.moveaxis(length, 0, along), np.moveaxis(between, 0, along)
            where = (slice(None),) * other + (slab,)
            better = (length < shortest[where]) & ~take[1]
            shortest[where][better] = length[better]
            filled[where][better] = between[better]
    return filled, known | (shortest <= longest)


def _bridge(value: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length in voxels of the gap that each voxel lies in along axis 0, and the linear interpolation across it."""
    count = len(value)
    index = np.arange(count, dtype=np.int32)[:, None]
    before = np.maximum.accumulate(np.where(known, index, -1), axis=0)
    after = np.minimum.accumulate(np.where(known, index, count)[::-1], axis=0)[::-1]
    open_ended = (before < 0) | (after == count)
    length = np.where(open_ended, np.iinfo(np.int32).max, after - before)
    low = np.take_along_axis(value, np.maximum(before, 0), axis=0)
    high = np.take_along_axis(value, np.minimum(after, count - 1), axis=0)
    part = (index - before) / np.maximum(after - before, 1)
    return length, (low + (high - low) * part).astype(np.float32)
