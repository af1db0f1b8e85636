"""``iousynth evaluate``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from ..outputs.case_files import staging_folder
from ..volume import InputError
from .protocol import OUTSIDES, REGIONS, Protocol


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes scores.csv (a row a case), summary.json and table.md with means, SD and 95 % intervals by phase and "
        "structure, and prints the table."
    )
    parser.epilog = "To predict a cohort: iousynth synthesize COHORT -o PREDICTIONS"
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS",
        help="folder with what synthesize wrote, named by case, or with outlines of nnU-Net, CASE.nii.gz",
    )
    parser.add_argument(
        "--outlines", type=Path, metavar="DIR",
        help="score the outlines in this folder in the place of those in PREDICTIONS; see downstream",
    )
    parser.add_argument(
        "--reference", required=True, type=Path, metavar="DIR",
        help="folder of a cohort, simulated or prepared, or of plain images and outlines that are named as the "
        "predictions are: CASE_T2w, CASE_FLAIR, CASE_seg; beside them CASE_mask and CASE_us",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    add_protocol(parser)
    parser.add_argument(
        "--baselines", action="store_true",
        help="score the ultrasound itself, its histogram matched, and the mean of training, too; where outlines are "
        "scored, those of the segmenter that ships on these, and an empty one",
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
        Predictions or references are missing, damaged or do not fit; nothing is written then.
    """
    from .from_files import evaluate_files
    from .from_folders import evaluate_folders, is_plain
    from .results import write_results
    from .timing import TIMING, time_model, write_timing

    def report(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    plain = is_plain(options.reference)
    if plain and options.outlines:
        raise InputError("--outlines: goes with a cohort; put the outlines beside the images, named CASE_seg")
    timing = time_model(options.timing) if options.timing else None
    with staging_folder(options.output) as staging:
        score = evaluate_folders if plain else partial(evaluate_files, outlines=options.outlines)
        evaluation = score(
            options.predictions, options.reference, report, baselines=options.baselines,
            protocol=protocol_of(options),
        )  # fmt: skip
        table = write_results(evaluation, staging)
        if timing:
            write_timing(staging / TIMING, timing)
    print(table, end="")
    return 0
