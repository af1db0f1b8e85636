"""``iousynth cohort-table``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..commands import BAD_INPUT
from .remind import find_series
from .table import USED, write_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Lists ReMIND as TCIA gives it, or another tree of DICOM (ultrasound, MRI, SEG): patient, phase (pre, post) "
        "and contrast of each series. Edit the table, then give it to prepare --table. What is in doubt is listed with "
        "the reason and left out until that cell is empty; the exit code is 2 then."
    )
    parser.add_argument("cohort", type=Path, metavar="DICOM", help="folder of the download; it is only read")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="table to write (CSV)")
    parser.add_argument(
        "--label-maps", type=Path, metavar="DIR",
        help="the benchmark's released label maps, <patient>-<phase>-mri..., in the place of the outlines in DICOM",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Write the table, name what is in doubt, and return the exit code: 2 where something is.

    Raises
    ------
    InputError
        The folder holds no DICOM, or the table cannot be written.
    """
    rows = find_series(options.cohort, label_maps=options.label_maps)
    write_table(options.output, rows)
    doubtful = [row for row in rows if row.doubt]
    for row in doubtful:
        print(f"in doubt: {row.patient} {row.phase} {row.contrast} {row.path}: {row.doubt}", file=sys.stderr)
    used = [row for row in rows if row.phase and row.contrast in USED and not row.doubt]
    studies = {(row.patient, row.phase) for row in used if row.contrast == "ultrasound"}
    patients = {row.patient for row in rows}
    print(
        f"listed {len(rows)} images of {len(patients)} patients in {options.output}: {len(used)} to use, "
        f"{len(studies)} ultrasound volumes among them, {len(doubtful)} in doubt"
    )
    return BAD_INPUT if doubtful else 0
