"""``iousynth paint``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..cases.case import PARAMETERS
from ..cases.index import INDEX, read_index
from ..commands import positive, seed
from ..outputs.batch import find_inputs
from ..volume import InputError
from .command import check_begun

if TYPE_CHECKING:
    from .template import Template


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Paints resection cavities into real ultrasound from before the resection: real speckle with a known label, "
        "for a segmenter to learn from (iousynth train --painted). Tumours stay unlabelled. Complete cases are kept."
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="PATH", help="volumes, or folders of them")
    parser.add_argument("-n", "--number", required=True, type=positive, metavar="N", help="number of cases")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the cohort")
    parser.add_argument(
        "--shapes", type=Path, metavar="COHORT",
        help="simulated cohort, the tumours of whose patients for training give the cavities their shape",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default: 0")


def run(options: argparse.Namespace) -> int:
    """Paint a cohort with its contact sheet, print what was written, and return the exit code 0.

    Raises
    ------
    InputError
        A volume is no ultrasound or shows no probe's face, the folder cannot be written or holds other cases.
    """
    from ..cases.contact_sheet import CONTACT_SHEET
    from .painted import PREFIX, names_of, paint_cohort
    from .painted_sheet import SHEET

    volumes, output = names_of(find_inputs(options.inputs)), options.output
    check_begun(output, list(volumes), seed=options.seed, prefix=PREFIX)
    try:
        cases = paint_cohort(
            volumes, options.number, output, templates=_shapes(options.shapes), seed=options.seed,
            progress=lambda done, total: print(f"paint: {done} of {total} cases", file=sys.stderr, flush=True),
        )  # fmt: skip
    except OSError as error:
        raise InputError(
            f"{error.filename or output}: {error.strerror or error}; put it right and repeat the command, which keeps "
            "the cases that are complete"
        ) from error
    SHEET.write([output / case["name"] for case in cases], output / CONTACT_SHEET)
    print(f"wrote {len(cases)} real volumes with painted cavities, {INDEX} and {CONTACT_SHEET} in {output}")
    return 0


def _shapes(cohort: Path | None) -> list[Template]:
    """Tumours of the patients that the cohort trains on: none of those that it tests with."""
    from .cohort import TEMPLATES
    from .template import read_template

    if cohort is None:
        return []
    heads = [json.loads((folder / PARAMETERS).read_text("utf-8"))["head"] for folder in read_index(cohort, "train")]
    files = [cohort / TEMPLATES / f"{head}.npz" for head in dict.fromkeys(heads)]
    found = [read_template(file) for file in files if file.is_file()]
    if not found:
        raise InputError(f"{cohort}: has no tumours of patients for training; leave --shapes out")
    return found
