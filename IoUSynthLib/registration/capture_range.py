"""``iousynth capture-range``: from how far away an MRI is registered, by ultrasound and by synthetic MRI.

As in Table V of MMHVAE (Dorent et al., "Unified Cross-Modal Image Synthesis with Mixture of Multimodal Hierarchical
VAEs"), the MRI is displaced rigidly from its known place by a length in each of four ranges, and registered to the
ultrasound itself and to the synthetic image of its own contrast that each generator makes: one search for all of them,
by local correlation of either sign, and neither LC2 nor a consistency check, which :func:`.workflow.register` adds. Two
things depart from the paper: the length is the mean displacement of the points that the TRE is of (there a median), and
the search is the one of this library (:mod:`.search`), which tries all shifts of the range, no descent alone.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..cases.case import read_case
from ..cases.index import INDEX, describe_index, read_index
from ..cases.splits import SPLITS
from ..cohort.readers import Study, find_studies, landmark_file
from ..commands import positive, seed
from ..constants import DEVICES, NOTICE, TARGETS
from ..files.parts import Parts
from ..files.tables import write_csv
from ..outputs.markdown import markdown_table
from ..pipeline import load_models, synthesize
from ..preprocessing import field_of_view
from ..synthesis.report import describe_mri
from ..volume import InputError, Volume
from .curious import read_mri, read_ultrasound
from .displacements import RANGES_MM, SUCCESS_MM, random_displacement
from .landmarks import fit_rigid, read_landmark_pairs, target_registration_errors
from .level import Pair
from .rigid import mean_distance, to_sitk
from .search import Search
from .workflow import RIM_MM, eroded

#: Name of the tables in the output folder, without suffix, and the folder of what has been registered.
NAME, PARTS = "capture_range", "parts"
#: What the ultrasound is called among the images that the MRI is registered to.
ULTRASOUND = "ultrasound"
#: Where no landmarks are needed, the TRE is of points in the fan this far apart, in mm.
_APART_MM = 10.0


@dataclass(frozen=True, eq=False)
class Patient:
    """What is registered, and where the MRI belongs.

    Attributes
    ----------
    name
        Of the patient or the simulated case.
    ultrasound, mri
        The volume, and the MRI by contrast.
    points
        (n, 3) LPS points of the MRI and of the ultrasound that correspond.
    """

    name: str
    ultrasound: Volume
    mri: dict[str, Volume]
    points: tuple[np.ndarray, np.ndarray]

    @property
    def fingerprint(self) -> str:
        """Tells all of it from anything else, by its content."""
        images = describe_mri({ULTRASOUND: self.ultrasound, **self.mri})
        content = json.dumps([images, [points.tolist() for points in self.points]], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Generator:
    """A generator by its title, what the user called it, the contrasts that it makes, and a key of its networks."""

    title: str
    name: str | None
    images: tuple[str, ...]
    key: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Displaces the MRI of every patient by 0 to 4, 4 to 8, 8 to 12 and 12 to 16 mm, registers it by ultrasound and "
        f"by synthetic MRI, and writes the mean TRE to {NAME}.csv, .md and .json. What is done is kept, so that the "
        "same command goes on after an interruption."
    )
    parser.epilog = NOTICE
    parser.add_argument(
        "cohort", type=Path, metavar="COHORT",
        help="RESECT, a folder for each patient with ioUS, MRI and one .tag, or a simulated cohort",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the tables")
    parser.add_argument(
        "--model", nargs="+", default=[None], metavar="NAME|PATH", help="generators (default: the one that ships)"
    )
    parser.add_argument("--starts", type=positive, default=8, metavar="N", help="in each range; default: 8")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the displacements; default: 0")
    parser.add_argument(
        "--mri", nargs="+", default=["*"], metavar="PATTERN", help="file names of the MRI to register (default: all)"
    )
    parser.add_argument(
        "--aligned", action="store_true",
        help="the MRI lies where the ultrasound shows it: no landmarks are needed, the TRE is of points in the fan",
    )  # fmt: skip
    parser.add_argument("--device", choices=DEVICES, default="auto", help="of the synthesis")


def run(options: argparse.Namespace) -> int:
    """Register all patients, write the tables after each, print the last one, and return the exit code 0.

    A patient that cannot be registered is named and left out.

    Raises
    ------
    InputError
        The folder holds no patients, or prepared ones; a model cannot be used; a table cannot be written; or not one
        patient could be registered.
    """
    generators = _generators(options.model)
    readers, simulated = find_patients(options.cohort, options.mri, aligned=options.aligned)
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    text = ""
    for number, (name, read) in enumerate(readers.items(), start=1):
        print(f"{number} of {len(readers)}: {name}", file=sys.stderr, flush=True)
        try:
            rows += register_patient(read(), generators, options)
        except InputError as error:
            left_out[name] = str(error)
            print(f"left out: {error}", file=sys.stderr, flush=True)
        else:
            text = _write(rows, left_out, options, simulated=simulated)
    if not rows:
        raise InputError(f"{options.cohort}: not one patient could be registered; the lines above say why")
    print(_write(rows, left_out, options, simulated=simulated) if left_out else text)
    return 0


# Patients -------------------------------------------------------------------------------------------------------------


def find_patients(
    cohort: Path, patterns: Sequence[str] = ("*",), *, aligned: bool = False
) -> tuple[dict[str, Callable[[], Patient]], bool]:
    """Find the patients of a folder, each to be read when it is asked for, and tell whether they are simulated.

    Parameters
    ----------
    cohort
        RESECT, a folder for each patient, or a simulated cohort, of which the cases for testing are taken where it has
        any.
    patterns
        Of the file names of the MRI.
    aligned
        Whether the MRI of patients lies where the ultrasound shows it, so that no landmarks are read.

    Raises
    ------
    InputError
        The folder is missing, holds no patients, or prepared ones.
    """
    if not (cohort / INDEX).is_file():
        studies = find_studies(cohort)
        return {study.name: partial(_patient, study, cohort, patterns, aligned=aligned) for study in studies}, False
    if not describe_index(cohort).get("simulated", True):
        raise InputError(
            f"{cohort}: is prepared: its MRI ends where the ultrasound does, which gives its place away; give the "
            "folders of the patients"
        )
    folders = read_index(cohort, "test") or [case for split in SPLITS for case in read_index(cohort, split)]
    return {folder.name: partial(_simulated, folder, patterns) for folder in folders}, True


def _patient(study: Study, cohort: Path, patterns: Sequence[str], *, aligned: bool) -> Patient:
    ultrasound = read_ultrasound(study)
    points = _in_fan(ultrasound) if aligned else read_landmark_pairs([landmark_file(study, cohort)])
    return Patient(study.name, ultrasound, read_mri(study, patterns), points)


def _simulated(folder: Path, patterns: Sequence[str]) -> Patient:
    """A simulated case, whose images lie where they belong."""
    case = read_case(folder)
    images = {name: image.with_array(image.array.astype(np.float32)) for name, image in case.images.items()}
    mri = {name: images[name] for name in TARGETS if any(fnmatch.fnmatch(f"{name}.mha", p) for p in patterns)}
    if not mri:
        raise InputError(f"{folder}: holds no MRI of the names asked for")
    return Patient(folder.name, images["ioUS"], mri, _in_fan(images["ioUS"]))


def _mask(ultrasound: Volume) -> Volume:
    """Where images are compared: inside the fan, off its rim."""
    return eroded(ultrasound.with_array(field_of_view(ultrasound.array).astype(np.uint8)), RIM_MM)


def _in_fan(ultrasound: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Points in the fan, which are their own counterparts."""
    steps = [max(1, round(_APART_MM / spacing)) for spacing in ultrasound.spacing[::-1]]
    index = (np.argwhere(_mask(ultrasound).array[tuple(slice(None, None, step) for step in steps)]) * steps)[:, ::-1]
    points = index @ ultrasound.ijk_to_lps[:3, :3].T + ultrasound.ijk_to_lps[:3, 3]
    return points, points


# Registrations --------------------------------------------------------------------------------------------------------


def displacements(points: np.ndarray, count: int, seed: int) -> Iterator[tuple[str, int, np.ndarray]]:
    """Range, number of the start and 4x4 matrix, which displaces (n, 3) points by a mean in that range.

    A start is the same however many there are.
    """
    for number, (name, limits) in enumerate(RANGES_MM.items()):
        for start in range(1, count + 1):
            rng = np.random.default_rng((seed, number, start))
            yield name, start, random_displacement(points, rng.uniform(*limits), rng)


def register_patient(
    patient: Patient, generators: Sequence[Generator], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Register a patient's MRI from all starts to all images, as far as that is not done.

    Returns
    -------
    list of dict
        Of each registration ``patient``, ``mri``, ``image``, ``range_mm``, ``start``; ``displacement_mm``, the mean of
        the points, and ``before_mm`` and ``after_mm``, their mean TRE; ``seconds``; and ``refused``, why it was left at
        its start, else empty.

    Raises
    ------
    InputError
        The landmarks do not correspond, the fan is too thin, or what was done before cannot be read or written.
    """
    parts = Parts(options.output / PARTS / f"{patient.name}.json", f"{patient.fingerprint}, {__version__}")
    place, mask = fit_rigid(*patient.points), _mask(patient.ultrasound)
    rows = []
    compared = list(_compared(patient, generators, options.device))
    for range_mm, start, displacement in displacements(patient.points[1], options.starts, options.seed):
        moved = mean_distance(displacement, np.eye(4), patient.points[1])
        for contrast, label, key, image in compared:
            name = f"{contrast}, {key}, seed {options.seed}, {range_mm} mm, start {start}"
            found = parts.get(name, partial(_register, patient, contrast, image, mask=mask, start=place @ displacement))
            row = {"patient": patient.name, "mri": contrast, "image": label, "range_mm": range_mm, "start": start}
            rows.append({**row, "displacement_mm": round(moved, 3), **found})
            print(
                f"{patient.name}: {range_mm} mm, start {start} of {options.starts}, {contrast} by {label}: "
                f"{found['before_mm']:.2f} to {found['after_mm']:.2f} mm", file=sys.stderr, flush=True,
            )  # fmt: skip
    return rows


def _compared(
    patient: Patient, generators: Sequence[Generator], device: str
) -> Iterator[tuple[str, str, str, Callable[[], Volume]]]:
    """Contrast of the MRI; what it is registered to: a label for tables, a key of its own, and how to get it."""
    for contrast in patient.mri:
        yield contrast, ULTRASOUND, ULTRASOUND, lambda: patient.ultrasound
    for generator in generators:
        images = cache(partial(_synthesize, patient, generator, device))
        for contrast in patient.mri:
            if contrast in generator.images:
                yield contrast, generator.title, generator.key, partial(_of, images, contrast)
            else:
                print(f"{patient.name}: {generator.title} makes no {contrast}", file=sys.stderr, flush=True)


def _synthesize(patient: Patient, generator: Generator, device: str) -> Mapping[str, Volume]:
    print(f"{patient.name}: {generator.title} ...", file=sys.stderr, flush=True)
    return synthesize(patient.ultrasound, generator.name, device).images


def _of(images: Callable[[], Mapping[str, Volume]], contrast: str) -> Volume:
    return images()[contrast]


def _register(
    patient: Patient, contrast: str, image: Callable[[], Volume], *, mask: Volume, start: np.ndarray
) -> dict[str, Any]:
    """Register by local correlation of either sign; what is refused stays at its start."""
    pair, began, refused = Pair(image(), (patient.mri[contrast],)), time.perf_counter(), ""
    try:
        matrix = Search([pair], mask, start).run().matrix
    except InputError as error:
        matrix, refused = start, str(error)
    seconds = time.perf_counter() - began
    before, after = (target_registration_errors(to_sitk(pose), *patient.points).mean() for pose in (start, matrix))
    found = {"before_mm": round(float(before), 3), "after_mm": round(float(after), 3)}
    return {**found, "seconds": round(seconds, 1), "refused": refused}


def _generators(names: Sequence[str | None]) -> list[Generator]:
    found = []
    for name in names:
        models = load_models(name)
        key = hashlib.sha256(json.dumps(models.describe(), sort_keys=True).encode()).hexdigest()[:12]
        found.append(Generator(models.generator.title, name, models.generator.images, key))
    titles = [generator.title for generator in found]
    for title in titles:
        if titles.count(title) > 1:
            raise InputError(f"--model: two are called {title}; give one of them another name or version")
    return found


# Tables ---------------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean TRE for each contrast, image and range.

    Parameters
    ----------
    rows
        As :func:`register_patient` returns them.

    Returns
    -------
    list of dict
        ``mri``, ``image``, ``range_mm``; numbers of ``patients`` and ``registrations``; over the registrations the mean
        TRE ``before_mm`` and ``after_mm``, the standard deviation ``sd_mm`` and the median ``median_mm`` of the latter,
        and ``success``, the share of those below :data:`.displacements.SUCCESS_MM`.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["mri"], row["image"], row["range_mm"]), []).append(row)
    order = list(RANGES_MM)
    found = []
    for (mri, image, range_mm), group in sorted(groups.items(), key=lambda item: (item[0][0], order.index(item[0][2]))):
        before, after = (np.array([row[when] for row in group]) for when in ("before_mm", "after_mm"))
        found.append({
            "mri": mri, "image": image, "range_mm": range_mm,
            "patients": len({row["patient"] for row in group}), "registrations": len(group),
            "before_mm": round(float(before.mean()), 2), "after_mm": round(float(after.mean()), 2),
            "sd_mm": round(float(after.std()), 2), "median_mm": round(float(np.median(after)), 2),
            "success": round(float((after < SUCCESS_MM).mean()), 3),
        })  # fmt: skip
    return found


def markdown(entries: Sequence[Mapping[str, Any]], *, simulated: bool, starts: int) -> str:
    """The table as a page: a row for each contrast and image, a column for each range."""
    kind = "simulated cases" if simulated else "real patients"
    rows = []
    for mri, image in dict.fromkeys((entry["mri"], entry["image"]) for entry in entries):
        cells = {entry["range_mm"]: entry for entry in entries if (entry["mri"], entry["image"]) == (mri, image)}
        rows.append([mri, image, cells[next(iter(cells))]["patients"], *map(_cell, cells.values())])
    headings = ["MRI", "registered to", "n", *(f"{name} mm" for name in RANGES_MM)]
    return "\n".join([
        f"# Registration from displaced places: {kind}", "",
        f"Mean TRE in mm (standard deviation; share below {SUCCESS_MM:g} mm) over n {kind} and {starts} starts "
        "each in every range of displacement. All images are registered by one method, local correlation.", "",
        markdown_table(headings, rows), "", NOTICE, "",
    ])  # fmt: skip


def _cell(entry: Mapping[str, Any]) -> str:
    return f"{entry['after_mm']:.2f} ({entry['sd_mm']:.2f}; {entry['success']:.0%})"


def _write(
    rows: Sequence[Mapping[str, Any]], left_out: Mapping[str, str], options: argparse.Namespace, *, simulated: bool
) -> str:
    """Write the tables, and return the one in Markdown."""
    data = "simulated" if simulated else "real"
    entries = [{"data": data, **entry} for entry in table(rows)]
    text = markdown(entries, simulated=simulated, starts=options.starts)
    content = {
        "notice": NOTICE, "data": data, "seed": options.seed, "starts": options.starts, "rim_mm": RIM_MM,
        "success_mm": SUCCESS_MM, "aligned": options.aligned, "version": __version__, "left_out": dict(left_out),
        "table": entries, "registrations": list(rows),
    }  # fmt: skip
    write_csv(options.output / f"{NAME}.csv", entries)
    for suffix, page in ((".md", text), (".json", json.dumps(content, indent=1) + "\n")):
        (options.output / f"{NAME}{suffix}").write_text(page, encoding="utf-8")
    return text
