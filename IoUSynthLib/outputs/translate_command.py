"""``iousynth translate``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..constants import DEVICES, MARK
from ..files.paths import case_name
from ..files.volumes import write_volume
from ..inference import open_session
from ..models.bundle import Bundle, load
from ..preprocessing import bounding_box, crop
from ..progress import Progress
from ..synthesis.report import versions
from ..synthesis.translation import Translation, check_translates, translate
from ..volume import InputError, Volume
from .batch_command import run_batch
from .case import Written, sha256_of
from .case_files import check_length, image_header, output_names, read_acquired
from .drawing import HUGE, WARNING, Text, grid, save
from .slices import Column, in_grey, orthogonal_slices

_NOTICE = f"{MARK}. Predicted from other MRI by IoUSynth; research use only, never for clinical decisions."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Makes MRI of MRI of another contrast, with a model that learned it (iousynth prepare --pairs, train, models "
        "export), and writes CASE_T2w.nii.gz or CASE_FLAIR.nii.gz, CASE_report.json and CASE.png for every input, on "
        "its own grid."
    )
    parser.epilog = _NOTICE
    parser.add_argument(
        "inputs", nargs="+", type=Path, metavar="INPUT",
        help="MRI of the contrast that the model reads, as in its training (BraTS: without the skull); or a folder",
    )  # fmt: skip
    parser.add_argument("--model", required=True, metavar="NAME|PATH", help="the model")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    parser.add_argument("--again", action="store_true", help="make what is complete anew, too (default: skip it)")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON instead of a line for each case")


def run(options: argparse.Namespace) -> int:
    """Translate all inputs, write and print what became of them, and return the exit code: 2 when one has failed.

    Raises
    ------
    InputError
        The model cannot be used, or results would overwrite each other or an input; nothing is written then.
    """
    model = load(options.model)
    check_translates(model)
    open_session(model, options.device)  # where it cannot be opened, this fails here once, not for each input

    def make(path: Path, folder: Path, staging: Path, *, progress: Progress) -> Written:
        return translate_file(path, folder, staging, model=model, options=options, progress=progress)

    return run_batch(options, make)


def translate_file(
    path: Path, output: Path, staging: Path, *, model: Bundle, options: argparse.Namespace, progress: Progress
) -> Written:
    """Make the images of a file, unless they are there already, of the same file by the same model.

    Parameters
    ----------
    path
        MRI, or folder with one DICOM series.
    output, staging
        Where the files will be, and where they are written.
    model
        One for which :func:`..synthesis.translation.check_translates` holds.
    options
        ``device``, and ``again``: whether what is complete is made anew.
    progress
        Called with the stage and the overall fraction.
    """
    case = case_name(path)
    check_length(path, output_names(case))
    given = {"file": path.name, "contrast": model.inputs[0], "file_sha256": sha256_of(path)}
    earlier = None if options.again else _earlier(output, case, given=given, model=model)
    if earlier is not None:
        return Written(earlier, earlier["files"], earlier=True)
    started = time.perf_counter()
    progress("reading", 0.0)
    volume = read_acquired(path)
    try:
        made = translate(volume, model, device=options.device, progress=lambda done: progress("translating", done))
    except InputError as error:
        raise InputError(str(error).replace("input volume", str(path), 1)) from error
    seconds = round(time.perf_counter() - started, 3)
    names = [f"{case}_{contrast}.nii.gz" for contrast in made.images]
    session = open_session(model, options.device)
    report = {
        "synthetic": True, "notice": _NOTICE, "model": model.describe(), "versions": versions(session.runtime),
        "input": given, "device": session.device, "runtime": session.runtime, "grid": made.grid,
        "inference": model.describe_plan(), "scaling": model.scaling, "warnings": list(volume.warnings),
        "notes": list(volume.notes),
        "seconds": {"total": seconds}, "files": [*names, f"{case}_report.json", f"{case}.png"],
        "summary": f"{' and '.join(made.images)} of {model.inputs[0]} in {seconds:.1f} s; it is synthetic.",
    }  # fmt: skip
    for name, (contrast, image) in zip(names, made.images.items(), strict=True):
        write_volume(staging / name, image, image_header(contrast, report))
    (staging / f"{case}_report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    save(_picture(volume, made, model=model, name=case), staging / f"{case}.png")
    return Written(report, report["files"])


def _earlier(output: Path, case: str, *, given: dict[str, Any], model: Bundle) -> dict[str, Any] | None:
    """The report of an earlier run of the same, if all of that is there."""
    try:
        report = json.loads((output / f"{case}_report.json").read_text(encoding="utf-8"))
        there = all((output / name).stat().st_size > 0 for name in report["files"])
        return report if there and (report["input"], report["model"]) == (given, model.describe()) else None
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another program
        return None


def _picture(volume: Volume, made: Translation, *, model: Bundle, name: str) -> np.ndarray:
    """The MRI and what was made of it, in three planes through the middle of the brain."""
    box = bounding_box(made.valid.array > 0, margin=4)
    seen, valid = crop(volume, box), made.valid.array[box] > 0
    columns = [Column(model.inputs[0], in_grey(seen.array, valid), valid, Text("ACQUIRED"))]
    for contrast, image in made.images.items():
        shades = in_grey(image.array[box], valid)
        columns.append(Column(contrast, shades, valid, Text("SYNTHETIC", colour=WARNING), "SYNTHETIC"))
    centre = tuple(int(place) for place in np.argwhere(valid).mean(axis=0).round())
    footer = [[Text(MARK, HUGE, WARNING)], [Text(f"{name}   {model.name}   IoUSynth {__version__}")]]
    return grid(orthogonal_slices(columns, seen, centre), footer)
