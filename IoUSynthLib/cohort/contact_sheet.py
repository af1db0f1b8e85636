"""One picture of a prepared cohort, to see at a glance whether the MRI lies where the ultrasound does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..cases.case import Case, read_case
from ..constants import TARGETS
from ..preprocessing import bounding_box
from ..registration.picture import checkerboard
from ..volume import InputError

FILE = "contact_sheet.png"
MOST_CASES = 24

_PANEL, _GAP, _LINE = 200, 4, 14
#: Percentiles of the slice that are shown black and white.
_WINDOW = (1.0, 99.5)


def write_contact_sheet(folders: Sequence[Path], path: Path) -> None:
    """Draw ultrasound, T2w, FLAIR, and a checkerboard of ultrasound and MRI for each case, as a PNG.

    Parameters
    ----------
    folders
        Folders of prepared cases; of more than 24, 24 that are spread over them are drawn.
    path
        The file.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    picked = [folders[i] for i in np.linspace(0, len(folders) - 1, min(len(folders), MOST_CASES)).round().astype(int)]
    height = _PANEL + _LINE
    sheet = Image.new("RGB", (4 * (_PANEL + _GAP) + _GAP, _LINE + len(picked) * height))
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(("ioUS", *TARGETS, "ioUS / MRI, squares of 10 mm")):
        pen.text((_GAP + column * (_PANEL + _GAP), 1), title, fill=(230, 230, 230))
    for row, folder in enumerate(picked):
        case, top = read_case(folder), _LINE + row * height
        pen.text((_GAP, top), caption(folder.name, case), fill=(200, 200, 200))
        for column, panel in enumerate(panels(case)):
            if panel is not None:
                sheet.paste(_scaled(panel), (_GAP + column * (_PANEL + _GAP), top + _LINE))
    try:
        sheet.save(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error


def caption(name: str, case: Case) -> str:
    """Line above a row: the case and how its registration went."""
    done = case.parameters["registration"]
    if done is None:
        return f"{name}   not registered"
    before, after = (done["similarity"][when] for when in ("before", "after"))
    return f"{name}   LC2 {before:.2f} to {after:.2f}, moved {done['moved_mm']:.1f} mm   {' '.join(done['warnings'])}"


def panels(case: Case) -> list[np.ndarray | None]:
    """The columns in the slice in which the fan is largest, each (rows, columns) uint8; None for a missing target."""
    fan = case.fan.array > 0
    areas = [fan.sum(tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    axis = int(np.argmax([area.max() for area in areas]))
    index = int(np.argmax(areas[axis]))
    inside = fan.take(index, axis)
    box = bounding_box(inside, margin=2)
    grey: dict[str, np.ndarray] = {
        name: _grey(volume.array.take(index, axis), inside)[box] for name, volume in case.images.items()
    }
    mri = next(grey[name] for name in TARGETS if name in grey)
    mixed = np.where(checkerboard(case.fan).take(index, axis)[box], grey["ioUS"], np.where(inside[box], mri, 0))
    return [grey["ioUS"], *(grey.get(name) for name in TARGETS), mixed]


def _grey(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image[inside], _WINDOW)
    return (255 * np.clip((image - low) / max(high - low, 1e-6), 0, 1)).astype(np.uint8)


def _scaled(panel: np.ndarray) -> Image.Image:
    factor = _PANEL / max(panel.shape)
    return Image.fromarray(panel).resize([max(1, round(factor * length)) for length in reversed(panel.shape)])
