"""``iousynth evaluate``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..outputs.case_files import staging_folder
from .protocol import OUTSIDES, REGIONS, Protocol


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes scores.csv (a row a case), summary.json and table.md with means, SD and 95 % intervals by phase and "
        "structure, and prints the table."
    )
    parser.epilog = "To predict a cohort: iousynth synthesize COHORT -o PREDICTIONS"
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="folder with what synthesize wrote, named by case"
    )
    parser.add_argument(
        "--reference", required=True, type=Path, metavar="DIR", help="folder of a cohort, simulated or prepared"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_protocol(parser)
    parser.add_argument(
        "--baselines", action="store_true",
        help="score the ultrasound itself, its histogram matched, the mean of training and an empty outline, too",
    )
    parser.add_argument(
        "--timing", metavar="MODEL", help="measure time and memory of the model that made the predictions, too"
    )


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Declare how cases are scored; :func:`protocol_of` reads it."""
    parser.add_argument(
        "--region", choices=REGIONS, default="fan",
        help="where images are compared: inside the fan, or on the whole crop as the benchmark does; default: fan",
    )
    parser.add_argument(
        "--roi", nargs="?", choices=OUTSIDES, const="zero",
        help="score in and around the lesion, too; outside it crops are 0 in both images as published, or do not count",
    )
    parser.add_argument(
        "--as-released", action="store_true", help="HD95 and NSD as the benchmark's released code has them"
    )


def protocol_of(options: argparse.Namespace) -> Protocol:
    """What :func:`add_protocol` declares."""
    return Protocol(region=options.region, roi=options.roi, as_released=options.as_released)


def run(options: argparse.Namespace) -> int:
    """Score the predictions, write the results, print the table, and return the exit code 0.

    Raises
    ------
    InputError
        Predictions or cohort are missing, damaged or do not fit; nothing is written then.
    """
    from .from_files import evaluate_files
    from .results import write_results
    from .timing import TIMING, time_model, write_timing

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    timing = time_model(options.timing) if options.timing else None
    with staging_folder(options.output) as staging:
        evaluation = evaluate_files(
            options.predictions, options.reference, report, baselines=options.baselines,
            protocol=protocol_of(options),
        )  # fmt: skip
        table = write_results(evaluation, staging)
        if timing:
            write_timing(staging / TIMING, timing)
    print(table, end="")
    return 0
