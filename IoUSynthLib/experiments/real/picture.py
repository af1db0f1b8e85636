"""The contact sheet of real patients: one slice of each, with what the models make of it and what was acquired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ...constants import COLOURS, MARK
from ...outputs.drawing import (
    LARGE,
    WARNING,
    Panel,
    Text,
    grid,
    heat,
    inscribed,
    outlined,
    resized,
    save,
)
from ...outputs.slices import Column, in_grey, orthogonal_slices
from ...pipeline import SynthesisResult
from ...preprocessing import bounding_box, crop
from ...volume import Volume
from .patients import Patient

TITLES = ("ioUS", "synthetic T2w", "synthetic FLAIR", "expected error", "outline on ioUS", "MRI, acquired")
#: Pixels along the longest side of the fan.
SIDE = 200
#: Height of the letters above a row.
_CAPTION = 16
#: The expected error, as a fraction of the intensity range, that is drawn white.
_WHITE_ERROR = 0.3
#: Colour of outlines that somebody drew.
_DRAWN = (90, 255, 120)
_LEGEND = (
    Text("tumour, dashed where doubtful", _CAPTION, swatch=COLOURS["tumour"]),
    Text("cavity", _CAPTION, swatch=COLOURS["cavity"]), Text("as somebody drew it", _CAPTION, swatch=_DRAWN),
    Text(f"expected error: black 0, white {_WHITE_ERROR:.0%}; dark grey: no data", _CAPTION),
)


def draw_row(patient: Patient, result: SynthesisResult) -> np.ndarray:
    """The images of a row side by side, uint8 (rows, 6 x columns, 3); black where there is no MRI.

    All show one slice, that through the middle of the landmarks, else of the fan, in which the fan is largest.
    """
    fan = patient.fan.array > 0
    box = bounding_box(fan, margin=2)
    volume, fan = crop(patient.ultrasound, box), fan[box]
    centre = _centre(patient, volume, fan)
    axis = int(np.argmax([fan.take(centre[n], n).sum() for n in range(3)]))
    ultrasound = Column(TITLES[0], in_grey(volume.array, fan), fan)
    columns = [ultrasound, *_synthetic(result, box, fan)]
    panels = orthogonal_slices(columns, volume, centre, side=SIDE)[axis]
    labels, doubtful = result.segmentation.array[box], result.report["doubtful"]
    panels += orthogonal_slices([ultrasound], volume, centre, labels=labels, doubtful=doubtful, side=SIDE)[axis]
    images = [panel.image for panel in panels]
    images.append(_acquired(patient, volume, box, place=(centre, axis)))
    if patient.tumour is not None:
        mask = resized(patient.tumour[box].take(centre[axis], axis).astype(np.uint8), images[0].shape) > 0
        images[-2:] = [outlined(image, mask, _DRAWN) for image in images[-2:]]
    return np.concatenate(images, axis=1)


def write_sheet(rows: dict[str, np.ndarray], path: Path, *, title: str) -> None:
    """Write rows of :func:`draw_row`, by caption, as one picture in the format of the file's suffix."""
    panels = []
    for caption, row in rows.items():
        titles = [[Text(name, LARGE)] if not panels else [] for name in TITLES]
        titles[0].append(Text(caption, _CAPTION))
        images = np.split(row, len(TITLES), axis=1)
        panels.append([Panel(image, above) for image, above in zip(images, titles, strict=True)])
    footer = [[Text(title, LARGE)], [Text(f"Real ultrasound; T2w, FLAIR, error and outlines: {MARK}", LARGE, WARNING)]]
    save(grid(panels, [*footer, list(_LEGEND)]), path)


def read_row(path: Path) -> np.ndarray:
    """Read back a row that was saved."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def _centre(patient: Patient, volume: Volume, fan: np.ndarray) -> tuple[int, ...]:
    """The voxel (z, y, x) of the fan nearest to the middle of the landmarks, or of the fan."""
    points = np.argwhere(fan)
    middle = points.mean(axis=0)
    if patient.landmarks is not None:
        position = [*patient.landmarks[1].mean(axis=0), 1.0]
        middle = (np.linalg.inv(volume.ijk_to_lps) @ position)[2::-1]
    return tuple(int(value) for value in points[np.argmin(np.square(points - middle).sum(axis=1))])


def _synthetic(result: SynthesisResult, box: tuple[slice, ...], fan: np.ndarray) -> list[Column]:
    columns = []
    for name, title in zip(("T2w", "FLAIR"), TITLES[1:3], strict=True):
        array = result.images[name].array[box] if name in result.images else np.zeros(fan.shape, np.float32)
        shown = fan & (name in result.images)
        columns.append(Column(title, in_grey(array, shown), shown, inscription="SYNTHETIC"))
    shown = fan & (result.uncertainty is not None)
    error = result.uncertainty.array[box] if result.uncertainty is not None else np.zeros(fan.shape, np.float32)
    expected = Column(TITLES[3], lambda plane: heat(error[plane] / _WHITE_ERROR), shown, inscription="SYNTHETIC")
    return [*columns, expected]


def _acquired(
    patient: Patient, volume: Volume, box: tuple[slice, ...], *, place: tuple[tuple[int, ...], int]
) -> np.ndarray:
    """FLAIR, else T2w, else what there is, at its place; black where there is none."""
    centre, axis = place
    reference = patient.reference
    images = reference.images if reference else {}
    name = next((name for name in ("FLAIR", "T2w", *images) if name in images), "no MRI")
    array = images[name][box] if reference else np.zeros(volume.array.shape, np.float32)
    seen = (patient.fan.array > 0)[box] & (reference.seen[box] if reference else False)
    column = Column(TITLES[5], in_grey(array, seen), seen)
    image = orthogonal_slices([column], volume, centre, side=SIDE)[axis][0].image
    return inscribed(image if reference else np.zeros_like(image), Text(name), "bottom left")
