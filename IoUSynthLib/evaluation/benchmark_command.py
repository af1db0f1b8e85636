"""``iousynth benchmark``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..cohort.command import add_choices, choices_of
from ..commands import BAD_INPUT
from ..constants import DEVICES
from ..models.bundle import DEFAULT_GENERATOR
from .command import add_protocol, protocol_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "From ReMIND as TCIA gives it, or a cohort of simulate or prepare, to report/report.html: does cohort-table, "
        "prepare, synthesize, evaluate with baselines, and report. What is done is kept, so that the same command goes "
        "on, also with table.csv edited in between. What cannot be used is left out, named at the end and in the "
        "report; the exit code is 2 then."
    )
    parser.epilog = "As published: --grid mri --split published --least-ml 5 --region crop --roi"
    parser.add_argument("cohort", type=Path, metavar="COHORT", help="DICOM of patients, or a cohort; it is only read")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for all results")
    parser.add_argument(
        "--model", dest="models", nargs="+", default=[DEFAULT_GENERATOR], metavar="NAME|PATH",
        help=f"generators to compare (default: {DEFAULT_GENERATOR})",
    )  # fmt: skip
    parser.add_argument(
        "--label-maps", type=Path, metavar="DIR", help="released label maps in the place of the outlines in DICOM"
    )
    parser.add_argument("--timing", action="store_true", help="measure time and memory of the models, too")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    add_choices(parser)
    add_protocol(parser)


def run(options: argparse.Namespace) -> int:
    """Do all of it, print what the report says and what was left out, and return the exit code: 2 where something was,
    unless the reader alone has left it out.

    Raises
    ------
    InputError
        See :func:`.benchmark.benchmark`.
    """
    from .benchmark import REPORT, Plan, benchmark

    plan = Plan(
        models=options.models, choices=choices_of(options), protocol=protocol_of(options),
        timing=options.timing, label_maps=options.label_maps, device=options.device,
    )  # fmt: skip
    words, left_out = benchmark(
        options.cohort, options.output, plan, lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(words, end="")
    print(f"report: {options.output / REPORT / 'report.html'}")
    for one in left_out:
        print(f"left out: {one.what}: {one.why}", file=sys.stderr)
    return BAD_INPUT if any(not one.wanted for one in left_out) else 0
