"""TorchScript networks behind the same seam as those of ONNX Runtime, where PyTorch is installed."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Mapping
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from ..models.bundle import Bundle
from ..volume import InputError

if TYPE_CHECKING:
    import torch

#: What a network's outputs are called; those of its encoder are numbered, and only some networks have them.
PREDICTION, FEATURES = "prediction", "features_"

#: What a session calls PyTorch on a device, beside the providers of ONNX Runtime.
PROVIDERS = {"cpu": "TorchScript on the CPU", "cuda": "TorchScript on CUDA"}


class ScriptedNetwork:
    """A network in TorchScript that answers as a session of ONNX Runtime does.

    TorchScript says nothing of channels and outputs, so it is run once on an empty window.
    """

    def __init__(self, network: torch.jit.ScriptModule, device: str, window: tuple[int, ...]) -> None:
        self._network, self._device = network, device
        self._inputs = {"image": window}
        names = itertools.chain([PREDICTION], (f"{FEATURES}{number}" for number in itertools.count()))
        self._outputs = {name: made.shape for made, name in zip(self._call(np.zeros(window)), names, strict=False)}

    def get_providers(self) -> list[str]:
        """Return what it runs on."""
        return [PROVIDERS[self._device]]

    def get_inputs(self) -> list[SimpleNamespace]:
        """Return name and shape of its only input."""
        return _nodes(self._inputs)

    def get_outputs(self) -> list[SimpleNamespace]:
        """Return names and shapes of its outputs."""
        return _nodes(self._outputs)

    def run(self, names: Iterable[str], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run it on a batch and return the outputs that are asked for."""
        made = dict(zip(self._outputs, self._call(inputs["image"]), strict=True))
        return [made[name].cpu().numpy() for name in names]

    def _call(self, batch: np.ndarray) -> list[torch.Tensor]:
        import torch

        with torch.inference_mode():
            made = self._network(torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32)).to(self._device))
        return [made] if isinstance(made, torch.Tensor) else list(made)


def open_torchscript(bundle: Bundle, device: str) -> ScriptedNetwork:
    """Verify a bundle's TorchScript network and open it.

    Raises
    ------
    InputError
        PyTorch is not installed or does not find the device, or the file is no network that may be opened.
    """
    torch = _load_torch()
    content = bundle.read_network()
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise InputError("device cuda: PyTorch finds no NVIDIA GPU; install a PyTorch for CUDA, or choose cpu")
    used = "cuda" if found and device != "cpu" else "cpu"
    try:
        network = torch.jit.load(io.BytesIO(content), map_location=used).eval()
        channels = len(bundle.inputs) * (3 if bundle.regime == "2.5D" else 1)
        return ScriptedNetwork(network, used, (1, channels, *bundle.window))
    except Exception as error:  # whatever the C++ library or the network raises
        reason = " ".join(str(error).split())[-200:]
        raise InputError(f"{bundle.path}: PyTorch cannot open the model ({reason}); export it again") from error


def _load_torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"torch: is not installed or cannot be loaded ({error}), and this model is one of TorchScript; in 3D "
            "Slicer install the extension PyTorch and, in its module, PyTorch; or choose a model in ONNX"
        ) from error
    return torch


def _nodes(shapes: Mapping[str, tuple[int, ...]]) -> list[SimpleNamespace]:
    return [SimpleNamespace(name=name, shape=tuple(shape)) for name, shape in shapes.items()]
