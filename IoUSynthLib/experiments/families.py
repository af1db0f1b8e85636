"""The benchmark's families side by side on a cohort: each is trained for the same number of steps and scored.

    python -m IoUSynthLib.experiments families --data DIR -o DIR [--families NAME...] [--regime 2D] [--steps N]

Every family is trained for T2w and FLAIR on the cohort's training cases, simulated or of patients, exported, and run on
its test cases; a contrast that a patient lacks is not scored. Beside
LPIPS, PSNR, SSIM and MAE of all and of the trivial baselines stand the numbers of parameters, the minutes of training
and the seconds a volume takes. Written are ``comparison.md``, ``comparison.json`` and ``comparison.png``; what a family
has finished is kept when the command is repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import Case, read_case, target_image
from ..cases.index import read_index
from ..commands import positive
from ..constants import OUTSIDE, TARGETS
from ..evaluation.baselines import FITTED_ON, Baselines, fit_baselines
from ..evaluation.evaluate import lesion_of
from ..evaluation.from_pipeline import choose_cases
from ..evaluation.phase import phase_of
from ..evaluation.scores import Row, fidelity_scores, summarize
from ..evaluation.tables import fidelity_table
from ..models.bundle import Bundle, load
from ..outputs.drawing import save
from ..outputs.markdown import markdown_table
from ..preprocessing import normalize_ultrasound
from ..training.predictions import predict_case
from ..training.preset import Preset
from ..training.samples import draw_grid, shaded
from ..volume import InputError
from .trials import Trial, add_trial_arguments

#: Test cases in the picture.
_PICTURED = 4
_SCORES = "scores.json"


def compare(trial: Trial, count: int = 12) -> str:
    """Train, run and score families in a regime, and return the tables.

    Parameters
    ----------
    trial
        What is compared, on a cohort with training, validation and test cases, simulated or prepared.
    count
        Number of test cases, half of them after a resection.

    Raises
    ------
    InputError
        The cohort lacks an index, or cases for training or testing; or the folder holds scores of another length or
        size of training.
    """
    training, tested = _cases(trial.cohort, count)
    baselines = fit_baselines(training[:FITTED_ON])
    found = {preset.last.family: _score_family(trial, preset, tested) for preset in trial.presets}
    rows = [_row(folder, baselines, [result["cases"] for result in found.values()]) for folder in tested]
    about = {
        family: {
            "parameters": result["parameters"], "minutes": result["minutes"],
            "seconds": float(np.median([result["seconds"][folder.name] for folder in tested])),
        }
        for family, result in found.items()
    }
    content = {"families": about, "cases": rows, "summary": summarize(rows)}
    text = _text(trial, content)
    trial.write("comparison", content, text)
    save(_picture(trial, tested), trial.output / "comparison.png")
    return text


def _cases(cohort: Path, count: int) -> tuple[list[Path], list[Path]]:
    try:
        training, tested = (read_index(cohort, split) for split in ("train", "test"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{cohort}: no cohort can be read ({error}); make one with iousynth simulate") from error
    if not training or not tested:
        raise InputError(f"{cohort}: has no cases for training or none for testing; make a cohort with more heads")
    return training, choose_cases(tested, count)


def _score_family(trial: Trial, preset: Preset, tested: Sequence[Path]) -> dict:
    """Train, export and score a family; the images it makes and its scores stay in its folder."""
    output, recipe = trial.output / preset.name, preset.last.recipe
    scores, setting = output / _SCORES, f"{recipe.steps} steps of {recipe.describe()}"
    found = json.loads(scores.read_text(encoding="utf-8")) if scores.exists() else {"setting": setting, "cases": {}}
    if found["setting"] != setting:
        raise InputError(f"{scores}: is of another setting ({found['setting']}); choose another output folder")
    if all(folder.name in found["cases"] for folder in tested):
        return found
    network, minutes = trial.learn(preset, trial.cohort, output)
    if not scores.exists():
        parameters = sum(parameter.numel() for parameter in network.parameters())
        found |= {"parameters": parameters, "minutes": minutes, "seconds": {}, "cases": {}}
    bundle = load(output / "bundle")
    for folder in tested:
        if folder.name not in found["cases"]:
            seconds, images = _predict(bundle, folder, output, device=trial.device)
            found["seconds"][folder.name], found["cases"][folder.name] = seconds, _score(preset, folder, images)
            scores.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            trial.report(f"{preset.name}: {folder.name} in {seconds:.1f} s")
    return found


def _predict(bundle: Bundle, folder: Path, output: Path, *, device: str) -> tuple[float, dict[str, np.ndarray]]:
    """Run a family on a case, keep its images, and return the seconds that it took and the images."""
    case = read_case(folder)
    started = time.monotonic()
    images = predict_case(bundle, case, device=device)
    seconds = time.monotonic() - started
    np.savez_compressed(output / f"{folder.name}.npz", **{k: v.astype(np.float16) for k, v in images.items()})
    return seconds, images


def _score(preset: Preset, folder: Path, images: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The scores of both contrasts."""
    case, scores = read_case(folder), {}
    for name in (name for name in images if name in case.images):
        scores |= fidelity_scores(case, name, {preset.last.family: images[name]})
    return scores


def _row(folder: Path, baselines: dict[str, Baselines], found: Sequence[dict[str, dict[str, float]]]) -> Row:
    """All scores of a case, those of the baselines first."""
    case = read_case(folder)
    about = {"phase": phase_of(case.parameters, folder.name), "lesion": lesion_of(case)}
    row: Row = {"case": folder.name, "head": case.parameters["head"], **about}
    ultrasound, fan = normalize_ultrasound(case.images["ioUS"].array), case.fan.array > 0
    for name in (name for name in baselines if name in case.images):
        row |= fidelity_scores(case, name, baselines[name].predictions(ultrasound, fan))
    for cases in found:
        row |= cases[folder.name]
    return row


def _text(trial: Trial, content: Mapping[str, Any]) -> str:
    rows = [
        [family, f"{about['parameters']:,}", f"{about['minutes']:.0f}", f"{about['seconds']:.1f}"]
        for family, about in content["families"].items()
    ]
    cases = "Simulated: {} cases of heads" if trial.simulated else "Real patients: {} studies of patients"
    lines = [
        f"{cases.format(len(content['cases']))} that training never saw; {trial.regime}, "
        f"{trial.size}, {trial.steps} steps each. Mean and 95 % interval.",
        "",
        fidelity_table(content["summary"]),
        "",
        markdown_table(["family", "parameters", "minutes of training", "seconds per volume"], rows),
    ]
    return "\n".join(lines) + "\n"


def _picture(trial: Trial, tested: Sequence[Path]) -> np.ndarray:
    """The middle slice of a few test cases: ultrasound, every family's T2w, and the true one; FLAIR if none has T2w."""
    chosen = tested[:: max(1, len(tested) // _PICTURED)][:_PICTURED]
    cases = [read_case(folder) for folder in chosen]
    name = next(target for target in TARGETS if any(target in case.images for case in cases))
    middles = [int(np.median(np.argwhere(case.fan.array > 0)[:, 0])) for case in cases]

    def column(title: str, volumes: Sequence[np.ndarray]) -> tuple[str, np.ndarray]:
        return title, shaded(np.stack([volume[z] for volume, z in zip(volumes, middles, strict=True)]))

    columns = [column("ioUS", [normalize_ultrasound(case.images["ioUS"].array) for case in cases])]
    for preset in trial.presets:
        images = [np.load(trial.output / preset.name / f"{folder.name}.npz")[name] for folder in chosen]
        columns.append(column(preset.last.family, images))
    columns.append(column(f"{name} true", [_acquired(case, name) for case in cases]))
    fans = np.stack([case.fan.array[z] > 0 for case, z in zip(cases, middles, strict=True)])
    return draw_grid(columns, fans)


def _acquired(case: Case, name: str) -> np.ndarray:
    """The true MRI, or black where there is none."""
    return target_image(case, name) if name in case.images else np.full(case.fan.array.shape, OUTSIDE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    add_trial_arguments(parser, 1000)
    parser.add_argument("--cases", type=positive, default=12, metavar="N", help="test cases; default: 12")


def run(options: argparse.Namespace) -> int:
    """Run the comparison and print its tables."""
    print(compare(Trial.of(options), options.cases), end="")
    return 0
