"""``iousynth prepare``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from ..cases.case import PARAMETERS, is_complete, write_case
from ..cases.contact_sheet import CONTACT_SHEET
from ..cases.index import INDEX, write_index
from ..cases.splits import SPLITS, split_patients
from ..commands import seed
from ..volume import InputError
from .contact_sheet import SHEET
from .preparation import prepare_case
from .readers import Study, choose_files, find_studies


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Registers each MRI to its ultrasound and writes what simulate does, of patients. An image with label or seg "
        "in its name is an outline in the frame of the MRI: 0 background, 1 tumour, 2 cavity. Finished cases are kept, "
        "so that the same command goes on after an interruption."
    )
    parser.add_argument(
        "cohort", type=Path, metavar="COHORT", help="RESECT, or a folder a patient with ioUS, T2w, FLAIR in file names"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the prepared cohort")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the split; default: 0")
    parser.add_argument("--no-registration", dest="register", action="store_false", help="the images fit already")


def run(options: argparse.Namespace) -> int:
    """Prepare a cohort, print a line that says what was written, and return the exit code 0.

    Raises
    ------
    InputError
        The cohort holds no patients, the folder cannot be written, or not one case could be prepared.
    """
    print(prepare_cohort(options.cohort, options.output, seed=options.seed, register=options.register))
    return 0


def prepare_cohort(cohort: Path, output: Path, *, seed: int = 0, register: bool = True) -> str:
    """Prepare all studies of a cohort, and return what was written, in words.

    The folder gets what :mod:`IoUSynthLib.cases.index` describes, and a contact sheet. Cases that are complete in
    it are kept, so that the same call goes on after an interruption; one that cannot be prepared does not stop the
    others.

    Parameters
    ----------
    cohort
        Folder of the patients; see :mod:`.readers`. It is only read.
    output
        Folder outside it.
    seed
        Of the split; see :func:`.cases.splits.split_patients`.
    register
        See :func:`.preparation.prepare_case`.

    Raises
    ------
    InputError
        The cohort holds no patients, the folder cannot be written, or not one case could be prepared.
    """
    if cohort.resolve() in (output.resolve(), *output.resolve().parents):
        raise InputError(f"{output}: lies in the cohort, which is only read; choose another output folder")
    studies = find_studies(cohort)
    splits = split_patients([study.patient for study in studies], seed)
    entries, failed = [], {}
    for number, study in enumerate(studies, start=1):
        try:
            line = _prepare(study, cohort, output, register=register)
        except InputError as error:
            failed[study.name] = str(error)
            line = f"not prepared: {error}"
        else:
            entries.append({"name": study.name, "head": study.patient, "split": splits[study.patient]})
        print(f"prepare: {number} of {len(studies)}, {study.name}: {line}", file=sys.stderr, flush=True)
    if not entries:
        raise InputError(f"{cohort}: no case could be prepared; first {next(iter(failed.values()))}")
    write_index(output, entries, simulated=False, seed=seed, failed=failed)
    SHEET.write([output / entry["name"] for entry in entries], output / CONTACT_SHEET)
    counts = ", ".join(f"{sum(entry['split'] == split for entry in entries)} for {split}" for split in SPLITS)
    text = f"prepared {len(entries)} of {len(studies)} cases ({counts}), {INDEX} and {CONTACT_SHEET} in {output}"
    if not any(entry["split"] == "validation" for entry in entries):
        text += "; to train on them, prepare more patients: none is for validation"
    return f"{text}; not prepared: {', '.join(failed)} ({INDEX} says why)" if failed else text


def _prepare(study: Study, cohort: Path, output: Path, *, register: bool) -> str:
    """Prepare a study unless it is there, and return a line about it."""
    files, folder = choose_files(study), output / study.name
    source = {role: path.relative_to(cohort).as_posix() for role, path in files.named().items()}
    if is_complete(folder):
        _check_finished(folder / PARAMETERS, source, register)
        return "kept"
    case = prepare_case(files, register=register)
    case = replace(case, parameters={"head": study.patient, "source": source, **case.parameters})
    try:
        write_case(case, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another output folder") from error
    parameters = case.parameters
    line = f"{', '.join(parameters['targets'])}, {parameters['covered']:.0%} covered, {parameters['seconds']:.0f} s"
    if register:
        done = parameters["registration"]
        before, after = (done["similarity"][when] for when in ("before", "after"))
        line = f"LC2 {before:.3f} to {after:.3f}, MRI moved {done['moved_mm']:.1f} mm, {line}"
        line = " ".join([line, *(f"DOUBTFUL: {warning}" for warning in done["warnings"])])
    if files.unused:
        names = ", ".join(path.name for path in files.unused)
        line = f"{line}; not used, neither T2w nor FLAIR by its name: {names}"
    return " ".join([line, *(f"WARNING: {warning}" for warning in parameters["warnings"])])


def _check_finished(path: Path, source: dict[str, str], register: bool) -> None:
    """Refuse to mix cases of other files or without registration with these."""
    try:
        parameters = json.loads(path.read_text(encoding="utf-8"))
        same = parameters["source"] == source and (parameters["registration"] is not None) == register
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged ({error!r}); remove its folder and repeat the command") from error
    if not same:
        raise InputError(f"{path}: is of other files, or was registered otherwise; choose another output folder")
