"""One picture of a cohort, a row of images a case, to see at a glance what it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..outputs.drawing import Text, captioned, grid, save
from ..volume import InputError
from .case import Case, read_case

#: Name of the picture in the folder of a cohort.
CONTACT_SHEET = "contact_sheet.png"


@dataclass(frozen=True)
class ContactSheet:
    """How the cases of a cohort are drawn.

    Attributes
    ----------
    titles
        What stands above the columns.
    caption
        Gives the line above a row, of the name of the case's folder and the case.
    panels
        Gives the images of a row, (rows, columns, 3) uint8; None leaves a gap.
    most
        Largest number of rows.
    legend
        What stands below.
    """

    titles: Sequence[Text]
    caption: Callable[[str, Case], str]
    panels: Callable[[Case], Sequence[np.ndarray | None]]
    most: int
    legend: Sequence[Text] = ()

    def write(self, folders: Sequence[Path], path: Path) -> None:
        """Draw cases as a PNG; of too many, as many as are drawn at most, spread over them.

        Raises
        ------
        InputError
            There is no case, or the file cannot be written.
        """
        if not folders:
            raise InputError(f"{path}: no case to draw; simulate or prepare at least one")
        chosen = np.linspace(0, len(folders) - 1, min(len(folders), self.most)).round().astype(int)
        rows, captions = [], []
        for folder in (folders[index] for index in chosen):
            case = read_case(folder)
            rows.append(self.panels(case))
            captions.append(self.caption(folder.name, case))
        save(grid(captioned(rows, self.titles, captions), [self.legend] if self.legend else ()), path)
