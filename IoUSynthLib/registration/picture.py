"""A picture of a registration: ultrasound, MRI before and after, and both in a checkerboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import preprocessing
from ..outputs.picture import (
    _BACKGROUND,
    _GAP,
    _MARK_COLOUR,
    _TEXT,
    _TITLE,
    MARK,
    _Column,
    _grey,
    _panel,
    _write,
    _write_directions,
)
from ..volume import InputError, Volume
from .workflow import RegistrationResult

#: Side of a square of the checkerboard in mm.
SQUARE_MM = 10.0
_FOOT = 30


def write_overlay(
    path: str | Path, ultrasound: Volume, synthetic: Volume, moving: Volume, result: RegistrationResult, name: str
) -> None:
    """Write the picture of a registration as PNG.

    Rows are the three planes of the ultrasound's own grid through the middle of the fan; columns are the ultrasound,
    the MRI before and after, and checkerboards of the MRI after with the ultrasound and with the synthetic MRI.

    Parameters
    ----------
    path
        The file.
    ultrasound, synthetic
        On one grid.
    moving
        The preoperative MRI.
    result
        What :func:`.register` returned.
    name
        The contrast's name in ``result.resampled``.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    import SimpleITK as sitk

    picture = draw_overlay(ultrasound, synthetic, moving, result, name)
    try:
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be written; choose a folder with write permission and free space") from error


def draw_overlay(
    ultrasound: Volume, synthetic: Volume, moving: Volume, result: RegistrationResult, name: str
) -> np.ndarray:
    """Return the picture, uint8 (rows, columns, 3)."""
    valid = synthetic.array > 0
    box = preprocessing.bounding_box(valid, margin=4)
    frame = preprocessing.crop(ultrasound, box)
    valid = valid[box]
    before, after = (
        preprocessing.resample_like(moving, frame, transform=transform).array for transform in (None, result.transform)
    )
    images = {
        "IOUS": _grey(frame.array, valid),
        f"{name} BEFORE": _grey(before, before > 0),
        f"{name} AFTER": _grey(after, after > 0),
    }
    squares = checkerboard(frame)[..., None]
    mri = _grey(after, valid & (after > 0))
    images["IOUS / MRI AFTER"] = np.where(squares, images["IOUS"], mri)
    images["SYNTHETIC / MRI AFTER"] = np.where(squares, _grey(synthetic.array[box], valid), mri)
    known = {f"{name} BEFORE": before > 0, f"{name} AFTER": after > 0}
    columns = [
        _Column(title.upper(), "SYNTHETIC" in title, colour, known.get(title, valid))
        for title, colour in images.items()
    ]
    return _arrange(columns, frame, valid, result.report["summary"])


def checkerboard(grid: Volume) -> np.ndarray:
    """Squares of ``SQUARE_MM`` in every plane of a grid: bool (z, y, x)."""
    steps = (np.arange(length) * spacing // SQUARE_MM for length, spacing in zip(grid.size, grid.spacing, strict=True))
    i, j, k = (step.astype(int) for step in steps)
    return (k[:, None, None] + j[None, :, None] + i[None, None]) % 2 == 0


def _arrange(columns: list[_Column], frame: Volume, valid: np.ndarray, foot: str) -> np.ndarray:
    labels = np.zeros(valid.shape, dtype=np.uint8)
    centre = tuple(int(value) for value in np.argwhere(valid).mean(axis=0).round())
    spacing = tuple(reversed(frame.spacing))
    rows = [[_panel(column, labels, axis, centre, spacing) for column in columns] for axis in range(3)]
    width = max(panel.shape[1] for row in rows for panel in row)
    heights = [row[0].shape[0] for row in rows]
    size = (_TITLE + sum(heights) + 4 * _GAP + _FOOT, (width + _GAP) * len(columns) + _GAP, 3)
    picture = np.full(size, _BACKGROUND, dtype=np.uint8)
    for number, column in enumerate(columns):
        left, top = _GAP + number * (width + _GAP), _TITLE
        _write(picture, column.title, _GAP, left, 2, _TEXT)
        if column.synthetic:
            _write(picture, MARK, _GAP + 18, left, 1, _MARK_COLOUR)
        for axis, height in enumerate(heights):
            panel = rows[axis][number]
            inset = left + (width - panel.shape[1]) // 2
            picture[top : top + height, inset : inset + panel.shape[1]] = panel
            _write_directions(picture, (top, inset), panel.shape, axis, frame.direction)
            top += height + _GAP
    _write(picture, foot.replace(";", ","), size[0] - _FOOT + _GAP, _GAP, 1, _TEXT)
    return picture
