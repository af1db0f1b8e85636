"""``iousynth models import``: from a published checkpoint to a bundle."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .. import __version__
from ..constants import TARGETS
from ..files.integrity import file_sha256
from ..generators.diffusion import Sampler
from ..models.bundle import NETWORK_FILE, REFINER_FILE
from ..models.write import LICENCE_NOT_STATED, Provenance, licence_text, new_bundle, write_bundle
from ..training.export import export_onnx
from ..volume import InputError
from . import gan, resvit, syndiff
from .axes import ReversedAxes
from .plans import plan, refiner_plan

TRAINING_DATA = (
    "ReMIND (Juvekar et al. 2024, The Cancer Imaging Archive, CC BY 4.0): intraoperative ultrasound and registered "
    "preoperative or intraoperative MRI of 61 patients, as the benchmark's authors split it"
)
_GAN_CITATION = (
    "Benchmark of intraoperative ultrasound to MRI synthesis on ReMIND, weights: doi:10.5281/zenodo.22213625"
)
#: What goes before the texts of the licences, by identifier.
_NOTICES = {
    "Apache-2.0": "Copyright the authors of the benchmark.",
    syndiff.LICENCE: f"{syndiff.LICENCE_TERMS} {syndiff.NOTICES}",
}
_REFINED = "2D+3D-refine"
#: Why a bundle of 2D+3D-refine can hold the first stage alone.
_NO_REFINER = {
    "resvit": "No refinement head of ResViT was published: this is its 2D network alone, as the released code ran it. ",
    "syndiff": "SynDiff's refinement head cannot be read, because its layers were not released: this is the first "
    "stage alone. ",
}


@dataclass(frozen=True)
class _Wanted:
    """What is to be imported, and as what."""

    checkpoint: Path
    family: str
    regime: str
    targets: tuple[str, ...]
    refiner: Path | None

    @property
    def names(self) -> tuple[str, tuple[str, ...]]:
        """Regime and targets."""
        return self.regime, self.targets

    @property
    def title(self) -> str:
        """What it is called."""
        return f"{self.family} in {self.regime} for {' and '.join(self.targets)}"


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
    if options.family == "syndiff" and not options.accept_licence:
        raise InputError(f"{options.checkpoint}: {syndiff.LICENCE_TERMS} If you accept this, add --accept-licence")
    wanted = _Wanted(options.checkpoint, options.family, options.regime, tuple(options.targets), options.refiner)
    if wanted.targets != TARGETS[: len(wanted.targets)]:
        raise InputError(
            f"targets {' '.join(wanted.targets)}: there are weights for T2w and for T2w FLAIR; choose one"
        )
    with new_bundle(options.output) as bundle:
        source = _load(wanted)
        difference = _write(bundle, source, wanted)
    remark = _NO_REFINER[wanted.family] if wanted.regime == _REFINED and source.refiner is None else ""
    origin = f"{source.licence}. {remark}Cite: {source.citation}"
    if not source.known:
        origin = f"whose it is and under which licence is not known. {remark}".rstrip()
    made = f"{source.title}, {source.standing}; ONNX Runtime and torch differ by {difference:.1e}"
    print(f"{options.output}: {made}; {origin}")
    return 0


def _write(bundle: Path, source: _Checkpoint, wanted: _Wanted) -> float:
    """Export the networks into a bundle, describe it, and return how far ONNX Runtime and torch differ."""
    section = {"kind": "generator", **plan(wanted.family, wanted.regime), "inputs": ["ioUS"]}
    difference = _export(wanted.checkpoint, source.network, section, path=bundle / NETWORK_FILE)
    if source.refiner is not None:
        section["refiner"] = refiner_plan(wanted.family)
        _export_refiner(wanted, source.refiner, section["refiner"], path=bundle / REFINER_FILE)
    section |= {"outputs": list(wanted.targets), "source": {**source.sha256, "published": source.known}}
    section |= {"draws": True} if isinstance(source.network, Sampler) else {}
    write_bundle(
        bundle, section, description=wanted.title, origin=_origin(source), provenance=_provenance(source),
        licence=_licence_text(source),
    )
    return difference


def _load(wanted: _Wanted) -> _Checkpoint:
    """Read and check the weights, and give the networks this library's order of axes."""
    if wanted.refiner is not None and wanted.regime != _REFINED:
        raise InputError(
            f"{wanted.refiner}: a refiner belongs to {_REFINED}, and the regime is {wanted.regime}; leave it away"
        )
    sha256 = {"sha256": _checksum(wanted.checkpoint)}
    if wanted.refiner is not None:
        sha256["refiner_sha256"] = _checksum(wanted.refiner)
    load = {"resvit": _load_resvit, "syndiff": _load_syndiff}.get(wanted.family, _load_gan)
    networks, known, terms = load(wanted, sha256["sha256"])
    return _Checkpoint(wanted.title, *terms, sha256, known, *networks)


_Loaded = tuple[tuple[torch.nn.Module, ...], bool, tuple[str, str]]


def _load_resvit(wanted: _Wanted, sha256: str) -> _Loaded:
    networks = [ReversedAxes(resvit.load_resvit(wanted.checkpoint, *wanted.names))]
    published = resvit.PUBLISHED.get(sha256)
    if published is not None:
        _check_published(wanted, "ResViT", ((published[0],), published[1]))
    if wanted.refiner is not None:
        networks.append(ReversedAxes(resvit.load_resvit_refiner(wanted.refiner, wanted.targets)))
    return tuple(networks), published is not None and wanted.refiner is None, (resvit.LICENCE, resvit.CITATION)


def _load_syndiff(wanted: _Wanted, sha256: str) -> _Loaded:
    if wanted.refiner is not None:
        raise InputError(f"{wanted.refiner}: cannot be read, because its layers were not released; leave it away")
    step = syndiff.load_syndiff(wanted.checkpoint, *wanted.names)
    published = syndiff.PUBLISHED.get(sha256)
    if published is not None:
        _check_published(wanted, "SynDiff", published)
    sampler = Sampler(step, len(wanted.targets), plan(wanted.family, wanted.regime)["window"]).eval()
    # Slices were transposed before SynDiff saw them, which is this library's order already.
    network = ReversedAxes(sampler) if wanted.regime == "3D" else sampler
    return (network,), published is not None, (syndiff.LICENCE, syndiff.CITATION)


def _load_gan(wanted: _Wanted, sha256: str) -> _Loaded:
    network = gan.load_gan(
        wanted.checkpoint, wanted.family, wanted.regime, targets=wanted.targets, refiner=wanted.refiner
    )
    files = [file for file in (wanted.checkpoint, wanted.refiner) if file is not None]
    networks = (network,) if wanted.refiner is None else (network.slice_network, network.refiner)
    known = all(gan.identify(file) is not None for file in files)
    return tuple(map(ReversedAxes, networks)), known, ("Apache-2.0", _GAN_CITATION)


def _check_published(wanted: _Wanted, title: str, published: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    """Refuse a published file under another name than its own."""
    regimes, contrasts = published
    if wanted.regime not in regimes or wanted.targets != contrasts:
        raise InputError(
            f"{wanted.checkpoint}: is the published {title} in {' or '.join(regimes)} for {' and '.join(contrasts)}; "
            "say so with --regime and --targets"
        )


def _checksum(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _export(checkpoint: Path, network: torch.nn.Module, section: dict, *, path: Path) -> float:
    channels = 3 if section["regime"] == "2.5D" else 1
    with _export_errors(checkpoint):
        return export_onnx(network.eval(), channels, path, size=section["window"])


def _export_refiner(wanted: _Wanted, network: torch.nn.Module, section: dict, *, path: Path) -> None:
    channels = len(wanted.targets)
    with _export_errors(wanted.refiner):
        if section["padding"] == "multiple":  # it sees grids of any size
            export_onnx(network.eval(), channels, path, size_multiple=4 * section["size_multiple"], dimensions=3)
        else:
            export_onnx(network.eval(), channels, path, size=section["window"])


@contextlib.contextmanager
def _export_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{file}: cannot be exported ({reason}); check the installation of torch") from error


def _provenance(source: _Checkpoint) -> Provenance:
    """Of a file that is not known as published nothing is said: it may be anybody's."""
    provenance = Provenance(
        version="1.0.0", changelog={"1.0.0": f"imported by IoUSynth {__version__}"}, licence=source.licence
    )
    if not source.known:
        return provenance
    authors = "the authors of the benchmark"
    return replace(
        provenance, authors=authors, copyright=f"{authors}, {source.licence}", training_data=TRAINING_DATA,
        citation=source.citation,
    )


def _licence_text(source: _Checkpoint) -> str:
    """Return what stands in the bundle's LICENSE: notices, citation, and the licence in full."""
    notice, text = _NOTICES[source.terms], licence_text(source.terms.removeprefix("LicenseRef-"))
    origin = f"{source.terms}\n{notice}\nCite: {source.citation}\n"
    if not source.known:
        origin = (
            "The imported file is none of the published ones: whose it is and under which licence is not known here. "
            "The published weights of its family are under the licence below; make sure that its own terms are these.\n"
            f"{source.terms}\n{notice}\n"
        )
    return f"Weights: {source.title}. {origin}\n{'-' * 80}\n{text}"


def _origin(source: _Checkpoint) -> str:
    """How the bundle came to be, for its card."""
    checksums = ", ".join(f"`{value}`" for value in source.sha256.values())
    terms = "Whose the weights are, what they were trained on and under which licence is not known; see `LICENSE`."
    if source.known:
        terms = f"Licence: {source.licence}, see `LICENSE`. {_NOTICES[source.terms]}"
    return f"Imported from {checksums} (SHA-256), {source.standing}. {terms}"
