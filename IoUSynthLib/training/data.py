"""Slices for training, cut on the fly from volumes in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..preprocessing import normalize_ultrasound
from ..simulation.case import read_case, to_network_range
from ..simulation.mri import TARGETS


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """One case in memory.

    Attributes
    ----------
    image
        (C, n, n, n) float16 in [-1, 1], the network's inputs, ultrasound first.
    target
        (T, n, n, n) float16: MR in [-1, 1], or one channel of labels.
    fan
        (n, n, n) bool.
    centres
        (m, 3) indices around which slices are cut.
    """

    image: np.ndarray
    target: np.ndarray
    fan: np.ndarray
    centres: np.ndarray


@dataclass(frozen=True, eq=False)
class Batch:
    """Slices: ``image`` (B, 3C, H, W), ``target`` (B, T, H, W), ``fan`` (B, 1, H, W) float32."""

    image: torch.Tensor
    target: torch.Tensor
    fan: torch.Tensor


def generator_volume(folder: Path) -> TrainingVolume:
    """Ultrasound in, MR out."""
    case = read_case(folder)
    fan = case.fan.array > 0
    image = normalize_ultrasound(case.images["ioUS"].array)[None]
    target = np.stack([to_network_range(case.images[t].array.astype(np.float32) / 1000) for t in TARGETS])
    return TrainingVolume(image.astype(np.float16), target.astype(np.float16), fan, _some(fan))


def segmenter_volume(folder: Path, inputs: Sequence[str], predictions: Path | None = None) -> TrainingVolume:
    """The named inputs (ultrasound, T2w, FLAIR) in, labels out.

    ``predictions`` is the folder of synthetic MRI written by :func:`.predictions.predict_cohort`; without it the MRI
    is the true one.
    """
    case = read_case(folder)
    fan = case.fan.array > 0
    channels = []
    for name in inputs:
        if name == "ioUS":
            channels.append(normalize_ultrasound(case.images["ioUS"].array))
        elif predictions is None:
            channels.append(to_network_range(case.images[name].array.astype(np.float32) / 1000))
        else:
            channels.append(np.load(predictions / f"{folder.name}_{name}.npy").astype(np.float32))
    image = np.where(fan, np.stack(channels), -1)
    labels = np.where(fan, case.labels.array, 0)
    centres = np.concatenate([_some(fan, 2000), _some(labels == 1, 1000), _some(labels == 2, 1000)])
    return TrainingVolume(image.astype(np.float16), labels[None].astype(np.float16), fan, centres)


def _some(mask: np.ndarray, most: int = 4000) -> np.ndarray:
    """Up to ``most`` evenly spaced indices of true voxels."""
    indices = np.argwhere(mask)
    return indices[:: max(1, len(indices) // most)].astype(np.int16)


class SliceBatches:
    """Random 2.5D slices of a list of volumes; batch number n is the same for the same seed, whatever came before."""

    def __init__(self, volumes: Sequence[TrainingVolume], batch_size: int, size: int, seed: int, augment: bool) -> None:
        self.volumes = volumes
        self.batch_size = batch_size
        self.size = size
        self.seed = seed
        self.augment = augment

    def draw(self, step: int) -> Batch:
        """Batch number ``step``."""
        rng = np.random.default_rng((self.seed, step))
        slices = [self._slice(rng) for _ in range(self.batch_size)]
        image, target, fan = (torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*slices, strict=True))
        return Batch(image, target, fan)

    def _slice(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        volume = self.volumes[rng.integers(len(self.volumes))]
        axis = int(rng.integers(3))
        centre = volume.centres[rng.integers(len(volume.centres))]
        flips = [slice(None, None, int(step)) for step in rng.choice((-1, 1), 3)]
        transposed = bool(rng.random() < 0.5)
        count = volume.fan.shape[axis]
        neighbours = np.clip(centre[axis] + np.array((-1, 0, 1)), 0, count - 1)[flips[0]]

        def cut(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
            """Slices of the (C, n, n, n) array as (C * len(indices), size, size)."""
            plane = np.moveaxis(array.take(indices, axis + 1), axis + 1, 1)
            plane = plane[:, :, window[0], window[1]][:, :, flips[1], flips[2]]
            plane = plane.swapaxes(2, 3) if transposed else plane
            return plane.reshape(-1, self.size, self.size)

        in_plane = [i for i in range(3) if i != axis]
        window = [self._window(int(centre[i]), volume.fan.shape[i], rng) for i in in_plane]
        image = cut(volume.image, neighbours).astype(np.float32)
        target, fan = cut(volume.target, neighbours[1:2]), cut(volume.fan[None], neighbours[1:2])
        if self.augment:
            image = augment_ultrasound(image, rng)
        return image, target, fan

    def _window(self, centre: int, count: int, rng: np.random.Generator) -> slice:
        start = centre - self.size // 2 + int(rng.integers(-self.size // 4, self.size // 4 + 1))
        start = min(max(start, 0), count - self.size)
        return slice(start, start + self.size)


def augment_ultrasound(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary gain curve, noise and sharpness of the ultrasound, the first three channels of (C, H, W) in [-1, 1]."""
    ultrasound = (image[:3] + 1) / 2
    outside = ultrasound == 0
    ultrasound = ultrasound ** np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.1))
    if rng.random() < 0.3:
        ultrasound += rng.normal(0, rng.uniform(0, 0.06), ultrasound.shape)
    if rng.random() < 0.3:
        weight = rng.uniform(0.1, 0.25)
        neighbours = sum(np.roll(ultrasound, shift, axis) for axis in (1, 2) for shift in (-1, 1))
        ultrasound = (1 - 4 * weight / 2) * ultrasound + weight / 2 * neighbours
    ultrasound = np.clip(ultrasound, 0, 1)
    ultrasound[outside] = 0
    return np.concatenate([ultrasound * 2 - 1, image[3:]]).astype(np.float32)


def load_volumes(folders: Sequence[Path], load: Callable[[Path], TrainingVolume]) -> list[TrainingVolume]:
    """Load all cases; cases without a voxel in the fan are left out."""
    volumes = [load(folder) for folder in folders]
    return [volume for volume in volumes if len(volume.centres)]
