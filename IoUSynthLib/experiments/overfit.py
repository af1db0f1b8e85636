"""Can each family learn two cases by heart? Each is trained on them for a small budget and must beat a mere map.

    python -m IoUSynthLib.experiments overfit --data DIR -o DIR [--families NAME...] [--regime 2D] [--steps N]

Takes the first two training cases of a cohort that have T2w and FLAIR, trains every family on both, predicts the same
two cases through the exported bundle, and compares the mean absolute error inside the fan with that of the best
monotone map from ultrasound to MRI, fitted on the same two cases (:mod:`..evaluation.baselines`). It shows that a
family's networks, losses and inference fit together, and nothing of how it does on a new case. Written are
``overfit.md`` and ``overfit.json``; trainings go on where they stopped when the command is repeated.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import read_case, read_parameters, target_image
from ..cases.index import INDEX, describe_index, read_index, write_index
from ..constants import TARGETS
from ..evaluation.baselines import MONOTONE_MAP, Baselines, fit_baselines
from ..models.bundle import load
from ..outputs.markdown import markdown_table
from ..preprocessing import normalize_ultrasound
from ..training.predictions import predict_case
from ..training.preset import Preset
from ..volume import InputError
from .trials import Trial, add_trial_arguments

CASES = 2


def overfit(trial: Trial) -> tuple[str, bool]:
    """Train and score families in a regime, for T2w and FLAIR.

    Parameters
    ----------
    trial
        What is trained, on a cohort of which two training cases are used.

    Returns
    -------
    tuple of str and bool
        The table, and whether every family beats the map.

    Raises
    ------
    InputError
        The cohort has fewer than two cases for training.
    """
    chosen = _choose(trial.cohort, trial.output / "cohort")
    baselines = fit_baselines(read_index(chosen, "train"))
    rows = [_learn(trial, preset, chosen, baselines=baselines) for preset in trial.presets]
    table = _table(trial, rows)
    trial.write("overfit", {"families": rows}, table)
    return table, all(row["beats the map"] for row in rows)


def _choose(cohort: Path, folder: Path) -> Path:
    """A cohort of two cases, which are for training and for validation alike."""
    try:
        cases = [case for case in read_index(cohort, "train") if _has_both(case)][:CASES]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{cohort / INDEX}: cannot be read ({error!r}); make a cohort with iousynth simulate"
        ) from error
    if len(cases) < CASES:
        raise InputError(
            f"{cohort}: has fewer than {CASES} cases for training with T2w and FLAIR; make a cohort with more heads"
        )
    for case in cases:
        if not (folder / case.name).exists():
            shutil.copytree(case, folder / case.name)
    entries = [{"name": case.name, "split": split} for case in cases for split in ("train", "validation")]
    write_index(folder, entries, simulated=describe_index(cohort).get("simulated", True))
    return folder


def _has_both(folder: Path) -> bool:
    """Whether a case has both contrasts, of which a patient may lack one."""
    return set(TARGETS) <= set(read_parameters(folder).get("targets", TARGETS))


def _learn(
    trial: Trial, preset: Preset, cohort: Path, *, baselines: Mapping[str, Baselines]
) -> dict[str, str | float]:
    """Train and export a family, and return its mean errors and those of the map, by contrast."""
    started, output = time.monotonic(), trial.output / preset.name
    shutil.rmtree(output / "bundle", ignore_errors=True)  # of a shorter training, perhaps
    trial.learn(preset, cohort, output)
    row: dict[str, str | float] = {"family": preset.last.family, "seconds": round(time.monotonic() - started, 1)}
    errors: dict[str, list[float]] = {}
    for folder in read_index(cohort, "train"):
        case = read_case(folder)
        fan, ultrasound = case.fan.array > 0, normalize_ultrasound(case.images["ioUS"].array)
        for name, image in predict_case(load(output / "bundle"), case, device=trial.device).items():
            mapped = baselines[name].predictions(ultrasound, fan)[MONOTONE_MAP]
            for what, found in ((name, image), (f"{name} {MONOTONE_MAP}", mapped)):
                error = np.abs(found - target_image(case, name))[fan].mean() / 2
                errors.setdefault(what, []).append(float(error))
    row |= {what: float(np.mean(values)) for what, values in errors.items()}
    row["beats the map"] = all(row[name] < row[f"{name} {MONOTONE_MAP}"] for name in preset.last.targets)
    trial.report(f"{preset.name}: " + ", ".join(f"{key} {value}" for key, value in row.items() if key != "family"))
    return row


def _table(trial: Trial, rows: Sequence[Mapping[str, Any]]) -> str:
    cells = []
    for row in rows:
        pairs = [f"{row[name]:.4f} / {row[f'{name} {MONOTONE_MAP}']:.4f}" for name in TARGETS]
        cells.append([row["family"], *pairs, "yes" if row["beats the map"] else "no", row["seconds"]])
    heading = (
        f"Two {'simulated' if trial.simulated else 'real'} cases learned by heart: {trial.regime}, {trial.size}, "
        f"{trial.steps} steps each. "
        f"Mean absolute error inside the fan, intensities in [0, 1], of the network / of the best {MONOTONE_MAP}."
    )
    table = markdown_table(["family", "T2w", "FLAIR", "both beaten", "seconds"], cells)
    return f"{heading}\n\n{table}\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    add_trial_arguments(parser, 600)


def run(options: argparse.Namespace) -> int:
    """Run the check and print its table; 0 when every family beats the map, 1 when one does not."""
    table, beaten = overfit(Trial.of(options))
    print(table, end="")
    return 0 if beaten else 1
