"""What the measurement of real patients leaves on disk: tables, figures, the contact sheet, and a page renewed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...files.integrity import replace_file
from ...volume import InputError
from .models import Model
from .picture import write_sheet
from .tables import rows_of, text_of

#: The files, in the output folder.
TEXT, FIGURES, PICTURE = "real.md", "real.json", "real.png"
#: Lines between which a page holds the tables.
BEGIN, END = "<!-- what the command writes: begin -->", "<!-- what the command writes: end -->"


@dataclass
class Report:
    """What was measured of all patients.

    Attributes
    ----------
    data
        Name of their folder.
    models
        What was measured on them.
    settings
        What else decides the figures.
    patients
        Of each what was measured.
    left_out
        Why nothing could be measured of a patient.
    pictures
        Rows of the contact sheet: uint8 images by patient and label of the model.
    """

    data: str
    models: Sequence[Model]
    settings: Mapping[str, Any]
    patients: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    pictures: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All tables, and what could not be measured."""
        names = " and ".join(model.label for model in self.models)
        parts = [f"{self._count}, with {names}; IoUSynth {__version__}."]
        parts.append(text_of(self.patients, rows_of(self.patients)))
        return "\n\n".join([*parts, *self._missing()])

    @property
    def _count(self) -> str:
        return f"{len(self.patients)} real patient{'s' if len(self.patients) > 1 else ''}"

    def write(self, output: Path) -> str:
        """Write text, figures and picture into a folder, and return the text.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        text = self.text
        figures = {
            "real": True, "data": self.data, "version": __version__, **self.settings,
            "models": {model.label: model.described for model in self.models},
            "patients": self.patients, "tables": rows_of(self.patients), "left out": self.left_out,
        }  # fmt: skip
        _write(output / FIGURES, json.dumps(_rounded(figures), indent=1, allow_nan=False) + "\n")
        _write(output / TEXT, f"## Real patients\n\n{text}\n")
        self.draw(output / PICTURE)
        return text

    def draw(self, path: Path) -> None:
        """Write the contact sheet, in the format of the file's suffix."""
        rows = {self._caption(patient, model): row for (patient, model), row in self.pictures.items()}
        write_sheet(rows, path, title=f"{self._count}; IoUSynth {__version__}")

    def renew(self, page: Path) -> None:
        """Put the text in the place of that which a page holds, and the contact sheet beside it, as JPEG.

        Raises
        ------
        InputError
            The page is not there, lacks the lines between which the text stands, or cannot be written.
        """
        try:
            before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        except OSError as error:
            raise InputError(f"{page}: cannot be read ({error.strerror}); name a page that is there") from error
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise InputError(f"{page}: lacks the lines {BEGIN} and {END}; put them where the tables shall stand")
        _write(page, f"{before}{BEGIN}\n\n{self.text}\n\n{END}{after}")
        self.draw(page.with_suffix(".jpg"))

    def _missing(self) -> list[str]:
        """What could not be measured, the patients of one reason on one line."""
        reasons: dict[str, list[str]] = {}
        for name, found in self.patients.items():
            for reason in found["missing"]:
                reasons.setdefault(reason, []).append(name)
        for name, reason in self.left_out.items():
            reasons.setdefault(f"everything: {reason}", []).append(name)
        lines = [f"- {', '.join(names)}: {reason}" for reason, names in reasons.items()]
        return ["### What could not be measured", "\n".join(lines)] if lines else []

    def _caption(self, patient: str, model: str) -> str:
        found = self.patients[patient]["models"][model]
        outline, fidelity = found["outline"], found.get("fidelity", {}).get("FLAIR", {})
        words = [patient, model, f"tumour {outline['ml']:.1f} ml{', doubtful' if outline['doubtful'] else ''}"]
        if "FLAIR" in fidelity.get("synthetic", {}):
            words.append(f"FLAIR: r {fidelity['synthetic']['FLAIR'].get('r', 0.0):.2f}")
        return "   ".join(words)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error


def _rounded(value: Any) -> Any:
    """The same with numbers to five decimals, and None for what is no number."""
    if isinstance(value, Mapping):
        return {str(name): _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, float | np.floating):
        return round(float(value), 5) if math.isfinite(value) else None
    return value
