"""``iousynth train``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..cases.case import PARAMETERS
from ..cases.index import INDEX, read_index
from ..commands import positive, seed, whole_number
from ..constants import DEVICES
from ..generators.recipe import DEFAULT, PUBLISHED
from ..models.bundle import INPUTS, load
from ..outputs.batch import find_inputs
from ..volume import InputError

if TYPE_CHECKING:
    from ..models.bundle import Bundle
    from .preset import Preset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes checkpoint.pt, curve.csv, samples/ and tensorboard/. The same command goes on from the last checkpoint "
        "after an interruption."
    )
    parser.epilog = (
        "On several GPUs: torchrun --nproc-per-node 4 -m IoUSynthLib train PRESET --data DIR -o DIR; on several nodes, "
        "torchrun's --nnodes and --rdzv-endpoint on each, and a folder that all of them see."
    )
    parser.add_argument("preset", nargs="?", metavar="PRESET", help="what to train; --list shows the choice")
    parser.add_argument("--list", action="store_true", help="list the presets")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of a simulated or prepared cohort")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--generator", metavar="NAME|PATH",
        help="model whose synthetic MRI of the cohort a segmenter learns from (default: the true MRI)",
    )
    parser.add_argument(
        "--initial", metavar="NAME|PATH", help="model to start from, to adapt it to these data (default: from nothing)"
    )
    parser.add_argument(
        "--real", type=Path, nargs="+", default=[], metavar="PATH",
        help="real ultrasound without MRI, files or folders, whose texture and grey levels the cohort's takes over",
    )
    parser.add_argument(
        "--painted", type=Path, metavar="DIR",
        help="real ultrasound with painted cavities (iousynth paint) that a segmenter learns from besides",
    )
    parser.add_argument(
        "--recipe", choices=(DEFAULT, PUBLISHED), default=DEFAULT,
        help="published: a family learns as its authors let it where this library does otherwise",
    )  # fmt: skip
    parser.add_argument(
        "--no-augmentation", dest="augment", action="store_false",
        help="learn from the images as they are, not even flipped (default: as the recipe says)",
    )  # fmt: skip
    parser.add_argument("--steps", type=positive, metavar="N", help="other length than the preset's, for a trial")
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default: 0")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    parser.add_argument(
        "--workers", type=whole_number, default=0, metavar="N",
        help="processes that draw batches ahead of time, for a GPU (default: 0, the batch is drawn when it is needed)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """List the presets, or train one, and return the exit code.

    Raises
    ------
    InputError
        Something is missing or wrong, most of which is found out before the work begins.
    """
    import torch

    from .presets import PRESETS
    from .run import train

    if options.list:
        for preset in _presets(options.recipe):
            print(_line_about(preset))
        return 0
    if None in (options.preset, options.data, options.output):
        raise InputError("train: PRESET, --data and -o are needed (see iousynth train --help and --list)")
    if options.preset not in PRESETS:
        raise InputError(f"{options.preset}: no such preset; choose from {', '.join(PRESETS)}")
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.initial and not PRESETS[options.preset].last.foldable:
        raise InputError(f"--initial: {options.preset} starts from random weights; leave the option out")
    preset = PRESETS[options.preset]
    preset = preset.published() if options.recipe == PUBLISHED else preset
    preset = preset if options.augment else preset.unaugmented()
    initial = load(options.initial) if options.initial else None
    _check_cohort(options, preset)
    generator = _generator(options, preset)
    _check_writable(options.output)
    try:
        train(
            preset, options.data, options.output, seed=options.seed,
            predictions=_predict(generator, options, device) if generator else None,
            steps=options.steps, device=device, report=lambda line: print(line, flush=True), initial=initial,
            real=find_inputs(options.real), painted=options.painted, workers=options.workers,
        )
    except FloatingPointError as error:
        raise InputError(f"{options.output}: {error}") from error
    except OSError as error:
        raise InputError(
            f"{error.filename or options.output}: {error.strerror or error}; put it right and repeat the command, "
            "which goes on from the last checkpoint"
        ) from error
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def _presets(recipe: str) -> list[Preset]:
    """Those that there are with a recipe."""
    from .presets import PRESETS

    if recipe == DEFAULT:
        return list(PRESETS.values())
    return [preset.published() for preset in PRESETS.values() if preset.first.traits.published]


def _line_about(preset: Preset) -> str:
    first, last = preset.first, preset.last
    images = f"{', '.join(first.inputs)} -> {', '.join(last.outputs)}"
    line = f"{preset.name:36}  {last.kind:9}  {last.recipe.steps:6} steps  {images}  {last.recipe.describe()}"
    return line if first is last else f"{line}; first {first.recipe.steps} steps, {first.recipe.describe()}"


def _check_cohort(options: argparse.Namespace, preset: Preset) -> None:
    """Refuse a cohort, or predictions of it, that the preset cannot learn from."""
    index = options.data / INDEX
    if not index.is_file():
        raise InputError(
            f"{index}: is missing; make a cohort with iousynth simulate -n 100 --anatomy DIR -o {options.data}"
        )
    if options.generator is not None and preset.last.kind != "segmenter":
        raise InputError(f"--generator: {options.preset} learns from true MRI alone; leave the option out")
    if options.painted is not None and preset.last.kind != "segmenter":
        raise InputError(f"--painted: {options.preset} learns from MRI, which painted cases lack; leave the option out")
    for split in ("train", "validation"):
        folders = _folders(options.data, split)
        if not folders:
            raise InputError(f"{options.data}: has no cases for {split}; {_more_heads(index)}")
        if options.painted is not None and split == "train":
            folders = folders + _folders(options.painted, split)
        for path in (folder / PARAMETERS for folder in folders):
            if not path.is_file():
                raise InputError(f"{path}: is missing; repeat the command that made its folder")


def _generator(options: argparse.Namespace, preset: Preset) -> Bundle | None:
    """The model whose images a segmenter learns from."""
    if options.generator is None:
        return None
    generator = load(options.generator)
    lacking = set(preset.first.inputs) - {*INPUTS[:1], *generator.images}
    if lacking or not generator.needs_ultrasound_alone:
        lack = f"does not make {', '.join(sorted(lacking))} of ultrasound"
        raise InputError(f"--generator: {generator.path} {lack}, which {options.preset} reads; choose another model")
    return generator


def _predict(generator: Bundle, options: argparse.Namespace, device: str) -> Path:
    """Make the images that a segmenter learns from, once."""
    from .predictions import predict_cohort
    from .run_folder import PREDICTIONS

    folder = options.output / PREDICTIONS
    folders = [case for split in ("train", "validation") for case in read_index(options.data, split)]
    if options.painted is not None:
        folders += read_index(options.painted, "train")
    predict_cohort(
        folders, generator, folder, device=device,
        progress=lambda ready, of: print(f"{generator.name}: {ready} of {of} cases", flush=True),
    )  # fmt: skip
    return folder


def _folders(cohort: Path, split: str) -> list[Path]:
    """Cases of a split, or one line that says that the index is damaged."""
    try:
        return read_index(cohort, split)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{cohort / INDEX}: is damaged ({error!r}); make the cohort again") from error


def _more_heads(index: Path) -> str:
    """How a cohort gets cases of every split, in words."""
    content = json.loads(index.read_text(encoding="utf-8"))
    heads = {case.get("head") for case in content["cases"]}
    if content.get("simulated", True):
        return (
            f"make a cohort with more heads, of which it has {len(heads)} and none is split: simulate --anatomy DIR, "
            "with five or more label maps of one source"
        )
    return f"prepare more patients: it has {len(heads)}, and none is split"


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another output folder") from error
