"""``iousynth synthesize``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..commands import positive, seed
from ..constants import CONTRASTS
from ..files.transforms import read_transform
from ..models.bundle import DEFAULT_GENERATOR, DEFAULT_WITH_MRI, HOTTEST
from ..pipeline import Options, load_models
from ..preprocessing import axial
from ..progress import Progress
from ..synthesis.preoperative import Preoperative, check_contrasts, check_patient, image_sha256
from ..synthesis.spread import MOST_SAMPLES, check_sampling
from ..volume import InputError, Volume
from .batch_command import add_choices, add_inputs, run_batch
from .case import Written, synthesize_file
from .case_files import read_acquired


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes CASE_T2w.nii.gz, CASE_FLAIR.nii.gz, CASE_uncertainty.nii.gz, CASE_segmentation.nii.gz, "
        "CASE_report.json and CASE.png for every input, all on the input's own grid; no FLAIR or uncertainty where the "
        "model does not predict it, CASE_contribution.png where it has read preoperative MRI, and CASE_spread.nii.gz "
        "and CASE_frequency.nii.gz of several samples. Of several inputs, "
        "summary.csv says what became of each; one that is bad does not stop the rest, and those of the same name get "
        "a folder each, as they lie in one. The same command goes on after an interruption: what was made of the same "
        "input with the same model is not made again."
    )
    add_inputs(parser)
    parser.add_argument(
        "--model", metavar="NAME|PATH",
        help=f"generator (default: {DEFAULT_GENERATOR}, and {DEFAULT_WITH_MRI} where there is MRI for it)",
    )  # fmt: skip
    parser.add_argument(
        "--preoperative",
        nargs="+",
        default=[],
        metavar="[CONTRAST=]MRI",
        help=f"preoperative MRI; one without a contrast is shown in the picture, as it lies, and those with one of "
        f"{', '.join(CONTRASTS)} (T2w=MRI) are given to a model that reads them beside ultrasound",
    )
    parser.add_argument(
        "--registration",
        type=Path,
        metavar="TRANSFORM",
        help="where the MRI that the model is given lies, as register writes it (default: where the ultrasound lies)",
    )
    parser.add_argument(
        "--mri",
        type=Path,
        metavar="FILE",
        help="MRI whose axes and voxel size a model in the patient's frame takes, such as the published ones, in the "
        "coordinates of the inputs (default: that of --preoperative, else LPS and the model's own voxel size)",
    )
    research = parser.add_argument_group("research", "samples of a model that draws: MMHVAE or SynDiff")
    research.add_argument(
        "--samples", type=positive, metavar="N",
        help=f"draw so many, up to {MOST_SAMPLES}: the images are their mean, and what they differ in is written, too",
    )  # fmt: skip
    research.add_argument(
        "--temperature", type=float, metavar="T",
        help=f"factor of the deviations that MMHVAE draws with, from 0 to {HOTTEST:g} (default: as its bundle says)",
    )  # fmt: skip
    research.add_argument("--seed", type=seed, metavar="S", help="of the samples (default: 0)")
    add_choices(parser)


def run(options: argparse.Namespace) -> int:
    """Synthesize all inputs, write and print what became of them, and return the exit code: 2 when one has failed.

    Raises
    ------
    InputError
        The model or an MRI cannot be used, or results would overwrite each other or an input; nothing is written then.
    """
    shown, files = _split(options.preoperative)
    generator = load_models(options.model, with_mri=bool(files)).generator  # a wrong name fails here once
    drawn = _drawn(options)
    if drawn:
        check_sampling(generator, drawn["samples"], seed=drawn["seed"], temperature=drawn["temperature"])
    check_contrasts(files, generator)
    preoperative = _read_preoperative(files, options.registration)
    beside = read_acquired(shown) if shown else None
    mri = read_acquired(options.mri) if options.mri else beside
    mr_grid = axial(mri) if mri is not None else None
    known = (image_sha256(beside),) if beside is not None and generator.patient else ()
    check_patient(generator, [*known, *(map(image_sha256, preoperative.images.values()) if preoperative else ())])
    choices = Options(
        options.model, options.device, mr_grid,
        before_resection=options.before_resection, probable_place=options.probable_place,
        mri_sha256=known, **drawn,
    )  # fmt: skip

    def synthesize(path: Path, folder: Path, staging: Path, *, progress: Progress) -> Written:
        return synthesize_file(
            path, folder, staging, options=choices, again=options.again, beside=beside, preoperative=preoperative,
            progress=progress,
        )  # fmt: skip

    return run_batch(options, synthesize)


def _drawn(options: argparse.Namespace) -> dict[str, Any]:
    """How samples are drawn, as :class:`..pipeline.Options` has it."""
    if options.samples is None:
        for name in ("temperature", "seed"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name}: is of samples; say how many with --samples, or leave it out")
        return {}
    return {"samples": options.samples, "seed": options.seed or 0, "temperature": options.temperature}


def _split(entries: Sequence[str]) -> tuple[Path | None, dict[str, Path]]:
    """Return the MRI to be shown, if there is one, and those for the model, by contrast."""
    shown, files = [], {}
    for entry in entries:
        contrast, equals, file = entry.partition("=")
        if not equals or Path(entry).exists():
            shown.append(Path(entry))
        elif contrast not in CONTRASTS or not file:
            raise InputError(f"--preoperative {entry}: is neither {' nor '.join(f'{name}=MRI' for name in CONTRASTS)}")
        elif contrast in files:
            raise InputError(f"--preoperative {entry}: names {contrast} twice; give each contrast once")
        else:
            files[contrast] = Path(file)
    if len(shown) > 1:
        raise InputError(f"--preoperative {shown[1]}: one MRI is shown; name its contrast to give it to the model")
    return (shown[0] if shown else None), files


def _read_preoperative(files: dict[str, Path], registration: Path | None) -> Preoperative | None:
    """Read the MRI for the model, and where it lies."""
    if not files and registration is None:
        return None
    if not files:
        raise InputError(f"--registration {registration}: says where MRI lies; give that, as --preoperative T2w=MRI")
    images: dict[str, Volume] = {contrast: read_acquired(path) for contrast, path in files.items()}
    names = {contrast: path.name for contrast, path in files.items()}
    if registration is None:
        return Preoperative(images, None, names)
    transform = read_transform(registration)
    return Preoperative(images, transform, {**names, "transform": registration.name}, _doubts(registration))


def _doubts(registration: Path) -> tuple[str, ...]:
    """What the report that ``register`` writes beside a transform says against it."""
    report = registration.with_name(f"{registration.stem}_report.json")
    try:
        verdict = json.loads(report.read_text(encoding="utf-8"))["verdict"]
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or of another program
        return ()
    return () if verdict == "agrees" else (f"the registration of the preoperative MRI is {verdict} ({report.name})",)
