"""From a run of one of the benchmark's families to a bundle: ``iousynth models export``."""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..generators.diffusion import Sampler
from ..models.bundle import NETWORK_FILE
from ..volume import InputError
from .export import TORCHSCRIPT_FILE, export_onnx, export_torchscript, write_bundle
from .preset import REFINER, Preset, Stage
from .presets import PRESETS
from .run import BUNDLE, RUN, average_weights

INTENDED_USE = "Research only, never for clinical decisions."
CITATION = "Network and training after the benchmark of intraoperative ultrasound to MRI synthesis, arXiv 2606.00630."


def run(options: argparse.Namespace) -> int:
    """Export a run and print a line about the bundle.

    Parameters
    ----------
    options
        ``run_folder``, the folder that ``iousynth train`` wrote; ``output``, the bundle to make; ``licence``, the text
        of the weights' licence or None.

    Raises
    ------
    InputError
        There is no such run, it is not finished so far as to have weights, the licence cannot be read, or the output is
        there already.
    """
    if options.licence is not None:
        _check_text(options.licence)
    difference = export_run(options.run_folder, options.output, licence=options.licence)
    print(f"{options.output}: exported; ONNX Runtime, TorchScript and torch differ by {difference:.1e} at most")
    return 0


def _check_text(file: Path) -> None:
    try:
        file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{file}: cannot be read ({reason}); give the text of the licence") from error


def export_run(
    run: Path, output: Path, preset: Preset | None = None, licence: Path | None = None
) -> float:
    """Write a run's best averaged networks as a bundle, ONNX and TorchScript, and compare both with torch.

    A diffusion network is exported within its sampler. In 2D+3D-refine the bundle holds the 2D network and the refiner.

    Parameters
    ----------
    run
        Folder of the run.
    output
        The bundle to make.
    preset
        What was trained; what the run says of itself by default.
    licence
        Text of the licence of the weights; without it the bundle says that none was stated.

    Returns
    -------
    float
        Largest absolute difference of the files to torch.

    Raises
    ------
    InputError
        As :func:`run`.
    """
    if output.exists():
        raise InputError(f"{output}: exists already; remove it or choose another folder")
    content, preset = _read_run(run, preset)
    windows = {stage["name"]: stage["window"] for stage in content["stages"]}
    first, refiner = preset.first, None
    folder, window = run / first.folder, windows[first.name]
    if preset.last.name == REFINER:
        refiner = _trained(preset.last, run)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as temporary:
        staging, section = Path(temporary), _plan(first, window)
        files = {"model": staging / "model.onnx", "torchscript": staging / "model.ts"}
        channels = first.channels
        difference = 0.0
        if refiner is not None and (folder / BUNDLE).is_dir():  # made when it predicted what the refiner learned from
            files = {"model": folder / BUNDLE / NETWORK_FILE, "torchscript": folder / BUNDLE / TORCHSCRIPT_FILE}
        else:
            difference = _export(_generator(first, folder, window), channels, window, *files.values())
        if refiner is not None:
            section["refiner"] = _refiner_plan(preset.last, windows[REFINER])
            second = {"refiner": staging / "refiner.onnx", "refiner_torchscript": staging / "refiner.ts"}
            channels = len(section["refiner"]["inputs"])
            difference = max(difference, _export(refiner, channels, windows[REFINER], *second.values()))
            files |= second
        staged = write_bundle(
            staging / "bundle", metadata=_metadata(preset, section, output.name),
            card=_card(preset, windows[preset.last.name]), licence=licence, **files,
        )
        shutil.move(staged, output)
    return difference


def _export(network: torch.nn.Module, channels: int, window: list[int], onnx: Path, script: Path) -> float:
    differences = (
        export_onnx(network, channels, onnx, size=window), export_torchscript(network, channels, script, window)
    )
    return max(differences)


def _read_run(run: Path, preset: Preset | None) -> tuple[dict[str, Any], Preset]:
    """What a run says of itself, and the preset that was trained, which is known or given."""
    try:
        content = json.loads((run / RUN).read_text(encoding="utf-8"))
        preset = preset or PRESETS[content["preset"]]
        known = len(content["stages"]) >= len(preset.stages) and not preset.last.foldable
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{run}: is no run of a family's preset; give the output folder of iousynth train (see its --list)"
        ) from error
    if not known or not (run / preset.last.folder / "checkpoint.pt").is_file():
        raise InputError(f"{run}: has no checkpoint of a known preset; let iousynth train finish first")
    return content, preset


def _generator(stage: Stage, run: Path, window: list[int]) -> torch.nn.Module:
    network = _trained(stage, run)
    return Sampler(network, len(stage.targets), window).eval() if stage.traits.diffusion else network


def _trained(stage: Stage, run: Path) -> torch.nn.Module:
    network = stage.network()
    network.load_state_dict(average_weights(run, network))
    return network.eval()


def _plan(stage: Stage, window: list[int]) -> dict[str, Any]:
    """How a network that was trained here is run: on the grid and in windows of the size that it learned from."""
    plan = {"regime": stage.regime, "spacing": [stage.spacing] * 3, **_windows(stage, window)}
    return plan if stage.regime == "3D" else {**plan, "slice_axes": list(stage.slice_axes)}


def _windows(stage: Stage, window: list[int]) -> dict[str, Any]:
    return {
        "window": window,
        "overlap": stage.traits.overlap,
        "size_multiple": 1,
        "blending": stage.traits.blending,
        "padding": "window",
    }


def _refiner_plan(stage: Stage, window: list[int]) -> dict[str, Any]:
    return {**_windows(stage, window), "inputs": list(stage.inputs)}


def _metadata(preset: Preset, section: dict[str, Any], name: str) -> dict[str, Any]:
    """Content of metadata.json: MONAI's keys, and the section that IoUSynth reads."""
    stage, targets = preset.last, " and ".join(preset.last.targets)
    return {
        "version": "0.1.0",
        "monai_version": metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "name": name,
        "task": f"synthesis of {targets} MRI from intraoperative ultrasound",
        "description": f"{stage.family} in {preset.regime} for {targets}",
        "intended_use": INTENDED_USE,
        "iousynth": {
            "kind": "generator",
            **section,
            "inputs": ["ioUS"],
            "outputs": list(stage.targets),
            "citation": CITATION,
            "intended_use": INTENDED_USE,
            "preset": preset.name,
        },
    }


def _card(preset: Preset, window: list[int]) -> str:
    """A run on small cases has a smaller window than its preset; reduced presets also have narrower networks."""
    stage = preset.last
    recipe = replace(stage.recipe, window=tuple(window)).describe()
    recipe += "; narrower networks than the preset's" if stage.size else ""
    return (
        f"# {stage.family} in {preset.regime} for {' and '.join(stage.targets)}\n\n**{INTENDED_USE}** Its images are "
        f"synthetic. Trained with the preset `{preset.name}`: {recipe}. "
        f"`configs/metadata.json` says how it is run.\n\nCite: {CITATION}\n"
    )
