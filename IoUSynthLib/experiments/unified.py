"""Tables I to IV of MMHVAE's paper (Dorent et al. 2025): networks that make all images of any of them, side by side.

    python -m IoUSynthLib.experiments unified --data DIR -o DIR [--table I] [--presets NAME...] [--runs RUN...]
        [--steps N PRESET=N...] [--cases N]

I sets MMHVAE beside MVAE and unified ResViT, II beside itself with fewer latent variables, III beside other fusions,
and IV beside itself without discriminators. Every preset is trained on the cohort, narrow unless ``--published`` is
given, but for those that finished ``--runs`` of ``iousynth train`` are of, which are taken as they are. Each test case
is made of all 15 sets of what it has, on slices along the first axis and at the paper's temperature, and compared with
the harmonised images: PSNR, SSIM and LPIPS in the fan, by set where the table is I, and in the mean of all sets, as the
paper has it, and of those sets that lack the image. Beside them stands one value everywhere, the mean of training.

The cohort needs ceT1 (``iousynth simulate --ce-t1``, or patients with it); sets of which a case lacks an image are left
out of it. Written are ``unified-TABLE.md``, ``.json``, with the scores of every case, and ``.png``; what is finished is
kept, case by case, when the command is repeated. The paper's MM-GAN is not among the presets.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..commands import positive
from ..constants import OUTSIDE
from ..evaluation.fidelity import score
from ..evaluation.scores import Row, Summary, summarize
from ..evaluation.tables import cell
from ..files.integrity import file_sha256, replace_file
from ..generators.mmhvae import TEMPERATURE
from ..outputs.drawing import Panel, Text, grey, grid, masked, resized, save
from ..outputs.markdown import markdown_table
from ..training.data import TrainingVolume
from ..training.preset import Preset
from ..training.presets import PRESETS
from ..training.run_folder import FinishedRun, chosen_checkpoint
from ..training.unified import IMAGES, Unified
from ..volume import InputError
from .trials import Trial, add_training_arguments

#: What each table of the paper compares, MMHVAE last.
TABLES = {
    "I": ("mvae", "resvit-unified", "mmhvae"),
    "II": ("mvae", "mmhvae-latents-1-7", "mmhvae-latents-1-4-7", "mmhvae-latents-1-3-4-5-7", "mmhvae"),
    "III": ("mmhvae-zeros", "mmhvae-average", "mmhvae"),
    "IV": ("mmhvae-without-gan", "mmhvae"),
}
#: The sets of images that go in, those without ultrasound first, as far as the paper has them in its table.
SETS = ((0,), *(chosen for count in (1, 2, 3) for chosen in itertools.combinations((1, 2, 3), count)),
        *((0, *chosen) for count in (1, 2, 3) for chosen in itertools.combinations((1, 2, 3), count)))  # fmt: skip
#: The means over sets: all, and those without the image itself, of which it has to be made and not only harmonised.
ALL, WITHOUT = "all sets", "sets without it"
MEAN = "mean of training"
METRICS = (("PSNR", "PSNR dB", 1), ("SSIM fan", "SSIM in the fan", 3), ("LPIPS", "LPIPS", 3))

_NARROW_RATE, _CHECKPOINTS = 1e-3, 5
_LEVELS = 7
#: Slices that are scored: one in so many, since neighbours differ little. How many go through a network at once.
_EVERY, _BATCH = 4, 16
_SCORES, _PICTURED, _ENLARGED = "scores.json", ((0,), (1, 2, 3), (0, 1, 2, 3)), 192
_SEED = 0


def compare(
    trial: Trial, table: str, *, presets: Sequence[str] = (), runs: Sequence[Path] = (), count: int = 12
) -> str:
    """Train what is not given, score all, write a table of the paper with its picture, and return it.

    Parameters
    ----------
    trial
        Cohort, folder, lengths and sizes; its families are not looked at.
    table
        Of :data:`TABLES`.
    presets
        Those of the table that are compared; all by default.
    runs
        Folders of finished trainings of presets, which are not trained then.
    count
        Number of test cases.

    Raises
    ------
    InputError
        A preset is not of the table, a run not of one of the presets; the cohort lacks cases; or the folder holds
        scores of another training.
    """
    chosen = [name for name in TABLES[table] if name in (presets or TABLES[table])]
    if unknown := set(presets) - set(chosen):
        raise InputError(f"{', '.join(sorted(unknown))}: not of Table {table}; choose from {', '.join(TABLES[table])}")
    given = _given(runs, chosen)
    training, tested = trial.cases(count)
    methods = [_Method.of(trial, name, given.get(name)) for name in chosen]
    found = {method.name: method.score(trial, tested) for method in methods}
    found[MEAN] = {"cases": _mean_of_training(training, tested)}
    rows: list[Row] = [
        {"case": folder.name} | {
            f"{image}/{name}/{of}/{metric}": value
            for name, result in found.items()
            for (image, of, metric), value in _with_means(result["cases"][folder.name]).items()
        }
        for folder in tested
    ]  # fmt: skip
    about = {name: {key: value for key, value in result.items() if key != "cases"} for name, result in found.items()}
    content = {"table": table, "networks": about, "cases": rows, "summary": summarize(rows)}
    text = _text(trial, content, chosen)
    trial.write(f"unified-{table}", content, text)
    save(_picture(methods, tested[0]), trial.output / f"unified-{table}.png")
    return text


def _given(runs: Sequence[Path], chosen: Sequence[str]) -> dict[str, FinishedRun]:
    found = {}
    for folder in runs:
        run = FinishedRun.read(folder)
        if run.preset.name not in chosen or run.preset.name in found:
            raise InputError(f"{folder}: is a run of {run.preset.name}; give one each of {', '.join(chosen)}")
        found[run.preset.name] = run
    return found


# Networks -------------------------------------------------------------------------------------------------------------


def narrow(preset: Preset, edge: int, steps: int) -> Preset:
    """A unified preset that a processor can train within minutes, on cases of so many voxels an edge.

    The window is the power of two that holds a case; networks have as many levels as it can be halved for.
    """
    window = 1 << (edge - 1).bit_length()
    levels, reduced = min(_LEVELS, window.bit_length() - 1), preset.last.traits.reduced
    generator = {**reduced.generator, **({"levels": levels} if preset.last.traits.unified else {})}
    sizes = replace(reduced, generator=generator, discriminator={"width": 16, "halvings": levels - 2})
    rate = max(_NARROW_RATE, preset.last.recipe.rate)
    return preset.shortened(steps).resized(
        sizes, slices=window, patch=window, rate=rate, batch_size=4, checkpoint_every=max(1, steps // _CHECKPOINTS),
        validation_batches=2,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Method:
    """A preset with its training, finished or to be made.

    Attributes
    ----------
    name
        The preset's.
    folder
        Where its training, if it has none yet, and its scores are kept.
    preset, run
        What is trained, in ``run``, or was.
    setting
        What scores are of, in words.
    """

    name: str
    folder: Path
    preset: Preset
    run: Path
    setting: str

    @classmethod
    def of(cls, trial: Trial, name: str, given: FinishedRun | None) -> _Method:
        folder = trial.output / name
        if given is not None:
            setting = f"checkpoint {file_sha256(chosen_checkpoint(given.folder))}"
            return cls(name=name, folder=folder, preset=given.preset, run=given.folder, setting=setting)
        preset, steps = PRESETS[name], trial.lengths.get(name, trial.steps)
        if not trial.published:
            first, *_ = trial.cases(1)[0]
            preset = narrow(preset, max(preset.last.load(first).fan.shape), steps)
        recipe = preset.shortened(steps).last.recipe
        setting = f"{recipe.steps} steps of {recipe.describe()}"
        return cls(name=name, folder=folder, preset=preset.shortened(steps), run=folder / "run", setting=setting)

    @property
    def stage(self) -> Unified:
        return self.preset.last

    def network(self) -> torch.nn.Module:
        """The trained network."""
        return FinishedRun.read(self.run, self.preset).network(self.stage)

    def score(self, trial: Trial, tested: Sequence[Path]) -> dict[str, Any]:
        """Train what has to be, and score it; the scores stay in its folder."""
        path = self.folder / _SCORES
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if found and found["setting"] != self.setting:
            raise InputError(f"{path}: is of another setting ({found['setting']}); choose another output folder")
        found = found or {"setting": self.setting, **self._trained(trial), "cases": {}}
        missing = [folder for folder in tested if folder.name not in found["cases"]]
        network = self.network().to(trial.device) if missing else None
        for folder in missing:
            found["cases"][folder.name] = _scores(self.stage.load(folder), network, self.stage.recipe.window[0])
            with replace_file(path) as partial:
                partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            trial.report(f"{self.name}: {folder.name}")
        return found

    def _trained(self, trial: Trial) -> dict[str, Any]:
        self.folder.mkdir(parents=True, exist_ok=True)
        about: dict[str, Any] = {}
        if self.run == self.folder / "run":
            _, about["minutes"] = trial.learn(self.preset, trial.cohort, self.folder)
        parameters = sum(parameter.numel() for parameter in self.network().parameters())
        return {"steps": self.stage.recipe.steps, "parameters": parameters, **about}


# Scores ---------------------------------------------------------------------------------------------------------------


def _known(volume: TrainingVolume) -> list[int]:
    """Places of the images that a case has."""
    return np.flatnonzero(np.isfinite(volume.target).any((1, 2, 3))).tolist()


def _scored(volume: TrainingVolume) -> TrainingVolume:
    """The slices of a case that are scored, those with data."""
    places = np.flatnonzero(volume.fan.any((1, 2)))[::_EVERY]
    return replace(volume, **{name: getattr(volume, name).take(places, -3) for name in ("image", "target", "fan")})


@torch.no_grad()
def made_of(network: torch.nn.Module, slices: np.ndarray, present: Sequence[int], window: int) -> np.ndarray:
    """All images of some.

    Parameters
    ----------
    network
        As :mod:`..generators.unified` says.
    slices
        (M, n, y, x) in [-1, 1], whatever where an image is missing.
    present
        Places of those that go in.
    window
        Edge of the slices that the network takes, in which these lie at the front.

    Returns
    -------
    numpy.ndarray
        (M, n, y, x) in [-1, 1]; the same draws at the same call.

    Raises
    ------
    InputError
        The slices are larger.
    """
    height, width = slices.shape[2:]
    if max(height, width) > window:
        raise InputError(f"the network takes slices of {window} pixels, and a case has {height} x {width}")
    behind = ((0, 0), (0, 0), (0, window - height), (0, window - width))
    seen = np.pad(slices[list(present)].astype(np.float32), behind, constant_values=OUTSIDE).swapaxes(0, 1)
    device = next(network.parameters()).device
    torch.manual_seed(_SEED)
    parts = [
        network(torch.from_numpy(seen[first : first + _BATCH]).to(device), tuple(present), TEMPERATURE)[0].cpu()
        for first in range(0, len(seen), _BATCH)
    ]
    return torch.cat(parts).numpy().swapaxes(0, 1)[:, :, :height, :width]


def _scores(volume: TrainingVolume, network: torch.nn.Module, window: int) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of a case by set, image and metric."""
    volume, known = _scored(volume), _known(volume)
    return {
        name_of(present): _compared(made_of(network, volume.image, present, window), volume, known)
        for present in SETS if set(present) <= set(known)
    }  # fmt: skip


def _compared(images: np.ndarray, volume: TrainingVolume, known: Sequence[int]) -> dict[str, dict[str, float]]:
    found = {IMAGES[k]: score(images[k], volume.target[k].astype(np.float32), volume.fan) for k in known}
    return {image: {metric: scores[metric] for metric, *_ in METRICS} for image, scores in found.items()}


def name_of(present: Sequence[int]) -> str:
    """A set in words.

    Examples
    --------
    >>> name_of((0, 2))
    'ioUS + ceT1'
    """
    return " + ".join(IMAGES[place] for place in present)


def _mean_of_training(training: Sequence[Path], tested: Sequence[Path]) -> dict[str, Any]:
    """Scores, which are the same for all sets, of the mean of each image in the fan of the cases learned from."""
    load = Unified(architecture="mmhvae", recipe=PRESETS["mmhvae"].last.recipe).load
    means = np.nanmean([
        [np.nan if not (inside := part[volume.fan]).size else inside.astype(np.float32).mean()
         for part in volume.target] for volume in map(load, training)
    ], axis=0)  # fmt: skip
    found = {}
    for folder in tested:
        volume = _scored(load(folder))
        known = _known(volume)
        images = np.broadcast_to(means[:, None, None, None].astype(np.float32), volume.target.shape)
        scores = _compared(images, volume, known)
        found[folder.name] = {name_of(present): scores for present in SETS if set(present) <= set(known)}
    return found


def _with_means(found: dict[str, dict[str, dict[str, float]]]) -> dict[tuple[str, str, str], float]:
    """Scores of a case by image, set and metric, and their means over sets."""
    scores = {(image, of, metric): value for of, images in found.items() for image, metrics in images.items()
              for metric, value in metrics.items()}  # fmt: skip
    means = {}
    for image, metric in dict.fromkeys((image, metric) for image, _, metric in scores):
        every = {of: scores[image, of, metric] for of in found}
        means[image, ALL, metric] = float(np.mean([*every.values()]))
        lacking = [value for of, value in every.items() if image not in of.split(" + ")]
        if lacking:
            means[image, WITHOUT, metric] = float(np.mean(lacking))
    return scores | means


# Table and picture ----------------------------------------------------------------------------------------------------


def _text(trial: Trial, content: dict[str, Any], chosen: Sequence[str]) -> str:
    whom = "simulated cases of heads" if trial.simulated else "studies of real patients"
    size = "published sizes" if trial.published else "trained small: narrow networks, few steps"
    lines = [
        f"Table {content['table']} of MMHVAE on {len(content['cases'])} {whom} that training never saw; {size}. In the "
        "fan, of harmonised images in [0, 1]; mean, SD and 95 % interval over cases.",
        "",
    ]
    if content["table"] == "I":
        for image in IMAGES:
            lines += [f"Synthetic {image}; where it is among what goes in, it is only harmonised:", ""]
            lines += [_by_set(content["summary"], image, chosen), ""]
    for means in (ALL, WITHOUT):
        lines += [f"Mean of {means}:", "", _by_method(content["summary"], means, [MEAN, *chosen]), ""]
    columns = (("steps", ",d"), ("parameters", ",d"), ("minutes", ".0f"))
    rows = [
        [name, *(format(about[key], how) if key in about else "-" for key, how in columns)]
        for name, about in content["networks"].items() if name != MEAN
    ]  # fmt: skip
    return "\n".join([*lines, markdown_table(["network", "steps", "parameters", "minutes of training"], rows), ""])


def _by_set(summary: Summary, image: str, chosen: Sequence[str]) -> str:
    headings = ["goes in", *(f"{name}, {heading}" for name in chosen for _, heading, _ in METRICS)]
    return markdown_table(headings, [
        [of, *(cell(summary, f"{image}/{name}/{of}/{metric}", digits) for name in chosen for metric, _, digits in
               METRICS)]
        for of in (*map(name_of, SETS), ALL, WITHOUT)
    ])  # fmt: skip


def _by_method(summary: Summary, means: str, names: Sequence[str]) -> str:
    headings = ["network", *(f"{image}, {heading}" for image in IMAGES for _, heading, _ in METRICS)]
    return markdown_table(headings, [
        [name, *(cell(summary, f"{image}/{name}/{means}/{metric}", digits) for image in IMAGES for metric, _, digits in
                 METRICS)]
        for name in names
    ])  # fmt: skip


def _picture(methods: Sequence[_Method], folder: Path) -> np.ndarray:
    """The middle slice of a case: what is true, and what each network makes of ultrasound, of MRI, and of all."""
    volume = methods[-1].stage.load(folder)
    known, middle = _known(volume), int(np.median(np.argwhere(volume.fan)[:, 0]))
    image, target, fan = (part.take([middle], -3) for part in (volume.image, volume.target, volume.fan))
    rows = [_row(target, fan[0], ("true,", "harmonised"))]
    for method in methods:
        network = method.network()
        for present in (chosen for chosen in _PICTURED if set(chosen) <= set(known)):
            made = made_of(network, image, present, method.stage.recipe.window[0])
            rows.append(_row(made, fan[0], (f"{method.name}", f"of {name_of(present)}")))
    return grid(rows)


def _row(images: np.ndarray, fan: np.ndarray, words: tuple[str, str]) -> list[Panel]:
    """One slice (M, 1, y, x) of each image, dark where there is no data."""
    size = [_ENLARGED * length // max(fan.shape) for length in fan.shape]
    shown = [masked(grey(np.nan_to_num(image[0].astype(np.float32), nan=OUTSIDE), -1.0, 1.0), fan) for image in images]
    return [
        Panel(resized(panel, size), [Text(f"{name}, {words[0]}"), Text(words[1])])
        for name, panel in zip(IMAGES, shown, strict=True)
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    names = list(dict.fromkeys(itertools.chain(*TABLES.values())))
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of a cohort with ceT1")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--table", choices=TABLES, default="I", help="of the paper; default: I")
    parser.add_argument("--presets", nargs="+", choices=names, default=[], help="default: all of the table")
    parser.add_argument("--runs", nargs="+", type=Path, default=[], metavar="RUN", help="finished ones of presets")
    parser.add_argument("--cases", type=positive, default=12, metavar="N", help="test cases; default: 12")
    add_training_arguments(parser, 1000, names)


def run(options: argparse.Namespace) -> int:
    """Compare, and print the table."""
    steps = dict(options.steps)
    trial = Trial(
        cohort=options.data, output=options.output, steps=steps.pop("", options.default_steps), lengths=steps,
        published=options.published, device=options.device,
    )  # fmt: skip
    print(compare(trial, options.table, presets=options.presets, runs=options.runs, count=options.cases), end="")
    return 0
