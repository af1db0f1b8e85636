"""A network of any subset as ONNX, which runs wherever a generator does and takes what more one gives it.

The file's inputs are ``image`` and, with defaults, so that who knows nothing of them gives ``image`` alone:

``present``
    (M,) of 1 and 0, where the file takes any subset: which of the images are there; the ultrasound alone by default.
``temperature``
    (): factor of the deviations; 0 by default, which follows the means.
``noise``
    (1, N) standard normal numbers for all latent variables, from the coarsest on, the same for all slices of a call;
    zeros by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..inference.session import NOISE, PREDICTION, TEMPERATURE
from .export import TOLERANCE, strip_onnx, write_onnx

PRESENT = "present"


class FromSubset(nn.Module):
    """A network of M images that are always the same ones, or any.

    Parameters
    ----------
    network
        As :mod:`.generators.unified` says.
    present
        Places of the images that go in; None for any, which a vector then tells.
    outputs
        Places of those that come out.
    """

    def __init__(self, network: nn.Module, present: Sequence[int] | None, outputs: Sequence[int]) -> None:
        super().__init__()
        self.network, self.outputs = network, list(outputs)
        self.present = None if present is None else tuple(present)

    def forward(
        self, image: torch.Tensor, first: torch.Tensor | None = None, second: torch.Tensor | None = None,
        third: torch.Tensor | None = None,
    ) -> torch.Tensor:  # the exporter does not know the structure of *options
        """Make the outputs, (B, O, H, W).

        Parameters
        ----------
        image
            (B, P, H, W), those that go in, or all M, what is missing being anything but NaN.
        first, second, third
            What :func:`options_of` names, in its order.
        """
        rest = [option for option in (first, second, third) if option is not None]
        present = rest.pop(0) if self.present is None else self.present
        if not rest:
            return self.network(image, present)[0][:, self.outputs]
        temperature, noise = rest
        shapes = self.network.latents
        parts = noise.split([int(np.prod(shape)) for shape in shapes], 1)
        drawn = [part.reshape(1, *shape) for part, shape in zip(parts, shapes, strict=True)]
        return self.network(image, present, temperature, drawn)[0][:, self.outputs]


def options_of(network: nn.Module, images: int | None) -> dict[str, torch.Tensor]:
    """The defaults of the inputs beside ``image``, by name; ``images`` is M where any subset is taken."""
    found = {}
    if images is not None:
        found[PRESENT] = torch.eye(images)[0]
    if network.latents:
        found[TEMPERATURE] = torch.tensor(0.0)
        found[NOISE] = torch.zeros(1, sum(int(np.prod(shape)) for shape in network.latents))
    return found


def export_unified(
    network: nn.Module, path: Path, *, images: int, outputs: Sequence[int], window: Sequence[int],
    present: Sequence[int] | None = None,
) -> float:
    """Write a network of any subset as ONNX, and compare it with torch.

    Parameters
    ----------
    network
        As :mod:`.generators.unified` says.
    path
        File to write.
    images
        M.
    outputs
        Places of the images that come out, in their order.
    window
        (H, W), the only size that the file takes.
    present
        Places of the images that go in, the others' encoders being left out, which takes half the time for the
        ultrasound alone; None where each call tells.

    Returns
    -------
    float
        Largest absolute difference between ONNX Runtime and torch on random images, of every default and at a
        temperature, and, where any subset is taken, of several of them.

    Raises
    ------
    RuntimeError
        It exceeds :data:`.export.TOLERANCE`.
    """
    import onnx

    path.parent.mkdir(parents=True, exist_ok=True)
    graph = FromSubset(network, present, outputs).eval().to("cpu", memory_format=torch.contiguous_format)
    options = options_of(network, images if present is None else None)
    example = {"image": torch.randn(2, images if present is None else len(present), *window), **options}
    with torch.no_grad():
        write_onnx(graph, example, [[0], *([] for _ in options)], path=path)
    strip_onnx(path)
    model = onnx.load(path)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value.numpy(), name) for name, value in options.items())
    onnx.checker.check_model(model)
    onnx.save(model, path)
    difference = _compare(graph, example["image"], path, options=options)
    if difference > TOLERANCE:
        raise RuntimeError(f"{path}: ONNX Runtime and torch differ by {difference:.2e}, more than {TOLERANCE:.0e}")
    return difference


@torch.no_grad()
def _compare(graph: FromSubset, image: torch.Tensor, path: Path, *, options: dict[str, torch.Tensor]) -> float:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # it warns of inputs with defaults
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    cases: list[dict[str, torch.Tensor]] = [{}]
    if NOISE in options:
        noise = torch.randn(options[NOISE].shape, generator=generator)
        cases.append({TEMPERATURE: torch.tensor(0.7), NOISE: noise})
    if PRESENT in options:
        count = len(options[PRESENT])
        cases += [{PRESENT: torch.ones(count)}, {PRESENT: 1 - options[PRESENT]}]
    worst = 0.0
    for given in cases:
        feed = {"image": image, **given}
        (result,) = session.run([PREDICTION], {name: value.numpy() for name, value in feed.items()})
        expected = graph(image, *{**options, **given}.values())
        worst = max(worst, float(np.abs(result - expected.numpy()).max()))
    return worst
