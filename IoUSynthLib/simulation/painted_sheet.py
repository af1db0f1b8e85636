"""One picture of a cohort of painted volumes: three orthogonal slices through the cavity of a few cases."""

from __future__ import annotations

import numpy as np

from ..cases.case import Case
from ..cases.contact_sheet import ContactSheet
from ..constants import COLOURS, LABELS
from ..outputs.drawing import WARNING, Text, grey, outlined, resized

MARK = "CAVITY PAINTED - NOT ACQUIRED"

_PANEL = 220  # pixels along the longer side
#: Percentile of the fan that is shown white.
_WHITE = 99.5


def caption(name: str, case: Case) -> str:
    """Line above a row: the case and the volume that it was painted into."""
    size = (case.labels.array == LABELS["cavity"]).sum() * case.labels.voxel_volume_ml
    return f"{name}   {case.parameters['head']}   cavity of {size:.1f} ml"


def panels(case: Case) -> list[np.ndarray]:
    """The slices along each axis in which the cavity is largest, without and with its outline, side by side."""
    cavity, image = case.labels.array == LABELS["cavity"], case.images["ioUS"].array
    white = float(np.percentile(image[case.fan.array > 0], _WHITE))
    result = []
    for axis in range(3):
        index = int(cavity.sum(tuple(other for other in range(3) if other != axis)).argmax())
        slice_ = image.take(index, axis)
        size = tuple(max(1, round(_PANEL * n / max(slice_.shape))) for n in slice_.shape)
        plain = resized(grey(slice_, 0.0, white), size)
        mask = resized(cavity.take(index, axis).astype(np.uint8), size) > 0
        result += [plain, outlined(plain, mask, COLOURS["cavity"])]
    return result


#: Every slice without and with the outline.
SHEET = ContactSheet(
    titles=[Text(MARK, colour=WARNING) for _ in range(6)],
    caption=caption,
    panels=panels,
    most=12,
    legend=[Text("Resection cavity", swatch=COLOURS["cavity"])],
)
