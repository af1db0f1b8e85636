"""A picture of a registration: ultrasound, MRI before and after, and both in a checkerboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import preprocessing
from ..constants import MARK
from ..outputs.drawing import WARNING, Text, checkerboard, grid, save
from ..outputs.slices import Column, Shades, in_grey, orthogonal_slices
from ..volume import Volume
from .workflow import RegistrationResult


def write_picture(
    path: str | Path, ultrasound: Volume, *, synthetic: Volume, moving: Volume, result: RegistrationResult, name: str
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
    box = preprocessing.bounding_box(synthetic.array > 0, margin=4)
    cropped, valid = preprocessing.crop(ultrasound, box), synthetic.array[box] > 0
    before, after = (
        preprocessing.resample_like(moving, cropped, transform=transform).array
        for transform in (None, result.transform)
    )
    ious, mri = in_grey(cropped.array, valid), in_grey(after, after > 0)
    synthetic_mri = in_grey(synthetic.array[box], valid)
    squares = checkerboard(cropped.size, cropped.spacing)

    def in_squares(first: Shades) -> Shades:
        return lambda plane: np.where(squares[plane][..., None], first(plane), mri(plane))

    columns = [
        Column("ioUS", ious, valid),
        Column(f"{name} before", in_grey(before, before > 0), before > 0),
        Column(f"{name} after", mri, after > 0),
        Column("ioUS / MRI after", in_squares(ious), valid),
        Column("Synthetic / MRI after", in_squares(synthetic_mri), valid, Text(MARK, colour=WARNING)),
    ]
    centre = np.argwhere(valid).mean(axis=0).round().astype(int)
    save(grid(orthogonal_slices(columns, cropped, centre), [[Text(result.report["summary"])]]), path)
