"""Make the models that ship, from label maps to bundles with their cards: one resumable, seeded run.

    python -m IoUSynthLib.experiments shipped-models --anatomy DIR -o DIR

simulates the cohort, trains the generator, lets it predict the cohort, trains the segmenter and what it is compared
with, evaluates all on heads that training never saw and, with ``--real``, on real ultrasound, and writes the bundles.
Each step that is finished in the output folder is kept when the command is repeated. Who made the models, their
versions and the words of their cards stand with those that ship: ``--described Resources/Models`` takes them over.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

from ..cases.index import read_index
from ..evaluation.from_pipeline import Comparator, evaluate_pipeline
from ..evaluation.results import write_json
from ..models.bundle import METADATA, SEARCH_VARIABLE, Bundle, load
from ..models.write import Provenance
from ..simulation.cohort import simulate_cohort
from ..training.calibration import calibrate, read_calibration, write_calibration
from ..training.predictions import NetworkSession, predict_cohort
from ..training.presets import PRESETS
from ..training.release import describe_run, export_run
from ..training.run import train
from ..training.run_folder import FinishedRun
from ..training.trainer import is_finished
from ..volume import InputError
from .agreement import compare
from .cards import describe_results, make_tables, renew_tables
from .reporting import say

GENERATOR, SEGMENTER = "ious2mr-2.5d", "lesion-3d"
#: Segmenters that it is compared with: name in the table, preset, whether it reads the true MRI.
COMPARATORS = {
    "synthetic MRI alone": ("lesion-3d-synthetic-only", False),
    "ioUS alone": ("lesion-3d-ultrasound-only", False),
    "true MRI": ("lesion-3d-true-mri", True),
}
CASES = 2048
#: With 44 tumours among 56 cases, the mean Dice was known to no better than 0.1 to either side.
TEST_CASES = 200
#: Those of validation heads alone have too few residual tumours to choose by.
OPERATING_CASES = 300
#: Test cases that are compared with real ultrasound, which has two volumes.
COMPARED_CASES = 12
SEED = 4
#: What the cohort is, for metadata and warnings.
SIMULATED = "simulated cases"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("--anatomy", type=Path, required=True, help="folder with BrainWeb and SynthSeg label maps")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for cohort, runs and models")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that simulate")
    parser.add_argument(
        "--initial", type=Path, metavar="DIR",
        help=f"folder with earlier bundles to start the trainings from: those of the same names, or else {SEGMENTER}",
    )
    parser.add_argument(
        "--keep-generator", action="store_true", help=f"take {GENERATOR} of --initial as it is; train segmenters alone"
    )
    parser.add_argument("--real", type=Path, metavar="DIR", help="folder with RESECT's resect and resect_sweep")
    parser.add_argument(
        "--described", type=Path, metavar="DIR",
        help="folder with earlier bundles of the same names, whose cards, licence and words about the weights are kept",
    )


def run(options: argparse.Namespace) -> int:
    """Run all steps."""
    if options.keep_generator and options.initial is None:
        raise InputError("--keep-generator: says nothing without --initial; name the folder with the generator")
    cohort, models = options.output / "cohort", options.output / "models"
    if not (cohort / "dataset.json").exists():
        simulate_cohort(
            CASES, cohort, anatomy=options.anatomy, seed=SEED, workers=options.workers,
            progress=lambda n, of: say(f"case {n} of {of}"), device=options.device,
        )  # fmt: skip
    generator = _kept(options) if options.keep_generator else _trained(GENERATOR, cohort, options)
    os.environ[SEARCH_VARIABLE] = str(models)
    predictions = options.output / "predictions"
    folders = [folder for split in ("train", "validation") for folder in read_index(cohort, split)]
    session = None
    if options.device == "cuda" and not options.keep_generator:
        finished = FinishedRun.read(_run_folder(GENERATOR, options))
        session = NetworkSession(finished.network(finished.preset.last), options.device)
    predict_cohort(
        folders, load(generator), predictions, progress=lambda n, of: say(f"predicted {n} of {of}"), session=session
    )
    _trained(SEGMENTER, cohort, options, predictions=predictions)
    comparators = {
        name: Comparator(load(_trained(preset, cohort, options, predictions=None if true else predictions)), true)
        for name, (preset, true) in COMPARATORS.items()
    }
    results = options.output / "evaluation.json"
    if not results.exists():
        write_json(evaluate_pipeline(cohort, comparators, count=TEST_CASES, report=say), results)
    evaluation = json.loads(results.read_text())
    agreement = _agreement(cohort, models / GENERATOR / "docs", options)
    for name in (SEGMENTER,) if options.keep_generator else (GENERATOR, SEGMENTER):
        _describe(name, options, evaluation=evaluation, agreement=agreement)
        shutil.copyfile(results, models / name / "docs" / "evaluation.json")
    return 0


def _kept(options: argparse.Namespace) -> Path:
    """A copy of the earlier generator, beside which the segmenters are put."""
    folder = options.output / "models" / GENERATOR
    shutil.copytree(load(options.initial / GENERATOR).path, folder, dirs_exist_ok=True)
    return folder


def _trained(
    name: str, cohort: Path, options: argparse.Namespace, *, predictions: Path | None = None
) -> Path:
    """Train a preset, or finish its training, and return its bundle, whose card has no results as yet."""
    run, stage = _run_folder(name, options), PRESETS[name].last
    bundle = options.output / "models" / name
    if not is_finished(run, stage.recipe):
        say(f"training {name}")
        workers = options.workers if options.device == "cuda" else 0
        train(
            name, cohort, run, predictions=predictions, device=options.device, report=say,
            initial=_initial(name, options), workers=workers,
        )
        shutil.rmtree(bundle, ignore_errors=True)
    if not bundle.exists():
        export_run(run, bundle, torchscript=False)
    if stage.kind == "segmenter" and "expected_dice" not in read_calibration(run):
        say(f"choosing the operating point of {name}")
        folders = [folder for split in ("validation", "train") for folder in read_index(cohort, split)]
        volumes = [stage.load(folder, predictions) for folder in folders[:OPERATING_CASES]]
        voxel_volume_ml = stage.spacing**3 / 1000
        write_calibration(run, calibrate(load(bundle), volumes, voxel_volume_ml, measured_on=SIMULATED))
    return _describe(name, options)


def _run_folder(name: str, options: argparse.Namespace) -> Path:
    return options.output / "runs" / name


def _describe(
    name: str, options: argparse.Namespace, *, evaluation: dict | None = None, agreement: dict | None = None
) -> Path:
    """Write what a run's bundle says of itself: as the earlier one of its name does, where there is one."""
    finished, bundle = FinishedRun.read(_run_folder(name, options)), options.output / "models" / name
    kind = finished.preset.last.kind
    earlier = options.described / name if options.described else None
    if earlier is None or not earlier.exists():
        provenance = Provenance(training_data=f"{CASES} {SIMULATED} of IoUSynth (seed {SEED}), no real ultrasound")
        results = describe_results(kind, evaluation, agreement)
        return describe_run(finished, bundle, provenance=provenance, results=results)
    provenance = Provenance.of(json.loads((earlier / METADATA).read_text(encoding="utf-8")))
    card = (earlier / "docs" / "README.md").read_text(encoding="utf-8")
    card = renew_tables(card, make_tables(kind, evaluation, agreement))
    licence = (earlier / "LICENSE").read_text(encoding="utf-8")
    return describe_run(finished, bundle, provenance=provenance, licence=licence, card=card)


def _agreement(cohort: Path, pictures: Path, options: argparse.Namespace) -> dict | None:
    """How the released models do on real ultrasound, where it is at hand; pictures of it go into the folder."""
    if options.real is None:
        return None
    results = options.output / "agreement.json"
    if not results.exists():
        say("running on real ultrasound")
        values = compare(cohort, options.real, pictures, model=None, count=COMPARED_CASES)
        results.write_text(json.dumps(values, indent=1) + "\n")
    return json.loads(results.read_text())


def _initial(name: str, options: argparse.Namespace) -> Bundle | None:
    """The earlier bundle of the preset; a segmenter without one starts from the one that ships."""
    if options.initial is None:
        return None
    return load(options.initial / (name if (options.initial / name).exists() else SEGMENTER))
