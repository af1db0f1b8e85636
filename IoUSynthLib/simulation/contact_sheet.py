"""One picture of a simulated cohort: ultrasound and both MRI contrasts of a few cases, with tumour and cavity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..cases.case import Case, read_case
from ..constants import COLOURS, LABELS, TARGETS
from ..outputs.drawing import WARNING, Text, captioned, grey, grid, outlined, save
from ..volume import InputError
from .planes import cut, frame_plane

MARK = "SIMULATED - NOT ACQUIRED"
FILE = "contact_sheet.png"
MOST_CASES = 8
COLUMNS = ("ioUS", *TARGETS)

_PANEL = 220  # pixels
_EXTENT = 96.0  # mm
#: Percentile of the slice that is shown white.
_WHITE = 99.7
_LEGEND = (Text("Tumour", swatch=COLOURS["tumour"]), Text("Resection cavity", swatch=COLOURS["cavity"]))


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
    images, captions = [], []
    for folder in picked:
        case = read_case(folder)
        images.append(panels(case))
        captions.append(caption(folder.name, case))
    titles = [Text(f"{name}   {MARK}", colour=WARNING) for name in COLUMNS]
    save(grid(captioned(images, titles, captions), [_LEGEND]), path)


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
        panel = grey(image, 0.0, float(np.percentile(image, _WHITE)))
        for structure, colour in COLOURS.items():
            panel = outlined(panel, labels == LABELS[structure], colour)
        result.append(panel)
    return result
