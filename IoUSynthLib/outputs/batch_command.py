"""What the commands that work off ultrasound files have in common: their options, and the way through many inputs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..commands import BAD_INPUT
from ..constants import DEVICES, NOTICE
from ..files.paths import case_name
from ..progress import StagePrinter
from ..volume import InputError
from .batch import find_inputs, output_folders
from .case import Written
from .case_files import remove_stale, staging_folder
from .summary import SUMMARY, Outcome, count_states, write_summary

#: Makes the files of an input, given the input, the folder that they are for, that which they are written into, and by
#: name what ``progress`` is reported to.
Make = Callable[..., Written]


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Declare what is worked off, and where the results go."""
    parser.epilog = NOTICE
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="ultrasound volume: NRRD, NIfTI, MetaImage or DICOM folder; or a folder of these, of which those named as "
        "ultrasound are taken where there are such",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--again", action="store_true", help="make what is complete anew, too (default: skip it)")


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Declare what is chosen of the work, and how it is reported."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    parser.add_argument(
        "--before-resection",
        action="store_true",
        help="nothing has been removed yet: what looks like a cavity is outlined as tumour, and where no tumour stands "
        "out, a warning says so",
    )
    parser.add_argument(
        "--probable-place",
        action="store_true",
        help="with --before-resection: where no tumour stands out, outline its most probable place, which is a guess",
    )
    parser.add_argument("--json", action="store_true", help="print the reports as JSON instead of a line for each case")


def run_batch(options: argparse.Namespace, make: Make) -> int:
    """Work off all inputs, write and print what became of them, and return the exit code: 2 when one has failed.

    Raises
    ------
    InputError
        Results would overwrite each other or an input; nothing is written then.
    """
    inputs = find_inputs(options.inputs)
    folders = output_folders(inputs, options.output)
    reports, outcomes = [], [Outcome(str(path)) for path in inputs]
    for number, (path, folder, outcome) in enumerate(zip(inputs, folders, outcomes, strict=True), 1):
        count = f"{number}/{len(inputs)} " if len(inputs) > 1 else ""
        try:
            reports.append(_make_one(path, folder, outcome, make=make, count=count, as_json=options.json))
        except Exception as error:  # whatever is wrong with one input, the others go on
            if len(inputs) == 1 and not isinstance(error, InputError):
                raise
            known = isinstance(error, InputError)
            outcome.fail(error if known else f"{path}: failed ({type(error).__name__}: {error}); report this")
            print(f"error: {outcome.error}", file=sys.stderr)
        if len(inputs) > 1:
            write_summary(options.output / SUMMARY, outcomes)
    if len(inputs) > 1:
        print(f"{count_states(outcomes)}; summary: {options.output / SUMMARY}", file=sys.stderr)
    if options.json:
        print(json.dumps(reports[0] if len(inputs) == 1 and reports else reports, indent=1))
    return BAD_INPUT if any(outcome.state == "failed" for outcome in outcomes) else 0


def _make_one(
    path: Path, folder: Path, outcome: Outcome, *, make: Make, count: str, as_json: bool
) -> dict[str, Any]:
    """Make the files of an input, say so, and return its report."""
    case = case_name(path)
    with staging_folder(folder) as staging:
        written = make(path, folder, staging, progress=StagePrinter(count + case))
    if not written.earlier:
        remove_stale(folder, case, written.files)
        for warning in written.report["warnings"]:
            print(f"{case}: warning: {warning}", file=sys.stderr, flush=True)
    outcome.succeed(written.report, "skipped" if written.earlier else "done")
    if not as_json:
        done = "is complete, --again makes it anew:" if written.earlier else "wrote"
        print(f"{case}: {done} {', '.join(written.files)} in {folder}. {written.report['summary']}", flush=True)
    return written.report
