"""Reading a Keras 3 ``.weights.h5`` file into a torch network, with h5py alone.

Keras stores a layer's variables as HDF5 datasets ``<path of the layer>/vars/<k>``: for convolutions and linear layers 0
is the kernel and 1 the bias, for normalisations 0 is gamma and 1 beta. Kernels are (*size, in, out), torch's are
(out, in, *size). Nothing in such a file is code; what could lead out of the file (data kept elsewhere) is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from ..generators.blocks import ChannelNorm
from ..volume import InputError

if TYPE_CHECKING:
    import h5py

#: Keras's names of the layers that have weights; InstanceNormalization2D and 3D are the benchmark's own.
_LAYERS = {
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    ChannelNorm: "layer_normalization",
    nn.InstanceNorm2d: "instance_normalization2d",
    nn.InstanceNorm3d: "instance_normalization3d",
}
#: Parts of a key that mark what is no weight of the generator: optimizer and random state, and its adversary.
_IGNORED = ("optimizer", "seed_generator", "discriminator")


def numbered(name: str, number: int) -> str:
    """Return what Keras calls the n-th object of a class, from 0: conv2d, conv2d_1, conv2d_2."""
    return f"{name}_{number}" if number else name


def functional_layers(network: nn.Module) -> dict[str, str]:
    """Return torch's module names by Keras's paths, for a functional model: ``layers/<class>_<n>``.

    The network's modules must be registered in the order in which Keras numbers the layers.
    """
    counts: Counter[str] = Counter()
    layers = {}
    for name, module in network.named_modules():
        kind = _LAYERS.get(type(module))
        if kind is not None:
            layers[f"layers/{numbered(kind, counts[kind])}"] = name
            counts[kind] += 1
    return layers


def variables(network: nn.Module, layers: Mapping[str, str]) -> dict[str, str]:
    """Return torch's parameter names by Keras's keys, for layers as :func:`functional_layers` gives them."""
    return {
        f"{path}/vars/{number}": f"{name}.{parameter}"
        for path, name in layers.items()
        for number, (parameter, _) in enumerate(network.get_submodule(name).named_parameters(recurse=False))
    }


@contextmanager
def open_weights(path: Path) -> Iterator[dict[str, h5py.Dataset]]:
    """Open a weights file and give its datasets by key, without those that are no weights of the generator.

    Raises
    ------
    InputError
        h5py is missing, or the file is not a whole HDF5 file that holds its own data.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path}: reading Keras weights needs h5py; install it with: pip install h5py") from error
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a published .weights.h5 file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: is not a whole HDF5 file ({error}); unpack or download it again") from error
    with file:
        datasets: dict[str, h5py.Dataset] = {}

        def collect(key: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and not any(word in key for word in _IGNORED):
                datasets[key] = item

        file.visititems(collect)  # follows neither soft nor external links
        for key, dataset in datasets.items():
            if dataset.external or dataset.is_virtual or dataset.dtype != np.float32:
                raise InputError(f"{path}: '{key}' is not an array of float32 in this file; get the published file")
        if sum(dataset.nbytes for dataset in datasets.values()) > path.stat().st_size:
            raise InputError(f"{path}: is smaller than the arrays that it says it holds; get the published file")
        yield datasets


def check_weights(
    path: Path, datasets: Mapping[str, h5py.Dataset], network: nn.Module, *, names: Mapping[str, str], what: str
) -> None:
    """Check that a file holds what a network needs, all of it and nothing else; no data are read.

    Parameters
    ----------
    path
        The file, for messages.
    datasets
        From :func:`open_weights`.
    network
        The network that is to take the weights; it may be on torch's meta device.
    names
        Its parameters by Keras's keys; they must cover it.
    what
        What the network is, for messages.

    Raises
    ------
    InputError
        The first variable that is missing, has another shape, or is superfluous.
    """
    parameters = dict(network.named_parameters())
    assert sorted(names.values()) == sorted(parameters), "every parameter has one key"
    for key, name in names.items():
        wanted = _keras_shape(name, parameters[name])
        if key not in datasets:
            raise InputError(f"{path}: lacks '{key}' of {what}; check family, regime and targets")
        if datasets[key].shape != wanted:
            raise InputError(
                f"{path}: '{key}' has the shape {datasets[key].shape}, but {what} needs {wanted}; "
                "check family, regime and targets"
            )
    superfluous = next((key for key in datasets if key not in names), None)
    if superfluous is not None:
        raise InputError(f"{path}: holds '{superfluous}', which {what} does not have; check family, regime and targets")


@torch.no_grad()
def copy_weights(
    path: Path, datasets: Mapping[str, h5py.Dataset], network: nn.Module, *, names: Mapping[str, str]
) -> None:
    """Fill a network with weights that :func:`check_weights` has passed; :class:`InputError` if one is not finite."""
    parameters = dict(network.named_parameters())
    for key, name in names.items():
        array = datasets[key][()]
        if not np.isfinite(array).all():
            raise InputError(f"{path}: '{key}' holds values that are not finite; get the published file")
        if _is_kernel(name, array.ndim):
            array = np.moveaxis(array, (-1, -2), (0, 1))
        parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(array)))


def _is_kernel(name: str, axes: int) -> bool:
    return axes > 1 and name.endswith(".weight")


def _keras_shape(name: str, parameter: torch.Tensor) -> tuple[int, ...]:
    shape = tuple(parameter.shape)
    return (*shape[2:], shape[1], shape[0]) if _is_kernel(name, len(shape)) else shape
