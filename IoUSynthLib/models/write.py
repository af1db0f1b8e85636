"""Write a bundle: the metadata, the model card and the licence of networks that were exported into its folder.

What a bundle says of where its weights come from is what whoever writes it says of them; nothing is assumed, and what
is not known is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from string import Formatter
from typing import Any

from ..files.integrity import file_sha256
from ..volume import InputError
from .bundle import (
    FAMILIARITY_FILE,
    LOG_ERROR,
    METADATA,
    NETWORK_FILE,
    REFINER_FILE,
    REFINER_TORCHSCRIPT_FILE,
    TORCHSCRIPT_FILE,
)

INTENDED_USE = "Research only, never for clinical decisions."
#: What a bundle says of its licence where none was stated, or where only the text of another than Apache-2.0 is known.
LICENCE_NOT_STATED, LICENCE_IN_FILE = "LicenseRef-not-stated", "LicenseRef-see-LICENSE"
_NO_LICENCE = "No licence was stated for these weights. Ask whoever trained them before you use them or pass them on.\n"
_FOLDER = Path(__file__).parent

#: Files of a bundle whose checksums its metadata give, as far as they are there.
_CHECKED = (NETWORK_FILE, REFINER_FILE, TORCHSCRIPT_FILE, REFINER_TORCHSCRIPT_FILE, FAMILIARITY_FILE)

_TASKS = {
    "generator": "synthesis of {images} MRI from {source}",
    "segmenter": "segmentation of tumour and resection cavity on intraoperative ultrasound and synthetic MRI",
}
_CAUTION = (
    "Its images are synthetic: they show what a network expects an MRI to look like where the {source} was recorded, "
    "not what an MRI scanner has measured."
)
#: What no generator can know, whatever it has learned from.
_LIMITS = """- Grey and white matter barely differ in ultrasound: the boundary between them is mostly the network's
  expectation.
- Behind bone, air and calcification there is no echo and hence no information, whatever is shown there."""
_LIMITS_OF_MRI = "- What one contrast does not show, such as oedema in T1w, is the network's expectation in the other."
_LIMITS_OF_THE_ERROR = """
- The expected error was learned on the cases for training; it is high where the network fails there, not everywhere it
  may fail."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What is known of a model's weights. What is empty is left out of metadata and card.

    Attributes
    ----------
    version, changelog
        Version of the weights, and what was new in each.
    authors, copyright, citation
        Who made the weights, whose they are, and what to cite.
    licence
        SPDX identifier of their licence, where its text is none that :func:`write_bundle` knows.
    training_data
        What they were trained on, in words.
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
    training_data: str = ""
    training_range: Mapping[str, Any] = field(default_factory=dict)
    generator: str = ""
    intended_use: str = INTENDED_USE

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Provenance:
        """What the metadata of a bundle say."""
        known = {**content, **content["iousynth"]}
        return cls(**{entry.name: known[entry.name] for entry in fields(cls) if entry.name in known})


#: How the hidden folders begin that bundles are made in, and the age in seconds that none of a living run has.
_HIDDEN, _ABANDONED_S = ".bundle-", 86_400


def _remove_abandoned(parent: Path) -> None:
    """Remove what runs that were killed have left: a bundle is made in minutes."""
    for folder in parent.glob(f"{_HIDDEN}*"):
        with contextlib.suppress(OSError):  # another run may remove it, too
            if time.time() - folder.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(folder)


@contextlib.contextmanager
def new_bundle(output: Path) -> Iterator[Path]:
    """Yield a folder to make a bundle in, which becomes ``output`` at the end; nothing is left of one that failed.

    It holds an empty ``models``, for the networks.

    Raises
    ------
    InputError
        The output is there already, or cannot be written.
    """
    if output.exists():
        raise InputError(f"{output}: exists already; remove it or choose another folder")
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(output.absolute().parent)
        hidden = Path(tempfile.mkdtemp(prefix=_HIDDEN, dir=output.absolute().parent))
        (hidden / output.name / "models").mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield hidden / output.name
        os.replace(hidden / output.name, output)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def write_bundle(
    folder: Path,
    section: Mapping[str, Any],
    *,
    description: str,
    origin: str,
    provenance: Provenance,
    licence: str = "",
    results: Mapping[str, str] | None = None,
    card: str = "",
) -> Path:
    """Lay out a bundle round its networks as MONAI does: configs/metadata.json, docs/README.md and LICENSE.

    Parameters
    ----------
    folder
        The bundle, whose name is the model's, with the networks in ``models``; other files stay.
    section
        What :class:`.bundle.Bundle` reads of how the networks are run, of its kind, inputs and outputs, and whatever
        else is known of them; the entry "refiner" describes the second network of 2D+3D-refine.
    description
        What the network is, in a few words.
    origin
        How the weights were made, in sentences for the card.
    provenance
        What else is known of the weights.
    licence
        Text of their licence; without it the bundle says that none was stated.
    results
        Markdown for the card by the name of its place in the template: what was measured.
    card
        Text of a card in place of the template.

    Returns
    -------
    Path
        The bundle's folder.
    """
    for part in ("configs", "docs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    terms = licence or _NO_LICENCE
    (folder / "LICENSE").write_text(terms, encoding="utf-8")
    named = {"licence": _licence_name(terms), **section}
    said = describe(folder.name, named, description=description, provenance=provenance)
    checked = [name for name in _CHECKED if (folder / name).is_file()]
    said["iousynth"]["checksums"] = {name: file_sha256(folder / name) for name in checked}
    (folder / METADATA).write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    text = card or _card({**_words(said), "origin": origin, **(results or {})})
    (folder / "docs" / "README.md").write_text(text, encoding="utf-8")
    return folder


def describe(
    name: str, section: Mapping[str, Any], *, description: str, provenance: Provenance
) -> dict[str, Any]:
    """Content of metadata.json but for the checksums: MONAI's keys, and the section that IoUSynth reads.

    The parameters are those of :func:`write_bundle`; what is not known is left out.
    """
    return _known({
        "version": provenance.version,
        "changelog": dict(provenance.changelog),
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch").split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "name": name,
        "task": _TASKS[section["kind"]].format(images=" and ".join(_images(section)), source=_source(section)),
        "description": description,
        "authors": provenance.authors,
        "copyright": provenance.copyright,
        "data_source": provenance.training_data,
        "intended_use": provenance.intended_use,
        "network_data_format": _network_data_format(section),
        "iousynth": _known({
            **section,
            "generator": provenance.generator,
            "licence": provenance.licence or section.get("licence", ""),
            "citation": provenance.citation,
            "training_data": provenance.training_data,
            "intended_use": provenance.intended_use,
            "training_range": dict(provenance.training_range),
        }),
    })


def _known(entries: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value not in ("", {})}


def _licence_name(text: str) -> str:
    """SPDX identifier of a licence's text, or a reference to the text."""
    if text == _NO_LICENCE:
        return LICENCE_NOT_STATED
    return "Apache-2.0" if text.split() == licence_text("Apache-2.0").split() else LICENCE_IN_FILE


def licence_text(name: str) -> str:
    """Full text of a licence whose file lies in ``licences``."""
    return (_FOLDER / "licences" / f"{name}.txt").read_text(encoding="utf-8")


def _images(section: Mapping[str, Any]) -> list[str]:
    """The MR contrasts among a generator's outputs."""
    return [output for output in section["outputs"] if output != LOG_ERROR]


def _reads_mri(section: Mapping[str, Any]) -> bool:
    """Whether a generator makes MRI of MRI."""
    return section["kind"] == "generator" and "ioUS" not in section["inputs"]


def _source(section: Mapping[str, Any]) -> str:
    """What a generator reads, in words."""
    if _reads_mri(section):
        return f"{_listed(section['inputs'])} MRI"
    beside = " and, where there is any, preoperative MRI" if section.get("optional") else ""
    return f"intraoperative ultrasound{beside}"


def _network_data_format(section: Mapping[str, Any]) -> dict[str, Any]:
    """MONAI's description of the input and the output of the first network."""
    channels = list(section["inputs"])
    if section["regime"] == "2.5D":
        channels = [f"{image} slice {offset}" for image in channels for offset in ("k-1", "k", "k+1")]
    shape = list(section["window"])
    if section.get("padding", "multiple") == "multiple" and not section.get("stretch"):
        shape = [f"{section['size_multiple']}*n"] * len(shape)
    classes = section["kind"] == "segmenter"
    modality = "MR" if _reads_mri(section) else "US"
    return {
        "inputs": {"image": _data_format(channels, shape, type="image", modality=modality)},
        "outputs": {
            "prediction": _data_format(
                section["outputs"], shape, type="probabilities" if classes else "image", modality="MR"
            )
        },
    }


def _data_format(channels: list[str], shape: list[int | str], **kind: str) -> dict[str, Any]:
    return {
        "type": kind["type"],
        "format": "magnitude",
        "modality": kind["modality"],
        "num_channels": len(channels),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": False,
        "channel_def": {str(index): channel for index, channel in enumerate(channels)},
    }


# Model card -----------------------------------------------------------------------------------------------------------


def _card(words: Mapping[str, str]) -> str:
    """The template filled in, without the sections of which something is not known."""
    template = (_FOLDER / "card.md").read_text(encoding="utf-8")
    known = [part for part in re.split(r"\n(?=## )", template) if all(words.get(name) for name in _places(part))]
    return "\n".join(known).format(**words).rstrip() + "\n"


def _places(template: str) -> list[str]:
    """Names of the places that are to be filled in."""
    return [name for _, name, *_ in Formatter().parse(template) if name]


def _words(said: Mapping[str, Any]) -> dict[str, str]:
    """What the metadata say, by the place in the template."""
    section, formats = said["iousynth"], said["network_data_format"]
    segments, images, limits = section["kind"] == "segmenter", " and ".join(_images(section)), ""
    if segments:
        job, outputs = f"Outlines tumour and resection cavity on volumes of {_listed(section['inputs'])}.", "logits of "
        outputs += _listed(section["outputs"])
    else:
        error = LOG_ERROR in section["outputs"]
        read, where = "a reconstructed, tracked 3D intraoperative ultrasound volume of the brain", "ultrasound fan"
        if section.get("optional"):
            read += f" and any of the patient's preoperative {_listed(section['optional'])} MRI, registered to it,"
        if _reads_mri(section):
            read, where = f"{_source(section)} of the brain", "brain"
        job = (
            f"Reads {read} and predicts, for every voxel inside the {where}, "
            f"{images}{' and the error to be expected of them' if error else ''}."
        )
        outputs = f"{images} in [-1, 1]"
        outputs += ", and the natural logarithm of the expected absolute error, in the same units" if error else ""
        limits = f"{_LIMITS_OF_MRI if _reads_mri(section) else _LIMITS}{_LIMITS_OF_THE_ERROR if error else ''}"
    place = "brain" if _reads_mri(section) else "fan"
    voxels = " x ".join(f"{edge:g}" for edge in section["spacing"])
    channels = formats["inputs"]["image"]["channel_def"].values()
    return {
        "name": said["name"],
        "notice": f"**{said['intended_use']}**{'' if segments else f' {_caution(section)}'}",
        "description": f"{job} {said['description']}, on voxels of {voxels} mm.",
        "inputs": f"{_shape(formats['inputs']['image'])}: {_listed(channels)}, each in [-1, 1], -1 outside the {place}",
        "outputs": f"{_shape(formats['outputs']['prediction'])}: {outputs}",
        "training_data": said.get("data_source", ""),
        "limits": limits,
        "citation": section.get("citation", ""),
    }


def _caution(section: Mapping[str, Any]) -> str:
    return _CAUTION.format(source=_source(section) if _reads_mri(section) else "ultrasound")


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _shape(data_format: Mapping[str, Any]) -> str:
    return f"(B, {', '.join(map(str, [data_format['num_channels'], *data_format['spatial_shape']]))})"
