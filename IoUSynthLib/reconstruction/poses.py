"""What poses can be got wrong in: transposed, without the pixel size or with it twice, and frames that were lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..volume import InputError

#: Lengths of steps that differ from 1 by less than this are those of a rigid pose.
_RIGID = 1e-3

#: Stated and held pixel sizes that differ by a smaller share are one: calibration and scanner never agree exactly.
_SAME_SIZE = 0.1

#: A step between frames is a jump above this, in mm and in multiples of the usual one.
_JUMP_MM, _JUMP = 10.0, 10.0


def checked_affine(matrix: np.ndarray, name: str) -> np.ndarray:
    """Return a 4x4 matrix whose last row is 0 0 0 1.

    Raises
    ------
    InputError
        It is not; ``name`` says which.
    """
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        shown = " ".join(f"{value:.4g}" for value in matrix[3])
        raise InputError(
            f"{name} has {shown} as its last row, not 0 0 0 1 (transposed?); write the translation into the last column"
        )
    return matrix


def is_rigid(poses: np.ndarray) -> bool:
    """Tell whether poses (n, 4, 4) hold no pixel size: most steps along rows and columns are of length 1."""
    return bool(np.abs(_pixel_size(poses) - 1).max() < _RIGID)


def _pixel_size(poses: np.ndarray) -> np.ndarray:
    return np.median(np.linalg.norm(poses[:, :3, :2], axis=1), axis=0)


def pixel_plane(
    poses: np.ndarray, stated: np.ndarray | None, given: float | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the matrix from pixel indices to what poses of a sequence (n, 4, 4) go from, and a note.

    Poses of PLUS go from pixel indices and hold the pixel size. Rigid ones go from millimetres, and need it.

    Parameters
    ----------
    stated
        Pixel size (2,) that the file states beside the poses.
    given
        Pixel size that the user gives.

    Raises
    ------
    InputError
        The pixel size is not known, or given twice and differently.
    """
    size, note = _pixel_size(poses), ()
    if is_rigid(poses):
        if stated is None and given is None:
            raise InputError("its poses are rigid and hold no pixel size; give it with --pixel-spacing MM")
        size = np.array([given, given]) if given is not None else stated
        if not np.isfinite(size).all() or size.min() <= 0:
            raise InputError(f"a pixel spacing of {size.min():g} mm; give one above 0")
        if given is None:
            note = (f"Pixel size {size[0]:g} x {size[1]:g} mm from ElementSpacing: the poses are rigid.",)
        return np.diag([*size, 1.0, 1.0]), note
    if given is not None:
        raise InputError("its poses hold a pixel size already; leave the pixel spacing out")
    if stated is not None and np.abs(stated / size - 1).max() > _SAME_SIZE:
        raise InputError(
            f"its transforms hold pixels of {size[0]:.4g} x {size[1]:.4g} mm, its ElementSpacing says {stated[0]:.4g} "
            f"x {stated[1]:.4g}; set ElementSpacing to 1 1 1 if the transforms are right"
        )
    return np.eye(4), note


def without_lost(poses: np.ndarray, unmoved: Sequence[bool]) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Leave out frames without tracking whose transform is the identity, as some programs write it.

    Parameters
    ----------
    poses
        (n, 4, 4) in mm.
    unmoved
        Whether a transform of the frame is exactly the identity. It is believed where the frame lies by its neighbours:
        a sweep may be given relative to its first frame.

    Returns
    -------
    numpy.ndarray, numpy.ndarray, tuple
        The poses that are kept, their numbers, and a note.
    """
    doubtful = np.asarray(unmoved, dtype=bool)
    sure = np.flatnonzero(~doubtful)
    lost = np.zeros(len(poses), dtype=bool)
    for number in np.flatnonzero(doubtful) if len(sure) else ():
        neighbour = sure[np.argmin(np.abs(sure - number))]
        lost[number] = np.linalg.norm(poses[number, :3, 3] - poses[neighbour, :3, 3]) > _JUMP_MM
    note = f"{lost.sum()} of {len(poses)} frames left out: not tracked, their transform is the identity."
    return poses[~lost], np.flatnonzero(~lost), (note,) if lost.any() else ()


def jumps(steps: np.ndarray) -> str:
    """Say where the poses jump.

    Parameters
    ----------
    steps
        Distances in mm of consecutive frames.

    Returns
    -------
    str
        Empty where they do not.
    """
    usual = float(np.median(steps))
    far = steps > max(_JUMP_MM, _JUMP * usual)
    if not far.any():
        return ""
    number = int(np.argmax(steps))
    times = f" ({far.sum()} such jumps)" if far.sum() > 1 else ""
    return (
        f"Between frames {number + 1} and {number + 2} the pose jumps by {steps.max():.0f} mm, otherwise by "
        f"{usual:.1f} mm{times}: was the tracking lost, or are these several sweeps?"
    )
