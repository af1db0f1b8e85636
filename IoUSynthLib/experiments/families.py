"""Families of generators side by side on a cohort: each is trained for a budget of steps and scored.

    python -m IoUSynthLib.experiments families --data DIR -o DIR [--families NAME...] [--regime 2D]
        [--steps N FAMILY=N...] [--models NAME|PATH...]

By default these are the benchmark's, for T2w and FLAIR; the systems of other papers come in their own regime and make
T2w alone. Every family is trained on the cohort's training cases, simulated or of patients, or of pairs of MRI
(``iousynth prepare --pairs``), exported, and run on its test cases; a contrast that a patient lacks is not scored.
``--models`` are run beside them as they are. Beside LPIPS, PSNR, SSIM and MAE of all and of the trivial baselines stand
the steps, the numbers of parameters, the minutes of the processor in training, the seconds of the processor that a
volume takes, and the size of the networks. Written are ``comparison.md``, ``comparison.json``, with the scores of every
case, and ``comparison.png``; what is finished, also of the baselines, is kept when the command is repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import Case, input_image, read_case, target_image
from ..commands import positive
from ..constants import OUTSIDE, TARGETS
from ..evaluation.baselines import FITTED_ON, Baselines, fit_baselines
from ..evaluation.evaluate import lesion_of
from ..evaluation.phase import phase_of
from ..evaluation.scores import Row, fidelity_scores, summarize
from ..evaluation.tables import METRICS, MSE, NMSE, fidelity_table
from ..models.bundle import Bundle, load
from ..outputs.drawing import save
from ..outputs.markdown import markdown_table
from ..training.predictions import predict_case
from ..training.preset import Preset
from ..training.samples import draw_grid, shaded
from ..volume import InputError
from .trials import BUNDLE, SYSTEMS, Trial, add_trial_arguments

#: Test cases in the picture.
_PICTURED = 4
_SCORES, _BASELINES = "scores.json", "baselines.json"


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
    training, tested = trial.cases(count)
    baselines = _baseline_scores(trial, training, tested)
    methods = [_Method.of(trial, preset) for preset in trial.presets] + [_Method.ready(trial, n) for n in trial.models]
    found = {method.name: _score(trial, method, tested) for method in methods}
    rows = [_row(folder, [baselines, *(result["cases"] for result in found.values())]) for folder in tested]
    about = {
        name: {key: value for key, value in result.items() if key not in ("cases", "seconds")}
        | {"seconds": float(np.median([result["seconds"][folder.name] for folder in tested]))}
        for name, result in found.items()
    }
    content = {"families": about, "cases": rows, "summary": summarize(rows)}
    text = _text(trial, content)
    trial.write("comparison", content, text)
    save(_picture(methods, tested), trial.output / "comparison.png")
    return text


@dataclass(frozen=True, kw_only=True)
class _Method:
    """What is compared: a preset that is trained, or a model as it is.

    Attributes
    ----------
    name
        In tables.
    folder
        Where its images and scores are kept.
    setting
        What they are of, in words.
    preset, bundle
        What is trained; a model's folder, which training makes.
    """

    name: str
    folder: Path
    setting: str
    preset: Preset | None
    bundle: Path

    @classmethod
    def of(cls, trial: Trial, preset: Preset) -> _Method:
        recipe, folder = preset.last.recipe, trial.output / preset.name
        setting = f"{recipe.steps} steps of {recipe.describe()}"
        return cls(name=preset.last.family, folder=folder, setting=setting, preset=preset, bundle=folder / BUNDLE)

    @classmethod
    def ready(cls, trial: Trial, name: str) -> _Method:
        bundle = load(name)
        digest = bundle.checksums[bundle.network]
        folder = trial.output / bundle.name
        return cls(name=bundle.name, folder=folder, setting=f"network {digest}", preset=None, bundle=bundle.path)


def _score(trial: Trial, method: _Method, tested: Sequence[Path]) -> dict[str, Any]:
    """Train and export what has to be, and score it; the images that it makes and its scores stay in its folder."""
    scores = method.folder / _SCORES
    kept = json.loads(scores.read_text(encoding="utf-8")) if scores.exists() else {}
    if kept and kept["setting"] != method.setting:
        raise InputError(f"{scores}: is of another setting ({kept['setting']}); choose another output folder")
    found = kept or {"setting": method.setting, **_trained(trial, method), "seconds": {}, "cases": {}}
    for folder in tested:
        if folder.name not in found["cases"]:
            seconds, images = _predict(load(method.bundle), folder, method.folder, device=trial.device)
            found["seconds"][folder.name], found["cases"][folder.name] = seconds, _scores(method.name, folder, images)
            scores.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            trial.report(f"{method.name}: {folder.name} in {seconds:.1f} s")
    return found


def _trained(trial: Trial, method: _Method) -> dict[str, Any]:
    """What a table says of a method beside its scores."""
    method.folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"regime": load(method.bundle).regime if method.preset is None else method.preset.regime}
    if method.preset is not None:
        network, minutes = trial.learn(method.preset, trial.cohort, method.folder)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        about |= {"steps": method.preset.last.recipe.steps, "parameters": parameters, "minutes": minutes}
    bytes_ = sum(path.stat().st_size for path in load(method.bundle).path.rglob("*.onnx"))
    return about | {"MiB": bytes_ / 2**20}


def _predict(bundle: Bundle, folder: Path, output: Path, *, device: str) -> tuple[float, dict[str, np.ndarray]]:
    """Run a model on a case, keep its images, and return the processor's seconds that it took and the images."""
    case = read_case(folder)
    started = time.process_time()
    images = predict_case(bundle, case, device=device)
    seconds = time.process_time() - started
    np.savez_compressed(output / f"{folder.name}.npz", **{k: v.astype(np.float16) for k, v in images.items()})
    return seconds, images


def _scores(name: str, folder: Path, images: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The scores of the contrasts that the case has."""
    case, scores = read_case(folder), {}
    for target in (target for target in images if target in case.images):
        scores |= fidelity_scores(case, target, {name: images[target]})
    return scores


def _baseline_scores(trial: Trial, training: Sequence[Path], tested: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Scores of the trivial baselines by case, which stay in the folder: they take as long as those of a family."""
    path, fitted = trial.output / _BASELINES, [folder.name for folder in training[:FITTED_ON]]
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found = kept if kept.get("fitted on") == fitted else {"fitted on": fitted, "cases": {}}
    missing = [folder for folder in tested if folder.name not in found["cases"]]
    if missing:
        baselines = fit_baselines(training[:FITTED_ON])
        found["cases"] |= {folder.name: _scores_of(baselines, read_case(folder)) for folder in missing}
        trial.output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found["cases"]


def _scores_of(baselines: Mapping[str, Baselines], case: Case) -> dict[str, float]:
    seen, fan, scores = input_image(case), case.fan.array > 0, {}
    for name in (name for name in baselines if name in case.images):
        images = baselines[name].predictions(seen, fan)
        scores |= fidelity_scores(case, name, {key.replace("ioUS", case.input): image for key, image in images.items()})
    return scores


def _row(folder: Path, found: Sequence[Mapping[str, Mapping[str, float]]]) -> Row:
    """All scores of a case."""
    case = read_case(folder)
    about = {"phase": phase_of(case.parameters, folder.name), "lesion": lesion_of(case)}
    row: Row = {"case": folder.name, "head": case.parameters["head"], **about}
    for cases in found:
        row |= cases[folder.name]
    return row


def _text(trial: Trial, content: Mapping[str, Any]) -> str:
    columns = (("steps", ",d"), ("parameters", ",d"), ("minutes", ".0f"), ("seconds", ".1f"), ("MiB", ".1f"))
    rows = [
        [name, about["regime"], *(format(about[key], how) if key in about else "-" for key, how in columns)]
        for name, about in content["families"].items()
    ]
    metrics = METRICS if trial.source == "ioUS" else (*METRICS, MSE, NMSE)  # what papers on MRI give
    cases = "Simulated: {} cases of heads" if trial.simulated else "Real patients: {} studies of patients"
    lines = [
        f"{cases.format(len(content['cases']))} that training never saw; {trial.size}. "
        "Mean and 95 % interval.",
        "",
        fidelity_table(content["summary"], metrics),
        "",
        markdown_table(
            ["family", "regime", "steps", "parameters", "minutes of training", "seconds per volume", "MiB"], rows
        ),
    ]
    return "\n".join(lines) + "\n"


def _picture(methods: Sequence[_Method], tested: Sequence[Path]) -> np.ndarray:
    """The middle slice of a few test cases: the input, every method's T2w, and the true one; FLAIR if none has T2w."""
    chosen = tested[:: max(1, len(tested) // _PICTURED)][:_PICTURED]
    cases = [read_case(folder) for folder in chosen]
    name = next(target for target in TARGETS if any(target in case.images for case in cases))
    middles = [int(np.median(np.argwhere(case.fan.array > 0)[:, 0])) for case in cases]

    def column(title: str, volumes: Sequence[np.ndarray]) -> tuple[str, np.ndarray]:
        return title, shaded(_side_by_side([volume[z] for volume, z in zip(volumes, middles, strict=True)], OUTSIDE))

    columns = [column(cases[0].input, [input_image(case) for case in cases])]
    for method in methods:
        images = [np.load(method.folder / f"{folder.name}.npz")[name] for folder in chosen]
        columns.append(column(method.name, images))
    columns.append(column(f"{name} true", [_acquired(case, name) for case in cases]))
    fans = _side_by_side([case.fan.array[z] > 0 for case, z in zip(cases, middles, strict=True)], False)
    return draw_grid(columns, fans)


def _side_by_side(slices: Sequence[np.ndarray], blank: float) -> np.ndarray:
    """Slices (y, x) of cases of any size as one array, blank around the smaller ones."""
    size = np.max([image.shape for image in slices], axis=0)
    whole = np.full((len(slices), *size), blank, slices[0].dtype)
    for place, image in zip(whole, slices, strict=True):
        before = (size - image.shape) // 2
        place[before[0] : before[0] + image.shape[0], before[1] : before[1] + image.shape[1]] = image
    return whole


def _acquired(case: Case, name: str) -> np.ndarray:
    """The true MRI, or black where there is none."""
    return target_image(case, name) if name in case.images else np.full(case.fan.array.shape, OUTSIDE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    add_trial_arguments(parser, 1000, SYSTEMS)
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="NAME|PATH", help="models that are scored beside them as they are"
    )
    parser.add_argument("--cases", type=positive, default=12, metavar="N", help="test cases; default: 12")


def run(options: argparse.Namespace) -> int:
    """Run the comparison and print its tables."""
    print(compare(Trial.of(options, models=options.models), options.cases), end="")
    return 0
