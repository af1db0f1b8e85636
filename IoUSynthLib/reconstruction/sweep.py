"""A tracked 2D sweep, and which of its pixels are ultrasound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..volume import InputError

#: Poses that move no corner of the frame by more than this, in mm, are no sweep: in metres even a long one would not.
LEAST_MOTION_MM = 0.3

#: Longer side of a frame in mm: no ultrasound of the body shows less or more.
FRAME_MM = (5.0, 500.0)

#: A pixel is lit above this value of 255; below lie compression noise and the black of the screen.
LIT = 5

#: Poses that move no corner of the frame by more than this, in mm, count as identical.
IDENTICAL_MM = 1e-3

#: The concave face of a probe is cut out of the convex fan down to this fraction of the depth, not further.
FACE_FRACTION = 0.1


@dataclass(frozen=True, eq=False)
class Sweep:
    """B-mode frames with a pose each.

    Attributes
    ----------
    frames
        uint8, shape (n, rows, columns), in the order of acquisition.
    image_to_world
        float64, shape (n, 4, 4): from the pixel index (column, row, 0, 1), centre of the first pixel at 0, to LPS mm.
    fan
        bool, shape (rows, columns): where a frame holds ultrasound. None: :func:`estimate_fan` decides.
    notes
        What was done to the sweep when it was read, in words.

    Raises
    ------
    InputError
        Fewer than two frames, frames and poses that do not fit, or poses that are not finite, singular, identical, or
        in another unit.
    """

    frames: np.ndarray
    image_to_world: np.ndarray
    fan: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        frames, poses = np.asarray(self.frames), np.asarray(self.image_to_world, dtype=np.float64)
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "image_to_world", poses)
        if frames.ndim != 3 or frames.dtype != np.uint8:
            raise InputError(f"frames of shape {frames.shape} and type {frames.dtype}; give 8-bit (n, rows, columns)")
        if len(frames) < 2:
            raise InputError("fewer than 2 frames with a pose; record a sweep while the probe is tracked")
        if poses.shape != (len(frames), 4, 4):
            raise InputError(f"{len(frames)} frames, poses of shape {poses.shape}; give one 4x4 matrix for each frame")
        pixel_areas = np.linalg.norm(np.cross(poses[:, :3, 0], poses[:, :3, 1]), axis=1)
        if not np.isfinite(poses).all() or pixel_areas.min() < 1e-9:
            raise InputError("poses that are not finite or span no plane; export the sweep again with its tracking")
        if self.fan is not None:
            self._check_fan(frames.shape[1:])
        self._check_size()
        motion = self._largest_motion()
        if motion < IDENTICAL_MM:
            raise InputError("all poses are identical; check that the probe was tracked, and record the sweep again")
        if motion < LEAST_MOTION_MM:
            raise InputError(
                f"the poses move by {motion:.2g} mm in all; give them in mm if they are in metres, or check that the "
                "probe was tracked"
            )

    def _check_size(self) -> None:
        """Refuse frames of an impossible size or shape, as poses in other units and inverted ones make them."""
        steps = np.median(np.linalg.norm(self.image_to_world[:, :3, :2], axis=1), axis=0)
        width, height = steps * self.frames.shape[:0:-1]
        if not FRAME_MM[0] <= max(width, height) <= FRAME_MM[1]:
            raise InputError(
                f"frames of {width:.3g} x {height:.3g} mm; check the pixel size, and that the poses are in mm and lead "
                "from the image to the patient"
            )

    def _check_fan(self, shape: tuple[int, ...]) -> None:
        fan = np.asarray(self.fan, dtype=bool)
        if fan.shape != shape:
            raise InputError(f"a fan mask of {fan.shape} pixels for frames of {shape}; give one of the frames' size")
        if not fan.any():
            raise InputError("a fan mask without a pixel; mark the ultrasound sector in it")
        object.__setattr__(self, "fan", fan)

    def _largest_motion(self) -> float:
        rows, columns = self.frames.shape[1:]
        corners = np.array([[0, 0, 0, 1], [columns - 1, 0, 0, 1], [0, rows - 1, 0, 1]], dtype=np.float64).T
        places = self.image_to_world @ corners
        return float(np.linalg.norm((places - places[0])[:, :3], axis=1).max())

    @property
    def steps(self) -> np.ndarray:
        """Distance in mm between the centres of consecutive frames, shape (n - 1,)."""
        rows, columns = self.frames.shape[1:]
        centres = (self.image_to_world @ [(columns - 1) / 2, (rows - 1) / 2, 0.0, 1.0])[:, :3]
        return np.linalg.norm(np.diff(centres, axis=0), axis=1)


def estimate_fan(frames: np.ndarray) -> np.ndarray:
    """Find the sector that holds ultrasound, as opposed to the black or the texts round it.

    Ultrasound changes from frame to frame, what the scanner draws round it does not: the largest connected region
    that is lit and changes is taken and closed to its convex hull, because what stays dark inside the sector is data.
    The concave face of a curved probe is cut out again, along the first lit pixel of each column.

    Parameters
    ----------
    frames
        uint8, shape (n, rows, columns), depth increasing with the row.

    Returns
    -------
    numpy.ndarray
        bool, shape (rows, columns).

    Raises
    ------
    InputError
        All frames are black.
    """
    brightest = frames.max(axis=0)
    lit = brightest > LIT
    if not lit.any():
        raise InputError("all frames are black; choose the sequence that holds the ultrasound images")
    changing = lit & (brightest - frames.min(axis=0) > LIT)
    if changing.sum() >= 0.5 * lit.sum():  # else a still picture, as of a phantom without speckle
        lit = changing
    region = _largest_region(lit)
    hull = _convex_hull(region)
    return hull & ~_above_face(region, hull)


def _largest_region(lit: np.ndarray) -> np.ndarray:
    """The largest connected region, without the thin bridges to rulers and texts (an opening by 1 pixel)."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(lit.astype(np.uint8))
    opened = sitk.BinaryMorphologicalOpening(image, [1, 1], sitk.sitkBox)
    if not sitk.GetArrayViewFromImage(opened).any():
        opened = image
    labels = sitk.RelabelComponent(sitk.ConnectedComponent(opened), sortByObjectSize=True)
    return sitk.GetArrayFromImage(labels) == 1


def _convex_hull(region: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(region.any(axis=1))
    left = region[rows].argmax(axis=1)
    right = region.shape[1] - 1 - region[rows, ::-1].argmax(axis=1)
    every = np.arange(rows[0], rows[-1] + 1)
    columns = np.arange(region.shape[1])
    inside = columns >= _envelope(rows, left, every)[:, None] - 1e-6
    inside &= columns <= -_envelope(rows, -right, every)[:, None] + 1e-6
    hull = np.zeros(region.shape, dtype=bool)
    hull[every] = inside
    return hull


def _envelope(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Largest convex function below the points (x, y), x ascending, by Andrew's monotone chain."""
    chain: list[tuple[float, float]] = []
    for point in zip(x.astype(float), y.astype(float), strict=True):
        while len(chain) > 1 and _turns_right(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    return np.interp(at, *zip(*chain, strict=True))


def _turns_right(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0


def _above_face(region: np.ndarray, hull: np.ndarray) -> np.ndarray:
    """Hull pixels shallower than the first lit pixel of their column (median of 9 columns, against speckle)."""
    rows, columns = np.arange(hull.shape[0])[:, None], np.flatnonzero(hull.any(axis=0))
    top = hull[:, columns].argmax(axis=0)
    first = np.where(region[:, columns].any(axis=0), region[:, columns].argmax(axis=0), top)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(first, 4, mode="edge"), 9)
    limit = top + FACE_FRACTION * np.count_nonzero(hull.any(axis=1))
    above = np.zeros(hull.shape, dtype=bool)
    above[:, columns] = rows < np.minimum(np.median(windows, axis=1), limit)
    return above


def to_eight_bit(frames: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring frames of any type to uint8, and say how if their values change.

    Raises
    ------
    InputError
        They are negative or not finite, thus no B-mode.
    """
    if frames.dtype == np.uint8:
        return frames, ()
    low, high = float(frames.min()), float(frames.max())
    if frames.dtype == np.int8 and low < 0:
        raise InputError(
            "its pixels are signed 8-bit numbers, so that what is above 127 reads as negative; change the type in its "
            "header to unsigned (MET_UCHAR)"
        )
    if not np.isfinite([low, high]).all() or low < 0:
        raise InputError(
            f"its pixels range from {low:g} to {high:g}, not B-mode; export B-mode frames instead of RF data"
        )
    if high <= 255 and not (frames.dtype.kind == "f" and 0 < high <= 1):
        return np.rint(frames).astype(np.uint8), ()
    return np.rint(frames * (255.0 / high)).astype(np.uint8), (f"Frames scaled from a maximum of {high:g} to 255.",)
