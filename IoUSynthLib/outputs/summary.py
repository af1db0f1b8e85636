"""The table of a batch: what became of each input."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.integrity import replace_file
from ..volume import InputError

#: The table that a batch leaves in its output folder.
SUMMARY = "summary.csv"

#: States of an input: not begun; under way; made now; complete from an earlier run; no result; not begun when the
#: batch was cancelled.
STATES = ("waiting", "running", "done", "skipped", "failed", "cancelled")


@dataclass
class Outcome:
    """What became of one input: a row of the summary.

    Attributes
    ----------
    name
        The path as it was given, or a frame of a sequence.
    state
        One of :data:`STATES`.
    seconds
        That the run took, of an earlier run where the state is ``skipped``.
    tumour_ml, cavity_ml
        Volumes in millilitres.
    tumour_expected_dice, cavity_expected_dice
        How far to trust the outlines, 0 to 1; None where there is none.
    error
        Cause and remedy in one line, where the state is ``failed``.
    """

    name: str
    state: str = "waiting"
    seconds: float | None = None
    tumour_ml: float | None = None
    cavity_ml: float | None = None
    tumour_expected_dice: float | None = None
    cavity_expected_dice: float | None = None
    error: str = ""

    def succeed(self, report: dict[str, Any], state: str = "done") -> None:
        """Take time and volumes out of a report."""
        self.state, self.seconds = state, report["seconds"]["total"]
        volumes = report.get("volumes_ml", {})  # of MRI made of MRI nothing is outlined
        self.tumour_ml, self.cavity_ml = (
            round(volumes[label], 2) if label in volumes else None for label in ("tumour", "cavity")
        )
        expected = report.get("expected_dice", {})  # reports of versions up to 0.3.2 have none
        self.tumour_expected_dice, self.cavity_expected_dice = expected.get("tumour"), expected.get("cavity")

    def fail(self, error: object) -> None:
        """Say why there is no result."""
        self.state, self.error = "failed", " ".join(str(error).split())


_COLUMNS = ("state", "seconds", "tumour_ml", "cavity_ml", "tumour_expected_dice", "cavity_expected_dice", "error")


def write_summary(file: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table as CSV, whole or not at all.

    Raises
    ------
    InputError
        It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            replace_file(file) as partial,
            open(partial, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(["file", *_COLUMNS])
            writer.writerows([o.name, *(getattr(o, column) for column in _COLUMNS)] for o in outcomes)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}); close it in other programs") from error


def count_states(outcomes: Sequence[Outcome]) -> str:
    """Say how many inputs are in which state, for example "17 done, 3 failed"."""
    counts = Counter(outcome.state for outcome in outcomes)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
