"""What a reader says of each case: a table beside the contact sheet, which is read back."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..files.tables import read_csv
from ..volume import InputError

#: Name of the table in the folder of a cohort.
REVIEW = "review.csv"

_VERDICTS = {"yes": True, "y": True, "no": False, "n": False, "": None}
_COLUMNS = (
    "study", "accepted", "patient", "phase", "lc2_before", "lc2_after", "tre_mm", "moved_mm", "covered",
    "fan_ml", "warnings",
)  # fmt: skip


def read_review(path: Path, studies: Collection[str] | None = None) -> dict[str, bool | None]:
    """The verdict on each study: True for yes, False for no, None where the cell is empty.

    Parameters
    ----------
    path
        CSV with the columns study and accepted.
    studies
        Those that may be named; any by default.

    Raises
    ------
    InputError
        It cannot be read, says neither yes nor no, or names another study.
    """
    verdicts = {}
    for number, row in enumerate(read_csv(path, ("study", "accepted")), start=2):
        if row["accepted"].lower() not in _VERDICTS:
            raise InputError(f"{path}: line {number}: {row['accepted']} is neither yes nor no; write one of them")
        if studies is not None and row["study"] not in studies:
            raise InputError(f"{path}: line {number}: {row['study']} is no study of the cohort; check the name")
        verdicts[row["study"]] = _VERDICTS[row["accepted"].lower()]
    return verdicts


def write_review(
    path: Path, cases: Iterable[tuple[Mapping[str, str], Mapping[str, Any]]], verdicts: Mapping[str, bool | None]
) -> None:
    """Write the table, with what helps to decide.

    Parameters
    ----------
    path
        File to write.
    cases
        Of each, its entry in the index (name, head, phase) and its parameters.
    verdicts
        What was said already; the cell of any other case is left empty for the reader.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        for entry, parameters in cases:
            writer.writerow(_row(entry, parameters, verdicts.get(entry["name"])))


def _row(entry: Mapping[str, str], parameters: Mapping[str, Any], verdict: bool | None) -> dict[str, Any]:
    done = {"similarity": {}, "TRE": {}, "moved_mm": "", "warnings": [], **(parameters.get("registration") or {})}
    return {
        "study": entry["name"],
        "accepted": {True: "yes", False: "no", None: ""}[verdict],
        "patient": entry["head"],
        "phase": entry.get("phase", ""),
        "lc2_before": done["similarity"].get("before", ""),
        "lc2_after": done["similarity"].get("after", ""),
        "tre_mm": done["TRE"].get("mean_mm", ""),
        "moved_mm": done["moved_mm"],
        "covered": parameters["covered"],
        "fan_ml": parameters["fan_ml"],
        "warnings": " ".join([*done["warnings"], *parameters["warnings"]]),
    }
