"""The table of a cohort: a row for each image, which a person can edit.

A row is used where ``doubt`` is empty and ``phase`` is not. What is not certain has its doubt written beside it and is
left out until somebody has emptied that cell, corrected phase or contrast, or removed the row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..constants import CONTRASTS
from ..files.tables import read_csv
from ..volume import InputError
from .labels import OUTLINES
from .readers import Study

#: What is read of a study. Other rows show what there is: T1w without contrast agent is not used.
USED = ("ultrasound", *CONTRASTS, *OUTLINES)


@dataclass(frozen=True)
class Row:
    """An image.

    Attributes
    ----------
    patient
        Whose it is.
    phase
        Studies of a patient are told apart by it: ``pre`` (ultrasound with intact dura, preoperative MRI), ``post``
        (ultrasound after the resection, intraoperative MRI), any other, or nothing where the image is of no use.
    contrast
        One of :data:`USED`, or another.
    path
        File, or folder of a DICOM series; relative to the cohort's folder.
    doubt
        Why it is not used.
    modality, series, study, date
        What DICOM says of it.
    series_uid, study_uid
        Identifiers of DICOM.
    reference
        Of an outline, the identifier of the series that it was drawn on; ``ultrasound`` where it lies in the frame of
        the ultrasound, not of the MRI.
    """

    patient: str
    phase: str
    contrast: str
    path: str
    doubt: str = ""
    modality: str = ""
    series: str = ""
    study: str = ""
    date: str = ""
    series_uid: str = ""
    study_uid: str = ""
    reference: str = ""


_COLUMNS = tuple(field.name for field in fields(Row))
#: What a table that somebody wrote by hand needs.
_REQUIRED = ("patient", "phase", "contrast", "path")


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write the table as CSV.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another file") from error


def read_table(path: Path) -> list[Row]:
    """Read a table back, also one with further columns or only patient, phase, contrast and path.

    Raises
    ------
    InputError
        It cannot be read, lacks one of these columns, or names a patient or phase as no folder can be named.
    """
    rows = [Row(**{name: text for name, text in row.items() if name in _COLUMNS}) for row in read_csv(path, _REQUIRED)]
    for number, row in enumerate(rows, start=2):
        if set(row.patient + row.phase) & set('/\\:*?"<>|'):
            raise InputError(f"{path}: line {number}: {row.patient} {row.phase} cannot name a folder; use letters")
    return rows


def studies_of(rows: Sequence[Row], cohort: Path) -> list[Study]:
    """The studies that a table names, sorted: all phases of all patients, also those that lack an image."""
    studies = []
    for patient, phase in sorted({(row.patient, row.phase) for row in rows if row.phase and row.patient}):
        own = [row for row in rows if (row.patient, row.phase) == (patient, phase) and row.contrast in USED]
        used = {cohort / row.path: row for row in own if not row.doubt}
        studies.append(
            Study(
                f"{patient}-{phase}", patient, tuple(used), phase,
                roles={path: row.contrast for path, row in used.items()},
                on_ultrasound=frozenset(path for path, row in used.items() if row.reference == "ultrasound"),
                doubts=tuple((row.contrast, f"{row.path}: {row.doubt}") for row in own if row.doubt and row.path),
            )
        )  # fmt: skip
    return studies
