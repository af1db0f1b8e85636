"""One case: an ultrasound file in, the files of :mod:`.case_files` out, unless they are there already.

The command line calls :func:`synthesize_file` itself; Slicer lets its child process do so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import pipeline
from ..files.integrity import file_sha256
from ..files.paths import case_name
from ..files.volumes import read_volume
from ..input_checks import check_ultrasound
from ..pipeline import Options
from ..progress import Progress
from ..synthesis.preoperative import Preoperative
from ..synthesis.report import describe_mri, describe_place, voxels_sha256
from ..volume import InputError, Volume
from .case_files import KINDS, check_acquired, check_length, output_names, write_outputs


@dataclass(frozen=True)
class Written:
    """The files of a case.

    Attributes
    ----------
    report
        What ``CASE_report.json`` holds.
    files
        Their names.
    earlier
        Whether they are of an earlier run, so that nothing was done.
    """

    report: dict[str, Any]
    files: list[str]
    earlier: bool = False


def synthesize_file(
    path: Path,
    output: Path,
    staging: Path,
    *,
    options: Options | None = None,
    again: bool = False,
    beside: Volume | None = None,
    preoperative: Preoperative | None = None,
    mri: Mapping[str, Volume] | None = None,
    kinds: Sequence[str] = KINDS,
    progress: Progress | None = None,
) -> Written:
    """Make the images of a file, unless they are there already.

    Parameters
    ----------
    path
        Ultrasound volume, or folder with one DICOM series.
    output
        Where the files will be; what is complete there is not made again, unless ``again``. Complete means: all files
        that the report names are there, and it was made of the same input, with the same models and for the same phase
        of the surgery.
    staging
        Where the files are written: the ``folder`` of a :class:`case_files.Staging` of ``output``.
    options, preoperative, mri, progress
        As in :func:`pipeline.synthesize_with`.
    again
        Whether what is complete is made anew, too.
    beside
        MRI to show in the picture, as it lies.
    kinds
        The images that are written, as far as the models make them.

    Raises
    ------
    InputError
        The file, the model or the device cannot be used; names the file.
    """
    options, progress, case = options or Options(), progress or (lambda _stage, _fraction: None), case_name(path)
    progress("reading", 0.0)
    started = time.perf_counter()
    check_length(path, output_names(case))
    check_acquired(path)
    given = {
        "file": path.name, "file_sha256": sha256_of(path), **_describe_shown(beside, options.mr_grid),
        "mri": describe_mri(mri) if mri else None,
        "preoperative_mri": preoperative.describe() if preoperative else None,
    }  # fmt: skip
    report = None if again else _earlier(output, case, given=given, options=options, kinds=kinds)
    if report is not None:
        return Written(report, report["files"], earlier=True)
    volume = check_ultrasound(read_volume(path), str(path))
    other = [image for image in (beside, options.mr_grid) if image is not None]
    warnings = dict.fromkeys(f"Preoperative MRI: {text}" for image in other for text in image.warnings)
    volume = replace(volume, warnings=(*volume.warnings, *warnings))
    reading = round(time.perf_counter() - started, 3)
    try:
        result = pipeline.synthesize_with(volume, options, progress, mri=mri, preoperative=preoperative)
    except InputError as error:
        raise InputError(str(error).replace("input volume", str(path), 1)) from error
    if not all(_covers(image, result.valid) for image in other):
        result.report["warnings"].append("The preoperative MRI does not cover the ultrasound: another patient?")
    result.report["input"] = {**given, **result.report["input"]}
    seconds = result.report["seconds"]
    result.report["seconds"] = {"reading": reading, **seconds, "total": round(reading + seconds["total"], 3)}
    shown = {} if beside is None else {"Preoperative MRI": beside}
    files = write_outputs(
        staging, case, volume, result=result, shown={**shown, **(mri or {})}, preoperative=preoperative, kinds=kinds
    )
    return Written(result.report, files)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder in the order of their names."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    try:
        return file_sha256(*files)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _describe_shown(beside: Volume | None, mr_grid: Volume | None) -> dict[str, Any]:
    """Return what else went into a result, for the report: voxels and place of the MRI, of a grid the place alone."""
    return {
        "preoperative_sha256": None if beside is None else voxels_sha256(beside),
        "preoperative_grid": None if beside is None else describe_place(beside),
        "mri_grid": None if mr_grid is None else describe_place(mr_grid),
    }


def _earlier(
    output: Path, case: str, *, given: dict[str, Any], options: Options, kinds: Collection[str]
) -> dict[str, Any] | None:
    """Return the report of an earlier run if it made the same, or more images of it, and all of that is there."""
    models = pipeline.load_models(options.model, with_mri=given["preoperative_mri"] is not None)
    made_with = {**models.describe(), **options.describe()}
    wanted = {f"{case}_{kind}.nii.gz" for kind in models.kinds if kind in kinds}
    try:
        report = json.loads((output / f"{case}_report.json").read_text(encoding="utf-8"))
        described = {key: report["input"].get(key) for key in given}
        there = wanted <= set(report["files"]) and all((output / name).stat().st_size > 0 for name in report["files"])
        same = described == given and {key: report[key] for key in made_with} == made_with
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or of another program
        return None
    return report if there and same else None


def _covers(mri: Volume, valid: Volume) -> bool:
    """Tell whether the middle of the ultrasound fan lies inside the MRI's grid."""
    middle = np.argwhere(valid.array).mean(axis=0)[::-1]
    place = np.linalg.inv(mri.ijk_to_lps) @ valid.ijk_to_lps @ [*middle, 1.0]
    return bool((place[:3] >= 0).all() and (place[:3] <= np.array(mri.size) - 1).all())
