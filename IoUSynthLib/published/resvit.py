"""The published ResViT weights (Zenodo 10.5281/zenodo.22213625, Apache-2.0), and how they want to be run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..generators import build
from ..generators.resvit import Refiner, ResViT
from .checkpoint import load_weights, read_checkpoint, unfit

LICENCE = "Apache-2.0"
CITATION = (
    "Benchmark of intraoperative ultrasound to MRI synthesis on ReMIND, weights: doi:10.5281/zenodo.22213625; ResViT: "
    "Dalmaz, Yurt, Cukur, IEEE Trans. Med. Imaging 41 (2022) 2598-2614"
)

#: SHA-256 of the published files: regime and targets.
PUBLISHED: dict[str, tuple[str, tuple[str, ...]]] = {
    "6db6374015c662a588cd7c084a2abb5c8e208c44cc306de191266b02d3edfa0b": ("2D", ("T2w",)),
    "db6c4e5c5d38fc711760a0b74e8e0380f231ff5c55a320ef051c6eaa2d923c04": ("2D", ("T2w", "FLAIR")),
    "9d5b31bb77ef8b63e16375ddce853fa84c0407c3c700ecc50cacb6a5c77f50ef": ("2.5D", ("T2w",)),
    "d238e73ba777f203ea151fe2b29c8d174e0fd1fd3d9a5c41a5e782a80fd484e4": ("2.5D", ("T2w", "FLAIR")),
    "e1af759b013df6cd98735d8cda0d48f5f6f5e4ecda7c17803e72b712ddd6ae0c": ("2D+3D-refine", ("T2w",)),
    "5f43236197359a7d64c3f74869e05c8b62065e46e1f6de7af127c821293f8060": ("2D+3D-refine", ("T2w", "FLAIR")),
    "ec7e6c173cca09b711a1fa091e4bfa3bf8b25e8cb42eda04dfb098c1afb3975c": ("3D", ("T2w",)),
    "f1d3d4145d5e05067f66868aa05cbc9e54a118ff07a50bd753ce158adbb7874d": ("3D", ("T2w", "FLAIR")),
}


def load_resvit(path: str | Path, regime: str, targets: Sequence[str]) -> ResViT:
    """Load a ResViT generator from a checkpoint of the benchmark's program.

    The file is ``{"G": weights, ...}``, of which discriminator, optimizer and schedule are not looked at, or the
    generator's weights alone. Width, number of blocks and transformer layers follow from names and shapes.

    Parameters
    ----------
    path
        ``p2_best.pth`` or the like.
    regime
        A name in ``generators.REGIMES``; of 2D+3D-refine this is the first stage.
    targets
        MR contrasts in the order of the output channels.

    Returns
    -------
    ResViT
        With the transformer branch on, ready for inference.

    Raises
    ------
    InputError
        The file cannot be read, or does not fit; names the first weight that does not.
    """
    content = read_checkpoint(path)
    weights = content["G"] if isinstance(content.get("G"), Mapping) else content
    title = f"ResViT in {regime} for {' and '.join(targets)}"
    network = build("resvit", regime, targets, **_size(weights, regime, path, title=title))
    load_weights(network, weights, path, title=title)
    return network.eval()


def load_resvit_refiner(path: str | Path, targets: Sequence[str]) -> Refiner:
    """Load the second stage of 2D+3D-refine from ``refine.pth``; raises as :func:`load_resvit`."""
    weights = read_checkpoint(path)
    title = f"the ResViT refiner for {' and '.join(targets)}"
    first = _shape(weights, "net.0.weight", path, title=title)
    refiner = Refiner(len(targets), first[0])
    load_weights(refiner, weights, path, title=title)
    return refiner.eval()


def _size(weights: Mapping[str, Any], regime: str, path: str | Path, *, title: str) -> dict[str, Any]:
    first = _shape(weights, "enc.0.weight" if regime == "3D" else "enc.1.weight", path, title=title)
    layers = [re.match(r"arts\.(\d+)\.trans\.layers\.(\d+)\.attn\.rpb$", name) for name in weights]
    found = sorted((int(match[1]), int(match[2])) for match in layers if match)
    if not found:
        raise unfit(path, "lacks the transformer branch", title)
    blocks = {int(match[1]) for match in (re.match(r"arts\.(\d+)\.cnn\.", name) for name in weights) if match}
    heads = _shape(weights, f"arts.{found[0][0]}.trans.layers.{found[0][1]}.attn.rpb", path, title=title)[-1]
    if first[0] < 1 or heads < 1 or 4 * first[0] % heads:
        raise unfit(path, f"{4 * first[0]} channels cannot be split among {heads} heads", title)
    return {
        "filters": first[0],
        "blocks": max(blocks, default=-1) + 1,
        "transformer_blocks": tuple(sorted({block for block, _ in found})),
        "heads": heads,
        "pairs": (max(layer for _, layer in found) + 1) // 2,
    }


def _shape(weights: Mapping[str, Any], name: str, path: str | Path, *, title: str) -> tuple[int, ...]:
    shape = tuple(getattr(weights.get(name), "shape", ()))
    if len(shape) < 2:
        raise unfit(path, f"lacks {name}", title)
    return shape
