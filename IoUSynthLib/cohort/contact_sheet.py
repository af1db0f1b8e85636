"""Pictures of a prepared cohort, to see at a glance whether the MRI lies where the ultrasound does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..cases.case import Case
from ..cases.contact_sheet import ContactSheet
from ..constants import TARGETS
from ..outputs.drawing import Text, checkerboard, grey, limits, resized
from ..preprocessing import bounding_box
from .preparation import registration_in_words

#: What is shown of each case, the input first.
COLUMNS = ("ioUS", *TARGETS)

#: Largest number of cases in a picture.
MOST = 24

_PANEL = 200  # pixels along the longer side
#: Percentiles of the slice that are shown black and white.
_WINDOW = (1.0, 99.5)


def caption(name: str, case: Case) -> str:
    """Line above a row: the case and how its registration went."""
    done = case.parameters["registration"]
    if done is None:
        return f"{name}   not registered"
    return f"{name}   {registration_in_words(done)}   {' '.join(done['warnings'])}"


def panels(case: Case, columns: Sequence[str] = COLUMNS) -> list[np.ndarray | None]:
    """The columns, and a checkerboard of input and MRI, in the slice in which the fan is largest, (rows, columns, 3)
    uint8; None for a missing target."""
    fan = case.fan.array > 0
    areas = [fan.sum(tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    axis = int(np.argmax([area.max() for area in areas]))
    index = int(np.argmax(areas[axis]))
    inside = fan.take(index, axis)
    box = bounding_box(inside, margin=2)
    images = {name: _grey(volume.array.take(index, axis), inside)[box] for name, volume in case.images.items()}
    mri = next(images[name] for name in columns[1:] if name in images)
    squares = checkerboard(case.fan.size, case.fan.spacing).take(index, axis)[box][..., None]
    mixed = np.where(squares, images[columns[0]], np.where(inside[box][..., None], mri, 0))
    return [None if image is None else _scaled(image) for image in (*map(images.get, columns), mixed)]


def _grey(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return grey(image, *limits(image, inside, _WINDOW))


def _scaled(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    factor = _PANEL / max(height, width)
    return resized(image, (max(1, round(factor * height)), max(1, round(factor * width))))


def sheet(columns: Sequence[str] = COLUMNS) -> ContactSheet:
    """The columns and a checkerboard of input and MRI."""
    titles = [Text(title) for title in (*columns, f"{columns[0]} / MRI, squares of 10 mm")]
    return ContactSheet(titles=titles, caption=caption, panels=partial(panels, columns=columns), most=MOST)


def write_sheets(folders: Sequence[Path], path: Path, columns: Sequence[str] = COLUMNS) -> list[Path]:
    """Draw all cases, with a number at the name of every further picture that this takes; return the pictures.

    Further pictures of an earlier run are removed.

    Raises
    ------
    InputError
        There is no case, or a file cannot be written.
    """
    pages = [folders[first : first + MOST] for first in range(0, max(len(folders), 1), MOST)]
    paths = [path, *(path.with_stem(f"{path.stem}_{number}") for number in range(2, len(pages) + 1))]
    for earlier in set(path.parent.glob(f"{path.stem}_*{path.suffix}")) - set(paths):
        earlier.unlink()
    for page, file in zip(pages, paths, strict=True):
        sheet(columns).write(page, file)
    return paths
