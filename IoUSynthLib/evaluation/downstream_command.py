"""``iousynth downstream``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ..commands import BAD_INPUT
from ..constants import TARGETS
from ..volume import InputError
from .protocol import NNUNET_DEVICES, REGIONS, TRAINER
from .report_command import named_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes what nnU-Net v2 needs to learn to outline tumour and cavity on the acquired MRI of a cohort, and to "
        "outline then acquired MRI, synthetic MRI and ultrasound of its test cases: folders, folds by patient, and the "
        "script that runs it in an environment of its own. The exit code is 2 where a case was left out."
    )
    parser.add_argument("cohort", type=Path, metavar="COHORT", help="folder of a cohort with outlines")
    parser.add_argument(
        "--predictions", nargs="+", default=[], type=named_folder, metavar="DIR",
        help="what synthesize wrote, a folder for each experiment: NAME=DIR, or DIR, which is named by its last part",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for nnU-Net's files")
    parser.add_argument(
        "--input", choices=(*TARGETS, "ioUS"), default="T2w",
        help="what the segmenter reads; ioUS is the reference that needs no synthesis; default: T2w",
    )
    parser.add_argument(
        "--region", choices=REGIONS, default="fan", help="as evaluate has it: blank outside the fan, or the whole crop"
    )
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="trained folds, such as the benchmark's; nothing is trained then"
    )
    parser.add_argument(
        "--trainer", default=TRAINER, metavar="NAME",
        help=f"nnU-Net's trainer; nnUNetTrainer_1epoch makes a trial; default, as published: {TRAINER}",
    )
    parser.add_argument("--device", choices=NNUNET_DEVICES, default="cuda", help="what nnU-Net runs on; default: cuda")


def run(options: argparse.Namespace) -> int:
    """Write nnU-Net's files, print what to do with them, and return the exit code: 2 where something was left out.

    Raises
    ------
    InputError
        Cohort, predictions or weights cannot be used.
    """
    from .downstream import SCRIPT, write_downstream

    predictions = dict(options.predictions)
    if len(predictions) < len(options.predictions):
        raise InputError("two experiments have one name; name them, NAME=DIR")
    written = write_downstream(
        options.cohort, options.output, options.input, predictions=predictions, region=options.region,
        weights=options.weights, trainer=options.trainer, device=options.device,
    )  # fmt: skip
    for line in written.missing:
        print(f"left out: {line}", file=sys.stderr)
    sets = ", ".join(f"{name} {len(cases)}" for name, cases in written.tests.items())
    print(f"wrote {len(written.training)} cases to train on and test cases by set: {sets}")
    print(f"then, in nnU-Net's environment: sh {shlex.quote(str(options.output / SCRIPT))}")
    for name in written.tests:
        folder = predictions.get(name)
        outlines = str(options.output / "predictions" / name)
        scored = [outlines] if folder is None else [str(folder), "--outlines", outlines]
        more = ["--reference", str(options.cohort), "-o", f"scores/{name}", "--region", options.region]
        print(f"then: iousynth evaluate {shlex.join([*scored, *more])}")
    return BAD_INPUT if written.missing else 0
