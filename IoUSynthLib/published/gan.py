"""Keras weights of the GAN families that the authors of the ioUS-to-MR benchmark published.

Zenodo 10.5281/zenodo.22213625, Apache-2.0: ``gan/<architecture>_<regime>_<target>/generator_ema.weights.h5``, and
``.../refiner_ema.weights.h5`` for 2D+3D-refine; :mod:`.keras_weights` reads them. The authors' functional models store
the n-th layer of a class as ``layers/<class>_<n>``, numbered by depth in the graph, which is the order in which
:mod:`..generators.blocks` registers its layers; SwinPix2Pix in 2D is a subclassed model and stores them by attribute.
The layout follows from the released code (smcch/ious2mr-benchmark) and from what Keras 3.10 to 3.13 write for the same
layers: files of the published files' sizes, to the byte.

The networks expect arrays as the authors indexed their NIfTI files: slices [x, y] and volumes [x, y, z]. For this
library's order wrap them in :class:`.axes.ReversedAxes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ..files.integrity import file_sha256
from ..generators import build
from ..generators.gan import Refiner
from ..generators.swin_pix2pix import SwinUNet
from ..volume import InputError
from .keras_weights import check_weights, copy_weights, functional_layers, numbered, open_weights, variables

#: Architectures of the released files, by family.
FAMILIES = {"pix2pix": "pix2pix", "swin_pix2pix": "swinpix2pix", "cyclegan": "cyclegan", "cut": "cut"}
_REFINED = "2D+3D-refine"
_REGIMES = {"2D": "2d", "2.5D": "25d", _REFINED: "2d", "3D": "3d"}
_TARGETS = {("T2w",): "t2", ("T2w", "FLAIR"): "t2_flair"}
#: SHA-256 of the published files by experiment, from the authors' configs/weights_manifest.json.
_CHECKSUMS = Path(__file__).with_name("gan.json")
#: Kernels whose last axis is the width of the network: the first layer's.
_FIRST = ("layers/patch_embed2d/proj/vars/0", "layers/conv2d/vars/0", "layers/conv3d/vars/0")


class RefinedSlices(NamedTuple):
    """The two networks of 2D+3D-refine."""

    slice_network: nn.Module
    refiner: nn.Module


def load_gan(
    path: str | Path, family: str, regime: str, *, targets: Sequence[str], refiner: str | Path | None = None
) -> nn.Module | RefinedSlices:
    """Read a published generator.

    Parameters
    ----------
    path
        ``generator_ema.weights.h5``; for 2D+3D-refine that of the 2D generator, as the authors used it.
    family, regime
        Which generator it is.
    targets
        ``("T2w",)`` or ``("T2w", "FLAIR")``.
    refiner
        ``refiner_ema.weights.h5``, for 2D+3D-refine alone.

    Returns
    -------
    torch.nn.Module or RefinedSlices
        The generator, for 2D+3D-refine both networks, in evaluation mode. Channels first, spatial axes in the authors'
        order.

    Raises
    ------
    InputError
        A file cannot be read, is another one than was said, or does not fit: the first variable that does not is named.
    """
    targets = tuple(targets)
    if family not in FAMILIES or regime not in _REGIMES or targets not in _TARGETS:
        raise InputError(
            f"{path}: there are no published weights for {family}, {regime}, {'+'.join(targets)}; choose one of "
            f"{', '.join(FAMILIES)}, one of {', '.join(_REGIMES)}, and T2w or T2w+FLAIR"
        )
    if (refiner is None) == (regime == _REFINED):
        remedy = "give its refiner_ema.weights.h5, too" if refiner is None else f"leave {refiner} away"
        raise InputError(f"{path}: a refiner belongs to {_REFINED}, and the regime is {regime}; {remedy}")
    experiment, suffix = f"{FAMILIES[family]}_{_REGIMES[regime]}", _TARGETS[targets]
    what = f"the {family} generator in {regime} for {'+'.join(targets)}"
    network = _load(
        Path(path), f"{experiment}_{suffix}", what, make=lambda width: build(family, regime, targets, width=width)
    )
    if refiner is None:
        return network
    what = f"the refiner for {'+'.join(targets)}"
    second = _load(
        Path(refiner), f"{experiment}_3dpost_{suffix}", what, make=lambda width: Refiner(len(targets), width)
    )
    return RefinedSlices(network, second)


def identify(path: str | Path) -> str | None:
    """Return which published experiment a file is of, such as ``cut_25d_t2_flair``, or None for any other file.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    try:
        checksum = file_sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a published .weights.h5 file") from error
    known = json.loads(_CHECKSUMS.read_text(encoding="utf-8"))
    return next((name for name, value in known.items() if value == checksum), None)


def _load(path: Path, experiment: str, what: str, *, make: Callable[[int], nn.Module]) -> nn.Module:
    """Build the network with the file's width and fill it.

    CycleGAN and CUT have the same network in 3D, as have Pix2Pix and SwinPix2Pix, and all families the same refiner:
    only the checksum tells such files apart.
    """
    found = identify(path)
    if found not in (None, experiment):
        raise InputError(f"{path}: is the published {found}, not {experiment}; check family, regime and targets")
    with open_weights(path) as datasets:
        first = next((datasets[key] for key in _FIRST if key in datasets), None)
        if first is None or first.ndim < 2:
            raise InputError(f"{path}: holds no generator of the benchmark's GAN families; give a published file")
        width = first.shape[-1]
        try:
            with torch.device("meta"):  # whatever width the file claims, memory is taken after its shapes were checked
                outline = make(width)
        except ValueError as error:
            raise InputError(f"{path}: does not fit {what} ({error}); check family, regime and targets") from error
        names = _names(outline)
        check_weights(path, datasets, outline, names=names, what=what)
        network = make(width)
        copy_weights(path, datasets, network, names=names)
    return network.eval()


def _names(network: nn.Module) -> dict[str, str]:
    layers = _swin_layers(network) if isinstance(network, SwinUNet) else functional_layers(network)
    return variables(network, layers)


def _swin_layers(network: SwinUNet) -> dict[str, str]:
    """Return torch's module names by Keras's paths; the attention's own variable is its table of position biases."""
    layers = {
        "initial_conv/layers/conv2d": "stem.0",
        "initial_conv/layers/group_normalization": "stem.1",
        "layers/patch_embed2d/proj": "embedding.0",
        "layers/patch_embed2d/norm": "embedding.1",
        "layers/conv2d": "head.0",
    }
    for i, stage in enumerate(network.stages):
        keras = numbered("enc_stages/swin_stage2d", i)
        for j in range(len(stage.blocks)):
            block = numbered("swin_blocks/swin_transformer_block2d", j)
            layers |= _swin_block(f"{keras}/{block}", f"stages.{i}.blocks.{j}")
    for i in range(len(network.merging)):
        keras = f"{numbered('enc_stages/swin_stage2d', i)}/downsample_layer"
        layers |= {f"{keras}/{part}": f"merging.{i}.{part}" for part in ("norm", "reduction")}
    for i in range(len(network.bottleneck)):
        layers[f"bottleneck/layers/{numbered('conv2d', i)}"] = f"bottleneck.{i}.0"
        layers[f"bottleneck/layers/{numbered('group_normalization', i)}"] = f"bottleneck.{i}.1"
    for i in range(len(network.decoder)):
        layers |= _swin_up(f"dec{len(network.decoder) - i}", f"decoder.{i}")
    return layers


def _swin_block(keras: str, name: str) -> dict[str, str]:
    parts = {
        "norm1": "norm1",
        "attn": "attn",
        "attn/qkv": "attn.qkv",
        "attn/proj": "attn.proj",
        "norm2": "norm2",
        "mlp/layers/dense": "mlp.linear1",
        "mlp/layers/dense_1": "mlp.linear2",
    }
    return {f"{keras}/{path}": f"{name}.{module}" for path, module in parts.items()}


def _swin_up(keras: str, name: str) -> dict[str, str]:
    parts = {
        "up_conv": "expand.1.0",
        "up_gn": "expand.1.1",
        "attn_gate/W_x": "gate.skip",
        "attn_gate/W_g": "gate.gating",
        "attn_gate/psi/layers/conv2d": "gate.weight",
        "conv1": "layers.0.0",
        "gn1": "layers.0.1",
        "conv2": "layers.1.0",
        "gn2": "layers.1.1",
    }
    return {f"{keras}/{path}": f"{name}.{module}" for path, module in parts.items()}
