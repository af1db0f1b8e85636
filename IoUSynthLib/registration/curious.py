"""``iousynth curious``: target registration errors over a cohort with landmarks, as the challenge CuRIOUS scored them.

The challenge (Xiao et al., IEEE TMI 2020) registers every patient's MRI to the ultrasound before resection, and
averages the mean distance of the landmarks of a patient over the patients. Beside the images' own places, random starts
show how far the registration can be trusted.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..cohort.readers import Study, find_studies, landmark_file
from ..constants import DEVICES, NOTICE
from ..files.names import role_of
from ..files.tables import write_csv
from ..files.volumes import read_volume
from ..input_checks import check_input, check_ultrasound
from ..pipeline import synthesize
from ..progress import StagePrinter
from ..volume import InputError, Volume
from .displacements import random_start
from .landmarks import read_landmark_pairs, target_registration_errors
from .rigid import to_sitk
from .workflow import register

#: The table in the output folder.
FILE = "curious.csv"


@dataclass(frozen=True)
class Row:
    """One registration: mean distance of the landmarks in mm before and after, and what was said of it."""

    case: str
    mri: str
    start: int
    landmarks: int
    before_mm: float
    after_mm: float
    verdict: str
    seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Registers the MRI of every case to its ultrasound, and writes the mean distance of the landmarks before and "
        f"after (TRE) to {FILE}."
    )
    parser.epilog = NOTICE
    parser.add_argument(
        "cohort", type=Path, metavar="COHORT", help="RESECT, or a folder for each patient with ioUS, MRI and one .tag"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help=f"folder for {FILE}")
    parser.add_argument(
        "--mri", nargs="+", default=["*"], metavar="PATTERN", help="names of the MRI to register (default: all)"
    )
    parser.add_argument("--starts", type=int, default=0, metavar="N", help="random starts beside the images' places")
    parser.add_argument("--seed", type=int, default=0, help="of the random starts")
    parser.add_argument("--model", metavar="NAME|PATH", help="generator to synthesize with")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="of the synthesis")


def run(options: argparse.Namespace) -> int:
    """Register all cases with landmarks, write the table row by row, print a summary, and return the exit code 0.

    A case that cannot be registered is named and left out.

    Raises
    ------
    InputError
        The folder holds no cases, the table cannot be written, or not one case could be registered.
    """
    rows: list[Row] = []
    studies = find_studies(options.cohort)
    for study in studies:
        try:
            for row in _score(study, options):
                rows.append(row)
                write_csv(options.output / FILE, list(map(asdict, rows)))
                print(f"{row.case}, start {row.start}: {row.before_mm:.2f} to {row.after_mm:.2f} mm, {row.verdict}")
        except InputError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not rows:
        raise InputError(f"{options.cohort}: not one case could be registered; the lines above say why")
    print(summary(rows))
    return 0


def summary(rows: list[Row]) -> str:
    """Mean (standard deviation) over the cases of the mean TRE of their landmarks, before and after, in words."""
    lines = []
    for name, chosen in (("own places", [r for r in rows if not r.start]), ("starts", [r for r in rows if r.start])):
        if not chosen:
            continue
        cases = sorted({row.case for row in chosen})
        means = [[np.mean([getattr(r, when) for r in chosen if r.case == case]) for case in cases]
                 for when in ("before_mm", "after_mm")]
        before, after = (f"{np.mean(values):.2f} ({np.std(values):.2f})" for values in means)
        failed = sum(row.verdict == "failed" for row in chosen)
        lines.append(
            f"{name}: mean TRE of {len(cases)} case{'s' * (len(cases) > 1)}, {before} mm before, {after} mm after; "
            f"median {np.median([row.after_mm for row in chosen]):.2f} mm; {failed} of {len(chosen)} called failed"
        )
    return "\n".join(lines)


def _score(study: Study, options: argparse.Namespace) -> Iterator[Row]:
    landmarks = read_landmark_pairs([landmark_file(study, options.cohort)])
    ultrasound, moving = read_ultrasound(study), read_mri(study, options.mri)
    made = synthesize(ultrasound, options.model, options.device, StagePrinter(study.name))
    rng = np.random.default_rng(options.seed)
    middle = landmarks[1].mean(axis=0)
    for number, start in enumerate([np.eye(4), *(random_start(middle, rng) for _ in range(options.starts))]):
        result = register(
            moving, ultrasound, made.images, fan=made.valid, initial=start, progress=StagePrinter(study.name)
        )
        before, after = (
            round(float(target_registration_errors(transform, *landmarks).mean()), 3)
            for transform in (to_sitk(start), result.transform)
        )
        seconds, verdict = round(result.report["seconds"]["total"], 1), result.consistency.name
        yield Row(study.name, " ".join(moving), number, len(landmarks[0]), before, after, verdict, seconds)


def read_ultrasound(study: Study) -> Volume:
    """The ultrasound of a study.

    Raises
    ------
    InputError
        There is none, more than one, or it cannot be used.
    """
    ultrasound = [path for path in study.images if role_of(path) == "ultrasound"]
    if len(ultrasound) != 1:
        found = ", ".join(path.name for path in ultrasound) or "none"
        raise InputError(f"{study.name}: one ultrasound volume is needed, found {found}")
    return check_ultrasound(read_volume(ultrasound[0]), str(ultrasound[0]))


def read_mri(study: Study, patterns: Sequence[str] = ("*",)) -> dict[str, Volume]:
    """The MRI of a study by contrast, of those whose file names match one of the patterns.

    Raises
    ------
    InputError
        There is none, two are of one contrast, or one cannot be used.
    """
    moving: dict[str, Volume] = {}
    for path in study.images:
        contrast = role_of(path)
        if contrast not in ("T1w", "T2w", "FLAIR", "MRI") or not any(fnmatch.fnmatch(path.name, p) for p in patterns):
            continue
        if contrast in moving:
            raise InputError(f"{study.name}: {path.name} is a second {contrast}; name the MRI to register with --mri")
        moving[contrast] = check_input(read_volume(path), str(path))
    if not moving:
        raise InputError(f"{study.name}: holds no MRI of the names asked for; put the contrast into its name")
    return moving
