"""One picture of a simulated cohort: ultrasound and both MRI contrasts of a few cases, with tumour and cavity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..cases.case import Case
from ..cases.contact_sheet import ContactSheet
from ..constants import COLOURS, LABELS, TARGETS
from ..outputs.drawing import WARNING, Text, grey, outlined
from .planes import cut, frame_plane

MARK = "SIMULATED - NOT ACQUIRED"
COLUMNS = ("ioUS", *TARGETS)

_PANEL = 220  # pixels
_EXTENT = 96.0  # mm
#: Percentile of the slice that is shown white.
_WHITE = 99.7


def caption(name: str, case: Case) -> str:
    """Line above a row: the case, its head and its lesion."""
    return f"{name}   head {case.parameters['head']}   {case.parameters['lesion']['kind']}   simulated"


def panels(case: Case, columns: Sequence[str] = COLUMNS) -> list[np.ndarray | None]:
    """Ultrasound and MRI in the middle plane of the sweep, outlined, each (220, 220, 3) uint8; None for none."""
    plane = frame_plane(case.labels, case.parameters, 0.0)
    window = {"top": case.parameters["probe"]["face_radius"] - 6.0, "extent": _EXTENT, "pixels": _PANEL}
    labels = cut(case.labels.array, plane, **window, order=0)
    result = []
    for name in columns:
        if name not in case.images:  # the case was there before ceT1 was asked for
            result.append(None)
            continue
        image = cut(case.images[name].array, plane, **window)
        panel = grey(image, 0.0, float(np.percentile(image, _WHITE)))
        for structure, colour in COLOURS.items():
            panel = outlined(panel, labels == LABELS[structure], colour)
        result.append(panel)
    return result


def sheet(*, with_agent: bool = False) -> ContactSheet:
    """The cases in the middle plane of their sweeps, with ceT1 or without."""
    columns = (*COLUMNS, "ceT1") if with_agent else COLUMNS
    return ContactSheet(
        titles=[Text(f"{name}   {MARK}", colour=WARNING) for name in columns],
        caption=caption,
        panels=partial(panels, columns=columns),
        most=8,
        legend=[Text("Tumour", swatch=COLOURS["tumour"]), Text("Resection cavity", swatch=COLOURS["cavity"])],
    )
