"""From a finished run to the bundle that ships: ONNX, metadata and model card."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

from ..bundle import DEFAULT_GENERATOR
from ..evaluation.agreement import table as agreement_table
from ..evaluation.tables import fidelity_table, overlap_table, trust_table, uncertainty_table
from .export import export_onnx, write_bundle
from .families import average_weights
from .operating_point import read_operating_point
from .presets import PRESETS, Preset

#: Largest input of a network in voxels, by its number of dimensions.
WINDOW = {2: (192, 192), 3: (96, 96, 96)}
SIZE_MULTIPLE = 16
#: How the slicing directions become one, in voxels of 0.8 mm; chosen on validation heads and by eye on real sweeps.
FUSION_SCALE = 5
INTENDED_USE = "Research only, never for clinical decisions. Trained on simulated ultrasound."
TRAINING_DATA = (
    "Simulated ultrasound of BrainWeb heads (Aubert-Broche et al. 2006), of the SynthSeg label maps (Billot et al. "
    "2023, Apache-2.0) and of the MRI of four patients (TCGA-LGG, Pedano et al. 2016, CC BY 3.0; open_ms_data, Lesjak "
    "et al. 2018, CC BY 4.0); no real ultrasound."
)
CITATION = "IoUSynth developers, 2026: synthetic T2w and FLAIR MRI from tracked intraoperative brain ultrasound."
VERSION = "0.3.4"
CHANGELOG = {
    "0.3.4": "the weights of 0.3.0; their files no longer name folders of the machine that they were exported on",
    "0.3.3": "the weights of 0.3.0; outlines of tumour and cavity come with the Dice to be expected of them",
    "0.3.2": "the weights of 0.3.0; tumour is called more readily beside a cavity, and before a resection its most "
    "probable place is outlined where none stands out",
    "0.3.1": "the weights of 0.3.0; slicing directions are fused by spatial frequency, without stripes along the grid",
    "0.3.0": "trained on a GPU, from random weights, on six times as many cases, of a simulator with thin sulci, "
    "limited penetration and compensation set for the target; outlines by a 3D network on voxels of 1.6 mm; weights "
    "stored in half precision",
    "0.2.0": "simulator with real MRI, turned grids, drift and loss with depth; started from the weights of 0.1.0",
    "0.1.0": "first weights, trained on simulated cases",
}
#: What simulated ultrasound looks like, over 196 cases (``Testing/Benchmarks/input_verdict.py`` prints it).
TRAINING_RANGE = {
    "brightness": [-0.749, 0.091],
    "contrast": [0.393, 0.57],
    "grain": [0.084, 0.474],
    "fan_ml": [48.0, 619.0],
}
CARDS = Path(__file__).parent / "cards"


def load_run(name: str, run: Path) -> torch.nn.Module:
    """The averaged network of a run's best checkpoint, or of the last when none was scored, ready for inference."""
    network = PRESETS[name].network()
    network.load_state_dict(average_weights(run, network))
    return network.eval()


def release(
    name: str, run: Path, output: Path, licence: Path, evaluation: dict | None = None, training: str = "",
    agreement: dict | None = None,
) -> Path:
    """Export a run as a bundle.

    Parameters
    ----------
    name
        The preset that was trained, which names the bundle.
    run
        Folder of the run.
    output
        Folder of the models; the bundle becomes a folder in it.
    licence
        Text of the licence.
    evaluation
        What :func:`evaluation.simulated.evaluate` returned, for the card's tables.
    training
        What the weights were trained on, for how long and on what, in words for the card.
    agreement
        What :func:`evaluation.agreement.compare` returned, for the card's table of real ultrasound.

    Returns
    -------
    Path
        The bundle's folder.
    """
    preset = PRESETS[name]
    point = read_operating_point(run)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        export_onnx(load_run(name, run), preset.channels, model, SIZE_MULTIPLE, dimensions=preset.dimensions, half=True)
        card = _card(name, evaluation, training, agreement)
        return write_bundle(output / name, model, bundle_metadata(name, preset, point), card, licence)


def bundle_metadata(name: str, preset: Preset, operating_point: dict) -> dict:
    """Content of metadata.json: MONAI's keys and the section that IoUSynth reads."""
    slices = preset.regime == "2.5D"
    channels: list[str] = [*preset.inputs]
    if slices:
        channels = [f"{image} slice {offset}" for image in preset.inputs for offset in ("k-1", "k", "k+1")]
    return {
        "version": VERSION,
        "changelog": CHANGELOG,
        "monai_version": metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "name": name,
        "task": {
            "generator": "synthesis of T2w and FLAIR MRI from intraoperative ultrasound",
            "segmenter": "segmentation of tumour and resection cavity on intraoperative ultrasound and synthetic MRI",
        }[preset.kind],
        "description": "2.5D U-Net, predictions of three slicing directions fused" if slices else "3D U-Net",
        "authors": "IoUSynth developers",
        "copyright": "IoUSynth developers, Apache-2.0",
        "data_source": TRAINING_DATA,
        "intended_use": INTENDED_USE,
        "network_data_format": {
            "inputs": {"image": _data_format("image", channels, preset.dimensions)},
            "outputs": {"prediction": _data_format(preset.kind, preset.outputs, preset.dimensions)},
        },
        "iousynth": {
            "kind": preset.kind,
            "regime": preset.regime,
            "spacing": [preset.spacing] * 3,
            "slice_axes": [0, 1, 2] if slices else [],
            "window": list(WINDOW[preset.dimensions]),
            "overlap": 0.25,
            **({"fusion_scale": FUSION_SCALE} if slices else {}),
            "size_multiple": SIZE_MULTIPLE,
            "inputs": list(preset.inputs),
            "outputs": list(preset.outputs),
            **operating_point,
            **({"generator": DEFAULT_GENERATOR} if preset.kind == "segmenter" else {}),
            "licence": "Apache-2.0",
            "citation": CITATION,
            "training_data": TRAINING_DATA,
            "intended_use": INTENDED_USE,
            **({"training_range": TRAINING_RANGE} if preset.kind == "generator" else {}),
        },
    }


def _data_format(kind: str, channels: Sequence[str], dimensions: int) -> dict:
    return {
        "type": "image" if kind != "segmenter" else "probabilities",
        "format": "magnitude",
        "modality": "US" if kind == "image" else "MR",
        "num_channels": len(channels),
        "spatial_shape": [f"{SIZE_MULTIPLE}*n"] * dimensions,
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": False,
        "channel_def": {str(index): channel for index, channel in enumerate(channels)},
    }


def _card(name: str, evaluation: dict | None, training: str, agreement: dict | None) -> str:
    tables = dict.fromkeys(("fidelity", "overlap", "trust", "uncertainty", "cases"), "")
    if evaluation is not None:
        tables = {
            "fidelity": fidelity_table(evaluation["summary"]),
            "overlap": overlap_table(evaluation["summary"]),
            "trust": trust_table(evaluation["cases"]),
            "uncertainty": uncertainty_table(evaluation["summary"]),
            "cases": str(len(evaluation["cases"])),
        }
    tables["agreement"] = "Not measured." if agreement is None else agreement_table(agreement)
    text = (CARDS / f"{PRESETS[name].kind}.md").read_text(encoding="utf-8")
    return text.format(training=training, **tables)
