"""From a finished run to a bundle: ONNX, metadata and model card, which say what is known of the run and no more."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from string import Formatter
from typing import Any

import torch

from ..evaluation.tables import fidelity_table, overlap_table, trust_table, uncertainty_table
from ..experiments.agreement import table as agreement_table
from .calibration import read_calibration
from .export import export_onnx, write_bundle
from .preset import Stage
from .presets import PRESETS
from .run import average_weights

#: Largest input of a network in voxels, by its number of dimensions.
WINDOW = {2: (192, 192), 3: (96, 96, 96)}
SIZE_MULTIPLE = 16
#: How the slicing directions become one, in voxels of 0.8 mm; chosen on validation heads and by eye on real sweeps.
FUSION_SCALE = 5
INTENDED_USE = "Research only, never for clinical decisions."
CARDS = Path(__file__).parent / "cards"
#: Tables of the cards, by the kind of model.
_TABLES = {"generator": ("fidelity", "uncertainty", "agreement"), "segmenter": ("overlap", "trust")}


@dataclass(frozen=True, kw_only=True)
class About:
    """What a bundle says of itself that no run tells. What is empty is left out of the metadata: nothing is assumed.

    Attributes
    ----------
    version, changelog
        Version of the weights, and what was new in each.
    authors, copyright, citation
        Who made the weights, whose they are, and what to cite.
    licence
        SPDX identifier of their licence, where its text is one that :func:`.export.write_bundle` does not know.
    training_range
        What the ultrasound that was learned from looked like, as :func:`.synthesis.quality.training_range` measures it:
        inputs are compared with it.
    generator
        Of a segmenter: name of the model whose synthetic MRI it learned from.
    intended_use
        In words.
    """

    version: str = "0.1.0"
    changelog: Mapping[str, str] = field(default_factory=dict)
    authors: str = ""
    copyright: str = ""
    citation: str = ""
    licence: str = ""
    training_range: Mapping[str, Sequence[float]] = field(default_factory=dict)
    generator: str = ""
    intended_use: str = INTENDED_USE

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> About:
        """What the metadata of an earlier bundle say."""
        said = {**content, **content["iousynth"]}
        return cls(**{entry.name: said[entry.name] for entry in fields(cls) if entry.name in said})


def load_run(name: str, run: Path) -> torch.nn.Module:
    """The averaged network of a run's best checkpoint, or of the last when none was scored, ready for inference."""
    network = PRESETS[name].last.network()
    network.load_state_dict(average_weights(run, network))
    return network.eval()


def release(
    name: str, run: Path, output: Path, licence: Path | None = None, evaluation: dict | None = None,
    training: str = "", agreement: dict | None = None, *, about: About | None = None, bundle: str = "", card: str = "",
) -> Path:
    """Export a run as a bundle.

    Parameters
    ----------
    name
        The preset that was trained.
    run
        Folder of the run.
    output
        Folder of the models; the bundle becomes a folder in it.
    licence
        Text of the licence of the weights; without it the bundle says that none was stated.
    evaluation
        What :func:`evaluation.from_pipeline.evaluate_pipeline` returned, for the card's tables.
    training
        What the weights were trained on, for how long and on what, in words for metadata and card.
    agreement
        What :func:`evaluation.agreement.compare` returned, for the card's table of real ultrasound.
    about
        What else is known of the weights.
    bundle
        Name of the bundle; the preset's without it.
    card
        Text of a card to keep: its tables are replaced by the new ones, and no other word is changed.

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    ValueError
        A table has no place in ``card``.
    """
    preset, bundle = PRESETS[name].last, bundle or name
    tables = _tables(preset.kind, evaluation, agreement)
    if card:
        text = _renewed(card, tables)
    else:
        counted = {"cases": str(len(evaluation["cases"])) if evaluation else ""}
        text = _filled(preset, {"bundle": bundle, "preset": name, "training": training, **counted, **tables})
    said = bundle_metadata(bundle, preset, read_calibration(run), about or About(), training)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        export_onnx(load_run(name, run), preset.channels, model, SIZE_MULTIPLE, dimensions=preset.dimensions, half=True)
        return write_bundle(output / bundle, model, said, text, licence)


def bundle_metadata(name: str, preset: Stage, operating_point: dict, about: About, training: str = "") -> dict:
    """Content of metadata.json: MONAI's keys and the section that IoUSynth reads, without what is not known."""
    slices = preset.regime == "2.5D"
    channels: list[str] = [*preset.inputs]
    if slices:
        channels = [f"{image} slice {offset}" for image in preset.inputs for offset in ("k-1", "k", "k+1")]
    return _known({
        "version": about.version,
        "changelog": dict(about.changelog),
        "monai_version": metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "name": name,
        "task": {
            "generator": "synthesis of T2w and FLAIR MRI from intraoperative ultrasound",
            "segmenter": "segmentation of tumour and resection cavity on intraoperative ultrasound and synthetic MRI",
        }[preset.kind],
        "description": "2.5D U-Net, predictions of three slicing directions fused" if slices else "3D U-Net",
        "authors": about.authors,
        "copyright": about.copyright,
        "data_source": training,
        "intended_use": about.intended_use,
        "network_data_format": {
            "inputs": {"image": _data_format("image", channels, preset.dimensions)},
            "outputs": {"prediction": _data_format(preset.kind, preset.outputs, preset.dimensions)},
        },
        "iousynth": _known({
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
            "generator": about.generator,
            "licence": about.licence,
            "citation": about.citation,
            "training_data": training,
            "intended_use": about.intended_use,
            "training_range": dict(about.training_range),
        }),
    })


def _known(entries: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value not in ("", {})}


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


def _tables(kind: str, evaluation: dict | None, agreement: dict | None) -> dict[str, str]:
    """Tables of a model's card by their names, empty where nothing was measured."""
    tables = dict.fromkeys(_TABLES[kind], "")
    if evaluation is not None:
        tables |= {
            "fidelity": fidelity_table(evaluation["summary"]),
            "overlap": overlap_table(evaluation["summary"]),
            "trust": trust_table(evaluation["cases"]),
            "uncertainty": uncertainty_table(evaluation["summary"]),
        }
    if agreement is not None:
        tables["agreement"] = agreement_table(agreement)
    return {name: tables[name] for name in _TABLES[kind]}


def _filled(preset: Stage, values: Mapping[str, str]) -> str:
    """The template of a kind of model, filled in, without the sections of which something is not known."""
    values = {"inputs": ", ".join(preset.inputs), **values}
    sections = re.split(r"\n(?=## )", (CARDS / f"{preset.kind}.md").read_text(encoding="utf-8"))
    known = [part for part in sections if all(values[place] for _, place, *_ in Formatter().parse(part) if place)]
    return "\n".join(known).format(**values).rstrip() + "\n"


def _renewed(card: str, tables: Mapping[str, str]) -> str:
    """A card with each table in the place of the one with the same headings."""
    for name, table in tables.items():
        if table:
            headings = re.escape(table.partition("\n")[0])
            parts = re.split(rf"^{headings}\n(?:\|.*\n)*", card, flags=re.MULTILINE)
            if len(parts) != 2:
                raise ValueError(f"the card holds {len(parts) - 1} tables with the headings of {name}; leave one there")
            card = f"{parts[0]}{table}\n{parts[1]}"
    return card
