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
from ..training.export import LICENCE_NOT_STATED, export_onnx, write_bundle
from ..volume import InputError
from . import gan, resvit, syndiff
from .plans import plan, refiner_plan

TARGETS = ("T2w", "FLAIR")
INTENDED_USE = "Research only, never for clinical decisions."
TRAINING_DATA = (
    "ReMIND (Juvekar et al. 2024, The Cancer Imaging Archive, CC BY 4.0): intraoperative ultrasound and registered "
    "preoperative or intraoperative MRI of 61 patients, as the benchmark's authors split it"
)
_GAN_CITATION = (
    "Benchmark of intraoperative ultrasound to MRI synthesis on ReMIND, weights: doi:10.5281/zenodo.22213625"
)
#: Full texts of the licences, by identifier, and what goes before them.
_LICENCES = {
    "Apache-2.0": ("Apache-2.0.txt", "Copyright the authors of the benchmark."),
    syndiff.LICENCE: ("NVIDIA-Source-Code-License-NC.txt", f"{syndiff.LICENCE_TERMS} {syndiff.NOTICES}"),
}
_REFINED = "2D+3D-refine"
#: Why a bundle of 2D+3D-refine can hold the first stage alone.
_NO_REFINER = {
    "resvit": "No refinement head of ResViT was published: this is its 2D network alone, as the released code ran it. ",
    "syndiff": "SynDiff's refinement head cannot be read, because its layers were not released: this is the first "
    "stage alone. ",
}


@dataclass(frozen=True)
class _Checkpoint:
    """What was read: the networks in this library's order of axes, what they are, and under which terms.

    ``terms`` (a licence) and ``citation`` are those of the family's published files; what is not ``known`` as one of
    them may be anybody's.
    """

    title: str
    terms: str
    citation: str
    sha256: dict[str, str]
    known: bool
    network: torch.nn.Module
    refiner: torch.nn.Module | None = None

    @property
    def standing(self) -> str:
        """Whether the authors published the file, in words."""
        return "as published" if self.known else "no published file, but one that fits"

    @property
    def licence(self) -> str:
        """Identifier for the metadata."""
        return self.terms if self.known else LICENCE_NOT_STATED


def run(options: argparse.Namespace) -> int:
    """Import a checkpoint and print a line about the bundle.

    Parameters
    ----------
    options
        ``checkpoint``, ``family``, ``regime``, ``targets``, ``refiner``, ``accept_licence``, ``output``.

    Raises
    ------
    InputError
        A file is damaged, another one than was said, or needs its licence accepted; nothing is written then.
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
    source = _load(options.checkpoint, options.family, options.regime, targets, options.refiner)
    section = plan(options.family, options.regime)
    with _staged(output) as folder:
        difference = _export(options.checkpoint, source.network, section, folder / "model.onnx")
        refiner = None
        if source.refiner is not None:
            section["refiner"] = refiner_plan(options.family)
            refiner = folder / "refiner.onnx"
            _export_refiner(options.refiner, source.refiner, len(targets), section["refiner"], refiner)
        text = folder / "LICENSE"
        text.write_text(_licence_text(source), encoding="utf-8")
        bundle = folder / output.name
        metadata = _metadata(output.name, source, section, targets)
        write_bundle(bundle, folder / "model.onnx", metadata, _card(source), text, refiner)
        os.replace(bundle, output)
    remark = _NO_REFINER[options.family] if options.regime == _REFINED and source.refiner is None else ""
    origin = f"{source.licence}. {remark}Cite: {source.citation}"
    if not source.known:
        origin = f"whose it is and under which licence is not known. {remark}".rstrip()
    print(f"{output}: {source.title}, {source.standing}; ONNX Runtime and torch differ by {difference:.1e}; {origin}")
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


def _load(
    checkpoint: Path, family: str, regime: str, targets: Sequence[str], refiner: Path | None
) -> _Checkpoint:
    """Read and check the weights, and give the networks this library's order of axes."""
    title = f"{family} in {regime} for {' and '.join(targets)}"
    if refiner is not None and regime != _REFINED:
        raise InputError(f"{refiner}: a refiner belongs to {_REFINED}, and the regime is {regime}; leave it away")
    sha256 = {"sha256": _checksum(checkpoint)}
    if refiner is not None:
        sha256["refiner_sha256"] = _checksum(refiner)
    load = {"resvit": _load_resvit, "syndiff": _load_syndiff}.get(family, _load_gan)
    networks, known, terms = load(checkpoint, family, regime, targets, refiner, sha256["sha256"])
    return _Checkpoint(title, *terms, sha256, known, *networks)


_Loaded = tuple[tuple[torch.nn.Module, ...], bool, tuple[str, str]]


def _load_resvit(
    checkpoint: Path, family: str, regime: str, targets: Sequence[str], refiner: Path | None, sha256: str
) -> _Loaded:
    networks = [ReversedAxes(resvit.load_resvit(checkpoint, regime, targets))]
    published = resvit.PUBLISHED.get(sha256)
    if published is not None:
        _check_published(checkpoint, "ResViT", ((published[0],), published[1]), regime, targets)
    if refiner is not None:
        networks.append(ReversedAxes(resvit.load_resvit_refiner(refiner, targets)))
    return tuple(networks), published is not None and refiner is None, (resvit.LICENCE, resvit.CITATION)


def _load_syndiff(
    checkpoint: Path, family: str, regime: str, targets: Sequence[str], refiner: Path | None, sha256: str
) -> _Loaded:
    if refiner is not None:
        raise InputError(f"{refiner}: cannot be read, because its layers were not released; leave it away")
    step = syndiff.load_syndiff(checkpoint, regime, targets)
    published = syndiff.PUBLISHED.get(sha256)
    if published is not None:
        _check_published(checkpoint, "SynDiff", published, regime, targets)
    sampler = Sampler(step, len(targets), plan(family, regime)["window"]).eval()
    # Slices were transposed before SynDiff saw them, which is this library's order already.
    network = ReversedAxes(sampler) if regime == "3D" else sampler
    return (network,), published is not None, (syndiff.LICENCE, syndiff.CITATION)


def _load_gan(
    checkpoint: Path, family: str, regime: str, targets: Sequence[str], refiner: Path | None, sha256: str
) -> _Loaded:
    network = gan.load_gan(checkpoint, family, regime, targets, refiner)
    networks = (network.slice_network, network.refiner) if refiner is not None else (network,)
    known = all(gan.identify(file) is not None for file in (checkpoint, refiner) if file is not None)
    return tuple(map(ReversedAxes, networks)), known, ("Apache-2.0", _GAN_CITATION)


def _check_published(
    checkpoint: Path,
    family: str,
    published: tuple[tuple[str, ...], tuple[str, ...]],
    regime: str,
    targets: Sequence[str],
) -> None:
    """Refuse a published file under another name than its own."""
    regimes, contrasts = published
    if regime not in regimes or tuple(targets) != contrasts:
        raise InputError(
            f"{checkpoint}: is the published {family} in {' or '.join(regimes)} for {' and '.join(contrasts)}; say so "
            "with --regime and --targets"
        )


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    return digest.hexdigest()


def _export(checkpoint: Path, network: torch.nn.Module, section: dict, path: Path) -> float:
    channels = 3 if section["regime"] == "2.5D" else 1
    with _export_errors(checkpoint):
        return export_onnx(network.eval(), channels, path, size=section["window"])


def _export_refiner(file: Path, network: torch.nn.Module, channels: int, section: dict, path: Path) -> None:
    with _export_errors(file):
        if section["padding"] == "multiple":  # it sees grids of any size
            export_onnx(network.eval(), channels, path, 4 * section["size_multiple"], dimensions=3)
        else:
            export_onnx(network.eval(), channels, path, size=section["window"])


@contextlib.contextmanager
def _export_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: cannot be exported ({reason}); check the installation of torch") from error


def _metadata(name: str, source: _Checkpoint, section: dict, targets: Sequence[str]) -> dict:
    """Content of metadata.json: MONAI's keys, and the section that IoUSynth reads."""
    origin, section = {}, {**section}
    if source.known:
        authors = "the authors of the benchmark"
        origin = {"authors": authors, "copyright": f"{authors}, {source.licence}", "data_source": TRAINING_DATA}
        section |= {"citation": source.citation, "training_data": TRAINING_DATA}
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": f"imported by IoUSynth {__version__}"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "name": name,
        "task": f"synthesis of {' and '.join(targets)} MRI from intraoperative ultrasound",
        "description": source.title,
        **origin,
        "intended_use": INTENDED_USE,
        "iousynth": {
            "kind": "generator",
            **section,
            "inputs": ["ioUS"],
            "outputs": list(targets),
            "licence": source.licence,
            "intended_use": INTENDED_USE,
            "source": {**source.sha256, "published": source.known},
        },
    }


def _licence_text(source: _Checkpoint) -> str:
    """Return what stands in the bundle's LICENSE: notices, citation, and the licence in full."""
    file, notice = _LICENCES[source.terms]
    text = (Path(__file__).parent / "licences" / file).read_text(encoding="utf-8")
    origin = f"{source.terms}\n{notice}\nCite: {source.citation}\n"
    if not source.known:
        origin = (
            "The imported file is none of the published ones: whose it is and under which licence is not known here. "
            "The published weights of its family are under the licence below; make sure that its own terms are these.\n"
            f"{source.terms}\n{notice}\n"
        )
    return f"Weights: {source.title}. {origin}\n{'-' * 80}\n{text}"


def _card(source: _Checkpoint) -> str:
    checksums = ", ".join(f"`{value}`" for value in source.sha256.values())
    origin = "Whose the weights are, what they were trained on and under which licence is not known; see `LICENSE`."
    if source.known:
        origin = (
            f"Training data: {TRAINING_DATA}.\n\nLicence: {source.licence}, see `LICENSE`. "
            f"{_LICENCES[source.terms][1]}\n\nCite: {source.citation}"
        )
    return (
        f"# {source.title}\n\n**{INTENDED_USE}** Its images are synthetic, and it does not predict its own error. "
        f"Imported from {checksums} (SHA-256), {source.standing}; `configs/metadata.json` says how it is run.\n\n"
        f"{origin}\n"
    )
