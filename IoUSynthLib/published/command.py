"""``iousynth models import``: from a published checkpoint to a bundle."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from .. import __version__
from ..generators.diffusion import Sampler
from ..generators.regimes import ReversedAxes
from ..training.export import export_onnx, write_bundle
from ..volume import InputError
from . import gan, resvit, syndiff
from .plans import plan

TARGETS = ("T2w", "FLAIR")
INTENDED_USE = "Research only, never for clinical decisions."
TRAINING_DATA = (
    "ReMIND (Juvekar et al. 2024, The Cancer Imaging Archive, CC BY 4.0): intraoperative ultrasound and registered "
    "preoperative or intraoperative MRI of 61 patients, as the benchmark's authors split it"
)
_GAN_CITATION = (
    "Benchmark of intraoperative ultrasound to MRI synthesis on ReMIND, weights: doi:10.5281/zenodo.22213625"
)
_TEXTS = {
    "Apache-2.0": "Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0",
    syndiff.LICENCE: f"{syndiff.LICENCE_TERMS} Text: the file LICENSE of github.com/NVlabs/denoising-diffusion-gan",
}


@dataclass(frozen=True)
class _Origin:
    """What a checkpoint is, and under which terms."""

    title: str
    licence: str
    citation: str
    sha256: str
    known: bool


def run(options: argparse.Namespace) -> int:
    """Import a checkpoint and print a line about the bundle.

    Parameters
    ----------
    options
        ``checkpoint``, ``family``, ``regime``, ``targets``, ``accept_licence``, ``output``.

    Raises
    ------
    InputError
        The file is damaged, another one than was said, or needs its licence accepted; nothing is written then.
    """
    output = options.output
    if output.exists():
        raise InputError(f"{output}: exists already; remove it or choose another folder")
    if options.family == "syndiff" and not options.accept_licence:
        raise InputError(f"{options.checkpoint}: {syndiff.LICENCE_TERMS} If you accept this, add --accept-licence")
    targets = TARGETS[: len(options.targets)]
    if tuple(options.targets) != targets:
        raise InputError(
            f"targets {' '.join(options.targets)}: there are weights for T2w and for T2w FLAIR; choose one"
        )
    origin, network = _load(options.checkpoint, options.family, options.regime, targets)
    section = plan(options.family, options.regime)
    with _staged(output) as folder:
        difference = _export(options.checkpoint, network, section, folder / "model.onnx")
        bundle = folder / output.name
        text = folder / "LICENSE"
        text.write_text(f"{_TEXTS[origin.licence]}\n\nCite: {origin.citation}\n", encoding="utf-8")
        write_bundle(
            bundle, folder / "model.onnx", _metadata(output.name, origin, section, targets), _card(origin), text
        )
        os.replace(bundle, output)
    known = "a published file" if origin.known else "no published file, but one that fits"
    print(
        f"{output}: {origin.title}, {known}; ONNX Runtime and torch differ by {difference:.1e}; {origin.licence}. "
        f"Cite: {origin.citation}"
    )
    return 0


@contextlib.contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the output, which disappears at the end."""
    try:
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".import-", dir=output.absolute().parent))
    except OSError as error:
        raise InputError(f"{output}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load(checkpoint: Path, family: str, regime: str, targets: Sequence[str]) -> tuple[_Origin, torch.nn.Module]:
    """Read and check the weights, and give the network this library's order of axes."""
    title = f"{family} in {regime} for {' and '.join(targets)}"
    if family == "resvit":
        network = ReversedAxes(resvit.load_resvit(checkpoint, regime, targets))
        sha256 = _checksum(checkpoint)
        published = resvit.PUBLISHED.get(sha256)
        if published not in (None, (regime, tuple(targets))):
            raise InputError(
                f"{checkpoint}: is the published ResViT in {published[0]} for {' and '.join(published[1])}"
            )
        return _Origin(title, resvit.LICENCE, resvit.CITATION, sha256, published is not None), network
    if family == "syndiff":
        step = syndiff.load_syndiff(checkpoint, regime, targets)
        sampler = Sampler(step, len(targets), plan(family, regime)["window"]).eval()
        # The authors transposed slices before SynDiff saw them, which is this library's order already.
        network = ReversedAxes(sampler) if regime == "3D" else sampler
        return _Origin(title, syndiff.LICENCE, syndiff.CITATION, _checksum(checkpoint), False), network
    if regime == "2D+3D-refine":
        raise InputError(
            f"{checkpoint}: a bundle holds one network, and {family} in 2D+3D-refine is two; import the first with "
            "--regime 2D"
        )
    network = ReversedAxes(gan.load_gan(checkpoint, family, regime, targets))
    known = gan.identify(checkpoint) is not None
    return _Origin(title, "Apache-2.0", _GAN_CITATION, _checksum(checkpoint), known), network


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _export(checkpoint: Path, network: torch.nn.Module, section: dict, path: Path) -> float:
    channels = 3 if section["regime"] == "2.5D" else 1
    try:
        return export_onnx(network.eval(), channels, path, size=section["window"])
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: cannot be exported ({error}); check the installation of torch") from error


def _metadata(name: str, origin: _Origin, section: dict, targets: Sequence[str]) -> dict:
    """Content of metadata.json: MONAI's keys, and the section that IoUSynth reads."""
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"imported by IoUSynth {__version__}"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "name": name,
        "task": f"synthesis of {' and '.join(targets)} MRI from intraoperative ultrasound",
        "description": origin.title,
        "authors": "the authors of the benchmark",
        "copyright": f"the authors of the benchmark, {origin.licence}",
        "data_source": TRAINING_DATA,
        "intended_use": INTENDED_USE,
        "iousynth": {
            "kind": "generator",
            **section,
            "inputs": ["ioUS"],
            "outputs": list(targets),
            "licence": origin.licence,
            "citation": origin.citation,
            "training_data": TRAINING_DATA,
            "intended_use": INTENDED_USE,
            "source": {"sha256": origin.sha256, "published": origin.known},
        },
    }


def _card(origin: _Origin) -> str:
    return (
        f"# {origin.title}\n\n**{INTENDED_USE}** Its images are synthetic. Imported from a checkpoint with SHA-256 "
        f"`{origin.sha256}`{', as published' if origin.known else ', which is not one of the published files'}; "
        f"`configs/metadata.json` says how it is run.\n\nTraining data: {TRAINING_DATA}.\n\n"
        f"Licence: {origin.licence}. {_TEXTS[origin.licence]}\n\nCite: {origin.citation}\n"
    )
