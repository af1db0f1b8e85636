"""What a run leaves for people to look at while it learns: curve.csv, TensorBoard, a progress bar."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..files.integrity import replace_file


class Curve:
    """A table with one row a checkpoint, rewritten as a whole so that a kill never leaves half of it.

    Parameters
    ----------
    path
        CSV file; its first column is "step".
    step
        Rows beyond this step are dropped: they belong to a checkpoint that a kill prevented.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists() and step:
            with path.open(newline="", encoding="utf-8") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]

    def add(self, row: dict[str, Any]) -> None:
        """Append a row and write the file."""
        self.rows.append(row)
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with replace_file(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)


class Board:
    """Curves and pictures for TensorBoard, in the run's folder; nothing where the package is absent.

    Parameters
    ----------
    folder
        The run.
    step
        What earlier calls wrote beyond this step is hidden.
    report
        Receives one line when the package is absent.
    """

    def __init__(self, folder: Path, step: int, report: Callable[[str], None]) -> None:
        self._writer = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            report('no TensorBoard curves, only curve.csv: pip install "iousynth[train]" brings them')
            return
        self._writer = SummaryWriter(folder / "tensorboard", purge_step=step + 1 if step else None)

    def add(self, step: int, values: dict[str, float], picture: np.ndarray | None = None) -> None:
        """Show numbers, and a picture (rows, columns, 3) uint8."""
        if self._writer is None:
            return
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        if picture is not None:
            self._writer.add_image("samples", picture, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


class ProgressBar:
    """A progress bar on a terminal; silent elsewhere, where the lines at every checkpoint must do.

    Parameters
    ----------
    total, step
        Number of steps, and of those that are done.
    report
        Receives the lines, above the bar where there is one.
    """

    def __init__(self, total: int, step: int, report: Callable[[str], None]) -> None:
        self._report = report
        self._bar = None
        if sys.stderr is not None and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, initial=step, unit="step", dynamic_ncols=True, smoothing=0.02)

    def advance(self) -> None:
        """One step is done."""
        if self._bar is not None:
            self._bar.update()

    def write(self, line: str) -> None:
        """Report a line."""
        if self._bar is not None:
            self._bar.clear()
        self._report(line)
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()
