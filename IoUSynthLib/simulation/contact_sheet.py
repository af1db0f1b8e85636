"""One picture of a simulated cohort: ultrasound and both MRI contrasts of a few cases, with tumour and cavity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from ..cases.case import CAVITY_LABEL, TUMOUR_LABEL, Case, read_case
from ..volume import InputError
from .planes import cut, frame_plane

MARK = "SIMULATED - NOT ACQUIRED"
FILE = "contact_sheet.png"
MOST_CASES = 8
COLUMNS = ("ioUS", "T2w", "FLAIR")
#: Outline colours (red, green, blue) by label.
COLOURS = {TUMOUR_LABEL: (255, 214, 0), CAVITY_LABEL: (0, 200, 255)}

_PANEL = 220
_EXTENT = 96.0
_GAP = 4
_CAPTION = 14
_TITLE = 24
#: Percentile of the slice that is shown white.
_WHITE = 99.7


def write_contact_sheet(folders: Sequence[Path], path: Path) -> None:
    """Draw the cases in the middle plane of their sweeps, a row each, as a PNG.

    Parameters
    ----------
    folders
        Folders of cases; of more than eight, eight that are spread over them are drawn.
    path
        The file.

    Raises
    ------
    InputError
        There is no case, or the file cannot be written.
    """
    if not folders:
        raise InputError(f"{path}: no case to draw; simulate at least one")
    picked = [folders[i] for i in np.linspace(0, len(folders) - 1, min(len(folders), MOST_CASES)).round().astype(int)]
    size = (len(COLUMNS) * (_PANEL + _GAP) + _GAP, _TITLE + len(picked) * (_PANEL + _CAPTION) + _CAPTION)
    sheet = Image.new("RGB", size)
    drawing = ImageDraw.Draw(sheet)
    for column, name in enumerate(COLUMNS):
        drawing.text((_GAP + column * (_PANEL + _GAP), 6), f"{name}   {MARK}", fill=(255, 120, 80))
    for row, folder in enumerate(picked):
        case = read_case(folder)
        top = _TITLE + row * (_PANEL + _CAPTION)
        drawing.text((_GAP, top), caption(folder.name, case), fill=(200, 200, 200))
        for column, panel in enumerate(panels(case)):
            sheet.paste(Image.fromarray(panel), (_GAP + column * (_PANEL + _GAP), top + _CAPTION))
    drawing.text((_GAP, size[1] - _CAPTION), "yellow: tumour, blue: resection cavity", fill=(200, 200, 200))
    try:
        sheet.save(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); choose another folder") from error


def caption(name: str, case: Case) -> str:
    """Line above a row: the case, its head and its lesion."""
    return f"{name}   head {case.parameters['head']}   {case.parameters['lesion']['kind']}   simulated"


def panels(case: Case) -> list[np.ndarray]:
    """Ultrasound, T2w and FLAIR in the middle plane of the sweep, outlined, each (220, 220, 3) uint8."""
    plane = frame_plane(case.labels, case.parameters, 0.0)
    top = case.parameters["probe"]["face_radius"] - 6.0
    labels = cut(case.labels.array, plane, top, _EXTENT, _PANEL, order=0)
    result = []
    for name in COLUMNS:
        image = cut(case.images[name].array, plane, top, _EXTENT, _PANEL)
        white = max(float(np.percentile(image, _WHITE)), 1e-6)
        panel = np.repeat((255 * np.clip(image / white, 0, 1)).astype(np.uint8)[..., None], 3, axis=2)
        for label, colour in COLOURS.items():
            mask = labels == label
            panel[mask & ~ndimage.binary_erosion(mask)] = colour
        result.append(panel)
    return result
