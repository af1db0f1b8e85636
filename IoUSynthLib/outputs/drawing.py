"""Pictures on Pillow, which 3D Slicer ships: grey values, heat, outlines, checkerboards, and grids of captioned panels.

An image is an array (rows, columns, 3) of uint8 throughout.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ..volume import InputError

Colour = tuple[int, int, int]

WHITE = (230, 230, 230)
WARNING = (255, 120, 80)
#: Where there is no data.
NO_DATA = (42, 42, 46)
#: What muted images are drawn towards, and the stripes over what was made up.
GREY, VEIL = (128, 128, 128), ((64, 64, 64), (100, 100, 100))

#: Heights of letters in pixels.
SMALL, LARGE, HUGE = 12, 20, 32
#: Side of a square of a checkerboard in mm.
SQUARE_MM = 10.0

#: Key of a PNG's header that says what the picture is.
_DESCRIPTION = "Description"
_DASH = 4  # pixels
#: Where on a panel words can stand: fractions of its height and width, and the anchor of Pillow that belongs to them.
_PLACES = {"top": (0.0, 0.5, "ma"), "left": (0.5, 0.0, "lm"), "bottom left": (1.0, 0.0, "ld")}
_INSET = 3  # pixels between words on a panel and its edge


@dataclass(frozen=True)
class Text:
    """A line of words.

    Attributes
    ----------
    words
        What it says.
    size
        Height of the letters in pixels.
    colour
        Red, green, blue.
    swatch
        Colour of a square in front of the words, as in a legend.
    """

    words: str
    size: int = SMALL
    colour: Colour = WHITE
    swatch: Colour | None = None

    @property
    def height(self) -> int:
        """Distance in pixels to the next line."""
        return self.size + self.size // 3 + 1

    @property
    def width(self) -> int:
        """Pixels from left to right, the swatch included."""
        return self._indent + math.ceil(_font(self.size).getlength(self.words))

    @property
    def _indent(self) -> int:
        return 0 if self.swatch is None else self.size + 4

    def draw(self, pen: ImageDraw.ImageDraw, top: int, left: int) -> None:
        """Write it to the right of and below a point."""
        if self.swatch is not None:
            pen.rectangle((left, top + 2, left + self.size - 1, top + self.size), fill=self.swatch)
        pen.text((left + self._indent, top), self.words, fill=self.colour, font=_font(self.size))


@dataclass(frozen=True, eq=False)
class Panel:
    """An image of a grid, and the lines above it; without an image, its place stays empty."""

    image: np.ndarray | None
    captions: Sequence[Text] = ()


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that pictures look alike everywhere."""
    return ImageFont.load_default(size)


def limits(
    array: np.ndarray, inside: np.ndarray, percentiles: tuple[float, float] = (0.5, 99.5)
) -> tuple[float, float]:
    """Return the percentiles of the voxels inside, for :func:`grey`; 0 and 1 where there are none."""
    values = array[inside]
    low, high = np.percentile(values, percentiles) if values.size else (0.0, 1.0)
    return float(low), float(high)


def grey(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return grey (..., 3) uint8, black at ``low`` and white at ``high``, of an array of any shape."""
    scaled = np.clip((array - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat((255 * scaled).astype(np.uint8)[..., None], 3, axis=-1)


def heat(fraction: np.ndarray) -> np.ndarray:
    """Return black, red, yellow, white for 0 to 1, (..., 3) uint8, of an array of any shape."""
    parts = np.stack([3 * fraction, 3 * fraction - 1, 3 * fraction - 2], axis=-1)
    return (255 * np.clip(parts, 0, 1)).astype(np.uint8)


def masked(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the image (..., 3), dark grey where there is no data."""
    return np.where(inside[..., None], image, np.array(NO_DATA, np.uint8))


def blended(image: np.ndarray, colour: Colour, opacity: float) -> np.ndarray:
    """Return the image (..., 3) under a colour of an opacity from 0 to 1.

    Examples
    --------
    >>> blended(np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8), (100, 100, 100), 0.5)[..., 0].tolist()
    [[50, 178]]
    """
    return np.rint(image * (1 - opacity) + np.array(colour) * opacity).astype(np.uint8)


def resized(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return an image (rows, columns) or (rows, columns, 3) with other numbers of rows and columns.

    The nearest pixels are taken, so that what was measured is what is seen, and labels stay labels.
    """
    return np.asarray(Image.fromarray(image).resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def outlined(image: np.ndarray, mask: np.ndarray, colour: Colour, *, dashed: bool = False) -> np.ndarray:
    """Return the image with the pixels of a mask (rows, columns) that touch others from its edge in a colour."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    line = mask & ~inner
    if dashed:
        line &= np.add.outer(*(np.arange(count) // _DASH for count in mask.shape)) % 2 == 0
    return np.where(line[..., None], np.array(colour, np.uint8), image)


def checkerboard(size: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """Return which voxels belong to the white cubes, bool (z, y, x); size and spacing (x, y, z) in mm."""
    i, j, k = (
        (np.arange(count) * step // SQUARE_MM).astype(int) for count, step in zip(size, spacing, strict=True)
    )
    return (k[:, None, None] + j[None, :, None] + i[None, None]) % 2 == 0


def inscribed(image: np.ndarray, text: Text, place: str) -> np.ndarray:
    """Return the image with words on it, rimmed with black so that they can be read on white.

    Parameters
    ----------
    image
        The panel.
    text
        The words.
    place
        ``top``, ``left`` or ``bottom left``.
    """
    down, across, anchor = _PLACES[place]
    height, width = image.shape[:2]
    at = (across * width + _INSET * (across == 0), down * height + _INSET * (1 - 2 * down))
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).text(
        at, text.words, fill=text.colour, font=_font(text.size), anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0)
    )
    return np.asarray(picture)


def captioned(
    images: Sequence[Sequence[np.ndarray | None]], titles: Sequence[Text], captions: Sequence[str] = ()
) -> list[list[Panel]]:
    """Return rows of panels with a title above each column and, if there are captions, one above each row."""
    rows = []
    for number, row in enumerate(images):
        lines = [[title] if number == 0 else [] for title in titles]
        if captions:
            lines[0].append(Text(captions[number]))
        rows.append([Panel(image, above) for image, above in zip(row, lines, strict=True)])
    return rows


def grid(rows: Sequence[Sequence[Panel]], footer: Sequence[Sequence[Text]] = (), *, gap: int = 6) -> np.ndarray:
    """Lay panels out in rows and columns on black.

    Parameters
    ----------
    rows
        Each panel is centred in its column; all columns are as wide as the widest panel.
    footer
        Lines below, each of words side by side.
    gap
        Pixels between panels.

    Returns
    -------
    numpy.ndarray
        (rows, columns, 3) uint8, wide enough for the lines of the footer, too.
    """
    column = gap + max(panel.image.shape[1] for row in rows for panel in row if panel.image is not None)
    canvas = Image.new("RGB", _size(rows, footer, column=column, gap=gap))
    pen = ImageDraw.Draw(canvas)
    top = gap
    for row in rows:
        for number, panel in enumerate(row):
            left = gap + number * column
            _write_lines(pen, panel.captions, top=top, left=left)
            if panel.image is not None:
                inset = (column - gap - panel.image.shape[1]) // 2
                canvas.paste(Image.fromarray(panel.image), (left + inset, top + _captions_height(row)))
        top += _captions_height(row) + _images_height(row) + gap
    for line in footer:
        left = gap
        for text in line:
            text.draw(pen, top, left)
            left += text.width + 2 * text.size
        top += max(text.height for text in line)
    return np.asarray(canvas)


def _size(
    rows: Sequence[Sequence[Panel]], footer: Sequence[Sequence[Text]], *, column: int, gap: int
) -> tuple[int, int]:
    """Width and height of a grid with columns of this width, the gap included."""
    captions = [
        number * column + text.width for row in rows for number, panel in enumerate(row) for text in panel.captions
    ]
    lines = [sum(text.width + 2 * text.size for text in line) for line in footer]
    width = max([column * max(map(len, rows)), *captions, *lines])
    height = sum(_captions_height(row) + _images_height(row) + gap for row in rows)
    height += sum(max(text.height for text in line) for line in footer)
    return gap + width, gap + height


def _captions_height(row: Sequence[Panel]) -> int:
    return max(sum(text.height for text in panel.captions) for panel in row)


def _images_height(row: Sequence[Panel]) -> int:
    return max((panel.image.shape[0] for panel in row if panel.image is not None), default=0)


def _write_lines(pen: ImageDraw.ImageDraw, texts: Sequence[Text], *, top: int, left: int) -> None:
    for text in texts:
        text.draw(pen, top, left)
        top += text.height


def save(picture: np.ndarray, path: str | Path, *, description: str = "") -> None:
    """Write a picture in the format of the file's suffix; the header of a PNG can say what it is.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    header = PngInfo()
    if description:
        header.add_text(_DESCRIPTION, description)
    try:
        Image.fromarray(picture).save(path, pnginfo=header)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{path}: cannot be written ({reason}); choose a folder with write permission and free space"
        ) from error


def described(path: Path) -> str:
    """Return what the header of a PNG says that it is; empty where it says nothing or cannot be read."""
    try:
        with Image.open(path) as picture:
            return str(picture.info.get(_DESCRIPTION, ""))
    except (OSError, ValueError, SyntaxError):  # no picture, or a damaged one
        return ""
