"""Start a training from the weights of a bundle: to go on with it, or to adapt it to a cohort of one's own.

An exported network has no batch normalisation any more: at inference it is folded into the convolutions. Here the
folded weights are taken as they are, and every normalisation is set so that it changes nothing at first: its scale
and shift are the deviation and the mean that its input shows on some batches of the new data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..models.bundle import NETWORK_FILE, Bundle
from ..volume import InputError
from .data import RandomBatches

_BATCHES = 8


def start_from(
    network: torch.nn.Module, inputs: Sequence[str], bundle: Bundle, *, batches: RandomBatches
) -> None:
    """Give the network the weights of a bundle.

    Parameters
    ----------
    network
        The network to train, of the bundle's architecture.
    inputs
        Images that the network reads. Of fewer than the bundle's the first layer keeps the columns; what comes to the
        bundle's has no say at first, so that the network begins as the bundle's without it.
    bundle
        An ONNX bundle whose weights carry the names of the network's.
    batches
        Slices or patches to adjust the normalisations with.

    Raises
    ------
    InputError
        The bundle's weights do not fit the network.
    """
    state = network.state_dict()
    weights = {name: torch.from_numpy(array) for name, array in _weights(bundle).items() if name in state}
    first = next(name for name, value in state.items() if value.ndim > 1)
    if first in weights and set(inputs) <= set(bundle.inputs):
        slices = weights[first].shape[1] // len(bundle.inputs)
        columns = [bundle.inputs.index(name) * slices + k for name in inputs for k in range(slices)]
        weights[first] = weights[first][:, columns]
    elif first in weights and set(bundle.inputs) < set(inputs):
        slices, known = weights[first].shape[1] // len(bundle.inputs), weights[first]
        weights[first] = torch.zeros(len(known), len(inputs) * slices, *known.shape[2:])
        for number, name in enumerate(bundle.inputs):
            place = inputs.index(name) * slices
            weights[first][:, place : place + slices] = known[:, number * slices : (number + 1) * slices]
    wanted = {f"{name}.{part}" for name, _ in _convolutions(network) for part in ("weight", "bias")}
    if set(weights) != wanted or any(weights[name].shape != state[name].shape for name in wanted):
        raise InputError(
            f"{bundle.path}: its weights do not fit a network that reads {', '.join(inputs)}; "
            "start from a bundle of the same preset, or without one"
        )
    network.load_state_dict(weights, strict=False)
    _neutralise(network, batches)


def _weights(bundle: Bundle) -> dict[str, np.ndarray]:
    import onnx

    model = onnx.load(str(bundle.path / NETWORK_FILE))
    return {entry.name: onnx.numpy_helper.to_array(entry).astype(np.float32) for entry in model.graph.initializer}


def _convolutions(network: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d, torch.nn.Conv3d, torch.nn.ConvTranspose3d)
    return [(name, module) for name, module in network.named_modules() if isinstance(module, kinds)]


@torch.no_grad()
def _neutralise(network: torch.nn.Module, batches: RandomBatches) -> None:
    """Set every batch normalisation to the identity on the given batches, in training as in evaluation."""
    layers = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d)]
    moments: dict[torch.nn.Module, list[torch.Tensor]] = {layer: [] for layer in layers}

    def watch(layer: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
        values = arguments[0].double()
        others = [axis for axis in range(values.ndim) if axis != 1]
        moments[layer].append(torch.stack([values.mean(others), values.square().mean(others)]))

    hooks = [layer.register_forward_pre_hook(watch) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.running_var.fill_(1 - layer.eps)
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    network.eval()
    for number in range(_BATCHES):
        network(batches.draw(number).image)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        mean, square = torch.stack(moments[layer]).mean(0)
        variance = (square - mean**2).clamp_min(0)
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
        layer.weight.copy_((variance + layer.eps).sqrt())
        layer.bias.copy_(mean)
    network.train()
