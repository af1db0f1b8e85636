"""``iousynth synthesize``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..models.bundle import DEFAULT_GENERATOR
from ..pipeline import Options, load_models
from ..preprocessing import axial
from ..progress import Progress
from .batch_command import add_choices, add_inputs, run_batch
from .case import Written, synthesize_file
from .case_files import read_acquired


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes CASE_T2w.nii.gz, CASE_FLAIR.nii.gz, CASE_uncertainty.nii.gz, CASE_segmentation.nii.gz, "
        "CASE_report.json and CASE.png for every input, all on the input's own grid; no FLAIR or uncertainty where the "
        "model does not predict it. Of several inputs, summary.csv says what became of each; one that is bad does not "
        "stop the rest, and those of the same name get a folder each, as they lie in one. The same command goes on "
        "after an interruption: what was made of the same input with the same model is not made again."
    )
    add_inputs(parser)
    parser.add_argument("--model", metavar="NAME|PATH", help=f"generator (default: {DEFAULT_GENERATOR})")
    parser.add_argument("--preoperative", type=Path, metavar="MRI", help="preoperative MRI to show in the picture")
    parser.add_argument(
        "--mri",
        type=Path,
        metavar="FILE",
        help="MRI whose axes and voxel size a model in the patient's frame takes, such as the published ones, in the "
        "coordinates of the inputs (default: that of --preoperative, else LPS and the model's own voxel size)",
    )
    add_choices(parser)


def run(options: argparse.Namespace) -> int:
    """Synthesize all inputs, write and print what became of them, and return the exit code: 2 when one has failed.

    Raises
    ------
    InputError
        The model or an MRI cannot be used, or results would overwrite each other or an input; nothing is written then.
    """
    load_models(options.model)  # a wrong name fails here once, not for each input
    preoperative = read_acquired(options.preoperative) if options.preoperative else None
    mri = read_acquired(options.mri) if options.mri else preoperative
    mr_grid = axial(mri) if mri is not None else None
    choices = Options(
        options.model, options.device, mr_grid,
        before_resection=options.before_resection, probable_place=options.probable_place,
    )  # fmt: skip

    def synthesize(path: Path, folder: Path, staging: Path, *, progress: Progress) -> Written:
        return synthesize_file(
            path, folder, staging, options=choices, again=options.again, preoperative=preoperative, progress=progress
        )

    return run_batch(options, synthesize)
