"""Why a study is not in a cohort: one of a few reasons, and what exactly is wrong, as a table."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..volume import InputError

#: Name of the table in the folder of a cohort.
EXCLUSIONS = "exclusions.csv"

NO_ULTRASOUND = "no ultrasound"
NO_MRI = "no MRI of the phase"
IN_DOUBT = "in doubt"
UNUSABLE = "cannot be used"
REGISTRATION = "registration failed"
OVERLAP = "overlap below 50 %"
GRIDS_DIFFER = "not on one grid"
FOREGROUND = "too little foreground"
SPLIT = "not in one split"
READER = "the reader said no"


class Exclusion(InputError):
    """A study that is not taken, with one of the reasons above."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@contextlib.contextmanager
def excluding(reason: str) -> Iterator[None]:
    """Make of an :class:`InputError` an exclusion for this reason."""
    try:
        yield
    except InputError as error:
        raise Exclusion(reason, str(error)) from error


def write_exclusions(path: Path, excluded: Sequence[dict[str, str]]) -> None:
    """Write a row each of ``study``, ``patient``, ``phase``, ``reason`` and ``detail``."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("study", "patient", "phase", "reason", "detail"))
        writer.writeheader()
        writer.writerows(excluded)
