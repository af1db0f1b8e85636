"""Rows of a picture: images on one grid in its three planes, with square pixels, outlines and the patient's sides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ..constants import COLOURS, LABELS
from ..volume import Volume
from .drawing import LARGE, WARNING, Panel, Text, grey, inscribed, limits, masked, outlined, resized

#: Pixels along the longest side of the grid.
SIDE = 300
#: Index of an array (z, y, x) that leaves one of its planes.
Plane = tuple[slice | int, ...]
#: Makes of it the plane's colours (rows, columns, 3) uint8.
Shades = Callable[[Plane], np.ndarray]


@dataclass(frozen=True, eq=False)
class Column:
    """An image of a picture.

    Attributes
    ----------
    title
        What it is.
    colour
        Colours of a plane; only those that are shown are coloured.
    valid
        (z, y, x) bool: where it has data.
    note
        A line below the title.
    inscription
        Words on every slice; none by default.
    """

    title: str
    colour: Shades
    valid: np.ndarray
    note: Text | None = None
    inscription: str = ""


def in_grey(array: np.ndarray, inside: np.ndarray) -> Shades:
    """Shades of an image (z, y, x), black and white at the :func:`.drawing.limits` of its voxels inside."""
    low, high = limits(array, inside)
    return lambda plane: grey(array[plane], low, high)


def middle_of(mask: np.ndarray) -> tuple[int, ...]:
    """Return the voxel (z, y, x) of a mask that lies nearest to its middle."""
    points = np.argwhere(mask)
    nearest = points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
    return tuple(int(value) for value in nearest)


def orthogonal_slices(
    columns: Sequence[Column],
    grid: Volume,
    centre: Sequence[int],
    *,
    labels: np.ndarray | None = None,
    doubtful: Collection[str] = (),
    side: int = SIDE,
) -> list[list[Panel]]:
    """Return three rows of panels, the planes of the grid through a voxel, with titles above the first one.

    Parameters
    ----------
    columns
        The images.
    grid
        Where they lie; its voxels are not looked at.
    centre
        The voxel (z, y, x).
    labels
        (z, y, x): tumour and cavity, to be outlined.
    doubtful
        Names of the labels whose outline is dashed.
    side
        Pixels along the longest side of the grid.
    """
    labels = np.zeros(grid.array.shape, np.uint8) if labels is None else labels
    rows = []
    for axis in range(3):
        shape, plane = _shape(grid, axis, side), (*[slice(None)] * axis, int(centre[axis]))
        outlines = resized(labels[plane], shape)
        row = []
        for column in columns:
            image = masked(column.colour(plane), column.valid[plane])
            image = _with_outlines(resized(image, shape), outlines, doubtful)
            image = _inscribed(image, axis=axis, direction=grid.direction, words=column.inscription)
            row.append(Panel(image, _captions(column) if axis == 0 else ()))
        rows.append(row)
    return rows


def sides(vector: np.ndarray) -> str:
    """Return the sides of the patient that an LPS unit vector points to, the main one first: "S", or "RA"."""
    letters = [("LPS" if value > 0 else "RAI")[axis] for axis, value in enumerate(vector)]
    order = sorted(range(3), key=lambda axis: -abs(vector[axis]))
    return "".join(letters[axis] for axis in order if abs(vector[axis]) > 0.4)


def _shape(grid: Volume, axis: int, side: int) -> tuple[int, int]:
    """Rows and columns of square pixels of a slice across an array axis; the whole grid is drawn at one scale."""
    extents = np.multiply(grid.size, grid.spacing)[::-1]
    rows, columns = (max(1, round(side * extents[other] / max(extents))) for other in range(3) if other != axis)
    return rows, columns


def _with_outlines(image: np.ndarray, labels: np.ndarray, doubtful: Collection[str]) -> np.ndarray:
    for name, colour in COLOURS.items():
        image = outlined(image, labels == LABELS[name], colour, dashed=name in doubtful)
    return image


def _inscribed(image: np.ndarray, *, axis: int, direction: np.ndarray, words: str) -> np.ndarray:
    """Say towards which side of the patient the upper and left edge lie, and the words."""
    down, right = (2 - other for other in range(3) if other != axis)  # array axes are z, y, x; columns are i, j, k
    image = inscribed(image, Text(sides(-direction[:, down])), "top")
    image = inscribed(image, Text(sides(-direction[:, right])), "left")
    return inscribed(image, Text(words, colour=WARNING), "bottom left") if words else image


def _captions(column: Column) -> list[Text]:
    return [Text(column.title, LARGE), *([column.note] if column.note else [])]
