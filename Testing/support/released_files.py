"""Checkpoints in the formats of the benchmark's released files, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from IoUSynthLib.published import gan
from IoUSynthLib.published.keras_weights import _is_kernel


def write_torch(path: Path, family: str, network: torch.nn.Module) -> Path:
    """Save as the benchmark's program saves a ResViT (beside its state), or a SynDiff (weights alone)."""
    weights = network.state_dict()
    torch.save({"G": weights, "ep": 3, "vl1": 0.1} if family == "resvit" else weights, path)
    return path


def write_keras(path: Path, network: torch.nn.Module) -> Path:
    """Save a network of the GAN families as Keras 3 does."""
    import h5py

    parameters = dict(network.named_parameters())
    with h5py.File(path, "w") as file:
        for key, name in gan._names(network).items():
            array = parameters[name].detach().numpy()
            file[key] = np.moveaxis(array, (0, 1), (-1, -2)) if _is_kernel(name, array.ndim) else array
    return path
