"""What the models and the registration are worth on real patients, for anyone who has some.

    python -m IoUSynthLib.experiments real DATA -o DIR [--model NAME|PATH] [--baseline-model PATH] [--starts N]

``DATA`` is RESECT as released (with the masks of RESECT-SEG anywhere in it), a folder with a folder for each patient,
or what ``iousynth prepare`` made of patients. Measured are, as far as a patient's data allow: registration at the
landmarks, fidelity of the synthetic MRI and of the error that it expects, outlines, edges and sheets. Written are
``real.md``, ``real.json`` and ``real.png``. What has been measured is kept in the folder ``parts`` when the command is
repeated; after a change of the code choose another folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...commands import seed, whole_number
from ...constants import DEVICES
from ...evaluation import perceptual
from ...files.integrity import replace_file
from ...files.parts import Parts
from ...outputs.drawing import save
from ...pipeline import SynthesisResult
from ...volume import InputError
from ..agreement import measure_result
from ..reporting import say
from . import measures
from .models import Model
from .patients import Patient, find_patients
from .picture import draw_row, read_row
from .report import Report
from .starts import METHODS, ULTRASOUND, registered, starts

#: Folder of what has been measured, in the output folder.
PARTS = "parts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("data", type=Path, metavar="DATA", help="RESECT, a folder for each patient, or a cohort")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", metavar="NAME|PATH", help="generator (default: the one that ships)")
    parser.add_argument(
        "--baseline-model", metavar="NAME|PATH",
        help="another to compare it with; a segmenter beside the folder of either goes with it",
    )
    parser.add_argument("--mri", nargs="+", default=["*"], metavar="PATTERN", help="names of the MRI (default: all)")
    parser.add_argument("--starts", type=whole_number, default=6, metavar="N", help="random starts (default: 6)")
    parser.add_argument("--seed", type=seed, default=0, help="of the random starts (default: 0)")
    parser.add_argument("--no-registration", dest="register", action="store_false", help="which takes the longest")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="of the synthesis")
    parser.add_argument(
        "--page", type=Path, metavar="FILE.md", help="renew the tables in this page, and the picture beside it (.jpg)"
    )


def run(options: argparse.Namespace) -> int:
    """Measure all patients, write what was found, print the tables, and return the exit code 0.

    Raises
    ------
    InputError
        The data hold no patients, a model cannot be used, a folder cannot be written, or no patient could be measured.
    """
    readers = find_patients(options.data, options.mri)
    models = [Model.of(options.model)]
    if options.baseline_model:
        models.append(Model.of(options.baseline_model, "baseline"))
    settings = {"seed": options.seed, "rim voxels": measures.RIM_VOXELS, "smoothing mm": measures.SMOOTH_MM}
    report = Report(options.data.resolve().name, models, settings)
    for number, (name, read) in enumerate(readers.items(), start=1):
        say(f"{number} of {len(readers)}: {name}")
        try:
            _measure(read(), report, options)
        except InputError as error:
            report.left_out[name] = str(error)
            say(f"{name}: left out: {error}")
    if not report.patients:
        raise InputError(f"{options.data}: not one patient could be measured; the lines above say why")
    text = report.write(options.output)
    ready = [name for name, found in report.patients.items() if "landmarks" in found and found["mri"]]
    for name in ready if options.register else ():
        report.patients[name]["registration"] = register_patient(readers[name](), models, options)
        text = report.write(options.output)
    if options.page:
        report.renew(options.page)
    print(text)
    return 0


def _measure(patient: Patient, report: Report, options: argparse.Namespace) -> None:
    report.patients[patient.name] = measure_patient(patient, report.models, options)
    for model in report.models:
        report.pictures[patient.name, model.label] = read_row(_row_file(patient, model, options.output))


def measure_patient(patient: Patient, models: Sequence[Model], options: argparse.Namespace) -> dict[str, Any]:
    """All of a patient but registration, and the rows of the picture, as far as not measured yet."""
    parts = _parts(patient, options.output)
    found: dict[str, Any] = {
        "mri": list(patient.mri or (patient.reference.images if patient.reference else ())),
        "before resection": patient.before_resection,
        "fan ml": round(float(patient.fan.array.sum()) * patient.fan.voxel_volume_ml, 1),
        "missing": list(patient.missing),
    }
    if patient.landmarks:
        found |= {"landmarks": len(patient.landmarks[0]), "rigid fit mm": patient.rigid_error_mm()}
    if patient.reference:
        found["aligned by"] = patient.reference.aligned_by
        found["missing"] += [] if perceptual.load() else ["LPIPS: its weights are not here; see make perceptual"]
        found["baselines"] = parts.get(f"baselines, {_lpips()}", lambda: measures.compare_baselines(patient))
    single = [model.label for model in models if not model.makes_both]
    found["missing"] += [f"edges and sheets: {label} does not make both T2w and FLAIR" for label in single]
    found["models"] = {model.label: _measure_model(patient, model, parts, options=options) for model in models}
    return found


def _measure_model(patient: Patient, model: Model, parts: Parts, *, options: argparse.Namespace) -> dict[str, Any]:
    result = _synthesis(patient, model, options.device)
    found = {"outline": parts.get(f"outline, {model.key}", lambda: measures.outlined(patient, result()))}
    if patient.reference:
        name = f"fidelity, {_lpips()}, {model.key}"
        found["fidelity"] = parts.get(name, lambda: measures.compare(patient, result()))
    if model.makes_both:
        found["edges"] = parts.get(f"edges, {model.key}", lambda: measure_result(patient.ultrasound, result()))
    row = _row_file(patient, model, options.output)
    if not row.is_file():
        with replace_file(row) as partial_file:
            save(draw_row(patient, result()), partial_file)
    return found


def register_patient(patient: Patient, models: Sequence[Model], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every registration of a patient with MRI and landmarks, from each start by each measure, as far as not done."""
    parts, runs = _parts(patient, options.output), []
    syntheses = {model: _synthesis(patient, model, options.device) for model in models}
    for number, start in enumerate(starts(patient, options.starts, options.seed)):
        for by in METHODS:
            for model in [None] if by == ULTRASOUND else models:
                label, key = (model.label, model.key) if model else (None, "no model")
                name = f"registration, seed {options.seed if number else '-'}, start {number}, {by}, {key}"
                image = syntheses[model] if model else lambda: None
                done = parts.get(name, partial(_register, patient, by, start, result=image))
                runs.append({"start": number, "by": by, "model": label, **done})
                say(f"{patient.name}: start {number} of {options.starts}, {by}{f', {label}' if label else ''}: "
                    f"{done['before_mm']:.2f} to {done['after_mm']:.2f} mm")  # fmt: skip
    return runs


def _register(
    patient: Patient, by: str, start: np.ndarray, *, result: Callable[[], SynthesisResult | None]
) -> dict[str, Any]:
    return registered(patient, by, start, result=result())


def _synthesis(patient: Patient, model: Model, device: str) -> Callable[[], SynthesisResult]:
    """The synthesis, run when it is first asked for."""

    @cache
    def synthesis() -> SynthesisResult:
        say(f"{patient.name}: {model.label} ...")
        return model.synthesize(patient, device)

    return synthesis


def _parts(patient: Patient, output: Path) -> Parts:
    return Parts(output / PARTS / f"{patient.name}.json", f"{patient.fingerprint}, {__version__}")


def _row_file(patient: Patient, model: Model, output: Path) -> Path:
    return output / PARTS / f"{patient.name}-{patient.fingerprint}-{model.key}.png"


def _lpips() -> str:
    return "LPIPS" if perceptual.load() else "no LPIPS"
