"""``iousynth segment``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..constants import TARGETS
from ..pipeline import Options, load_models
from ..progress import Progress
from ..volume import InputError
from .batch_command import add_choices, add_inputs, run_batch
from .case import Written, synthesize_file
from .case_files import read_acquired


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Outlines tumour and resection cavity, and writes CASE_segmentation.nii.gz, CASE_report.json and CASE.png for "
        "every input, on the input's own grid: on synthetic MRI, which is not written, or on the patient's own. Many "
        "inputs, and those of an interrupted command, are worked off as synthesize does."
    )
    add_inputs(parser)
    parser.add_argument(
        "--mri",
        type=_contrast_and_file,
        nargs="+",
        default=[],
        metavar="CONTRAST=FILE",
        help="T2w=FILE, FLAIR=FILE or both: MRI of the same state of the brain that is registered to the inputs, as "
        "register writes it; a contrast that is not given is synthesized",
    )
    add_choices(parser)


def _contrast_and_file(text: str) -> tuple[str, Path]:
    contrast, _, file = text.partition("=")
    if contrast not in TARGETS or not file:
        raise argparse.ArgumentTypeError(f"{text} is neither {' nor '.join(f'{name}=FILE' for name in TARGETS)}")
    return contrast, Path(file)


def run(options: argparse.Namespace) -> int:
    """Segment all inputs, write and print what became of them, and return the exit code: 2 when one has failed.

    Raises
    ------
    InputError
        The models or an MRI cannot be used, or results would overwrite each other or an input; nothing is written then.
    """
    load_models(None)  # where they are missing, this fails here once, not for each input
    files = dict(options.mri)
    if len(files) < len(options.mri):
        raise InputError("--mri: names a contrast twice; give each of them once")
    mri = {contrast: read_acquired(path) for contrast, path in files.items()}
    choices = Options(
        device=options.device, before_resection=options.before_resection, probable_place=options.probable_place
    )

    def segment(path: Path, folder: Path, staging: Path, *, progress: Progress) -> Written:
        return synthesize_file(
            path, folder, staging, options=choices, again=options.again, mri=mri, kinds=("segmentation",),
            progress=progress,
        )  # fmt: skip

    return run_batch(options, segment)
