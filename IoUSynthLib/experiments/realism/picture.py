"""Simulated and real ultrasound side by side, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...outputs.drawing import Panel, Text, grey, grid, save

COLUMNS = 5


def write_picture(
    path: Path,
    real: Sequence[tuple[str, np.ndarray]],
    simulated: Sequence[tuple[str, np.ndarray]],
    *,
    title: str = "",
) -> None:
    """Grid of slices: real ones in the upper rows, simulated ones below, captions in small print.

    Parameters
    ----------
    path
        PNG file.
    real, simulated
        Captions and slices, 0 to 255.
    title
        A line below the grid.
    """
    rows = [
        [Panel(grey(image, 0, 255), [Text(caption)]) for caption, image in part[start : start + COLUMNS]]
        for part in (real, simulated)
        for start in range(0, len(part), COLUMNS)
    ]
    save(grid(rows, [[Text(title)]]), path)
