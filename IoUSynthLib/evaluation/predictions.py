"""Predictions on disk, as ``iousynth synthesize`` writes them, against a cohort that knows the truth."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..cases.case import Case, read_case
from ..cases.index import INDEX
from ..constants import TARGETS
from ..files.volumes import read_volume
from ..volume import InputError, Volume
from .scores import FEWEST_FOR_INTERVAL, Row, by_phase, fidelity_scores, overlap_scores, predicted_image, summarize
from .tables import fidelity_table, overlap_table

#: Name of the evaluated method in columns and tables.
METHOD = "prediction"
SEGMENTATION = "segmentation"
#: Files that :func:`write` makes.
OUTPUTS = ("scores.csv", "summary.json", "table.md")

#: So many cases without a prediction are named.
_NAMED = 5

# Geometry in a NIfTI header is rounded to float32.
_GRID_TOLERANCE = 1e-3


def evaluate(predictions: Path, reference: Path, report: Callable[[str], None] = print) -> dict:
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
        ``simulated``: True; ``cases``: name, head, split, lesion and scores of each; ``not_predicted``: names of the
        cohort's cases that have no prediction; ``summary``: of every score.

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
        report(_say_missing(missing, len(entries)))
    rows = []
    for name, found in files.items():
        rows.append({"case": name, "head": entries[name]["head"], "split": entries[name]["split"]})
        rows[-1] |= _score_case(reference / name, found)
        report(f"{name}: scored ({len(rows)} of {len(files)})")
    return {"simulated": True, "cases": rows, "not_predicted": missing, "summary": summarize(rows)}


def _say_missing(missing: Sequence[str], count: int) -> str:
    named = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
    return f"{len(missing)} of {count} cases have no prediction and are not scored: {named}."


def write(evaluation: dict, folder: Path) -> str:
    """Write ``scores.csv`` (a row a case), ``summary.json`` and ``table.md`` into a folder; return the table."""
    rows, summary, missing = (evaluation[key] for key in ("cases", "summary", "not_predicted"))
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows({name: "" if _is_nan(value) else value for name, value in row.items()} for row in rows)
    content = {"simulated": evaluation["simulated"], "cases": len(rows), "not_predicted": missing, "summary": summary}
    (folder / "summary.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = _table(rows, summary, missing)
    (folder / "table.md").write_text(text, encoding="utf-8")
    return text


def _table(rows: list[Row], summary: dict, missing: list[str]) -> str:
    lines = [
        f"Accuracy on simulated data, {len(rows)} case{'s' if len(rows) > 1 else ''}: mean (95 % Student-t interval, "
        f"of {FEWEST_FOR_INTERVAL} cases or more). SSIM over whole slices is inflated by the background; compare "
        "inside the fan."
    ]
    if missing:
        lines.append(_say_missing(missing, len(rows) + len(missing)))
    splits = sorted({str(row["split"]) for row in rows} - {"test"})
    if splits:
        lines.append(f"Not all of these heads were held out from training (split {', '.join(splits)}).")
    if any(name.endswith("/PSNR") for name in summary):
        lines += ["", fidelity_table(summary)]
        if not any(name.endswith("/LPIPS") for name in summary):
            lines.append("\nLPIPS is absent: its weights are not installed, or the slices are too small.")
    if any(name.startswith(("Dice/", "false ml/")) for name in summary):
        lines += ["", overlap_table(summary)]
    return "\n".join(lines) + "\n"


def _is_nan(value: str | float) -> bool:
    return isinstance(value, float) and math.isnan(value)


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


def _check_complete(files: dict[str, dict[str, Path]]) -> None:
    kinds = {kind for found in files.values() for kind in found}
    for case, found in files.items():
        missing = ", ".join(sorted(kinds - set(found)))
        if missing:
            folder = next(iter(found.values())).parent
            raise InputError(f"{folder}: has no {missing} of {case}, but of other cases; synthesize this case again")


def _score_case(folder: Path, files: dict[str, Path]) -> Row:
    try:
        case = read_case(folder)
        lesion = str(case.parameters["lesion"]["kind"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = f"{folder.name}: is not a complete case ({error})"
        raise InputError(f"{folder.parent / cause}; simulate the cohort again") from error
    row: Row = {"lesion": lesion}
    for kind, file in files.items():
        volume = _read_prediction(file, kind, case)
        if kind == SEGMENTATION:
            row |= overlap_scores(case, {METHOD: volume.array})
        else:
            row |= fidelity_scores(case, kind, {METHOD: predicted_image(volume.array)})
    return {**row, **by_phase(row)}


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
