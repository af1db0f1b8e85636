"""A trained network as ONNX and as TorchScript, compared with torch."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..generators.diffusion import Sampler
from ..inference.session import FEATURES, NOISE, PREDICTION

OPSET = 18
#: Largest difference between ONNX Runtime and torch that an export may show, in units of the network's output.
TOLERANCE = 1e-3
#: The same where the weights are stored in half precision: a hundredth of the networks' range [-1, 1].
HALF_TOLERANCE = 2e-2

#: Sizes of the example that an export is traced with, and of the two on which it is checked, in multiples.
_FREE_SIZES = ((4, 6, 5), (5, 5, 4), (8, 4, 6))


def export_onnx(
    network: torch.nn.Module,
    channels: int,
    path: Path,
    *,
    size_multiple: int = 16,
    size: Sequence[int] | None = None,
    dimensions: int = 2,
    half: bool = False,
    encoder: Sequence[str] = (),
) -> float:
    """Write a network as ONNX with free batch, and all other sizes free or fixed, and compare it with torch.

    Parameters
    ----------
    network
        Maps (B, channels, H, W) to (B, outputs, H, W), or the same with (D, H, W) of fixed ``size``.
    channels
        Number of input channels.
    path
        File to write.
    size_multiple
        Free sizes are multiples of this.
    size
        The only (H, W) or (D, H, W) that the network will see; None leaves them free.
    dimensions
        2 or 3, where the sizes are free.
    half
        Whether the weights are stored in half precision.
    encoder
        Names of modules whose outputs the file gives, too, as ``features_0`` and so on; not of a sampler.

    Returns
    -------
    float
        Largest absolute difference between ONNX Runtime and torch on random images, of two sizes where they are free,
        and of a sampler also with other noise than its own.

    Raises
    ------
    RuntimeError
        The difference exceeds ``TOLERANCE``, or ``HALF_TOLERANCE`` of weights in half precision.
    """
    network = network.eval().to("cpu", memory_format=torch.contiguous_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = [tuple(count * size_multiple for count in counts[:dimensions]) for counts in _FREE_SIZES]
    if isinstance(network, Sampler):
        _write_sampler(network, channels, path)
    else:
        free = [0] if size else [0, *range(2, 2 + dimensions)]
        example = {"image": torch.randn(2, channels, *(size or shapes[0]))}
        with _returning_features(network, encoder):
            write_onnx(network, example, [free], path=path, features=len(encoder))
    strip_onnx(path)
    if half:
        halve_weights(path)
    difference = _compare(network, channels, path, sizes=[tuple(size)] if size else shapes[1:])
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    if difference > tolerance:
        raise RuntimeError(f"{path}: ONNX Runtime and torch differ by {difference:.2e}, more than {tolerance:.0e}")
    return difference


def strip_onnx(path: Path) -> None:
    """Take all remarks out of an ONNX file; weights and graph stay as they are.

    Torch remarks at each node in whose files it was found, which names folders of the machine; nobody runs a model by
    that.
    """
    import onnx

    model = onnx.load(path)
    _clear_remarks(model)
    onnx.save(model, path)


def _clear_remarks(message: Any) -> None:
    """Clear what is for readers alone in a message of ONNX and in all that it holds: nodes, values, functions."""
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                _clear_remarks(part)


def halve_weights(path: Path) -> None:
    """Store the weights of an ONNX file in half precision, which halves it; a network computes in float32 as before.

    ONNX Runtime widens them once, when it opens the file.
    """
    import onnx

    model = onnx.load(path)
    graph, widened = model.graph, {}
    for weight in graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) > 1:
            half = onnx.numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(onnx.numpy_helper.from_array(half, weight.name))
            widened[weight.name] = f"{weight.name}.widened"
    for node in graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = widened.get(name, name)
    casts = [onnx.helper.make_node("Cast", [name], [wide], to=onnx.TensorProto.FLOAT) for name, wide in widened.items()]
    for number, cast in enumerate(casts):
        graph.node.insert(number, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)


@contextlib.contextmanager
def _returning_features(network: torch.nn.Module, encoder: Sequence[str]) -> Iterator[None]:
    """Let a network return the outputs of some of its modules behind its prediction.

    Its own forward is replaced, and no module put round it: weights keep their names, by which trainings start from
    a bundle.
    """
    if not encoder:
        yield
        return
    found: dict[str, torch.Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: found.update({name: output})
        )
        for name in encoder
    ]
    plain = network.forward
    network.forward = lambda image: (plain(image), *(found[name] for name in encoder))
    try:
        yield
    finally:
        del network.forward
        for hook in hooks:
            hook.remove()


def write_onnx(
    network: torch.nn.Module, example: Mapping[str, torch.Tensor], free: Sequence[Sequence[int]], *, path: Path,
    features: int = 0,
) -> None:
    """Trace a network with named inputs, each with its free axes, and write it.

    Behind its prediction it may return so many features.
    """
    torch.onnx.export(
        network,
        tuple(example.values()),
        str(path),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(example),
        output_names=[PREDICTION, *(f"{FEATURES}{number}" for number in range(features))],
        dynamic_shapes=tuple(dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for axes in free),
        external_data=False,
        verbose=False,
    )


def _write_sampler(sampler: Sampler, channels: int, path: Path) -> None:
    import onnx

    from .sampler_graph import Step, assemble, step_example

    write_onnx(Step(sampler).eval(), step_example(sampler, channels), [[0], [0], [], []], path=path)
    onnx.save(assemble(onnx.load(path), sampler, channels), path)


@torch.no_grad()
def _compare(network: torch.nn.Module, channels: int, path: Path, *, sizes: Sequence[Sequence[int]]) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, size in zip((1, 3), sizes, strict=False):
        image = torch.randn((batch, channels, *size), generator=generator)
        (result,) = session.run([PREDICTION], {"image": image.numpy()})
        worst = max(worst, float(np.abs(result - network(image).numpy()).max()))
    if isinstance(network, Sampler):
        numbers = torch.randn(network.numbers.shape, generator=generator)
        (result,) = session.run([PREDICTION], {"image": image.numpy(), NOISE: numbers.numpy()})
        worst = max(worst, float(np.abs(result - network(image, numbers).numpy()).max()))
    return worst


@torch.no_grad()
def export_torchscript(
    network: torch.nn.Module, channels: int, path: Path, *, size: Sequence[int], encoder: Sequence[str] = ()
) -> float:
    """Write a network as TorchScript for images of one size, and compare what is read back with torch.

    Parameters
    ----------
    network, channels, path, size, encoder
        As in :func:`export_onnx`; the number of images stays free. With ``encoder``, the network returns its prediction
        and the features behind it.

    Returns
    -------
    float
        Largest absolute difference on random images, other ones and another number than it was traced with.

    Raises
    ------
    RuntimeError
        The difference exceeds ``TOLERANCE``.
    """
    network = network.eval().to("cpu", memory_format=torch.contiguous_format)
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    example, other = (torch.randn((count, channels, *size), generator=generator) for count in (2, 1))
    with _returning_features(network, encoder):
        torch.jit.trace(network, example, check_trace=False).save(str(path))
    strip_torchscript(path)
    made = torch.jit.load(str(path))(other)
    difference = float(((made[0] if encoder else made) - network(other)).abs().max())
    if difference > TOLERANCE:
        raise RuntimeError(f"{path}: TorchScript and torch differ by {difference:.2e}, more than {TOLERANCE:.0e}")
    return difference


def strip_torchscript(path: Path) -> None:
    """Take out of a TorchScript file which lines of whose files its code comes from: only messages of errors say it."""
    with zipfile.ZipFile(path) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members:
            if not member.filename.endswith(".debug_pkl"):
                archive.writestr(member, content)
