"""The patient's MRI beside ultrasound, as a generator learns to read it: any of three contrasts, or none.

What a simulated case has from before the operation lies where the ultrasound's tissue lies. A network that learned from
that would believe whatever it is given. So each slice sees MRI that lies elsewhere, as registration and brain shift
leave it, or is another patient's, of contrasts and scanners that nobody has simulated (SynthSeg: Billot et al. 2023,
Medical Image Analysis 86:102789), or none at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..cases.case import PREOPERATIVE, Case, preoperative_mri, read_case
from ..constants import OUTSIDE, TARGETS, VOXEL_MM
from ..preprocessing import foreground, preoperative_range
from ..registration.displacements import brain_shift, points_within, random_displacement
from ..registration.rigid import to_sitk
from ..synthesis.preoperative import Preoperative
from ..volume import InputError
from .augmentation import Part
from .data import Place, SliceBatches, TrainingVolume, volume_of

#: Contrasts in the order of the network's channels.
CONTRASTS = ("T2w", "ceT1", "FLAIR")

#: Shares of the slices without MRI, with another patient's, and with MRI that lies exactly where it should.
_WITHOUT, _ANOTHER, _EXACT = 0.2, 0.1, 0.15
#: Of the others: largest shift in mm and turn in degrees, which registration leaves, and the share of those that are
#: deformed besides, by up to so many mm, as the brain shifts.
_SHIFT, _TURN, _DEFORMED, _DEFORMATION = 4.0, 5.0, 0.6, 8.0
#: Share of the contrasts whose grey levels are replaced, half of these by tissue, half by a curve.
_RANDOM_CONTRAST = 0.3
_KNOTS = 6


@dataclass(frozen=True, eq=False)
class PreoperativeVolume(TrainingVolume):
    """A case with the MRI from before the operation.

    Attributes
    ----------
    mri
        (C, n, n, n) float16 in [-1, 1], scaled by what lies within the fan, but known beyond it; -1 is no data.
    tissues
        (n, n, n) uint8: its tissues.
    means
        (C, tissues): mean of each contrast in each tissue.
    """

    mri: np.ndarray
    tissues: np.ndarray
    means: np.ndarray


def preoperative_volume(
    folder: Path, targets: Sequence[str] = TARGETS, contrasts: Sequence[str] = CONTRASTS
) -> PreoperativeVolume:
    """Ultrasound and MRI from before the operation in, MR out.

    Raises
    ------
    InputError
        The case has no such MRI.
    """
    case = read_case(folder)
    missing = set(contrasts) - set(case.parameters.get("preoperative", ()))
    if missing:
        raise InputError(
            f"{folder}: has no {' and '.join(sorted(missing))} from before the operation; make the cohort again with "
            "iousynth simulate --preoperative"
        )
    plain = volume_of(case, targets)
    arrays = [case.images[f"{PREOPERATIVE}{name}"].array for name in contrasts]
    mri = np.stack([_scaled(array, plain.fan) for array in arrays]).astype(np.float16)
    tissues = case.images[f"{PREOPERATIVE}tissues"].array.astype(np.uint8)
    counts = np.maximum(np.bincount(tissues.ravel()), 1)
    means = np.stack([np.bincount(tissues.ravel(), image.ravel().astype(np.float64)) / counts for image in mri])
    return PreoperativeVolume(plain.image, plain.target, plain.fan, plain.centres, mri, tissues, means)


def _scaled(array: np.ndarray, fan: np.ndarray) -> np.ndarray:
    """MRI as :func:`..preprocessing.normalize_preoperative` gives it within the fan, and beyond it, too."""
    limits = preoperative_range(array, fan)
    if limits is None:
        return np.full(array.shape, OUTSIDE, np.float32)
    low, high = limits
    scaled = np.clip(2 * (array - low) / (high - low) - 1, -1, 1)
    return np.where(foreground(array), scaled, OUTSIDE)


class PreoperativeBatches(SliceBatches):
    """Random slices of ultrasound with MRI from before the operation, as :class:`.data.SliceBatches`.

    Its parameters are those of that; volumes without MRI, such as real ultrasound, have no further channels. The MRI
    comes behind the ultrasound, a contrast after the other with its neighbours, -1 where it is missing and outside the
    fan. Where ``augment`` is not, its grey levels are as they are; it is displaced or missing all the same.
    """

    def _at(self, volume: TrainingVolume, place: Place, rng: np.random.Generator) -> Part:
        image, target, fan = super()._at(volume, place, rng)
        if not isinstance(volume, PreoperativeVolume):
            return image, target, fan
        seen = place.cut(volume.fan[None], place.neighbours)[0]
        source = volume
        if rng.random() < _ANOTHER:
            source = self.volumes[rng.integers(len(self.volumes))]
        mri = self._mri(source, place, rng)
        mri = np.where(seen, mri, np.float32(OUTSIDE))
        return np.concatenate([image, mri.reshape(-1, *image.shape[1:])]), target, fan

    def _mri(self, volume: PreoperativeVolume, place: Place, rng: np.random.Generator) -> np.ndarray:
        """(C, neighbours, size, size) of MRI as it may lie and look."""
        count = len(volume.mri)
        result = np.full((count, len(place.neighbours), self.size, self.size), OUTSIDE, np.float32)
        chosen = _subset(count, rng)
        if not len(chosen):
            return result
        points = displaced(place.points() * VOXEL_MM, rng) / VOXEL_MM
        recoloured = self.augment & (rng.random(count) < _RANDOM_CONTRAST)
        images = read_at(volume.mri[chosen], points)
        tissues = read_at(volume.tissues[None], points, nearest=True)[0].astype(np.uint8) if recoloured.any() else None
        for number, image in zip(chosen, images, strict=True):
            known = image > OUTSIDE
            if recoloured[number]:
                image = other_contrast(image, tissues, volume.means[number], rng)
            if self.augment:
                image = acquired(image, rng)
            result[number] = place.turned(np.where(known, image, OUTSIDE)[None])[0]
        return result


def _subset(count: int, rng: np.random.Generator) -> np.ndarray:
    """Which contrasts there are: none in a fifth of the slices, else any of the subsets alike."""
    if not count or rng.random() < _WITHOUT:
        return np.zeros(0, int)
    number = rng.integers(1, 2**count)
    return np.flatnonzero([(number >> place) & 1 for place in range(count)])


def drawn_mri(case: Case, contrasts: Sequence[str], rng: np.random.Generator) -> Preoperative | None:
    """MRI of a case as a run may be given it: of some contrasts, where registration and brain shift leave it, or none.

    Parameters
    ----------
    case
        Of a cohort; without MRI from before the operation the result is None.
    contrasts
        Those that are read.
    rng
        Draws, with the shares and limits of :class:`PreoperativeBatches`.
    """
    known = preoperative_mri(case, contrasts)
    chosen = _subset(len(known), rng)
    images = {name: image for number, (name, image) in enumerate(known.items()) if number in chosen}
    if not images:
        return None
    if rng.random() < _EXACT:
        return Preoperative(images)
    if rng.random() < _DEFORMED:
        return Preoperative(images, brain_shift(case.fan, rng.uniform(0, _DEFORMATION), rng))
    return Preoperative(images, to_sitk(random_displacement(points_within(case.fan), rng.uniform(0, _SHIFT), rng)))


def displaced(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where MRI is read in place of ``points`` (3, ...), z, y, x in mm: as registration and brain shift leave it."""
    if rng.random() < _EXACT:
        return points
    shape = (3,) + (1,) * (points.ndim - 1)
    middle = points.reshape(3, -1).mean(1).reshape(shape) + rng.normal(0, 15, shape)
    axis, direction = (value / np.linalg.norm(value) for value in rng.standard_normal((2, 3)))
    turn = Rotation.from_rotvec(np.deg2rad(rng.uniform(0, _TURN)) * axis).as_matrix()
    shift = rng.uniform(0, _SHIFT) * direction
    moved = np.einsum("ij,j...->i...", turn, points - middle) + middle + shift.reshape(shape)
    if rng.random() < _DEFORMED:
        moved += rng.uniform(0, _DEFORMATION) * _smooth_field(points.shape[1:], int(rng.integers(3, 6)), rng)
    return moved


def _smooth_field(shape: Sequence[int], knots: int, rng: np.random.Generator, channels: int = 3) -> np.ndarray:
    """(channels, ...) of random values between so many knots along the longest edges; the longest vector has length 1.

    The first of the three axes is that of a few neighbouring slices, in which nothing changes by itself.
    """
    coarse = torch.from_numpy(rng.standard_normal((1, channels, knots, knots)).astype(np.float32))
    fine = functional.interpolate(coarse, size=tuple(shape[1:]), mode="bicubic", align_corners=True)[0].numpy()
    fine = fine / max(float(np.sqrt((fine**2).sum(0)).max()), 1e-6)
    return np.repeat(fine[:, None], shape[0], 1)


def read_at(maps: np.ndarray, points: np.ndarray, *, nearest: bool = False) -> np.ndarray:
    """Values of ``maps`` (C, n, n, n) at ``points`` (3, a, b, c), z, y, x in voxels, float32; ``OUTSIDE`` beyond them.

    Only the box that is seen is converted, which for a slice is a fraction of the time.
    """
    limits = np.array(maps.shape[1:])
    low = np.clip(np.floor(points.min((1, 2, 3))).astype(int) - 1, 0, limits - 2)
    high = np.clip(np.ceil(points.max((1, 2, 3))).astype(int) + 2, low + 2, limits)
    box = maps[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]
    source = torch.from_numpy(box.astype(np.float32) - OUTSIDE)
    shape = (3, 1, 1, 1)
    grid = 2 * (points - low.reshape(shape)) / (high - low - 1).reshape(shape) - 1
    grid = torch.from_numpy(grid[::-1].transpose(1, 2, 3, 0).astype(np.float32))
    mode = "nearest" if nearest else "bilinear"
    return functional.grid_sample(source[None], grid[None], mode=mode, align_corners=True)[0].numpy() + OUTSIDE


def other_contrast(
    image: np.ndarray, tissues: np.ndarray, means: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Replace the grey levels of an image in [-1, 1] by random ones, and stretch them to [-1, 1].

    Half of the time each tissue gets another mean, and keeps more or less of its texture; else a curve through random
    knots, rising or not, maps the grey levels.

    Parameters
    ----------
    image, tissues
        Of one shape.
    means
        Of the image in each tissue.
    rng
        Draws the levels.
    """
    if rng.random() < 0.5:
        tissues = np.minimum(tissues, len(means) - 1)
        changed = rng.uniform(-1, 1, len(means))[tissues] + rng.uniform(0.3, 1.5) * (image - means[tissues])
    else:
        levels = rng.uniform(-1, 1, _KNOTS)
        levels = np.sort(levels) if rng.random() < 0.5 else levels
        changed = np.interp(image, np.linspace(-1, 1, _KNOTS), levels)
    known = image > OUTSIDE
    low, high = np.percentile(changed[known], (0.5, 99.5)) if known.any() else (-1.0, 1.0)
    return np.clip(2 * (changed - low) / max(high - low, 1e-3) - 1, -1, 1).astype(np.float32)


def acquired(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary bias field, resolution, gamma and noise of an image (slices, H, W) in [-1, 1]."""
    if rng.random() < 0.5:
        sigmas = rng.uniform(0, 1.5) * np.eye(3)[rng.integers(3)] + rng.uniform(0, 0.6)
        image = ndimage.gaussian_filter(image, (0, *sigmas[1:]), mode="nearest", truncate=3)
    values = (image + 1) / 2
    values = np.clip(values, 0, 1) ** np.exp(rng.normal(0, 0.2))
    if rng.random() < 0.5:
        values = values * np.exp(rng.uniform(0, 0.3) * _smooth_field(image.shape, 3, rng, channels=1)[0])
    if rng.random() < 0.5:
        values = values + rng.uniform(0, 0.05) * rng.standard_normal(values.shape, dtype=np.float32)
    return np.clip(2 * values - 1, -1, 1).astype(np.float32)
