"""One picture of a result: three orthogonal slices of every image, outlined, labelled and marked as synthetic.

NumPy draws and SimpleITK writes the PNG, so that the base installation is enough.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import preprocessing
from ..synthesis import outlines
from ..volume import InputError, Volume

if TYPE_CHECKING:
    from ..pipeline import SynthesisResult

MARK = "SYNTHETIC - NOT ACQUIRED"

#: Outline colours (red, green, blue) by label name.
COLOURS = {"tumour": (255, 214, 0), "cavity": (0, 200, 255)}

_PANEL = 300  # pixels along the longer side of a slice
_DASH = 4  # pixels
_GAP = 6
_TITLE = 40
_FOOT = 64
_BACKGROUND = (0, 0, 0)
_NO_DATA = (42, 42, 46)
_TEXT = (230, 230, 230)
_MARK_COLOUR = (255, 120, 80)

#: Letters of 5x7 pixels: seven rows from the top, the highest of five bits is the left pixel.
_FONT = {
    " ": (0, 0, 0, 0, 0, 0, 0),
    "-": (0, 0, 0, 31, 0, 0, 0),
    ".": (0, 0, 0, 0, 0, 12, 12),
    ",": (0, 0, 0, 0, 12, 4, 8),
    ":": (0, 12, 12, 0, 12, 12, 0),
    "(": (2, 4, 8, 8, 8, 4, 2),
    ")": (8, 4, 2, 2, 2, 4, 8),
    "%": (24, 25, 2, 4, 8, 19, 3),
    "/": (1, 1, 2, 4, 8, 16, 16),
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
    "A": (14, 17, 17, 17, 31, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (28, 18, 17, 17, 17, 18, 28),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "F": (31, 16, 16, 30, 16, 16, 16),
    "G": (14, 17, 16, 23, 17, 17, 15),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "J": (7, 2, 2, 2, 2, 18, 12),
    "K": (17, 18, 20, 24, 20, 18, 17),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "N": (17, 17, 25, 21, 19, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "Q": (14, 17, 17, 17, 21, 18, 13),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
    "V": (17, 17, 17, 17, 17, 10, 4),
    "W": (17, 17, 17, 21, 21, 21, 10),
    "X": (17, 17, 10, 4, 10, 17, 17),
    "Y": (17, 17, 17, 10, 4, 4, 4),
    "Z": (31, 1, 2, 4, 8, 16, 31),
}


@dataclass(frozen=True)
class _Column:
    """An image of the picture: voxels as colours in [0, 1], where it has data, and what it is."""

    title: str
    synthetic: bool
    colour: np.ndarray  # (z, y, x, 3)
    valid: np.ndarray  # (z, y, x)


def write_picture(
    path: str | Path, volume: Volume, result: SynthesisResult, preoperative: Volume | None = None, name: str = ""
) -> None:
    """Write the picture of a result as PNG.

    Rows are the three planes of the ultrasound's own grid through the middle of the tumour, else of the cavity, else of
    the fan; columns are the preoperative MRI (resampled onto the ultrasound as it lies, without registration), the
    ultrasound, the synthetic images and, if there is one, the uncertainty (black 0 to white 30 % of the intensity
    range).

    Raises
    ------
    InputError
        The file cannot be written.
    """
    import SimpleITK as sitk

    picture = draw_picture(volume, result, preoperative, name)
    try:
        sitk.WriteImage(sitk.GetImageFromArray(picture, isVector=True), str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be written; choose a folder with write permission and free space") from error


def draw_picture(
    volume: Volume, result: SynthesisResult, preoperative: Volume | None = None, name: str = ""
) -> np.ndarray:
    """Return the picture, uint8 (rows, columns, 3)."""
    box = preprocessing.bounding_box(result.valid.array > 0, margin=4)
    columns = _columns(volume, result, preoperative, box)
    labels = result.segmentation.array[box]
    centre = _centre(labels, result.valid.array[box] > 0)
    spacing = tuple(reversed(volume.spacing))
    doubtful = result.report.get("doubtful", ())
    rows = [[_panel(column, labels, axis, centre, spacing, doubtful) for column in columns] for axis in range(3)]
    heights = [row[0].shape[0] for row in rows]
    width = max(panel.shape[1] for row in rows for panel in row)
    foot = f"{name}   {result.report.get('model', {}).get('name', '')}"
    least = _GAP * 2 + _text_width(MARK, 3)
    size = (_TITLE + sum(heights) + _GAP * 4 + _FOOT, max(least, (width + _GAP) * len(columns) + _GAP), 3)
    picture = np.full(size, _BACKGROUND, dtype=np.uint8)
    for number, column in enumerate(columns):
        left = _GAP + number * (width + _GAP)
        _write(picture, column.title, _GAP, left, 2, _TEXT)
        note = "SYNTHETIC" if column.synthetic else "ACQUIRED"
        _write(picture, note, _GAP + 18, left, 1, _MARK_COLOUR if column.synthetic else _TEXT)
        top = _TITLE
        for axis, (row, height) in enumerate(zip(rows, heights, strict=True)):
            panel = row[number]
            inset = left + (width - panel.shape[1]) // 2
            picture[top : top + height, inset : inset + panel.shape[1]] = panel
            _write_directions(picture, (top, inset), panel.shape, axis, volume.direction)
            if column.synthetic:
                _write(picture, "SYNTHETIC", top + height - 10, inset + 3, 1, _MARK_COLOUR)
            top += height + _GAP
    bottom = size[0] - _FOOT + _GAP
    _write(picture, MARK, bottom, _GAP, 3, _MARK_COLOUR)
    _write(picture, foot, bottom + 28, _GAP, 1, _TEXT)
    _write_legend(picture, bottom + 42, result)
    return picture


def _columns(
    volume: Volume, result: SynthesisResult, preoperative: Volume | None, box: preprocessing.Box
) -> list[_Column]:
    valid = result.valid.array[box] > 0
    columns = []
    if preoperative is not None:
        frame = preprocessing.crop(volume, box)
        array = preprocessing.resample_like(preoperative, frame).array.astype(np.float32)
        covered = preoperative.with_array(np.ones(preoperative.array.shape, dtype=np.uint8))
        covered = preprocessing.resample_like(covered, frame, nearest=True).array > 0
        columns.append(_Column("PREOPERATIVE MRI", False, _grey(array, covered), covered))
    columns.append(_Column("IOUS", False, _grey(volume.array[box], valid), valid))
    for key, image in result.images.items():
        columns.append(_Column(key.upper(), True, _grey(image.array[box], valid), valid))
    if result.uncertainty is not None:
        uncertainty = np.clip(result.uncertainty.array[box] / 0.3, 0, 1)
        columns.append(_Column("EXPECTED ERROR", True, _heat(uncertainty), valid))
    return columns


def _grey(array: np.ndarray, valid: np.ndarray) -> np.ndarray:
    values = array[valid]
    low, high = np.percentile(values, (0.5, 99.5)) if values.size else (0.0, 1.0)
    scaled = np.clip((array - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat(scaled[..., None], 3, axis=-1)


def _heat(fraction: np.ndarray) -> np.ndarray:
    """Return black, red, yellow, white for 0 to 1."""
    return np.clip(np.stack([3 * fraction, 3 * fraction - 1, 3 * fraction - 2], axis=-1), 0, 1)


def _centre(labels: np.ndarray, valid: np.ndarray) -> tuple[int, ...]:
    """Return the voxel in the middle of the tumour, else of the cavity, else of the fan."""
    masks = [*(labels == outlines.LABELS[name] for name in ("tumour", "cavity")), valid]
    mask = next((mask for mask in masks if mask.any()), np.ones(valid.shape, dtype=bool))
    points = np.argwhere(mask)
    nearest = points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
    return tuple(int(value) for value in nearest)


def _panel(
    column: _Column, labels: np.ndarray, axis: int, centre: tuple[int, ...], spacing: tuple[float, ...],
    doubtful: Collection[str] = (),
) -> np.ndarray:  # fmt: skip
    """Return a slice with square pixels, grey where there is no data, and outlined: with dashes where doubtful."""
    index = centre[axis]
    colour, valid, label = (np.take(array, index, axis) for array in (column.colour, column.valid, labels))
    steps = [spacing[other] for other in range(3) if other != axis]
    extents = [count * step for count, step in zip(label.shape, steps, strict=True)]
    longest = max(count * step for count, step in zip(labels.shape, spacing, strict=True))
    shape = [max(1, round(_PANEL * extent / longest)) for extent in extents]
    rows, columns = (
        np.minimum((np.arange(count) + 0.5) * old / count, old - 1).astype(int)
        for count, old in zip(shape, label.shape, strict=True)
    )
    pixels = (255 * colour[np.ix_(rows, columns)]).astype(np.uint8)
    pixels[~valid[np.ix_(rows, columns)]] = _NO_DATA
    enlarged = label[np.ix_(rows, columns)]
    dashes = np.add.outer(*(np.arange(count) // _DASH for count in shape)) % 2 == 0
    for name, value in outlines.LABELS.items():
        if name in COLOURS:
            line = _outline(enlarged == value)
            pixels[line & dashes if name in doubtful else line] = COLOURS[name]
    return pixels


def _write_directions(
    picture: np.ndarray, corner: tuple[int, int], shape: tuple[int, ...], axis: int, direction: np.ndarray
) -> None:
    """Write towards which side of the patient the panel's upper and left edge lie."""
    down, right = (2 - other for other in range(3) if other != axis)  # array axes are z, y, x; columns are i, j, k
    upper, left = sides(-direction[:, down]), sides(-direction[:, right])
    _write(picture, upper, corner[0] + 3, corner[1] + shape[1] // 2, 1, _TEXT)
    _write(picture, left, corner[0] + shape[0] // 2, corner[1] + 3, 1, _TEXT)


def sides(vector: np.ndarray) -> str:
    """Return the sides of the patient that an LPS unit vector points to, the main one first: "S", or "RA"."""
    letters = [("LPS" if value > 0 else "RAI")[axis] for axis, value in enumerate(vector)]
    order = sorted(range(3), key=lambda axis: -abs(vector[axis]))
    return "".join(letters[axis] for axis in order if abs(vector[axis]) > 0.4)


def _outline(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _write_legend(picture: np.ndarray, top: int, result: SynthesisResult) -> None:
    left = _GAP
    for name, colour in COLOURS.items():
        picture[top : top + 7, left : left + 14] = colour
        title = "TUMOUR" if name == "tumour" else "RESECTION CAVITY"
        doubt = ", DOUBTFUL (DASHED)" if name in result.report.get("doubtful", ()) else ""
        text = f"{title} {result.report.get('volumes_ml', {}).get(name, 0.0):.1f} ML{doubt}"
        _write(picture, text, top, left + 20, 1, _TEXT)
        left += 20 + _text_width(text, 1) + 24
    error = "NOT ESTIMATED" if result.uncertainty is None else "BLACK 0, WHITE 30 %"
    _write(picture, f"DARK GREY: NO DATA.  EXPECTED ERROR: {error}", top, left, 1, _TEXT)


def _text_width(text: str, scale: int) -> int:
    return 6 * scale * len(text)


def _write(picture: np.ndarray, text: str, top: int, left: int, scale: int, colour: tuple[int, int, int]) -> None:
    """Write capitals into the picture; letters that the font lacks become a dash, and the edge cuts them off."""
    for number, letter in enumerate(text.upper()):
        bits = _FONT.get(letter, _FONT["-"])
        glyph = np.array([[row >> (4 - column) & 1 for column in range(5)] for row in bits], dtype=bool)
        glyph = glyph.repeat(scale, axis=0).repeat(scale, axis=1)
        start = left + number * 6 * scale
        area = picture[top : top + glyph.shape[0], start : start + glyph.shape[1]]
        area[glyph[: area.shape[0], : area.shape[1]]] = colour
