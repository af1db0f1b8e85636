"""The one way from ultrasound through a generator and its refiner to images, for the pipeline and for trainings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..inference import fuse, open_session, predict_passes
from ..models.bundle import LOG_ERROR, Bundle
from ..progress import PartProgress, part_of
from ..volume import InputError
from .grid import NetworkGrid, network_inputs, stacked

#: Logarithms of an error beyond this have no meaning, but e to their power would overflow; images end at 1.
_LARGEST = 20.0


class Network(Protocol):
    """What runs a network: a session of ONNX Runtime (:func:`.inference.open_session`), or a stand-in for one."""

    device: str

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run the network on a float32 batch (B, C, ...) and return its prediction (B, outputs, ...)."""


@dataclass(frozen=True, eq=False)
class Generated:
    """What a generator makes of an ultrasound, on the generator's grid.

    Attributes
    ----------
    images
        (z, y, x) in [-1, 1] by contrast, 0 outside the fan.
    error
        (z, y, x), the expected absolute error in the images' units, which is raised where the slice axes disagree;
        None where the generator does not predict it, or was not asked.
    samples
        What the images are the mean of, by contrast, where samples were drawn (:func:`.spread.draw`).
    """

    images: dict[str, np.ndarray]
    error: np.ndarray | None = None
    samples: tuple[dict[str, np.ndarray], ...] = ()


def generate(
    generator: Bundle,
    grid: NetworkGrid,
    *,
    preoperative: Mapping[str, np.ndarray] | None = None,
    device: str = "auto",
    session: Network | None = None,
    with_error: bool = False,
    progress: PartProgress = lambda fraction: None,
) -> Generated:
    """Run a generator, and its refiner if it has one.

    Parameters
    ----------
    generator
        The model.
    grid
        The model's, with the ultrasound.
    preoperative
        MRI (z, y, x) on that grid in [-1, 1] by contrast, for a model that reads it beside ultrasound.
    device
        ``auto``, ``cpu`` or ``cuda``.
    session
        The generator's network, if it is not to be opened by ONNX Runtime; a refiner is opened anyhow.
    with_error
        Whether the expected error is wanted, which takes another fusion of the slice axes.
    progress
        Called with the fraction done; may raise :class:`inference.Cancelled`.

    Raises
    ------
    InputError
        The model cannot be opened, or predicts values that are not finite.
    """
    share = 0.5 if generator.refiner else 1.0
    inputs, session = network_inputs(generator, grid, preoperative), session or open_session(generator, device)
    first = part_of(progress, 0.0, share)
    passes = _passes(generator, inputs, grid, session=session, activation=_bounded(generator), progress=first)
    values = _fused(generator, passes, grid)
    named = dict(zip(generator.outputs, values, strict=True))
    images = {name: np.clip(named[name], -1.0, 1.0) for name in generator.images}
    error = None
    if with_error and LOG_ERROR in named:
        error = np.hypot(named[LOG_ERROR], _disagreement(generator, passes, grid, values=values))
    if generator.refiner:
        stack = stacked(grid, images, generator.refiner.inputs)
        refined = run_network(generator.refiner, stack, grid, device=device, progress=part_of(progress, share, 1.0))
        images = dict(zip(generator.images, np.clip(refined, -1.0, 1.0), strict=True))
    return Generated(images, error)


def run_network(
    bundle: Bundle,
    images: np.ndarray,
    grid: NetworkGrid,
    *,
    device: str = "auto",
    activation: Callable[[np.ndarray], np.ndarray] | None = None,
    progress: PartProgress = lambda fraction: None,
) -> np.ndarray:
    """Run a network over the part of a grid that it sees.

    Parameters
    ----------
    bundle
        The model.
    images
        float32 (inputs, z, y, x) in [-1, 1], -1 outside the fan.
    grid
        The grid.
    device, progress
        As in :func:`generate`.
    activation
        Applied to each prediction (B, outputs, ...) before it is blended, as a softmax is.

    Returns
    -------
    numpy.ndarray
        float32 (outputs, z, y, x), fused over slice axes; 0 outside the fan.

    Raises
    ------
    InputError
        As :func:`generate`.
    """
    session = open_session(bundle, device)
    passes = _passes(bundle, images, grid, session=session, activation=activation, progress=progress)
    return _fused(bundle, passes, grid)


def _passes(
    bundle: Bundle,
    images: np.ndarray,
    grid: NetworkGrid,
    *,
    session: Network,
    activation: Callable[[np.ndarray], np.ndarray] | None,
    progress: PartProgress,
) -> list[np.ndarray]:
    """Predictions along each slice axis, of the part of the grid that the network sees."""
    seen = images[(slice(None), *grid.box)]
    return list(predict_passes(
        session, seen, grid.valid[grid.box], bundle, activation=activation, progress=progress
    ))


def _fused(bundle: Bundle, passes: Sequence[np.ndarray], grid: NetworkGrid) -> np.ndarray:
    """Passes made into one, on the whole grid; 0 outside the fan."""
    fused = fuse(passes, bundle.slice_axes, bundle.fusion_scale) * grid.valid[grid.box]
    if not np.isfinite(fused).all():
        raise InputError(f"{bundle.path}: predicts values that are not finite; verify it, or choose another model")
    whole = np.zeros((len(fused), *grid.valid.shape), dtype=np.float32)
    whole[(slice(None), *grid.box)] = fused
    return whole


def _disagreement(
    generator: Bundle, passes: Sequence[np.ndarray], grid: NetworkGrid, *, values: np.ndarray
) -> np.ndarray:
    """How far the passes are from what they were fused to, in the mean over passes and images: (z, y, x)."""
    kept = [generator.outputs.index(name) for name in generator.images]
    differences = [np.abs(one[kept] - values[(kept, *grid.box)]) for one in passes]
    return np.maximum(_fused(generator, differences, grid), 0).mean(axis=0)


def _bounded(generator: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    """What bounds a generator's prediction (B, outputs, ...), and makes the error of its logarithm."""
    channel = generator.outputs.index(LOG_ERROR) if LOG_ERROR in generator.outputs else None

    def activate(prediction: np.ndarray) -> np.ndarray:
        prediction = np.clip(prediction, -_LARGEST, _LARGEST)
        if channel is not None:
            prediction[:, channel] = np.exp(prediction[:, channel])
        return prediction

    return activate
