"""Simulated and real ultrasound side by side, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

COLUMNS = 5


def write_picture(
    path: Path, real: Sequence[tuple[str, np.ndarray]], simulated: Sequence[tuple[str, np.ndarray]], title: str = ""
) -> None:
    """Grid of slices: real ones in the upper rows, simulated ones below, captions in small print.

    Parameters
    ----------
    path
        PNG file.
    real, simulated
        Captions and slices, 0 to 255.
    title
        A line above the grid.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [part[n : n + COLUMNS] for part in (real, simulated) for n in range(0, len(part), COLUMNS)]
    figure = Figure(figsize=(2.4 * COLUMNS, 2.55 * len(rows) + 0.3), facecolor="black")
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.995, title, ha="center", va="top", color="white", fontsize=8)
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, (caption, image) in zip(line, row, strict=False):
            axis.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
            axis.set_title(caption, color="0.6", fontsize=5, pad=2)
    top = 1 - 0.25 / (2.55 * len(rows) + 0.3)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=top - 0.01, wspace=0.02, hspace=0.08)
    figure.savefig(path, dpi=130)
