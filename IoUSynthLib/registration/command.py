"""``iousynth register``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from ..constants import DEVICES, LABELS, NOTICE
from ..files.names import role_of
from ..files.paths import case_name
from ..files.volumes import read_volume, write_volume
from ..input_checks import check_input, check_ultrasound
from ..outputs.case_files import check_acquired, staging_folder
from ..pipeline import synthesize
from ..progress import Progress, StagePrinter
from ..synthesis.acquired import check_is_mri
from ..synthesis.report import add_warnings
from ..volume import InputError, Volume
from .inputs import read_initial, resembles_ultrasound
from .landmarks import read_landmark_pairs
from .picture import write_picture
from .rigid import to_sitk
from .workflow import RegistrationResult, register

#: Formats that a transform is written in; a displacement field needs the first.
_SUFFIXES = (".h5", ".tfm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes the transform (ITK convention: from the ultrasound's LPS points to the MRI's; loaded into 3D Slicer as "
        "the MRI's parent it moves the MRI onto the ultrasound), and beside it NAME_CONTRAST.nii.gz, NAME_report.json "
        "and NAME.png."
    )
    parser.epilog = NOTICE
    parser.add_argument("moving", type=Path, metavar="MOVING", help="preoperative MRI: file or DICOM folder")
    parser.add_argument("fixed", type=Path, metavar="FIXED", help="reconstructed 3D ultrasound")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="TRANSFORM", help="file: .h5 or .tfm")
    parser.add_argument(
        "--contrast", metavar="NAME", help="T2w, FLAIR, or any other (default: by the name of the file)"
    )
    parser.add_argument("--also", type=Path, metavar="MRI", help="second contrast of the same frame, to use both")
    parser.add_argument(
        "--synthetic", type=Path, metavar="DIR", help="folder that synthesize wrote for FIXED (default: synthesize now)"
    )
    parser.add_argument("--model", metavar="NAME|PATH", help="generator to synthesize with")
    parser.add_argument(
        "--initial",
        type=Path,
        metavar="FILE",
        help="rigid or affine transform to start from, where the images do not lie near each other: a file of ITK, in "
        "the direction of what is written here (default: the places that the images have)",
    )
    parser.add_argument("--affine", action="store_true", help="refine with scale and shear, at most 6 %%")
    parser.add_argument("--deformable", action="store_true", help="find a displacement field too (for research)")
    parser.add_argument(
        "--landmarks",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="a .tag of MRI and ultrasound, or a .mrk.json or .fcsv of each, MRI first: prints the TRE",
    )
    parser.add_argument("--device", choices=DEVICES, default="auto", help="of the synthesis")
    parser.add_argument("--json", action="store_true", help="print the report instead of a line")


def run(options: argparse.Namespace) -> int:
    """Register, write the files, and return the exit code: 0, also for a doubtful or failed registration.

    Raises
    ------
    InputError
        Something is missing or wrong; nothing is written then.
    """
    started = time.perf_counter()
    name = _output_name(options)
    said: list[str] = []
    landmarks = read_landmark_pairs(options.landmarks, said.append) if options.landmarks else None
    initial = read_initial(options.initial) if options.initial else None
    files = [options.moving, *([options.also] if options.also else [])]
    moving = _read_contrasts(files, options.contrast)
    ultrasound = check_ultrasound(read_volume(options.fixed), str(options.fixed))
    said += _check_kinds(
        dict(zip(files, moving.values(), strict=True)), options.fixed, ultrasound=ultrasound, initial=initial
    )
    progress = StagePrinter(name)
    with staging_folder(options.output.parent) as staging:
        synthetic, fan, cavity = _synthetic(options, ultrasound, progress)
        try:
            result = register(
                moving, ultrasound, synthetic, fan=fan, cavity=cavity, affine=options.affine,
                deformable=options.deformable, landmarks=landmarks, initial=initial, progress=progress,
            )
        except InputError as error:
            raise InputError(f"{', '.join(map(str, [*files, options.fixed]))}: {error}") from error
        add_warnings(result.report, said)
        result.report = {
            "moving": [path.name for path in files], "fixed": options.fixed.name,
            "initial": options.initial.name if options.initial else None,
            "seconds_with_files": round(time.perf_counter() - started, 3), **result.report,
        }
        _write(
            staging, name, options.output.name, ultrasound=ultrasound, synthetic=synthetic, moving=moving, result=result
        )
    print(json.dumps(result.report, indent=1) if options.json else f"{options.output}: {result.report['summary']}")
    return 0


def _output_name(options: argparse.Namespace) -> str:
    name = options.output.name
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), None)
    if suffix is None:
        raise InputError(f"{options.output}: a transform is not written in this format; name it .h5 or .tfm")
    if options.deformable and suffix != ".h5":
        raise InputError(f"{options.output}: cannot hold a displacement field; name it .h5")
    return name.removesuffix(suffix)


def _read_contrasts(files: list[Path], contrast: str | None) -> dict[str, Volume]:
    names = [contrast or guess_contrast(files[0]), *(guess_contrast(path) for path in files[1:])]
    if len(set(names)) < len(names):
        raise InputError(f"{files[1]}: looks like {names[1]}, as {files[0]} does; name the first one with --contrast")
    volumes = {}
    for name, path in zip(names, files, strict=True):
        volumes[name] = check_input(read_volume(path), str(path))
    return volumes


def _check_kinds(
    moving: dict[Path, Volume], fixed: Path, *, ultrasound: Volume, initial: np.ndarray | None
) -> list[str]:
    """Refuse ultrasound and synthetic images in the place of the MRI, and say what is in doubt."""
    check_acquired(fixed)
    said, sweep = [], resembles_ultrasound(ultrasound)
    start = None if initial is None else to_sitk(initial)
    for path, image in moving.items():
        check_acquired(path)
        check_is_mri(image, ultrasound, str(path), transform=start)
        if not resembles_ultrasound(image):
            continue
        if not sweep:
            raise InputError(f"{path}: looks like ultrasound, and {fixed} does not; give the MRI first")
        if role_of(path) == "ultrasound":
            raise InputError(f"{path}: is ultrasound by its name and its looks; give the preoperative MRI")
        said.append(f"{path.name} looks like ultrasound; is it the preoperative MRI?")
    return said


def guess_contrast(path: Path) -> str:
    """The contrast that a file's name tells: FLAIR, T2w, T1w, or "MRI"."""
    role = role_of(path)
    return role if role in ("FLAIR", "T2w", "T1w") else "MRI"


def _synthetic(
    options: argparse.Namespace, ultrasound: Volume, progress: Progress
) -> tuple[dict[str, Volume], Volume | None, Volume | None]:
    """Synthetic contrasts, fan and resection cavity, read or made."""
    if options.synthetic is None:
        made = synthesize(ultrasound, options.model, options.device, progress)
        cavity = made.segmentation.with_array(made.segmentation.array == LABELS["cavity"])
        return made.images, made.valid, cavity
    case = case_name(options.fixed)
    paths = {kind: options.synthetic / f"{case}_{kind}.nii.gz" for kind in ("T2w", "FLAIR", "segmentation")}
    found = {kind: read_volume(path) for kind, path in paths.items() if path.is_file()}
    segmentation = found.pop("segmentation", None)
    if not found:
        raise InputError(f"{paths['T2w']}: is missing; synthesize {options.fixed} into {options.synthetic} first")
    cavity = None if segmentation is None else segmentation.with_array(segmentation.array == LABELS["cavity"])
    return found, None, cavity


def _write(
    folder: Path, name: str, transform: str, *, ultrasound: Volume, synthetic: dict[str, Volume],
    moving: dict[str, Volume], result: RegistrationResult,
) -> None:
    import SimpleITK as sitk

    try:
        sitk.WriteTransform(result.transform, str(folder / transform))
    except RuntimeError as error:
        raise InputError(f"{folder.parent / transform}: cannot be written; free space or choose another") from error
    for contrast, image in result.resampled.items():
        header = {"descrip": f"preoperative {contrast} registered to ultrasound: {result.consistency.name}"[:79]}
        write_volume(folder / f"{name}_{contrast}.nii.gz", image, header)
    (folder / f"{name}_report.json").write_text(json.dumps(result.report, indent=1) + "\n", encoding="utf-8")
    contrast = next((kind for kind in moving if kind in synthetic), next(iter(moving)))
    shown = synthetic.get(contrast, next(iter(synthetic.values())))
    write_picture(
        folder / f"{name}.png", ultrasound, synthetic=shown, moving=moving[contrast], result=result, name=contrast
    )
