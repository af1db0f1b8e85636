"""``iousynth prepare``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import PARAMETERS, Case, is_complete, read_case, read_parameters, write_case
from ..cases.contact_sheet import CONTACT_SHEET
from ..cases.index import INDEX, write_index
from ..cases.splits import (
    SPLITS,
    TEST_SHARE,
    VALIDATION_SHARE,
    is_only_tested,
    published_split,
    read_split,
    split_patients,
    with_validation,
)
from ..commands import BAD_INPUT, seed, share
from ..preprocessing import SCALINGS
from ..volume import InputError
from .clinical import read_clinical
from .contact_sheet import COLUMNS, write_sheets
from .exclusions import EXCLUSIONS, FOREGROUND, READER, SPLIT, UNUSABLE, Exclusion, write_exclusions
from .pairs import choose_pair, mean_voxels, pair, prepare_pair, split_slices
from .preparation import GRIDS, REGISTRATIONS, prepare_case, registration_in_words
from .readers import Study, choose_files, find_studies, landmark_file
from .review import REVIEW, read_review, write_review
from .table import read_table, studies_of

#: The split of the T1-to-T2 study, and what is said of it.
SLICES = "slices"
#: Voxels of the mean size of all patients'.
MEAN = "mean"
_LEAK = "slices of one patient are in several splits, so that scores on those for testing are too good"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How a cohort is prepared.

    Attributes
    ----------
    table
        Of the images (:mod:`.table`), with paths in the cohort's folder; without it, folders and names tell.
    grid
        One of :data:`.preparation.GRIDS`.
    register
        One of :data:`.preparation.REGISTRATIONS`.
    split
        ``random``, ``published`` (:func:`.cases.splits.published_split`), a file (:func:`.cases.splits.read_split`),
        or, of pairs, ``slices``: each slice by itself, so that patients are in several splits.
    shares
        Of those that a random split draws: what is for testing, and of the others for validation.
    seed
        Of the random split.
    least_ml
        Cases with a smaller fan are left out.
    accepted
        Reader's verdicts (:mod:`.review`): cases with a no are left out.
    clinical
        Table that is joined to the index (:mod:`.clinical`).
    pair
        Input and target of a cohort without ultrasound (:mod:`.pairs`): on the grid of its MRI, not registered.
    scaling
        Of such a cohort; a name in :data:`..preprocessing.SCALINGS`.
    voxels
        Of such a cohort: edges (x, y, z) in mm, or ``mean`` for the mean of the patients; those of the files without.
    """

    table: Path | None = None
    grid: str = "ultrasound"
    register: str = "lc2"
    split: str = "random"
    shares: tuple[float, float] = (TEST_SHARE, VALIDATION_SHARE)
    seed: int = 0
    least_ml: float = 0.0
    accepted: Path | None = None
    clinical: Path | None = None
    pair: tuple[str, str] | None = None
    scaling: str = "z-score"
    voxels: tuple[float, float, float] | str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Registers each MRI to its ultrasound and writes what simulate does, of patients. An image with label or seg "
        "in its name is an outline in the frame of the MRI: 0 background, 1 tumour, 2 cavity. Finished cases are kept, "
        "so that the same command goes on after an interruption. What is left out stands with its reason in "
        f"{EXCLUSIONS}; the exit code is 2 then, unless the reader alone has left it out."
    )
    parser.add_argument(
        "cohort", type=Path, metavar="COHORT", help="RESECT, or a folder a patient with ioUS, T2w, FLAIR in file names"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the prepared cohort")
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="what is what in COHORT, as cohort-table wrote it and you edited it"
    )
    parser.add_argument(
        "--pairs", dest="pair", type=pair, metavar="INPUT:TARGET",
        help="MRI alone, named and aligned as in BraTS: T1w:T2w makes T1w the input in place of the ultrasound",
    )  # fmt: skip
    parser.add_argument(
        "--scaling", choices=SCALINGS, default="z-score",
        help="with --pairs, how MRI is brought to one range: by mean and deviation, or lowest and highest value",
    )  # fmt: skip
    parser.add_argument(
        "--voxels", choices=(MEAN,),
        help="with --pairs, resample to the mean size of all patients' voxels (default: not at all)",
    )  # fmt: skip
    add_choices(parser)


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Declare how a cohort is prepared; :func:`choices_of` reads it."""
    parser.add_argument(
        "--grid", choices=GRIDS, default="ultrasound",
        help="voxels of 0.8 mm along the ultrasound (default), or the MRI's, as in the benchmark",
    )  # fmt: skip
    parser.add_argument(
        "--register", choices=REGISTRATIONS, default="lc2",
        help="each MRI to its ultrasound by LC2 (default), by the landmarks of a .tag beside them, or not at all",
    )  # fmt: skip
    parser.add_argument(
        "--no-registration", dest="register", action="store_const", const="none", help="short for --register none"
    )
    parser.add_argument(
        "--split", default="random", metavar="random|published|slices|FILE",
        help="who is for training, validation, testing: drawn (default), by the benchmark's rule, or as a file says; "
        "slices, with --pairs: each slice is drawn, as the T1-to-T2 study did, though scores are too good then",
    )  # fmt: skip
    parser.add_argument(
        "--shares", nargs=2, type=share, default=(TEST_SHARE, VALIDATION_SHARE), metavar=("TEST", "VALIDATION"),
        help="what is drawn for testing, and of the others for validation; default: 0.2 0.15",
    )  # fmt: skip
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the random split; default: 0")
    parser.add_argument(
        "--least-ml", type=float, default=0.0, metavar="X", help="leave out ultrasound of a smaller fan; default: 0"
    )
    parser.add_argument(
        "--accepted", type=Path, metavar="FILE", help=f"{REVIEW} with your yes or no: a no leaves the case out"
    )
    parser.add_argument(
        "--clinical", type=Path, metavar="FILE", help="CSV: patient, grade, histology, IDH, reoperation, for strata"
    )


def run(options: argparse.Namespace) -> int:
    """Prepare a cohort, print a line that says what was written, and return the exit code: 2 where something could not
    be prepared.

    Raises
    ------
    InputError
        The cohort holds no patients, a table is wrong, the folder cannot be written, or not one case could be prepared.
    """
    if options.pair and options.table:
        raise InputError("--pairs: goes by the names of files, --table by the table; choose one of them")
    if options.pair and options.register == "landmarks":
        raise InputError("--register landmarks: is of MRI and ultrasound, and --pairs has none; leave out one of them")
    choices = replace(choices_of(options), table=options.table, scaling=options.scaling, voxels=options.voxels)
    if options.pair:
        choices = replace(choices, grid="mri", register="none", pair=options.pair)
    text, excluded = prepare_cohort(options.cohort, options.output, choices)
    print(text)
    return BAD_INPUT if any(row["reason"] != READER for row in excluded) else 0


def choices_of(options: argparse.Namespace) -> Choices:
    """What :func:`add_choices` declares."""
    return Choices(
        grid=options.grid, register=options.register, split=options.split, seed=options.seed,
        least_ml=options.least_ml, accepted=options.accepted, clinical=options.clinical, shares=tuple(options.shares),
    )  # fmt: skip


def prepare_cohort(
    cohort: Path, output: Path, choices: Choices = Choices()
) -> tuple[str, list[dict[str, str]]]:
    """Prepare all studies of a cohort.

    The folder gets what :mod:`IoUSynthLib.cases.index` describes, contact sheets, a table for the reader's verdicts and
    one of what is left out. Cases that are complete in it are kept, so that the same call goes on after an
    interruption; one that cannot be prepared does not stop the others.

    Parameters
    ----------
    cohort
        Folder of the patients; see :mod:`.readers`. It is only read.
    output
        Folder outside it.
    choices
        See there.

    Returns
    -------
    tuple of str and list
        What was written, in words, and the rows of :func:`.exclusions.write_exclusions`.

    Raises
    ------
    InputError
        The cohort holds no patients, a table is wrong, the folder cannot be written, or not one case could be prepared.
    """
    if choices.pair is None and (choices.split == SLICES or choices.scaling != "z-score" or choices.voxels):
        raise InputError("--split slices, --scaling and --voxels: are for MRI alone; give --pairs, or leave them out")
    if cohort.resolve() in (output.resolve(), *output.resolve().parents):
        raise InputError(f"{output}: lies in the cohort, which is only read; choose another output folder")
    studies = find_studies(cohort) if choices.table is None else studies_of(read_table(choices.table), cohort)
    if not studies:
        raise InputError(f"{choices.table}: names no phase of a patient; write pre or post beside the images to use")
    if choices.voxels == MEAN:
        choices = replace(choices, voxels=mean_voxels(studies, choices.pair))
    patients = sorted({study.patient for study in studies})
    splits, several = _splits(patients, choices)
    verdicts = _verdicts(studies, output, choices.accepted)
    clinical = {} if choices.clinical is None else read_clinical(choices.clinical, patients)
    entries, excluded = [], []
    for number, study in enumerate(studies, start=1):
        try:
            _check_split(study, splits, several)
            line = _prepare(study, cohort, output, choices)
            _check_case(study, output, choices, verdicts)
        except InputError as error:
            excluded.append(_excluded(study, error))
            line = f"not prepared: {error}"
        else:
            entries.append(_entry(study, splits, clinical))
        print(f"prepare: {number} of {len(studies)}, {study.name}: {line}", file=sys.stderr, flush=True)
    if not entries:
        raise InputError(f"{choices.table or cohort}: no case could be prepared; first {excluded[0]['detail']}")
    failed = {row["study"]: row["detail"] for row in excluded}
    prepared = [output / entry["name"] for entry in entries]
    if choices.split == SLICES:
        entries = [part for number, entry in enumerate(entries) for part in _by_slice(entry, number, output, choices)]
    write_index(output, entries, simulated=False, seed=choices.seed, split=Path(choices.split).name, failed=failed)
    write_exclusions(output / EXCLUSIONS, excluded)
    columns = choices.pair or COLUMNS
    write_sheets(prepared, output / CONTACT_SHEET, columns)
    _write_review(studies, output, verdicts)
    text = _summary(entries, excluded, output)
    return f"{text}; {_LEAK}" if choices.split == SLICES else text, excluded


# Who and what -----------------------------------------------------------------------------------------------------


def _splits(patients: Sequence[str], choices: Choices) -> tuple[dict[str, str], list[str]]:
    """The split of each patient, and who a file puts into several; see also :func:`.is_only_tested`."""
    tested = {patient: "test" for patient in patients if is_only_tested(patient)}
    others = [patient for patient in patients if patient not in tested]
    if choices.split == "random":
        return {**split_patients(others, choices.seed, choices.shares), **tested}, []
    if choices.split == SLICES:
        return {**dict.fromkeys(others, "train"), **tested}, []
    if choices.split == "published":
        return {**published_split(others), **tested}, []
    splits, several = read_split(Path(choices.split))
    overruled = [patient for patient in tested if splits.get(patient) in ("train", "validation")]
    if overruled:
        print(f"prepare: for testing only, whatever {choices.split} says: {', '.join(overruled)}", file=sys.stderr)
    splits |= tested
    if "validation" not in splits.values():  # whoever was drawn for it is for testing only
        splits = with_validation(splits)
    return splits, [patient for patient in several if patient not in tested]


def _by_slice(entry: Mapping[str, Any], number: int, output: Path, choices: Choices) -> list[dict[str, Any]]:
    """Write the slices of a prepared case as one case a split, and return the entries of these."""
    case = read_case(output / entry["name"])
    count = case.fan.array.shape[0]
    test, validation = choices.shares
    shares = [(1 - test) * (1 - validation), (1 - test) * validation, test]
    drawn = np.random.default_rng((choices.seed, number)).choice(SPLITS, count, p=shares)
    parts = split_slices(case, ["test"] * count if entry["split"] == "test" else [str(split) for split in drawn])
    for split, part in parts.items():
        write_case(part, output / f"{entry['name']}-{split}")
    return [{**entry, "name": f"{entry['name']}-{split}", "split": split} for split in parts]


def _check_split(study: Study, splits: Mapping[str, str], several: Sequence[str]) -> None:
    if study.patient in several:
        raise Exclusion(SPLIT, f"{study.patient}: is in more than one split; name the patient once")
    if study.patient not in splits:
        raise Exclusion(SPLIT, f"{study.patient}: is in no split; name the patient in the file")


def _verdicts(studies: Sequence[Study], output: Path, accepted: Path | None) -> dict[str, bool | None]:
    """What the reader said; a table that lies there from an earlier run keeps its verdicts, but decides nothing."""
    if accepted is not None:
        return read_review(accepted, {study.name for study in studies})
    return read_review(output / REVIEW) if (output / REVIEW).is_file() else {}


def _check_case(study: Study, output: Path, choices: Choices, verdicts: Mapping[str, bool | None]) -> None:
    """Leave out a prepared case that is too small, or that the reader does not accept."""
    fan_ml = read_parameters(output / study.name)["fan_ml"]
    if fan_ml < choices.least_ml:
        raise Exclusion(FOREGROUND, f"{study.name}: its fan holds {fan_ml:g} ml, and {choices.least_ml:g} are wanted")
    if choices.accepted is not None and verdicts.get(study.name) is False:
        raise Exclusion(READER, f"{study.name}: the reader said no")


def _excluded(study: Study, error: InputError) -> dict[str, str]:
    reason = error.reason if isinstance(error, Exclusion) else UNUSABLE
    names = {"study": study.name, "patient": study.patient, "phase": study.phase}
    return {**names, "reason": reason, "detail": str(error)}


def _entry(study: Study, splits: Mapping[str, str], clinical: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": study.name, "head": study.patient, "split": splits[study.patient]}
    if study.phase:
        entry["phase"] = study.phase
    return {**entry, "clinical": dict(clinical[study.patient])} if study.patient in clinical else entry


# What is written ------------------------------------------------------------------------------------------------------


def _prepare(study: Study, cohort: Path, output: Path, choices: Choices) -> str:
    """Prepare a study unless it is there, and return a line about it."""
    folder = output / study.name
    named, unused, make = _planned(study, cohort, choices)
    source = {role: _within(path, cohort) for role, path in named.items()}
    if is_complete(folder):
        _check_finished(folder / PARAMETERS, source, choices)
        return "kept"
    case = make()
    case = replace(case, parameters={"head": study.patient, "phase": study.phase, "source": source, **case.parameters})
    try:
        write_case(case, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another output folder") from error
    parameters = case.parameters
    line = f"{', '.join(parameters['targets'])}, {parameters['covered']:.0%} covered, {parameters['seconds']:.0f} s"
    if done := parameters["registration"]:
        doubts = (f"DOUBTFUL: {warning}" for warning in done["warnings"])
        line = " ".join([f"{registration_in_words(done)}, {line}", *doubts])
    if unused:
        names = ", ".join(path.name for path in unused)
        line = f"{line}; not used, neither T2w nor FLAIR by its name: {names}"
    return " ".join([line, *(f"WARNING: {warning}" for warning in parameters["warnings"])])


def _planned(
    study: Study, cohort: Path, choices: Choices
) -> tuple[Mapping[str, Path], Sequence[Path], Callable[[], Case]]:
    """The files of a study by what they are, those that are not used, and what makes the case of them."""
    if choices.pair:
        named = choose_pair(study, choices.pair)
        return named, (), partial(
            prepare_pair, named, choices.pair, scaling=choices.scaling, voxels=choices.voxels
        )
    files = choose_files(study)
    if choices.register == "landmarks":
        files = replace(files, landmarks=landmark_file(study, cohort))
    return files.named(), files.unused, partial(prepare_case, files, register=choices.register, grid=choices.grid)


def _within(path: Path, cohort: Path) -> str:
    """A path as the cohort's folder sees it; that of a file elsewhere as it is."""
    return (path.relative_to(cohort) if path.is_relative_to(cohort) else path).as_posix()


def _check_finished(path: Path, source: dict[str, str], choices: Choices) -> None:
    """Refuse to mix cases of other files, on another grid or without registration with these."""
    try:
        parameters = json.loads(path.read_text(encoding="utf-8"))
        registered = parameters["registration"] is not None
        same = parameters["source"] == source and registered == (choices.register != "none")
        same = same and parameters.get("grid", "ultrasound") == choices.grid
        same = same and (not choices.pair or (parameters["input"], *parameters["targets"]) == choices.pair)
        same = same and parameters.get("scaling", "z-score") == choices.scaling
        same = same and parameters.get("resampled", False) == bool(choices.voxels)
        same = same and (not choices.voxels or np.allclose(parameters["spacing_mm"], choices.voxels, rtol=1e-3))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error!r}); remove its folder and repeat the command") from error
    if not same:
        raise InputError(
            f"{path}: is of other files, on another grid, or was registered or scaled otherwise; choose another output "
            "folder"
        )


def _write_review(studies: Sequence[Study], output: Path, verdicts: Mapping[str, bool | None]) -> None:
    """Write the table for the reader, of all that were prepared."""
    written = [study for study in studies if is_complete(output / study.name)]
    names = ({"name": study.name, "head": study.patient, "phase": study.phase} for study in written)
    cases = ((entry, read_parameters(output / entry["name"])) for entry in names)
    write_review(output / REVIEW, cases, verdicts)


def _summary(entries: Sequence[Mapping[str, Any]], excluded: Sequence[Mapping[str, str]], output: Path) -> str:
    numbers = Counter(entry["split"] for entry in entries)
    counts = ", ".join(f"{numbers[split]} for {split}" for split in SPLITS)
    total = len(entries) + len(excluded)
    text = f"prepared {len(entries)} of {total} cases ({counts}), {INDEX} and {CONTACT_SHEET} in {output}"
    if not numbers["validation"]:
        text += "; to train on them, prepare more patients: none is for validation"
    if excluded:
        reasons = Counter(row["reason"] for row in excluded)
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        text += f"; not prepared: {', '.join(row['study'] for row in excluded)} ({told}; {EXCLUSIONS} says why)"
    return text
