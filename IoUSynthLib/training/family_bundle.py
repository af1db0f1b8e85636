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
from .families import BUNDLE, FAMILY_PRESETS, RUN, SLICES, FamilyPreset, Size, average_weights

#: Voxel size of the cohorts that are learned from, in mm.
SPACING_MM = 0.8
INTENDED_USE = "Research only, never for clinical decisions."
CITATION = "Network and training after the benchmark of intraoperative ultrasound to MRI synthesis, arXiv 2606.00630."
_GAN = ("pix2pix", "swin_pix2pix", "cyclegan", "cut")


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
    run: Path, output: Path, preset: FamilyPreset | None = None, licence: Path | None = None
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
    told = _read_run(run)
    preset = preset or FAMILY_PRESETS[told["preset"]]
    first, folder, window, refiner = preset, run, told["window"], None
    if preset.first is not None:
        refiner = _trained(preset, run)
        first, folder, window = preset.slices(), run / SLICES, _read_run(run / SLICES)["window"]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as temporary:
        staging, section = Path(temporary), _plan(first, window)
        files = {"model": staging / "model.onnx", "torchscript": staging / "model.ts"}
        channels = 3 if first.regime == "2.5D" else 1
        difference = 0.0
        if refiner is not None and (folder / BUNDLE).is_dir():  # made when it predicted what the refiner learned from
            files = {"model": folder / BUNDLE / NETWORK_FILE, "torchscript": folder / BUNDLE / TORCHSCRIPT_FILE}
        else:
            difference = _export(_generator(first, folder, window), channels, window, *files.values())
        if refiner is not None:
            section["refiner"] = _refiner_plan(preset, told["window"])
            second = {"refiner": staging / "refiner.onnx", "refiner_torchscript": staging / "refiner.ts"}
            channels = len(section["refiner"]["inputs"])
            difference = max(difference, _export(refiner, channels, told["window"], *second.values()))
            files |= second
        staged = write_bundle(
            staging / "bundle", metadata=_metadata(preset, section, output.name), card=_card(preset, told["window"]),
            licence=licence, **files,
        )
        shutil.move(staged, output)
    return difference


def _export(network: torch.nn.Module, channels: int, window: list[int], onnx: Path, script: Path) -> float:
    differences = (
        export_onnx(network, channels, onnx, size=window), export_torchscript(network, channels, script, window)
    )
    return max(differences)


def _read_run(run: Path) -> dict[str, Any]:
    try:
        told = json.loads((run / RUN).read_text(encoding="utf-8"))
        known = told["preset"] in FAMILY_PRESETS and (run / "checkpoint.pt").is_file()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{run}: is no run of a family's preset; give the output folder of iousynth train (see its --list)"
        ) from error
    if not known:
        raise InputError(f"{run}: has no checkpoint of a known preset; let iousynth train finish first")
    return told


def _generator(preset: FamilyPreset, run: Path, window: list[int]) -> torch.nn.Module:
    network = _trained(preset, run)
    return Sampler(network, len(preset.targets), window).eval() if preset.family == "syndiff" else network


def _trained(preset: FamilyPreset, run: Path) -> torch.nn.Module:
    network = preset.network()
    network.load_state_dict(average_weights(run, network))
    return network.eval()


def _plan(preset: FamilyPreset, window: list[int]) -> dict[str, Any]:
    """How a network that was trained here is run: on the grid and in windows of the size that it learned from."""
    plan = {"regime": preset.regime, "spacing": [SPACING_MM] * 3, **_windows(preset, window)}
    return plan if preset.regime == "3D" else {**plan, "slice_axes": list(preset.slice_axes)}


def _windows(preset: FamilyPreset, window: list[int]) -> dict[str, Any]:
    """The GAN families' released code averages without weights, with half overlap."""
    gan = preset.family in _GAN
    return {
        "window": window,
        "overlap": 0.5 if gan else 0.25,
        "size_multiple": 1,
        "blending": "uniform" if gan else "hann",
        "padding": "window",
    }


def _refiner_plan(preset: FamilyPreset, window: list[int]) -> dict[str, Any]:
    ultrasound = preset.inputs if preset.refiner_sees_ultrasound else ()
    return {**_windows(preset, window), "inputs": [*preset.targets, *ultrasound]}


def _metadata(preset: FamilyPreset, section: dict[str, Any], name: str) -> dict[str, Any]:
    """Content of metadata.json: MONAI's keys, and the section that IoUSynth reads."""
    targets = " and ".join(preset.targets)
    return {
        "version": "0.1.0",
        "monai_version": metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "name": name,
        "task": f"synthesis of {targets} MRI from intraoperative ultrasound",
        "description": f"{preset.family} in {preset.regime} for {targets}",
        "intended_use": INTENDED_USE,
        "iousynth": {
            "kind": "generator",
            **section,
            "inputs": ["ioUS"],
            "outputs": list(preset.targets),
            "citation": CITATION,
            "intended_use": INTENDED_USE,
            "preset": preset.name,
        },
    }


def _card(preset: FamilyPreset, window: list[int]) -> str:
    """A run on small cases has a smaller window than its preset; reduced presets also have narrower networks."""
    recipe = replace(preset.recipe, window=tuple(window)).describe()
    recipe += "; narrower networks than the preset's" if preset.size != Size() else ""
    return (
        f"# {preset.family} in {preset.regime} for {' and '.join(preset.targets)}\n\n**{INTENDED_USE}** Its images are "
        f"synthetic. Trained with the preset `{preset.name}`: {recipe}. "
        f"`configs/metadata.json` says how it is run.\n\nCite: {CITATION}\n"
    )
