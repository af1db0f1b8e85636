"""``iousynth synthesize``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..commands import BAD_INPUT
from ..constants import DEVICES, NOTICE
from ..files.paths import case_name
from ..files.volumes import read_volume
from ..input_checks import check_input
from ..models.bundle import DEFAULT_GENERATOR
from ..pipeline import Options, load_models
from ..preprocessing import axial
from ..progress import StagePrinter
from ..volume import InputError, Volume
from .batch import find_inputs, output_folders
from .case import synthesize_file
from .case_files import check_acquired, remove_stale, staging_folder
from .summary import SUMMARY, Outcome, count_states, write_summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes CASE_T2w.nii.gz, CASE_FLAIR.nii.gz, CASE_uncertainty.nii.gz, CASE_segmentation.nii.gz, "
        "CASE_report.json and CASE.png for every input, all on the input's own grid; no FLAIR or uncertainty where the "
        "model does not predict it. Of several inputs, summary.csv says what became of each; one that is bad does not "
        "stop the rest, and those of the same name get a folder each, as they lie in one. The same command goes on "
        "after an interruption: what was made of the same input with the same model is not made again."
    )
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
    parser.add_argument("--model", metavar="NAME|PATH", help=f"generator (default: {DEFAULT_GENERATOR})")
    parser.add_argument("--preoperative", type=Path, metavar="MRI", help="preoperative MRI to show in the picture")
    parser.add_argument(
        "--mri",
        type=Path,
        metavar="FILE",
        help="MRI whose axes and voxel size a model in the patient's frame takes, such as the published ones, in the "
        "coordinates of the inputs (default: that of --preoperative, else LPS and the model's own voxel size)",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    parser.add_argument(
        "--before-resection",
        action="store_true",
        help="nothing has been removed yet: what looks like a cavity is outlined as tumour, and where no tumour stands "
        "out, its most probable place is, with a warning",
    )
    parser.add_argument("--json", action="store_true", help="print the reports as JSON instead of a line for each case")


def run(options: argparse.Namespace) -> int:
    """Synthesize all inputs, write and print what became of them, and return the exit code: 2 when one has failed.

    Raises
    ------
    InputError
        The model or an MRI cannot be used, or results would overwrite each other or an input; nothing is written then.
    """
    inputs = find_inputs(options.inputs)
    folders = output_folders(inputs, options.output)
    load_models(options.model)  # a wrong name fails here once, not for each input
    preoperative = _read_checked(options.preoperative) if options.preoperative else None
    mri = _read_checked(options.mri) if options.mri else preoperative
    mr_grid = axial(mri) if mri is not None else None
    choices = Options(options.model, options.device, mr_grid, before_resection=options.before_resection)
    reports, outcomes = [], [Outcome(str(path)) for path in inputs]
    for number, (path, folder, outcome) in enumerate(zip(inputs, folders, outcomes, strict=True), 1):
        count = f"{number}/{len(inputs)} " if len(inputs) > 1 else ""
        try:
            given = {"options": options, "choices": choices, "preoperative": preoperative}
            reports.append(_synthesize_one(path, folder, outcome, count=count, **given))
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


def _read_checked(path: Path) -> Volume:
    check_acquired(path)
    return check_input(read_volume(path), str(path))


def _synthesize_one(
    path: Path,
    folder: Path,
    outcome: Outcome,
    *,
    count: str,
    options: argparse.Namespace,
    choices: Options,
    preoperative: Volume | None,
) -> dict[str, Any]:
    """Make the images of a file, say so, and return its report."""
    case = case_name(path)
    with staging_folder(folder) as staging:
        written = synthesize_file(
            path,
            folder,
            staging,
            options=choices,
            again=options.again,
            preoperative=preoperative,
            progress=StagePrinter(count + case),
        )
    if not written.earlier:
        remove_stale(folder, case, written.files)
        for warning in written.report["warnings"]:
            print(f"{case}: warning: {warning}", file=sys.stderr, flush=True)
    outcome.succeed(written.report, "skipped" if written.earlier else "done")
    if not options.json:
        done = "is complete, --again makes it anew:" if written.earlier else "wrote"
        print(f"{case}: {done} {', '.join(written.files)} in {folder}. {written.report['summary']}", flush=True)
    return written.report
