"""Slices and patches for training, cut on the fly from volumes in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..cases.case import NO_TUMOUR, UNLABELLED, Case, case_grid, input_image, read_case, target_image
from ..cases.harmonisation import harmonised, scaled
from ..constants import LABELS, OUTSIDE, TARGETS, VOXEL_MM
from ..files.volumes import read_volume
from ..generators.recipe import Augmentation
from ..input_checks import check_ultrasound
from ..preprocessing import bounding_box, normalize_ultrasound, resample_to_spacing
from ..synthesis.grid import FieldOfView, coarsened, stacked
from ..volume import InputError
from . import texture
from .augmentation import INTENSITIES, Part, rotated


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """One case in memory.

    Attributes
    ----------
    image
        (C, n, n, n) float16 in [-1, 1], the network's inputs; ultrasound first, but for refiners last.
    target
        (T, n, n, n) float16: MR in [-1, 1], NaN throughout a contrast that the case lacks, or one channel of labels.
    fan
        (n, n, n) bool.
    centres
        (m, 3) indices around which slices are cut.
    """

    image: np.ndarray
    target: np.ndarray
    fan: np.ndarray
    centres: np.ndarray

    @property
    def complete(self) -> bool:
        """Whether the case has all targets."""
        return bool(np.isfinite(self.target).any(axis=(1, 2, 3)).all())


@dataclass(frozen=True, eq=False)
class Batch:
    """Slices or patches, float32: ``image`` (B, C, ...), for 2.5D three a channel; ``target`` (B, T, ...), NaN where
    missing; ``fan`` (B, 1, ...).
    """

    image: torch.Tensor
    target: torch.Tensor
    fan: torch.Tensor


class Batches(Protocol):
    """Batches by number: the same number gives the same batch, whatever came before."""

    def draw(self, step: int) -> Batch:
        """Batch number ``step``."""


def generator_volume(folder: Path, targets: Sequence[str] = TARGETS, *, source: str = "ioUS") -> TrainingVolume:
    """Ultrasound, or MRI of the contrast ``source``, in, MR out; NaN for a target that a patient lacks.

    Raises
    ------
    InputError
        The cohort has another input.
    """
    return volume_of(_read_case(folder, source), targets)


def volume_of(case: Case, targets: Sequence[str]) -> TrainingVolume:
    """Input in and MR out of a case that was read; NaN for a target that it lacks."""
    fan = case.fan.array > 0
    image = input_image(case)[None]
    target = np.stack([
        target_image(case, name) if name in case.images else np.full(fan.shape, np.nan) for name in targets
    ])
    return TrainingVolume(image.astype(np.float16), target.astype(np.float16), fan, _some(fan))


def unified_volume(folder: Path, images: Sequence[str]) -> TrainingVolume:
    """The named images, ultrasound among them, in and out: as they come in, harmonised out (:mod:`.harmonisation`).

    Ultrasound is normalised by eq. 1 as everywhere. What a case lacks is NaN, in and out.

    Raises
    ------
    InputError
        The cohort has another input.
    """
    case = _read_case(folder, "ioUS")
    fan = case.fan.array > 0
    missing = np.full(fan.shape, np.nan)
    image, target = (
        np.stack([input_image(case) if name == "ioUS" else of(case, name) if name in case.images else missing
                  for name in images])
        for of in (scaled, harmonised)
    )  # fmt: skip
    return TrainingVolume(image.astype(np.float16), target.astype(np.float16), fan, _some(fan))


def refiner_volume(folder: Path, predictions: Path, targets: Sequence[str], *, ultrasound: bool) -> TrainingVolume:
    """Synthetic MR, written by :func:`.predictions.predict_cohort`, and ultrasound if wanted, in; true MR out."""
    volume = generator_volume(folder, targets)
    synthetic = np.stack([_synthetic(predictions, folder.name, target, shape=volume.fan.shape) for target in targets])
    image = np.where(volume.fan, synthetic, np.float16(OUTSIDE))
    image = np.concatenate([image, volume.image]) if ultrasound else image
    return TrainingVolume(image, volume.target, volume.fan, volume.centres)


def segmenter_volume(
    folder: Path, inputs: Sequence[str], predictions: Path | None = None, *, spacing: float = VOXEL_MM
) -> TrainingVolume:
    """The named inputs (ultrasound, T2w, FLAIR) in, labels out, on isotropic voxels of ``spacing`` mm.

    ``predictions`` is the folder of synthetic MRI written by :func:`.predictions.predict_cohort`; without it the MRI
    is the true one. Where only the cavity of a case is known (:mod:`..simulation.painted`), what is not cavity is
    ``UNLABELLED``; where only the tumour is outlined, what is not tumour is ``NO_TUMOUR``.

    Raises
    ------
    InputError
        Nobody has outlined the case, or it lacks an image that is read.
    """
    case = _read_case(folder, "ioUS") if "ioUS" in inputs else read_case(folder)
    if (case.labels.array == UNLABELLED).any():
        raise InputError(f"{folder}: its tumour and cavity are not outlined; prepare it with labels, or without it")
    images = {}
    for name in inputs:
        if name == "ioUS":
            continue
        if predictions is not None:
            images[name] = _synthetic(predictions, folder.name, name, shape=case.fan.array.shape).astype(np.float32)
        elif name in case.images:
            images[name] = target_image(case, name)
        else:
            raise InputError(f"{folder}: has no {name} to learn from; give synthetic MRI with --predictions")
    seen, images = coarsened(case_grid(case), images, (spacing,) * 3)
    image = stacked(seen, images, inputs)
    labels = _coarse_labels(case, spacing)
    for known, other in (("cavity", UNLABELLED), ("tumour", NO_TUMOUR)):
        if case.parameters.get("labelled") == [known]:
            labels = np.where(labels == LABELS[known], labels, other)
    labels = np.where(seen.valid, labels, 0)
    centres = np.concatenate([_some(seen.valid, 2000), _some(labels == 1, 1000), _some(labels == 2, 1000)])
    return TrainingVolume(image.astype(np.float16), labels[None].astype(np.float16), seen.valid, centres)


def real_volume(path: Path, *, spacing: float = VOXEL_MM) -> TrainingVolume:
    """Real ultrasound of which nothing is known, on isotropic voxels of ``spacing`` mm; it has no targets.

    Raises
    ------
    InputError
        The file cannot be read, or holds no ultrasound.
    """
    image, fan = FieldOfView.of(check_ultrasound(read_volume(path), str(path))).resampled(spacing)
    seen = np.where(fan, normalize_ultrasound(image.array), OUTSIDE)[None].astype(np.float16)
    return TrainingVolume(seen, np.zeros((0, *fan.shape), np.float16), fan, _some(fan))


def _read_case(folder: Path, source: str) -> Case:
    """A case whose input is that one."""
    case = read_case(folder)
    if case.input != source:
        raise InputError(f"{folder}: its input is {case.input}, and {source} is learned from; choose another cohort")
    return case


def _synthetic(predictions: Path, case: str, target: str, *, shape: tuple[int, ...]) -> np.ndarray:
    """A synthetic image that :func:`.predictions.predict_cohort` wrote."""
    path = predictions / f"{case}_{target}.npy"
    try:
        image = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: is missing or damaged ({error}); predict the cohort again") from error
    if image.shape != shape:
        raise InputError(f"{path}: is of another grid than the case; predict this cohort again")
    return image


def _coarse_labels(case: Case, spacing: float) -> np.ndarray:
    """The label that fills most of each larger voxel."""
    if np.allclose(case.labels.spacing, spacing):
        return case.labels.array
    masks = [case.labels.with_array(case.labels.array == label) for label in LABELS.values()]
    return np.argmax([resample_to_spacing(mask, (spacing,) * 3).array for mask in masks], axis=0)


def _some(mask: np.ndarray, most: int = 4000) -> np.ndarray:
    """Up to ``most`` evenly spaced indices of true voxels."""
    indices = np.argwhere(mask)
    return indices[:: max(1, len(indices) // most)].astype(np.int16)


#: How what ships is varied.
_USUAL = Augmentation()


class RandomBatches(ABC):
    """Random parts of a list of volumes; batch number n is the same for the same seed, whatever came before.

    Parameters
    ----------
    volumes
        The cases; those smaller than a part are padded behind.
    batch_size, window
        Number of parts, and their size in voxels, [y, x] or [z, y, x].
    padded
        Size in voxels, [z, y, x], that a volume must have for a part to fit in.
    seed
        Of all batches.
    augment
        Whether parts are turned and the ultrasound varied, as ``augmentation`` says; flips, where it has them, there
        are anyhow.
    augmentation
        How.
    unpaired
        Whether input and target of a part are of two volumes. What lies outside the fan of the target is blank then,
        as it is in the input, and the part's fan is all of it.
    real
        Real ultrasound (:func:`real_volume`) whose texture and grey levels half of the parts take over as they are
        varied (:mod:`.texture`).
    """

    #: Channels of a part that are ultrasound.
    ultrasound_channels = 1

    def __init__(
        self, volumes: Sequence[TrainingVolume], batch_size: int, window: Sequence[int], *, padded: Sequence[int],
        seed: int, augment: bool, augmentation: Augmentation = _USUAL, real: Sequence[TrainingVolume] = (),
        unpaired: bool = False,
    ) -> None:
        if unpaired and len(volumes) < 2:
            raise InputError("unpaired batches: need two cases to learn from; prepare more patients")
        self.unpaired = unpaired
        self.volumes, self.real = ([_padded(volume, padded) for volume in some] for some in (volumes, real))
        self.batch_size, self.window = batch_size, tuple(window)
        self.seed, self.augment, self.augmentation = seed, augment, augmentation

    def draw(self, step: int) -> Batch:
        """Batch number ``step``."""
        rng = np.random.default_rng((self.seed, step))
        volumes = self._alike(rng)
        return _stack([self._part(volumes, rng) for _ in range(self.batch_size)])

    def _alike(self, rng: np.random.Generator) -> Sequence[TrainingVolume]:
        """The volumes that a batch is drawn from."""
        return self.volumes

    def _part(self, volumes: Sequence[TrainingVolume], rng: np.random.Generator) -> Part:
        first = rng.integers(len(volumes))
        part = self._cut(volumes[first], rng)
        if self.unpaired:
            part = part[0], *self._another_target(first, rng)
        if self.augment and self.augmentation.rotation:
            part = rotated(part, rng, self.augmentation.rotation)
        image, target, fan = part
        if self.augment:
            if self.real and rng.random() < texture.SHARE:
                lender, _, _ = self._cut(self.real[rng.integers(len(self.real))], rng)
                own = slice(self.ultrasound_channels)
                image[own] = texture.take_over(image[own], lender, rng)
            image = INTENSITIES[self.augmentation.intensities](image, rng, self.ultrasound_channels)
        return image, target, fan

    def _another_target(self, first: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The target of a part of another volume than that one, and a fan that is all of it."""
        other = (first + 1 + rng.integers(len(self.volumes) - 1)) % len(self.volumes)
        _, target, fan = self._cut(self.volumes[other], rng)
        return np.where(fan, target, np.float16(OUTSIDE)), np.ones_like(fan)

    @abstractmethod
    def _cut(self, volume: TrainingVolume, rng: np.random.Generator) -> Part:
        """Image, target and fan of a part of the volume, (channels, ...) each; the image float32."""


@dataclass(frozen=True)
class Place:
    """Where neighbouring slices are cut out of a volume, and how they are flipped then.

    Attributes
    ----------
    axis
        Along which they are cut.
    neighbours
        Their indices.
    window
        What is taken of their two axes.
    flips
        Slices with steps of 1 or -1 along these.
    transposed
        Whether the two are exchanged then.
    """

    axis: int
    neighbours: np.ndarray
    window: tuple[slice, slice]
    flips: tuple[slice, slice]
    transposed: bool

    def cut(self, array: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """Slices of the (C, n, n, n) array as (C, len(indices), size, size)."""
        plane = np.moveaxis(array.take(indices, self.axis + 1), self.axis + 1, 1)
        return self.turned(plane[:, :, self.window[0], self.window[1]])

    def turned(self, plane: np.ndarray) -> np.ndarray:
        """A plane (C, slices, size, size) as it is read in the volume, flipped and transposed as it is learned from."""
        plane = plane[:, :, self.flips[0], self.flips[1]]
        return plane.swapaxes(2, 3) if self.transposed else plane

    def points(self) -> np.ndarray:
        """Indices z, y, x in the volume, (3, slices, size, size), before they are flipped, float64."""
        along = [np.arange(part.start, part.stop) for part in self.window]
        first, *others = np.meshgrid(self.neighbours, *along, indexing="ij")
        others.insert(self.axis, first)
        return np.stack(others).astype(np.float64)


class SliceBatches(RandomBatches):
    """Random slices of a list of volumes, as :class:`RandomBatches`.

    Parameters
    ----------
    volumes, batch_size, seed, augment, augmentation, real, unpaired
        As there.
    size
        Edge of the slices in voxels.
    context
        Neighbours on either side that come as further channels: 1 in 2.5D, 0 in 2D.
    axes
        Axes along which slices are cut.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], batch_size: int, size: int, *, seed: int, augment: bool,
        augmentation: Augmentation = _USUAL, context: int = 1, axes: Sequence[int] = (0, 1, 2),
        real: Sequence[TrainingVolume] = (), unpaired: bool = False,
    ) -> None:
        super().__init__(
            volumes, batch_size, [size] * 2, padded=[size] * 3, seed=seed, augment=augment, augmentation=augmentation,
            real=real, unpaired=unpaired,
        )
        self.context, self.axes, self.size = context, tuple(axes), size
        self.ultrasound_channels = 2 * context + 1

    def _cut(self, volume: TrainingVolume, rng: np.random.Generator) -> Part:
        return self._at(volume, self._place(volume, rng), rng)

    def _place(self, volume: TrainingVolume, rng: np.random.Generator) -> Place:
        axis = self.axes[int(rng.integers(len(self.axes)))]
        centre = volume.centres[rng.integers(len(volume.centres))]
        flips = [slice(None, None, int(step)) for step in rng.choice((-1, 1), 3)]
        transposed = bool(rng.random() < 0.5)
        if not self.augmentation.transposed:
            flips[0], transposed = slice(None), False
        flips = flips if self.augmentation.flipped else [slice(None)] * 3
        count = volume.fan.shape[axis]
        offsets = np.arange(-self.context, self.context + 1)
        neighbours = np.clip(centre[axis] + offsets, 0, count - 1)[flips[0]]
        in_plane = [i for i in range(3) if i != axis]
        window = [_window(int(centre[i]), volume.fan.shape[i], self.size, rng=rng) for i in in_plane]
        return Place(axis, neighbours, tuple(window), tuple(flips[1:]), transposed)

    def _at(self, volume: TrainingVolume, place: Place, rng: np.random.Generator) -> Part:
        """The part of a volume in a place; ``rng`` is for what classes that derive from this one draw."""
        middle = place.neighbours[self.context : self.context + 1]

        def cut(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
            return place.cut(array, indices).reshape(-1, self.size, self.size)

        image = cut(volume.image, place.neighbours).astype(np.float32)
        return image, cut(volume.target, middle), cut(volume.fan[None], middle)


class PatchBatches(RandomBatches):
    """Random 3D patches of a list of volumes, flipped at random, as :class:`RandomBatches`.

    Parameters
    ----------
    volumes, batch_size, seed, augment, augmentation, real, unpaired
        As there; the ultrasound is the first channel.
    size
        Of the patches in voxels along z, y and x.
    anywhere
        Whether patches lie anywhere in the box of the fan, mirrored where it is smaller than they are; else around
        voxels of the fan.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], batch_size: int, size: Sequence[int], *, seed: int, augment: bool,
        augmentation: Augmentation = _USUAL, anywhere: bool = False, real: Sequence[TrainingVolume] = (),
        unpaired: bool = False,
    ) -> None:
        if anywhere:
            volumes, real = ([_boxed(volume, size) for volume in some] for some in (volumes, real))
        super().__init__(
            volumes, batch_size, size, padded=size, seed=seed, augment=augment, augmentation=augmentation, real=real,
            unpaired=unpaired,
        )
        self.anywhere = anywhere

    def _cut(self, volume: TrainingVolume, rng: np.random.Generator) -> Part:
        window = self._window(volume, rng)
        flips = [slice(None, None, int(step)) for step in rng.choice((-1, 1), 3)]
        flips = flips if self.augmentation.flipped else [slice(None)] * 3
        parts = (volume.image, volume.target, volume.fan[None])
        image, target, fan = (part[(slice(None), *window)][(slice(None), *flips)] for part in parts)
        return image.astype(np.float32), target, fan

    def _window(self, volume: TrainingVolume, rng: np.random.Generator) -> list[slice]:
        sizes = list(zip(volume.fan.shape, self.window, strict=True))
        if self.anywhere:
            starts = [int(rng.integers(count - size + 1)) for count, size in sizes]
            return [slice(start, start + size) for start, size in zip(starts, self.window, strict=True)]
        centre = volume.centres[rng.integers(len(volume.centres))]
        return [_window(int(place), *lengths, rng=rng) for place, lengths in zip(centre, sizes, strict=True)]


class PatternBatches(RandomBatches):
    """Random slices of volumes that have and lack the same images, flipped at random, as :class:`RandomBatches`.

    A volume is drawn, and with it a pattern, as often as it is among the cases; the batch comes of all that have it
    (MMHVAE, section 3.6; its released code takes neighbouring slices of the one volume).

    Parameters
    ----------
    volumes
        Missing images are NaN throughout; each must have at least one.
    batch_size, seed
        As there; nothing is varied.
    size
        Edge of the slices in voxels; smaller ones are padded behind.
    axes
        Axes along which slices are cut.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], batch_size: int, size: int, *, seed: int, axes: Sequence[int]
    ) -> None:
        super().__init__(volumes, batch_size, [size] * 2, padded=[1] * 3, seed=seed, augment=False)
        self.axes, self.size = tuple(axes), size
        self.patterns = [tuple(np.isfinite(volume.target).any((1, 2, 3)).tolist()) for volume in volumes]

    def _alike(self, rng: np.random.Generator) -> Sequence[TrainingVolume]:
        chosen = self.patterns[rng.integers(len(self.patterns))]
        return [volume for volume, own in zip(self.volumes, self.patterns, strict=True) if own == chosen]

    def _cut(self, volume: TrainingVolume, rng: np.random.Generator) -> Part:
        axis = self.axes[int(rng.integers(len(self.axes)))]
        centre = volume.centres[rng.integers(len(volume.centres))]
        flips = [slice(None, None, int(step)) for step in rng.choice((-1, 1), 2)]
        in_plane = [i for i in range(3) if i != axis]
        shape = [max(volume.fan.shape[i], self.size) for i in in_plane]
        window = [
            _window(int(centre[i]), length, self.size, rng=rng) for i, length in zip(in_plane, shape, strict=True)
        ]

        def cut(array: np.ndarray, beyond: float) -> np.ndarray:
            plane = array.take(int(centre[axis]), axis + 1)
            behind = [(0, length - count) for length, count in zip(shape, plane.shape[1:], strict=True)]
            filled = np.pad(plane, [(0, 0), *behind], constant_values=beyond)
            return filled[:, window[0], window[1]][:, flips[0], flips[1]]

        image, target = (cut(array, OUTSIDE) for array in (volume.image, volume.target))
        return image.astype(np.float32), target, cut(volume.fan[None], 0)


class DrawnAhead:
    """Batches that other processes draw while the network learns from the last ones; numbered as they are.

    Parameters
    ----------
    batches
        What they draw; the volumes are shared with them, not copied.
    workers
        Number of processes.
    """

    def __init__(self, batches: Batches, workers: int) -> None:
        self.batches, self.workers = batches, workers
        self._ahead: Iterator[Batch] = iter(())
        self._next: int | None = None

    def draw(self, step: int) -> Batch:
        """Batch number ``step``; one that does not follow the last one has to be waited for."""
        if step != self._next:
            self._ahead = self._drawn_from(step)
        self._next = step + 1
        return next(self._ahead)

    def _drawn_from(self, step: int) -> Iterator[Batch]:
        loader = DataLoader(
            _Numbered(self.batches), batch_size=None, sampler=range(step, step + _MOST_BATCHES),
            num_workers=self.workers, multiprocessing_context="fork", pin_memory=torch.cuda.is_available(),
        )  # fmt: skip
        return (Batch(*parts) for parts in loader)


#: More than any schedule has steps.
_MOST_BATCHES = 2**31


class _Numbered(Dataset):
    """Batches as torch's loader wants them."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        batch = self.batches.draw(step)
        return batch.image, batch.target, batch.fan


def _stack(items: Sequence[Part]) -> Batch:
    image, target, fan = (torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*items, strict=True))
    return Batch(image, target, fan)


def _window(centre: int, count: int, size: int, *, rng: np.random.Generator) -> slice:
    """A window that holds the centre, as a rule, away from the middle by up to a quarter of its size."""
    start = centre - size // 2 + int(rng.integers(-size // 4, size // 4 + 1))
    start = min(max(start, 0), count - size)
    return slice(start, start + size)


def _padded(volume: TrainingVolume, size: Sequence[int]) -> TrainingVolume:
    """The volume, or one with more voxels behind, none of which is in the fan."""
    missing = [(0, max(wanted - count, 0)) for wanted, count in zip(size, volume.fan.shape, strict=True)]
    if not any(behind for _, behind in missing):
        return volume
    image, target = (
        np.pad(part, [(0, 0), *missing], constant_values=OUTSIDE) for part in (volume.image, volume.target)
    )
    return replace(volume, image=image, target=target, fan=np.pad(volume.fan, missing))


def _boxed(volume: TrainingVolume, size: Sequence[int]) -> TrainingVolume:
    """The box of the fan alone, mirrored behind where it is smaller than a part."""
    box = bounding_box(volume.fan)
    missing = [(0, max(wanted - (part.stop - part.start), 0)) for wanted, part in zip(size, box, strict=True)]
    fan = np.pad(volume.fan[box], missing, mode="reflect")
    image, target = (
        np.pad(array[(slice(None), *box)], [(0, 0), *missing], mode="reflect")
        for array in (volume.image, volume.target)
    )
    return TrainingVolume(image, target, fan, _some(fan))


def load_volumes(
    folders: Sequence[Path], load: Callable[[Path], TrainingVolume], workers: int = 0
) -> list[TrainingVolume]:
    """Load all cases, in other processes where ``workers`` says so; cases without a voxel in the fan are left out."""
    if workers:
        with ProcessPoolExecutor(workers) as pool:
            volumes = list(pool.map(load, folders))
    else:
        volumes = [load(folder) for folder in folders]
    return [volume for volume in volumes if len(volume.centres)]
