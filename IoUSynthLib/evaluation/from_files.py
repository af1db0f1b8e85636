"""Predictions on disk, as ``iousynth synthesize`` writes them, as a source of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import Case
from ..cases.index import INDEX
from ..constants import TARGETS
from ..files.volumes import read_volume
from ..volume import InputError, Volume
from .evaluate import Predicted, Report, evaluate
from .results import missing_cases
from .scores import predicted_image

#: Name of the evaluated method in columns and tables.
METHOD = "prediction"
SEGMENTATION = "segmentation"

# Geometry in a NIfTI header is rounded to float32.
_GRID_TOLERANCE = 1e-3


def evaluate_files(predictions: Path, reference: Path, report: Report = print) -> dict[str, Any]:
    """Score the predictions of all cases of a cohort for which there are any.

    Parameters
    ----------
    predictions
        Folder with ``<case>_T2w.nii.gz``, ``<case>_FLAIR.nii.gz`` and ``<case>_segmentation.nii.gz``, or with a folder
        for each case, named after it, that holds ``ioUS_T2w.nii.gz`` and so on: what ``synthesize`` makes of
        ``<case>/ioUS.mha``. What a model does not predict may be missing, but of all cases.
    reference
        Folder of a simulated cohort; see :mod:`IoUSynthLib.cases.index`.
    report
        Receives a line a case.

    Returns
    -------
    dict
        As of :func:`.evaluate.evaluate`, with head and split of each case, and ``not_predicted``: names of the cohort's
        cases that have no prediction.

    Raises
    ------
    InputError
        A folder or file is missing or does not fit; one line with cause and remedy.
    """
    entries = _index(reference)
    alone = len(entries) == 1
    files = {name: found for name in entries if (found := _files(predictions, name, alone))}
    if not files:
        raise InputError(
            f"{predictions}: holds no prediction of a case of {reference}, such as {next(iter(entries))}_T2w.nii.gz; "
            "synthesize the cohort's ioUS.mha files, one output folder with the case's name for each"
        )
    _check_complete(files)
    missing = [name for name in entries if name not in files]
    if missing:
        report(missing_cases(missing, len(entries)))
    cases = {reference / name: {key: entries[name][key] for key in ("head", "split")} for name in files}
    evaluation = evaluate(cases, lambda folder, case: _read_predictions(files[folder.name], case), report)
    return {**evaluation, "not_predicted": missing}


def _index(reference: Path) -> dict[str, dict[str, str]]:
    """The cohort's cases by name."""
    file = reference / INDEX
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        simulated, entries = index["simulated"], {entry["name"]: entry for entry in index["cases"]}
        complete = all({"head", "split"} <= set(entry) for entry in entries.values())
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); give the folder of a cohort, made with `iousynth simulate`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is not the index of a cohort; simulate the cohort again") from error
    if simulated is not True:
        raise InputError(f"{file}: does not say that it is simulated, so its MRI's scale is unknown; simulate a cohort")
    if not entries or not complete:
        raise InputError(f"{file}: lists no cases with name, head and split; simulate the cohort again")
    return entries


def _files(predictions: Path, case: str, alone: bool) -> dict[str, Path]:
    """The case's files that are there, by kind; those of the only case of a cohort need not name it."""
    stems = (case, f"{case}/ioUS", *(["ioUS"] if alone else []))
    places = {kind: [predictions / f"{stem}_{kind}.nii.gz" for stem in stems] for kind in (*TARGETS, SEGMENTATION)}
    found = {kind: next((file for file in files if file.is_file()), None) for kind, files in places.items()}
    return {kind: file for kind, file in found.items() if file is not None}


def _check_complete(files: Mapping[str, Mapping[str, Path]]) -> None:
    kinds = {kind for found in files.values() for kind in found}
    for case, found in files.items():
        missing = ", ".join(sorted(kinds - set(found)))
        if missing:
            folder = next(iter(found.values())).parent
            raise InputError(f"{folder}: has no {missing} of {case}, but of other cases; synthesize this case again")


def _read_predictions(files: Mapping[str, Path], case: Case) -> Predicted:
    arrays = {kind: _read_prediction(file, kind, case).array for kind, file in files.items()}
    labels = {METHOD: arrays.pop(SEGMENTATION)} if SEGMENTATION in arrays else {}
    return Predicted({target: {METHOD: predicted_image(array)} for target, array in arrays.items()}, labels)


def _read_prediction(file: Path, kind: str, case: Case) -> Volume:
    volume = read_volume(file)
    if not volume.same_grid(case.fan, _GRID_TOLERANCE):
        raise InputError(f"{file}: lies on another grid than the reference; synthesize the cohort's own ioUS.mha")
    low, high = float(volume.array.min()), float(volume.array.max())
    if kind == SEGMENTATION:
        if not np.isin(volume.array, (0, 1, 2)).all():
            raise InputError(f"{file}: holds other values than 0, 1 and 2; give what `iousynth synthesize` wrote")
    elif not (low >= 0 and 1 < high <= 1000):
        raise InputError(
            f"{file}: ranges from {low:g} to {high:g}, but an image is 0 (no data) or 1 to 1000; "
            "give what `iousynth synthesize` wrote"
        )
    return volume
