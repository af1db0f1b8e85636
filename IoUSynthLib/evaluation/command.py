"""``iousynth evaluate``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..outputs.case_files import staging_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes scores.csv (a row a case), summary.json and table.md with means and 95 % intervals, and prints the "
        "table."
    )
    parser.epilog = "To predict a cohort: iousynth synthesize COHORT -o PREDICTIONS"
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="folder with what synthesize wrote, named by case"
    )
    parser.add_argument("--reference", required=True, type=Path, metavar="DIR", help="folder of a simulated cohort")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the results")


def run(options: argparse.Namespace) -> int:
    """Score the predictions, write the results, print the table, and return the exit code 0.

    Raises
    ------
    InputError
        Predictions or cohort are missing, damaged or do not fit; nothing is written then.
    """
    from .from_files import evaluate_files
    from .results import write_results

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with staging_folder(options.output) as staging:
        table = write_results(evaluate_files(options.predictions, options.reference, report), staging)
    print(table, end="")
    return 0
