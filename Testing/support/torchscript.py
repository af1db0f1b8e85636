"""TorchScript networks and bundles: tiny ones, and shipped generators in another runtime."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from IoUSynthLib.generators import build
from IoUSynthLib.models.bundle import METADATA, NETWORK_FILE, TORCHSCRIPT_FILE, Bundle
from IoUSynthLib.training.export import export_torchscript

from .tiny_models import TINY_ERROR


class TinyGenerator(torch.nn.Module):
    """What :func:`.tiny_models.generator_network` computes, with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Conv2d(3, 3, 3, padding=1)
        with torch.no_grad():
            self.mix.weight.zero_()
            self.mix.weight[0, 1, 1, 1], self.mix.weight[1, 1, 1, 1] = -0.5, 0.5
            self.mix.bias.copy_(torch.tensor([0.0, 0.0, math.log(TINY_ERROR)]))
        self.halve = torch.nn.AvgPool2d(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.halve(image)  # its output may be asked for
        return self.mix(image)


def script(
    network: torch.nn.Module, file: Path, *, size: Sequence[int] = (32, 32), encoder: Sequence[str] = ()
) -> bytes:
    """Export a network of three channels, and return the file's content."""
    export_torchscript(network, 3, file, size=size, encoder=encoder)
    return file.read_bytes()


def rewrite_as_torchscript(bundle: Path, network: torch.nn.Module, encoder: Sequence[str] = ()) -> Path:
    """Put TorchScript in the place of a bundle's ONNX."""
    file = bundle / METADATA
    metadata = json.loads(file.read_text())
    section = metadata["iousynth"]
    content = script(network, bundle / TORCHSCRIPT_FILE, size=section["window"], encoder=encoder)
    (bundle / NETWORK_FILE).unlink()
    del section["checksums"][NETWORK_FILE]
    section["checksums"][TORCHSCRIPT_FILE] = hashlib.sha256(content).hexdigest()
    file.write_text(json.dumps(metadata))
    return bundle


def shipped_network(shipped: Bundle) -> torch.nn.Module:
    """Build the U-Net that ships, with the weights out of its ONNX, where normalisation is folded into them."""
    import onnx

    graph = onnx.load(shipped.path / NETWORK_FILE).graph
    weights = {entry.name: onnx.numpy_helper.to_array(entry).astype(np.float32) for entry in graph.initializer}
    network = build("unet", "2.5D", shipped.images)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.BatchNorm2d):
                setattr(module, name, torch.nn.Identity())
    network.load_state_dict({name: torch.from_numpy(weights[name]) for name in network.state_dict()})
    return network.eval()


def shipped_as_torchscript(shipped: Bundle, folder: Path) -> Path:
    """Copy the shipped generator with TorchScript in the place of its ONNX."""
    copy = folder / shipped.name
    shutil.copytree(shipped.path, copy)
    return rewrite_as_torchscript(copy, shipped_network(shipped), encoder=("down_1", "down_2"))
