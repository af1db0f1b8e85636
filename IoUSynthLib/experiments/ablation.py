"""What each part of the simulator brings: the same small generator, trained with all of it and without each part.

    python -m IoUSynthLib.experiments ablation --anatomy DIR --real DIR -o DIR [--cases N] [--steps N] [--workers N]

All variants have the same heads, seeds, network and number of steps. All are scored on the same test cases of the whole
simulator, of heads that training never saw, and on the real ultrasound in ``--real`` (RESECT, as in
:mod:`..evaluation.agreement`). Written are ``ablation.md`` and ``ablation.json``. What is finished in the output folder
is kept when the command is repeated: single cases, trainings up to their last checkpoint, and the scores of a variant.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..cases.case import case_grid, read_case
from ..cases.index import INDEX, read_index
from ..commands import positive
from ..evaluation.scores import fidelity_scores
from ..files.integrity import replace_file
from ..models.bundle import NETWORK_FILE, Bundle, load
from ..models.write import Provenance, write_bundle
from ..pipeline import synthesize
from ..simulation.cohort import head_paths, label_map_heads, simulate_cohort
from ..simulation.parts import PARTS
from ..synthesis.generate import generate
from ..training.data import load_volumes
from ..training.export import export_onnx
from ..training.preset import Stage
from ..training.presets import PRESETS
from ..training.release import describe_stage
from ..training.trainer import Trainer
from ..volume import InputError, Volume
from .ablation_tables import METHOD, REAL_MEASURES, tables
from .agreement import measure_result
from .realism.data import read_real
from .reporting import Report, say

#: Seeds of the cohorts; those of training, validation and test must differ, or they share their probes.
SEEDS = {"train": 11, "validation": 12, "test": 13}
WHOLE = "whole simulator"


@dataclass(frozen=True)
class Settings:
    """What all variants have in common.

    Attributes
    ----------
    cases, validation_cases, test_cases
        Numbers of simulated cases; those for validation only draw the curves.
    steps
        Length of each training.
    features
        Widths of the U-Net, half of those that ship.
    size, batch_size
        Edge of the training slices in voxels, and slices a step.
    """

    cases: int = 112
    validation_cases: int = 8
    test_cases: int = 24
    steps: int = 2500
    features: tuple[int, ...] = (16, 32, 48, 64, 96, 16)
    size: int = 96
    batch_size: int = 16

    def stage(self) -> Stage:
        """The training of every variant: that of the generator that ships, smaller."""
        stage = PRESETS["ious2mr-2.5d"].last
        recipe = replace(
            stage.recipe, steps=self.steps, checkpoint_every=min(500, self.steps), window=(self.size,) * 2,
            batch_size=self.batch_size,
        )
        return replace(stage, recipe=recipe, size={"features": self.features})


def variants_of(anatomy: Path) -> dict[str, tuple[str, ...]]:
    """Parts that are taken away, by the variant's name; real MRI only where the folder holds some."""
    paths = head_paths(anatomy)
    parts = [part for part in PARTS if part != "real MRI" or len(label_map_heads(paths)) < len(paths)]
    return {WHOLE: (), **{f"without {part}": (part,) for part in parts}}


def ablate(
    settings: Settings, anatomy: Path, real: Path, *, output: Path, workers: int = 1, device: str = "cpu",
    report: Report = print,
) -> str:
    """Simulate, train and score all variants, and return the tables.

    Parameters
    ----------
    settings
        What all variants have in common.
    anatomy
        Folder with label maps of at least five heads of a source, and real MRI.
    real
        Folder with ``resect/Case4-US-before.nii.gz`` and ``resect_sweep``.
    output
        Folder of all that is made.
    workers
        Processes that simulate.
    device
        "cpu" or "cuda", for the trainings.
    report
        Receives lines about the progress.

    Raises
    ------
    InputError
        The real ultrasound is missing, or the output folder is of another ablation.
    ValueError
        The anatomies do not suffice.
    """
    variants = variants_of(anatomy)
    volumes = {name: volume for name, (volume, *_) in read_real(real).items()}
    _check_begun(output, {**asdict(settings), "heads": list(head_paths(anatomy))})

    def cohort(folder: Path, split: str, count: int, *, without: Sequence[str] = ()) -> list[Path]:
        if not (folder / INDEX).is_file():
            report(f"simulating {folder.relative_to(output)}")
            simulate_cohort(
                count, folder, anatomy=anatomy, seed=SEEDS[split], workers=workers, split=split, without=without
            )
        return read_index(folder, split)

    validation = cohort(output / "validation", "validation", settings.validation_cases)
    test = cohort(output / "test", "test", settings.test_cases)
    results = {}
    for variant, without in variants.items():
        folder = output / variant.replace(" ", "-").lower()
        path = folder / "scores.json"
        if not path.is_file():
            training = cohort(folder / "cohort", "train", settings.cases, without=without)
            report(f"training {variant}")
            network = _train(
                settings.stage(), training, validation, run=folder / "run", device=device, report=report
            )
            bundle = load(_export(network, settings.stage(), variant, folder=folder / "model"))
            report(f"scoring {variant}")
            scores = {"without": list(without), "cases": _score(bundle, test), "real": _agreement(bundle, volumes)}
            _write(path, json.dumps(scores, indent=1))
        results[variant] = json.loads(path.read_text())
    text = tables(results, settings.cases, settings.steps)
    content = {"simulated": True, "settings": asdict(settings), "arms": results}
    _write(output / "ablation.json", json.dumps(content, indent=1) + "\n")
    _write(output / "ablation.md", text)
    return text


def _check_begun(output: Path, settings: dict) -> None:
    """Write down what is compared, or refuse a folder in which something else was begun."""
    text, path = json.dumps(settings, indent=1), output / "settings.json"
    if path.is_file() and path.read_text() != text:
        raise InputError(f"{path}: is of other settings or anatomies; repeat those, or choose another output folder")
    output.mkdir(parents=True, exist_ok=True)
    _write(path, text)


def _train(
    stage: Stage,
    training: Sequence[Path],
    validation: Sequence[Path],
    *,
    run: Path,
    device: str,
    report: Report,
) -> torch.nn.Module:
    """Train, or go on, and return the averaged weights of the last step: no variant's data choose a checkpoint."""
    seed = SEEDS["train"]
    torch.manual_seed(seed)
    batches = [
        stage.batches(load_volumes(folders, stage.load), seed=seed, augment=augment)
        for folders, augment in ((training, True), (validation, False))
    ]
    return Trainer(
        stage.network(), stage.objective(), train=batches[0], validation=batches[1], schedule=stage.recipe, folder=run,
        device=device,
    ).run(report)


def _export(network: torch.nn.Module, stage: Stage, variant: str, *, folder: Path) -> Path:
    data = f"Simulated ultrasound, {variant}: a part of a comparison, made small and not for use."
    export_onnx(network, stage.channels, folder / NETWORK_FILE, size_multiple=stage.traits.size_multiple)
    return write_bundle(
        folder, describe_stage(stage, stage.recipe.window), description=variant, origin=data,
        provenance=Provenance(training_data=data),
    )


def _score(bundle: Bundle, folders: Sequence[Path]) -> list[dict[str, str | float | None]]:
    """Fidelity on the test cases, a row each; None where a measure is absent."""
    rows = []
    for folder in folders:
        case = read_case(folder)
        row = {"case": folder.name, "head": case.parameters["head"]}
        for name, image in generate(bundle, case_grid(case)).images.items():
            row |= fidelity_scores(case, name, {METHOD: image})
        rows.append({key: None if value != value else value for key, value in row.items()})
    return rows


def _agreement(bundle: Bundle, volumes: dict[str, Volume]) -> dict[str, dict[str, float]]:
    """Measures of the real volumes, by volume."""
    rows = {name: measure_result(volume, synthesize(volume, bundle.path)) for name, volume in volumes.items()}
    return {name: {measure: row[measure] for measure in REAL_MEASURES} for name, row in rows.items()}


def _write(path: Path, text: str) -> None:
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    usual = Settings()
    parser.add_argument("--anatomy", type=Path, required=True, metavar="DIR", help="folder with heads, as of simulate")
    parser.add_argument("--real", type=Path, required=True, metavar="DIR", help="folder with resect and resect_sweep")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--cases", type=positive, default=usual.cases, metavar="N", help=f"default: {usual.cases} a variant"
    )
    parser.add_argument(
        "--steps", type=positive, default=usual.steps, metavar="N", help=f"default: {usual.steps} a variant"
    )
    parser.add_argument("--workers", type=positive, default=os.cpu_count() or 1, metavar="N", help="that simulate")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="for the trainings; default: cpu")


def run(options: argparse.Namespace) -> int:
    """Run the ablation and print its tables."""
    usual = Settings()
    held_out = {name: min(getattr(usual, name), options.cases) for name in ("validation_cases", "test_cases")}
    settings = Settings(cases=options.cases, steps=options.steps, **held_out)
    text = ablate(
        settings, options.anatomy, options.real, output=options.output, workers=options.workers,
        device=options.device, report=say,
    )
    print(text, end="")
    return 0
