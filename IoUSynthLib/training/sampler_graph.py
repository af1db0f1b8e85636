"""A diffusion sampler as ONNX: the network once, as a function that the graph calls for every step.

Traced as a whole, the graph would hold the network once a step, and take minutes to be made.

Beside ``image`` the file takes ``noise``, (1, N) standard normal numbers in the order of :attr:`Sampler.numbers`, which
are its default: who knows nothing of it gets one image of one ultrasound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

from ..generators.diffusion import LATENT, Sampler
from ..inference.session import NOISE

_DOMAIN, _NAME = "iousynth", "Denoise"


class Step(nn.Module):
    """The network of a sampler at one step, with one step number (1,) and one latent vector (1, 100) for all images."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.network = sampler.network

    def forward(
        self, noisy: torch.Tensor, image: torch.Tensor, step: torch.Tensor, latent: torch.Tensor
    ) -> torch.Tensor:
        """Estimate the clean images (B, targets, ...)."""
        count = image.shape[0]
        return self.network(noisy, image, step.expand(count), latent.expand(count, -1))


def step_example(sampler: Sampler, channels: int) -> dict[str, torch.Tensor]:
    """Inputs of :class:`Step` by name, for two images of so many channels."""
    _, _, targets, *size = sampler.noise.shape
    images = {"noisy": torch.randn(2, targets, *size), "image": torch.randn(2, channels, *size)}
    return {**images, "step": torch.tensor([0]), "latent": sampler.latent[:1]}


def assemble(step: onnx.ModelProto, sampler: Sampler, channels: int) -> onnx.ModelProto:
    """Return the model from ``image`` to ``prediction`` that walks through all steps as ``diffusion.sample`` does.

    Parameters
    ----------
    step
        :class:`Step` as ONNX, its inputs named as there.
    sampler
        Its weights become constants, its random numbers the default of ``noise``.
    channels
        Of the ultrasound.
    """
    graph, weights = step.graph, [weight.name for weight in step.graph.initializer]
    inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    denoise = helper.make_function(_DOMAIN, _NAME, [*inputs, *weights], outputs, graph.node, step.opset_import)
    _, _, targets, *size = sampler.noise.shape
    whole = helper.make_graph(
        list(_walk(sampler, weights)),
        "sampler",
        [
            helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", channels, *size]),
            helper.make_tensor_value_info(NOISE, onnx.TensorProto.FLOAT, sampler.numbers.shape),
        ],
        [helper.make_tensor_value_info("prediction", onnx.TensorProto.FLOAT, ["batch", targets, *size])],
        [*graph.initializer, *_constants(sampler)],
    )
    imports = [*step.opset_import, helper.make_opsetid(_DOMAIN, 1)]
    functions = [*step.functions, denoise]
    return helper.make_model(whole, functions=functions, opset_imports=imports, ir_version=step.ir_version)


def _constants(sampler: Sampler) -> Iterator[onnx.TensorProto]:
    def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(np.ascontiguousarray(value), f"sampler.{name}")

    steps = sampler.schedule.steps
    yield numpy_helper.from_array(sampler.numbers.cpu().numpy(), NOISE)
    yield constant("parts", np.array([sampler.noise[0].numel()] * steps + [LATENT] * steps, np.int64))
    yield constant("noise_shape", np.array(sampler.noise.shape[1:], np.int64))
    yield constant("shape", np.array(sampler.noise.shape[2:], np.int64))
    for index in range(steps):
        yield constant(f"step.{index}", np.array([index]))
        if index == 0:  # the last step ends at the clean image
            continue
        for name in ("clean_weight", "noisy_weight", "deviation"):
            yield constant(f"{name}.{index}", np.float32(getattr(sampler.schedule, name)[index]))


def _walk(sampler: Sampler, weights: Sequence[str]) -> Iterator[onnx.NodeProto]:
    """The nodes from the first noise, the same for every image, to the prediction."""
    steps = range(sampler.schedule.steps)
    flat = [f"flat.{step}" for step in steps]
    yield helper.make_node("Split", [NOISE, "sampler.parts"], [*flat, *(f"latent.{step}" for step in steps)], axis=1)
    for step in steps:
        yield helper.make_node("Reshape", [flat[step], "sampler.noise_shape"], [f"noise.{step}"])
    yield helper.make_node("Shape", ["image"], ["batch"], start=0, end=1)
    yield helper.make_node("Concat", ["batch", "sampler.shape"], ["noisy_shape"], axis=0)
    noisy = f"noisy.{sampler.schedule.steps}"
    yield helper.make_node("Expand", ["noise.0", "noisy_shape"], [noisy])
    for step in reversed(steps):
        clean = f"clean.{step}" if step else "prediction"
        seen = [noisy, "image", f"sampler.step.{step}", f"latent.{step}"]
        yield helper.make_node(_NAME, [*seen, *weights], [clean], domain=_DOMAIN)
        if step:
            noise, parts = f"noise.{sampler.schedule.steps - step}", []
            for name, value in (("clean_weight", clean), ("noisy_weight", noisy), ("deviation", noise)):
                parts.append(f"{name}.{step}")
                yield helper.make_node("Mul", [f"sampler.{name}.{step}", value], [parts[-1]])
            noisy = f"noisy.{step}"
            yield helper.make_node("Sum", parts, [noisy])
