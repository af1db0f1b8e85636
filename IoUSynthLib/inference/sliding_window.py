"""One sliding-window loop for 2D, 2.5D and 3D networks.

A 3D volume is cut into items: its slices along an axis, or itself. Each item is covered by overlapping windows;
predictions are blended with a weight (a bundle says which) and divided by its sum. Windows without a valid voxel are
skipped. Since a valid voxel lies in no skipped window, the sum of weights is separable: one short vector for each axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..constants import OUTSIDE
from ..models.bundle import Bundle
from ..preprocessing import stretch
from ..progress import PartProgress
from .fusion import fuse
from .session import Session

#: Pixels that go through the network at once: enough to keep the cores busy, few enough to cancel quickly.
_BATCH_PIXELS = {"cpu": 1 << 17, "cuda": 1 << 20}

#: Keeps the corners of an image, which one window sees with a weight near zero, well defined.
_SMALLEST_WEIGHT = 1e-3
#: Deviation of the Gaussian weight, in lengths of the window.
_DEVIATION = 0.125
#: The benchmark's released code divides by no less than this, which pulls the rim of a "hanning" volume towards 0.
_SMALLEST_SUM = {"hanning": 1e-6}

Activation = Callable[[np.ndarray], np.ndarray]


class Cancelled(Exception):
    """Raised by a progress callback to stop the work."""


@dataclass(frozen=True)
class _Tiling:
    """Windows along the axes of an item: voxels added in front, padded size, window size and first voxels."""

    front: tuple[int, ...]
    padded: tuple[int, ...]
    window: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]


def predict(
    session: Session,
    images: np.ndarray,
    valid: np.ndarray,
    bundle: Bundle,
    *,
    activation: Activation | None = None,
    progress: PartProgress | None = None,
) -> np.ndarray:
    """Run a network over a volume.

    Parameters
    ----------
    session
        The bundle's network.
    images
        (inputs, z, y, x) at the bundle's spacing, in [-1, 1], -1 outside the fan.
    valid
        (z, y, x); where a prediction is wanted.
    bundle
        Says how slices and windows are cut.
    activation
        Applied to each prediction (B, outputs, ...) before it is blended, as a softmax is.
    progress
        Called with the fraction done after each batch; may raise :class:`Cancelled`.

    Returns
    -------
    numpy.ndarray
        float32 (outputs, z, y, x), fused over slice axes as the bundle says; 0 outside ``valid``.
    """
    passes = list(predict_passes(session, images, valid, bundle, activation=activation, progress=progress))
    fused = fuse(passes, bundle.slice_axes, bundle.fusion_scale)
    fused *= valid
    return fused


def predict_passes(
    session: Session,
    images: np.ndarray,
    valid: np.ndarray,
    bundle: Bundle,
    *,
    activation: Activation | None = None,
    progress: PartProgress | None = None,
) -> Iterator[np.ndarray]:
    """Run a network over a volume once along each of its slice axes, and give what :func:`predict` fuses."""
    passes = _passes(images, valid, bundle)
    total = sum(len(item.pieces) for item in passes)
    done = 0
    for number, item in enumerate(passes):
        for count in item.run(session, activation):
            done += count
            if progress is not None:
                progress(done / total)
        blended = item.blended()
        turned = blended[:, 0] if bundle.regime == "3D" else np.moveaxis(blended, 1, bundle.slice_axes[number] + 1)
        turned *= valid
        yield turned


def sample_windows(
    images: np.ndarray, valid: np.ndarray, bundle: Bundle, *, count: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give some of the windows that :func:`predict` runs a network over: the same ones of the same volume every time.

    Parameters
    ----------
    images, valid, bundle
        As for :func:`predict`.
    count
        How many slices there are along each axis, at equal distances; of each, the window with most valid voxels. Of a
        volume in 3D, that window alone.

    Yields
    ------
    tuple of numpy.ndarray
        What goes into the network, (1, channels, ...), and which voxels of it are valid, (...).
    """
    for item in _passes(images, valid, bundle):
        filled = sorted({number for number, _part in item.pieces})
        places = np.linspace(0, len(filled) - 1, count + 2)[1:-1] if filled else ()
        for number in dict.fromkeys(filled[round(place)] for place in places):
            parts = [part for other, part in item.pieces if other == number]
            part = max(parts, key=lambda part, number=number: int(item.valid[(number, *part)].sum()))
            yield item.input(number, part)[None], item.valid[(number, *part)]


def _passes(images: np.ndarray, valid: np.ndarray, bundle: Bundle) -> list[_Pass]:
    """The volume's passes, one for each slice axis."""
    images = np.asarray(images, dtype=np.float32)
    # A 3D network sees the volume as one item of an extra first axis, so that one loop serves all regimes.
    if bundle.regime == "3D":
        return [_Pass(images[:, None], valid[None], bundle)]
    return [
        _Pass(np.moveaxis(images, axis + 1, 1), np.moveaxis(valid, axis, 0), bundle) for axis in bundle.slice_axes
    ]


class _Pass:
    """All items of a volume along one axis: ``images`` (inputs, items, ...), ``valid`` (items, ...)."""

    def __init__(self, images: np.ndarray, valid: np.ndarray, bundle: Bundle) -> None:
        self.bundle = bundle
        self.original = valid.shape[1:]
        if bundle.stretch:
            images = stretch(images, bundle.window)
            valid = np.broadcast_to(valid.any(axis=(1, 2))[:, None, None], (len(valid), *bundle.window))
        self.shape = valid.shape[1:]
        self.tiling = tile(self.shape, bundle)
        sizes = zip(self.shape, self.tiling.front, self.tiling.padded, strict=True)
        padding = [(front, after - before - front) for before, front, after in sizes]
        how = {"mode": "reflect"} if bundle.padding == "reflect" else {"constant_values": OUTSIDE}
        self.images = np.pad(images, [(0, 0), (0, 0), *padding], **how)
        self.valid = np.pad(valid, [(0, 0), *padding])
        self.pieces = list(self._pieces())
        self.weights = [blending_weight(bundle.blending, length) for length in self.tiling.window]

    def _pieces(self) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """Yield item and window of every window that holds a valid voxel."""
        for number, inside in enumerate(self.valid):
            if not inside.any():
                continue
            for start in itertools.product(*self.tiling.starts):
                part = tuple(slice(a, a + n) for a, n in zip(start, self.tiling.window, strict=True))
                if inside[part].any():
                    yield number, part

    def run(self, session: Session, activation: Activation | None) -> Iterator[int]:
        """Predict batch by batch and yield the number of windows in each."""
        self.sum = np.zeros((len(self.bundle.outputs), *self.valid.shape), dtype=np.float32)
        size = max(1, _BATCH_PIXELS[session.device] // int(np.prod(self.tiling.window)))
        weight = _outer(self.weights)
        weighted = np.empty((len(self.sum), *weight.shape), dtype=np.float32)
        for first in range(0, len(self.pieces), size):
            pieces = self.pieces[first : first + size]
            prediction = session.run(np.stack([self.input(number, part) for number, part in pieces]))
            if activation is not None:
                prediction = activation(prediction)
            for (number, part), values in zip(pieces, prediction, strict=True):
                place = self.sum[(slice(None), number, *part)]
                place += np.multiply(values, weight, out=weighted)
            yield len(pieces)

    def input(self, number: int, part: tuple[slice, ...]) -> np.ndarray:
        """Return the network's channels: for 2.5D each image's slices k-1, k, k+1, edge slices repeated."""
        if self.bundle.regime != "2.5D":
            return self.images[(slice(None), number, *part)]
        last = self.images.shape[1] - 1
        inner = 0 < number < last  # a view costs nothing
        neighbours = [max(number - 1, 0), number, min(number + 1, last)]
        stack = self.images[(slice(None), slice(number - 1, number + 2) if inner else neighbours, *part)]
        return stack.reshape(-1, *stack.shape[2:])

    def blended(self) -> np.ndarray:
        """Make the sum of all windows their weighted mean, (outputs, items, ...), and return it without the padding."""
        totals = []
        for weight, starts, length in zip(self.weights, self.tiling.starts, self.tiling.padded, strict=True):
            total = np.zeros(length, dtype=np.float32)
            for start in starts:
                total[start : start + len(weight)] += weight
            totals.append(total)
        inner = tuple(slice(a, a + length) for a, length in zip(self.tiling.front, self.shape, strict=True))
        total = np.maximum(_outer(totals), _SMALLEST_SUM.get(self.bundle.blending, 0.0))
        self.sum /= total
        result = self.sum[(slice(None), slice(None), *inner)]
        return stretch(result, self.original) if self.bundle.stretch else result


def tile(shape: tuple[int, ...], bundle: Bundle) -> _Tiling:
    """Cover an item with windows; where the window is at least as large as the item, one covers it."""
    front, padded, window, starts = [], [], [], []
    for length, largest in zip(shape, bundle.window, strict=True):
        if bundle.padding == "multiple":
            full = -(-length // bundle.size_multiple) * bundle.size_multiple
        else:
            full = max(length, largest)
        size = min(largest, full)
        step = max(1, round(size * (1.0 - bundle.overlap)))
        front.append((full - length) // 2 if bundle.padding == "centre" else 0)
        padded.append(full)
        window.append(size)
        starts.append(tuple(sorted({*range(0, full - size, step), full - size})))
    return _Tiling(tuple(front), tuple(padded), tuple(window), tuple(starts))


def blending_weight(name: str, length: int) -> np.ndarray:
    """Return the weight of a window along an axis, by one of ``bundle.BLENDINGS``."""
    if name == "uniform":
        return np.ones(length, dtype=np.float32)
    if name == "hann":
        return hann(length)
    if name == "gaussian":
        place = (np.arange(length) - (length - 1) / 2) / (_DEVIATION * length)
        return np.maximum(np.exp(-(place**2) / 2), _SMALLEST_WEIGHT).astype(np.float32)
    weight = np.maximum(np.hanning(length), _SMALLEST_WEIGHT)
    return (weight / weight.max()).astype(np.float32)


def hann(length: int) -> np.ndarray:
    """Return a Hann window sampled at voxel centres, at least 0.001."""
    weight = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    return np.maximum(weight, _SMALLEST_WEIGHT).astype(np.float32)


def _outer(vectors: list[np.ndarray]) -> np.ndarray:
    result = np.ones((), dtype=np.float32)
    for vector in vectors:
        result = result[..., None] * vector
    return result
