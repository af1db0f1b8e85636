"""Can each family learn two cases by heart? Each is trained on them for a small budget and must beat a mere map.

    python -m IoUSynthLib.experiments overfit --data DIR -o DIR [--families NAME...] [--regime 2D] [--steps N]

Takes the first two training cases of a simulated cohort, trains every family on both, predicts the same two cases
through the exported bundle, and compares the mean absolute error inside the fan with that of the best monotone map from
ultrasound to MRI, fitted on the same two cases (:mod:`..evaluation.baselines`). It shows that a family's networks,
losses and inference fit together, and nothing of how it does on a new case. Written are ``overfit.md`` and
``overfit.json``; trainings go on where they stopped when the command is repeated.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..cases.case import read_case, target_image
from ..cases.index import INDEX, read_index, write_index
from ..evaluation.baselines import MONOTONE_MAP, Baselines, fit_baselines
from ..models.bundle import load
from ..preprocessing import normalize_ultrasound
from ..training.predictions import predict_case
from ..training.preset import Preset
from ..training.release import export_run
from ..training.run import train
from ..volume import InputError
from .reporting import Report, say
from .trials import BENCHMARK, add_trial_arguments, describe_size, trial_presets

CASES = 2



def overfit(
    cohort: Path, output: Path, families: Sequence[str] = BENCHMARK, regime: str = "2D", steps: int = 600,
    published: bool = False, device: str = "cpu", report: Report = print,
) -> str:
    """Train and score families in a regime, for T2w and FLAIR, and return the table.

    Parameters
    ----------
    cohort
        Folder of a simulated cohort.
    output
        Folder of all that is made.
    families, regime, steps, published
        As in :func:`.trials.trial_presets`.
    device
        "cpu" or "cuda".
    report
        Receives lines about the progress.

    Raises
    ------
    InputError
        The cohort has fewer than two cases for training.
    """
    chosen = _choose(cohort, output / "cohort")
    baselines = fit_baselines(read_index(chosen, "train"))
    rows = []
    for preset in trial_presets(families, regime, steps, published):
        report(f"{preset.name}: {steps} steps")
        rows.append(_learn(preset, chosen, output / preset.name, baselines, device, report))
    content = {"simulated": True, "regime": regime, "steps": steps, "published": published, "families": rows}
    (output / "overfit.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    table = _table(rows, regime, steps, published)
    (output / "overfit.md").write_text(table, encoding="utf-8")
    return table


def _choose(cohort: Path, folder: Path) -> Path:
    """A cohort of two cases, which are for training and for validation alike."""
    try:
        cases = read_index(cohort, "train")[:CASES]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{cohort / INDEX}: cannot be read ({error!r}); make a cohort with iousynth simulate"
        ) from error
    if len(cases) < CASES:
        raise InputError(f"{cohort}: has fewer than {CASES} cases for training; make a cohort with more heads")
    for case in cases:
        if not (folder / case.name).exists():
            shutil.copytree(case, folder / case.name)
    entries = [{"name": case.name, "split": split} for case in cases for split in ("train", "validation")]
    write_index(folder, entries)
    return folder


def _learn(
    preset: Preset, cohort: Path, output: Path, baselines: dict[str, Baselines], device: str, report: Report
) -> dict[str, str | float]:
    started = time.monotonic()
    train(preset, cohort, output / "run", device=device, report=lambda line: None)
    bundle = output / "bundle"
    if bundle.exists():
        shutil.rmtree(bundle)
    export_run(output / "run", bundle, preset=preset)
    row: dict[str, str | float] = {"family": preset.last.family, "seconds": round(time.monotonic() - started, 1)}
    errors: dict[str, list[float]] = {}
    for folder in read_index(cohort, "train"):
        case = read_case(folder)
        fan, ultrasound = case.fan.array > 0, normalize_ultrasound(case.images["ioUS"].array)
        predicted = predict_case(load(bundle), case, device=device)
        for name, image in predicted.items():
            mapped = baselines[name].predictions(ultrasound, fan)[MONOTONE_MAP]
            for what, found in ((name, image), (f"{name} {MONOTONE_MAP}", mapped)):
                error = np.abs(found - target_image(case, name))[fan].mean() / 2
                errors.setdefault(what, []).append(float(error))
    row |= {what: float(np.mean(values)) for what, values in errors.items()}
    row["beats the map"] = all(row[name] < row[f"{name} {MONOTONE_MAP}"] for name in preset.last.targets)
    report(f"{preset.name}: " + ", ".join(f"{key} {value}" for key, value in row.items() if key != "family"))
    return row


def _table(rows: Sequence[dict], regime: str, steps: int, published: bool) -> str:
    lines = [
        f"Two simulated cases learned by heart: {regime}, {describe_size(published)}, {steps} steps each. "
        f"Mean absolute error inside the fan, intensities in [0, 1], of the network / of the best {MONOTONE_MAP}.",
        "",
        "| family | T2w | FLAIR | both beaten | seconds |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        pairs = [f"{row[name]:.4f} / {row[f'{name} {MONOTONE_MAP}']:.4f}" for name in ("T2w", "FLAIR")]
        beaten = "yes" if row["beats the map"] else "no"
        lines.append(f"| {row['family']} | {pairs[0]} | {pairs[1]} | {beaten} | {row['seconds']} |")
    return "\n".join(lines) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    add_trial_arguments(parser, 600)


def run(options: argparse.Namespace) -> int:
    """Run the check and print its table; 0 when every family beats the map, 1 when one does not."""
    table = overfit(
        options.data, options.output, options.families, options.regime, options.steps, options.published,
        options.device, say,
    )
    print(table, end="")
    return 0 if "| no |" not in table else 1
