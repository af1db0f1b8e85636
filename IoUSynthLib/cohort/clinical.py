"""What is known of the patients themselves, for strata: grade, histology, IDH, reoperation."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from ..files.tables import read_csv
from ..volume import InputError

#: How columns are called in the index, and by what they are known in a table; ReMIND's says "Case Number", "WHO Grade"
#: and "Histopathology".
COLUMNS = {
    "grade": re.compile(r"grade"),
    "histology": re.compile(r"histo"),
    "idh": re.compile(r"\bidh"),
    "reoperation": re.compile(r"re-?operation|re-?resection|recurren|(previous|prior).*(surgery|resection|operation)"),
}
_PATIENT = re.compile(r"patient|subject|case")


def read_clinical(path: Path, patients: Collection[str]) -> dict[str, dict[str, str]]:
    """What a clinical table says of patients, by the keys of :data:`COLUMNS`; as it is written there.

    Parameters
    ----------
    path
        CSV with a column for the patient (whole name, or the number at its end) and any of the others.
    patients
        Their names.

    Raises
    ------
    InputError
        It cannot be read, lacks the column for the patient or all others, has several columns for one of them, or two
        rows for one patient.
    """
    rows = read_csv(path)
    columns = {key: _column(path, list(rows[0]), key, names) for key, names in {"patient": _PATIENT, **COLUMNS}.items()}
    patient = columns.pop("patient")
    known = {key: column for key, column in columns.items() if column}
    if patient is None or not known:
        raise InputError(f"{path}: has no column for the patient, or for none of {', '.join(COLUMNS)}; name them so")
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        for name in (name for name in patients if _same(name, row[patient])):
            if name in found:
                raise InputError(f"{path}: has two rows for {name}; keep one")
            found[name] = {key: row[column] for key, column in known.items() if row[column]}
    return found


def _column(path: Path, header: list[str], key: str, names: re.Pattern[str]) -> str | None:
    matching = [column for column in header if names.search(column.lower())]
    exact = [column for column in matching if column.lower() == key]
    if len(exact or matching) > 1:
        raise InputError(f"{path}: {' and '.join(matching)} could all be the {key}; rename the one that is meant {key}")
    return next(iter(exact or matching), None)


def _same(name: str, cell: str) -> bool:
    """Tell whether a cell names a patient, whole or by the number at the end: 4 or 004 for ReMIND-004."""
    number = re.search(r"\d+$", name)
    return cell == name or (cell.isdecimal() and number is not None and int(cell) == int(number[0]))
