"""Predictions on disk, of ``iousynth synthesize`` or outlines of nnU-Net, as a source of the evaluation."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import UNLABELLED, Case, input_image, read_parameters, target_image
from ..cases.index import INDEX
from ..constants import OUTSIDE, TARGETS
from ..files.volumes import read_volume
from ..models.bundle import DEFAULT_SEGMENTER, load
from ..volume import InputError, Volume
from .baselines import AS_IT_IS, FITTED_ON, Baselines, fit_baselines, named
from .calibration import EXPECTED_ERROR, bin_scores, error_scores
from .evaluate import Predicted, Report, evaluate
from .outlining import outline_baselines
from .pictures import chosen, panels
from .protocol import Protocol
from .results import METHOD, missing_cases, name_some
from .scores import STRUCTURES, outlined, predicted_image

SEGMENTATION, UNCERTAINTY = "segmentation", "uncertainty"
#: Of no image, but of the run that made them: its report.
_REPORT = "report"

# Geometry in a NIfTI header is rounded to float32.
_GRID_TOLERANCE = 1e-3
#: Of which an expected error is held against the true one.
_FEWEST_VOXELS = 100


def evaluate_files(
    predictions: Path,
    reference: Path,
    report: Report = print,
    *,
    outlines: Path | None = None,
    protocol: Protocol | None = None,
    baselines: bool = False,
) -> dict[str, Any]:
    """Score the predictions of all cases of a cohort for which there are any.

    Parameters
    ----------
    predictions
        Folder with ``<case>_T2w.nii.gz``, ``<case>_FLAIR.nii.gz`` and ``<case>_segmentation.nii.gz``, or with a folder
        for each case, named after it, that holds ``ioUS_T2w.nii.gz`` and so on: what ``synthesize`` makes of
        ``<case>/ioUS.mha``, or what ``translate`` makes of ``<case>/T1w.mha``, named by that. What a model does not
        predict may be missing, but of all cases. The expected error (``_uncertainty.nii.gz``) and what
        ``_report.json`` tells of outlines, time and memory are scored where they are there. Or one with
        ``<case>.nii.gz``, as nnU-Net names outlines.
    reference
        Folder of a cohort, simulated or of patients; see :mod:`IoUSynthLib.cases.index`.
    report
        Receives a line a case.
    outlines
        Folder of outlines that are scored in the place of those among the predictions; not every case need have one.
    protocol
        How cases are scored.
    baselines
        Score the trivial baselines, too; those that learn do so from the cohort's cases for training that are not
        scored themselves. Outlines by the segmenter that ships need an ultrasound.

    Returns
    -------
    dict
        As of :func:`.evaluate.evaluate`, with head and split of each case and what a clinical table said of the
        patient; the cohort's ``input``; the ``protocol``; ``not_predicted``: names of the cohort's cases that have no
        prediction; ``missing``: what could not be scored, and why, in words; and ``pictures`` of some cases
        (:mod:`.pictures`).

    Raises
    ------
    InputError
        A folder or file is missing or does not fit; one line with cause and remedy.
    """
    protocol = protocol or Protocol()
    simulated, entries = read_entries(reference)
    source = source_of(reference, entries)
    files = _find(predictions, outlines, entries, source=source)
    missing = [name for name in entries if name not in files]
    if missing:
        report(missing_cases(missing, len(entries)))
    fitted = _fit(reference, {name: entries[name] for name in missing}) if baselines else None
    keys = ("head", "split", "phase")
    cases = {
        reference / name: {key: entries[name][key] for key in keys if key in entries[name]}
        | entries[name].get("clinical", {})
        for name in files
    }
    gaps: dict[str, list[str]] = {}
    pictured, pictures = chosen(files), {}

    def predict(folder: Path, case: Case) -> Predicted:
        for gap in _gaps(case, files[folder.name]):
            gaps.setdefault(gap, []).append(folder.name)
        predicted = _read_predictions(files[folder.name], case)
        if folder.name in pictured and predicted.images:
            images = {target: methods[METHOD] for target, methods in predicted.images.items()}
            pictures[folder.name] = panels(case, images, predicted.labels.get(METHOD))
        return predicted if fitted is None else _beside(predicted, case, fitted)

    evaluation = evaluate(cases, predict, report, simulated=simulated, protocol=protocol)
    words = [f"{gap}: {name_some(names)} ({len(names)} of {len(cases)})." for gap, names in gaps.items()]
    scored = [target for target in TARGETS if any(key.startswith(f"{target}/") for key in evaluation["summary"])]
    if fitted is not None and (unfitted := " and ".join(target for target in scored if target not in fitted)):
        words.append(f"No baselines that learn of {unfitted}: no case for training has it that is not scored here.")
    return {
        **evaluation, "input": source, "protocol": protocol, "not_predicted": missing, "missing": words,
        "pictures": pictures,
    }  # fmt: skip


def read_entries(reference: Path) -> tuple[bool, dict[str, dict[str, str]]]:
    """Whether a cohort is simulated, and its cases by name: head, split, and what else the index has.

    Raises
    ------
    InputError
        The folder has no index, or a damaged one.
    """
    file = reference / INDEX
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        simulated, entries = index.get("simulated"), {entry["name"]: entry for entry in index["cases"]}
        complete = all({"head", "split"} <= set(entry) for entry in entries.values())
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); give the folder of a cohort, made with `iousynth simulate` or "
            "`iousynth prepare`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: is not the index of a cohort; simulate or prepare the cohort again") from error
    if not isinstance(simulated, bool):
        raise InputError(f"{file}: does not say whether it is simulated; simulate or prepare the cohort again")
    if not entries or not complete:
        raise InputError(f"{file}: lists no cases with name, head and split; simulate or prepare the cohort again")
    return simulated, entries


def source_of(cohort: Path, cases: Collection[str]) -> str:
    """What the cases of a cohort have as their input: "ioUS", or a contrast of MRI.

    Raises
    ------
    InputError
        The first case is not complete.
    """
    return str(read_parameters(cohort / next(iter(cases))).get("input", "ioUS"))


def _fit(reference: Path, entries: Mapping[str, Mapping[str, str]]) -> dict[str, Baselines]:
    """Baselines that learn from the first of some cases that are for training, of the targets that these have."""
    training = [reference / name for name, entry in entries.items() if entry["split"] == "train"]
    return fit_baselines(training[:FITTED_ON])


def _beside(predicted: Predicted, case: Case, fitted: Mapping[str, Baselines]) -> Predicted:
    """The prediction and, behind it, the baselines of the same contrasts; beside an outline, those on them."""
    fan, source = case.fan.array > 0, input_image(case)
    raw = {named(AS_IT_IS, case.input): np.where(fan, source, OUTSIDE)}
    images = {
        target: {**methods, **(fitted[target].predictions(source, fan) if target in fitted else raw)}
        for target, methods in predicted.images.items()
    }
    scored = case.input == "ioUS" and bool(predicted.labels and outlined(case))
    baselines = outline_baselines(load(DEFAULT_SEGMENTER), case, fitted) if scored else {}
    return Predicted(images, {**predicted.labels, **baselines}, predicted.further)


def _gaps(case: Case, files: Mapping[str, Path]) -> list[str]:
    """What a case and its predictions lack, and whether its MRI may lie elsewhere."""
    registration = case.parameters.get("registration") or {}
    gaps = {
        "Nobody has outlined tumour and cavity, which are not scored": (case.labels.array == UNLABELLED).any(),
        "No segmentation is predicted, no Dice": SEGMENTATION not in files,
        "The registration is doubtful, the MRI may lie elsewhere": registration.get("warnings"),
    }
    gaps |= {
        f"Only the {name} is outlined; the other structure, and both together as the lesion, are not scored":
            outlined(case) == (name,) for name in STRUCTURES
    }  # fmt: skip
    gaps |= {f"{t} is predicted, but was not acquired": t in files and t not in case.images for t in TARGETS}
    return [gap for gap, there in gaps.items() if there]


def _find(
    predictions: Path, outlines: Path | None, entries: Collection[str], *, source: str
) -> dict[str, dict[str, Path]]:
    """The files of the cases that have any, by case and kind."""
    alone, first = len(entries) == 1, next(iter(entries))
    found = {name: files for name in entries if (files := find_files(predictions, name, alone, source=source))}
    make = "synthesize" if source == "ioUS" else "translate"
    if not found:
        raise InputError(
            f"{predictions}: holds no prediction of a case of the cohort, such as {first}_T2w.nii.gz; {make} the "
            f"cohort's {source}.mha files, one output folder with the case's name for each"
        )
    if outlines is None:
        _check_complete(found)
        return found
    drawn = {name: file for name in entries if (file := find_files(outlines, name, alone).get(SEGMENTATION))}
    if not drawn:
        raise InputError(
            f"{outlines}: holds no outline of a case of the cohort, such as {first}.nii.gz; give the folder that "
            "nnU-Net has written"
        )
    images = {name: {kind: files[kind] for kind in TARGETS if kind in files} for name, files in found.items()}
    _check_complete(images)
    both = {name: files | ({SEGMENTATION: drawn[name]} if name in drawn else {}) for name, files in images.items()}
    return {name: files for name, files in both.items() if files}


def find_files(predictions: Path, case: str, alone: bool = False, *, source: str = "ioUS") -> dict[str, Path]:
    """The files of a case that are there, by kind: "T2w", "FLAIR" and :data:`SEGMENTATION`.

    Those of the only case of a cohort (``alone``) need not name it; ``source`` is what they were made of.
    """
    stems = (case, f"{case}/{source}", *([source] if alone else []))
    kinds = {**dict.fromkeys((*TARGETS, SEGMENTATION, UNCERTAINTY), "nii.gz"), _REPORT: "json"}
    places = {kind: [predictions / f"{stem}_{kind}.{end}" for stem in stems] for kind, end in kinds.items()}
    found = {kind: [file for file in files if file.is_file()][:1] for kind, files in places.items()}
    there = {kind: file for kind, files in found.items() for file in files}
    outline = predictions / f"{case}.nii.gz"  # beside images of the case it would be what they were made of
    if not set(there) - {_REPORT}:
        return {SEGMENTATION: outline} if outline.is_file() else {}
    return there


def _check_complete(files: Mapping[str, Mapping[str, Path]]) -> None:
    kinds = {kind for found in files.values() for kind in found} - {_REPORT}
    for case, found in files.items():
        missing = ", ".join(sorted(kinds - set(found)))
        if missing:
            folder = next(iter(found.values())).parent
            raise InputError(f"{folder}: has no {missing} of {case}, but of other cases; synthesize this case again")


def _read_predictions(files: Mapping[str, Path], case: Case) -> Predicted:
    known = {kind: file for kind, file in files.items() if kind in (SEGMENTATION, UNCERTAINTY, *case.images)}
    arrays = {kind: read_prediction(file, kind, case).array for kind, file in known.items()}
    labels = {METHOD: arrays.pop(SEGMENTATION)} if SEGMENTATION in arrays else {}
    expected = arrays.pop(UNCERTAINTY, None)
    images = {target: predicted_image(array) for target, array in arrays.items()}
    further = {} if expected is None or not images else _expected_error(case, images, expected)
    if _REPORT in files:
        further |= _told(files[_REPORT])
    return Predicted({target: {METHOD: image} for target, image in images.items()}, labels, further)


def _expected_error(case: Case, images: Mapping[str, np.ndarray], expected: np.ndarray) -> dict[str, float]:
    """What the expected error is worth, over all contrasts that were acquired."""
    errors = np.mean([np.abs(image - target_image(case, target)) for target, image in images.items()], axis=0) / 2
    inside = (case.fan.array > 0) & (expected > 0) & np.isfinite(errors)
    if inside.sum() < _FEWEST_VOXELS:
        return {}
    scores = error_scores(expected[inside], errors[inside]) | bin_scores(expected[inside], errors[inside])
    return {f"{EXPECTED_ERROR}/{METHOD}/{name}": value for name, value in scores.items()}


def _told(file: Path) -> dict[str, float]:
    """What the report of a prediction tells: the Dice to be expected, seconds, and peak memory in MiB."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        found = {f"expected Dice/{METHOD}/{name}": value for name, value in told.get("expected_dice", {}).items()}
        found[f"run/{METHOD}/seconds"] = told["seconds"]["total"]
        if told.get("peak_memory_mib"):
            found[f"run/{METHOD}/MiB"] = told["peak_memory_mib"]
        return {name: float(value) for name, value in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: is damaged ({error!r}); synthesize this case again") from error


def read_prediction(file: Path, kind: str, case: Case) -> Volume:
    """Read what was predicted of a case: MRI, 0 (no data) or 1 to 1000, or labels 0, 1 and 2.

    Raises
    ------
    InputError
        It is damaged, lies on another grid or holds other values.
    """
    volume = read_volume(file)
    if not volume.same_grid(case.fan, _GRID_TOLERANCE):
        raise InputError(f"{file}: lies on another grid than the reference; synthesize the cohort's own ioUS.mha")
    low, high = float(volume.array.min()), float(volume.array.max())
    if kind == SEGMENTATION:
        if not np.isin(volume.array, (0, 1, 2)).all():
            raise InputError(f"{file}: holds other values than 0, 1 and 2; give what `iousynth synthesize` wrote")
    elif kind == UNCERTAINTY:
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"{file}: ranges from {low:g} to {high:g}, but an expected error is a fraction from 0 to 1; "
                "give what `iousynth synthesize` wrote"
            )
    elif not (low >= 0 and 1 < high <= 1000):
        raise InputError(
            f"{file}: ranges from {low:g} to {high:g}, but an image is 0 (no data) or 1 to 1000; "
            "give what `iousynth synthesize` wrote"
        )
    return volume
