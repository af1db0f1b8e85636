"""Fixed and moving images at one resolution, and how their similarity changes with the place of the moving ones.

A transform maps LPS points of the fixed images to LPS points of the moving ones, as ITK's resampling does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import preprocessing
from ..volume import InputError, Volume
from .lc2 import LC2, Fit, gradient_magnitude
from .similarity import RADIUS, standardise

if TYPE_CHECKING:
    import SimpleITK as sitk

#: How far beyond the fan the moving images are kept, in mm: the capture range, and as much for rotation.
MARGIN = 32.0
#: Regions of exactly 0 that are wider than this, in mm, and open to the rim are no data: what a brain extraction, a
#: cropped export or a slab filled up with 0 leaves. The fluid of sulci is narrower.
_EMPTY_MM = 6.0
#: Side in mm of the cubes that count as independent where the fit of two places is compared: wider than a patch, so
#: that patches of one cube hardly see the next.
_CUBE_MM = 10.0


@dataclass(frozen=True, eq=False)
class Pair:
    """What is compared with what.

    Attributes
    ----------
    fixed
        One image in the frame of the ultrasound.
    moving
        One or several images in the frame of the MRI; grids may differ.
    gradient
        The magnitude of the gradient of every moving image is a channel too, as LC2 of ultrasound needs it.
    positive
        Bright must match bright: for images of the same contrast.
    """

    fixed: Volume
    moving: tuple[Volume, ...]
    gradient: bool = False
    positive: bool = False


@dataclass(frozen=True, eq=False)
class _Term:
    measure: LC2
    channels: list[sitk.Image]
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Similarity at one transform.

    Attributes
    ----------
    value
        Weighted mean of the pairs' similarity, in [0, 1].
    covered
        Fraction of the mask for which every pair has data.
    fits
        Of each pair.
    force
        (n, 3): derivative of ``value`` by the displacement of each voxel of the mask, per mm, along the LPS axes of the
        fixed frame.
    stiffness
        (n, 3, 3): the Gauss-Newton part of minus its second derivative.
    """

    value: float
    covered: float
    fits: tuple[Fit, ...]
    force: np.ndarray | None = None
    stiffness: np.ndarray | None = None


class Level:
    """All pairs at one voxel size.

    Parameters
    ----------
    pairs
        What is compared; the first one's fixed image sets the grid's axes.
    mask
        Where the fixed images have data, as a volume of 0 and 1.
    spacing
        Voxel size in mm.
    initial
        4x4 matrix of the transform near which the moving images are needed.
    radius
        Of the patches, in voxels.

    Raises
    ------
    InputError
        The mask is empty, or a moving image does not reach it.
    """

    def __init__(
        self, pairs: list[Pair], mask: Volume, spacing: float, *, initial: np.ndarray, radius: int = RADIUS
    ) -> None:
        inside = mask.array > 0
        if not inside.any():
            raise InputError("the ultrasound mask is empty; choose the ultrasound volume, or mark less as cavity")
        cropped, box = preprocessing.crop_to_mask(mask, inside, margin=1)
        share = preprocessing.resample_to_spacing(cropped, (spacing,) * 3)
        self.mask = share.array >= 0.5
        if not self.mask.any():
            raise InputError(f"the ultrasound mask is smaller than a voxel of {spacing:g} mm; check the spacing")
        self.grid, self.spacing = share, spacing
        index = np.argwhere(self.mask)[:, ::-1]
        self.points = index @ share.ijk_to_lps[:3, :3].T + share.ijk_to_lps[:3, 3]  # (n, 3) LPS
        self.centre = self.points.mean(axis=0)
        self.terms = [self._term(pair, inside, box, initial=initial, radius=radius) for pair in pairs]
        self._cubes = _cubes(self.mask.shape, spacing)

    def _term(
        self, pair: Pair, inside: np.ndarray, box: preprocessing.Box, *, initial: np.ndarray, radius: int
    ) -> _Term:
        own = pair.fixed if pair.fixed.array.shape == inside.shape else None
        if own is None:
            raise ValueError("the fixed images and the mask must lie on one grid")
        (fixed,), _ = preprocessing.resample_inside([preprocessing.crop(own, box)], (self.spacing,) * 3, inside[box])
        measure = LC2(fixed.array, self.mask, radius=radius, positive=pair.positive)
        channels = []
        for moving in pair.moving:
            near, empty = _near(moving, self.points, initial=initial, spacing=self.spacing)
            images = [near.array, gradient_magnitude(near.array, near.spacing)] if pair.gradient else [near.array]
            tissue = preprocessing.foreground(near.array)
            shown = (np.where(empty, np.float32(np.nan), standardise(image, tissue)) for image in images)
            channels += [near.with_array(image).to_sitk() for image in shown]
        return _Term(measure, channels)

    @classmethod
    def joined(cls, levels: Sequence[Level]) -> Level:
        """Levels of one mask, voxel size and radius as one: each has the same weight, and their images are shared."""
        joint = copy.copy(levels[0])
        joint.terms = [replace(term, weight=1 / len(level.terms)) for level in levels for term in level.terms]
        return joint

    def warp(self, term: _Term, transform: sitk.Transform, grid: Volume | None = None) -> np.ndarray:
        """Return a term's channels on the level's grid, or another, NaN where there is no data."""
        import SimpleITK as sitk

        grid = grid or self.grid
        resampler = sitk.ResampleImageFilter()
        resampler.SetSize([int(length) for length in grid.size])
        resampler.SetOutputSpacing(grid.spacing)
        resampler.SetOutputOrigin(grid.origin)
        resampler.SetOutputDirection(grid.direction.ravel().tolist())
        resampler.SetTransform(transform)
        resampler.SetDefaultPixelValue(float("nan"))
        return np.stack([sitk.GetArrayFromImage(resampler.Execute(channel)) for channel in term.channels])

    def evaluate(self, transform: sitk.Transform, derivatives: bool = False) -> Evaluation:
        """Return the similarity under a transform."""
        fits, force, stiffness = [], 0.0, 0.0
        for term, weight in zip(self.terms, self._weights(), strict=True):
            channels = self.warp(term, transform)
            fit = term.measure.evaluate(channels, derivatives)
            fits.append(fit)
            if derivatives:
                slopes = self._slopes(channels)  # (channels, n, 3)
                force = force + weight * np.einsum("kn,kni->ni", fit.gradient[:, self.mask], slopes)
                pulled = np.einsum("kln,lnj->knj", fit.curvature[:, :, self.mask], slopes)
                stiffness = stiffness + weight * np.einsum("kni,knj->nij", slopes, pulled)
        value = float(sum(weight * fit.value for weight, fit in zip(self._weights(), fits, strict=True)))
        covered = min(fit.covered for fit in fits)
        if not derivatives:
            return Evaluation(value, covered, tuple(fits))
        return Evaluation(value, covered, tuple(fits), force, stiffness)

    def _weights(self) -> np.ndarray:
        weights = np.array([term.weight for term in self.terms])
        return weights / weights.sum()

    def advantage(self, first: Evaluation, second: Evaluation) -> float:
        """By how many standard errors the first fits better than the second, where both have data.

        The paired differences of cubes of 10 mm are taken as independent; without two such cubes it is 0.
        """
        difference, known = np.zeros(self.mask.shape), np.zeros(self.mask.shape, dtype=bool)
        for a, b, weight in zip(first.fits, second.fits, self._weights(), strict=True):
            both = (a.weights > 0) & (b.weights > 0)
            scale = np.where(both, a.weights, 0)
            difference += weight * scale * (a.shares - b.shares) / max(float(scale.sum(dtype=np.float64)), 1e-12)
            known |= both
        cubes = np.unique(self._cubes[known])
        if len(cubes) < 2:
            return 0.0
        sums = np.bincount(self._cubes.ravel(), difference.ravel())[cubes]
        error = np.sqrt(len(sums)) * sums.std(ddof=1)
        return float(sums.sum() / max(error, 1e-12))

    def _slopes(self, channels: np.ndarray) -> np.ndarray:
        """Gradient of the warped channels at the mask's voxels along the LPS axes, per mm."""
        known = np.nan_to_num(channels)
        along = [np.gradient(known, self.spacing, axis=axis)[:, self.mask] for axis in (3, 2, 1)]  # i, j, k
        return np.stack(along, axis=-1) @ self.grid.direction.T.astype(np.float32)


def _cubes(shape: tuple[int, ...], spacing: float) -> np.ndarray:
    """Number of the cube that each voxel lies in, (z, y, x)."""
    indices = [(np.arange(length) * spacing // _CUBE_MM).astype(int) for length in shape]
    counts = [index[-1] + 1 for index in indices]
    return np.ravel_multi_index(np.ix_(*indices), counts)


def _near(
    moving: Volume, points: np.ndarray, *, initial: np.ndarray, spacing: float
) -> tuple[Volume, np.ndarray]:
    """The part of a moving image near the fixed points, no finer than ``spacing``, and where it is empty."""
    corners = points @ initial[:3, :3].T + initial[:3, 3]
    to_index = np.linalg.inv(moving.ijk_to_lps)
    index = corners @ to_index[:3, :3].T + to_index[:3, 3]
    reach = MARGIN / np.abs(np.asarray(moving.spacing))
    low = np.maximum(np.floor(index.min(axis=0) - reach).astype(int), 0)
    high = np.minimum(np.ceil(index.max(axis=0) + reach).astype(int) + 1, moving.size)
    if (high - low < 2).any():
        raise InputError(
            "the MRI and the ultrasound do not overlap; check that both are of one patient and in one frame, or start "
            "from a transform that brings them together (register --initial)"
        )
    part = preprocessing.crop(moving, tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True)))
    near = preprocessing.resample_to_spacing(part, np.maximum(part.spacing, spacing))
    return near, _empty(near)


def _empty(image: Volume) -> np.ndarray:
    """Where an image has no data, bool (z, y, x): in wide regions of 0 that are open to its rim."""
    import SimpleITK as sitk

    nonzero = image.array != 0
    if nonzero.all():
        return ~nonzero
    radius = [int(np.ceil(_EMPTY_MM / 2 / step)) for step in image.spacing]
    closed = sitk.BinaryMorphologicalClosing(sitk.GetImageFromArray(nonzero.astype(np.uint8)), radius, sitk.sitkBox)
    core = sitk.BinaryErode(sitk.BinaryFillhole(closed), [1] * 3, sitk.sitkBox)  # resampling has spread it by a voxel
    return sitk.GetArrayFromImage(core) == 0


def widened(grid: Volume, margin: int) -> Volume:
    """Return the grid with ``margin`` more voxels on every side, all of them 0."""
    origin = grid.origin - grid.ijk_to_lps[:3, :3] @ np.full(3, margin)
    shape = tuple(length + 2 * margin for length in grid.array.shape)
    return Volume(np.broadcast_to(np.float32(0), shape), grid.spacing, tuple(origin), grid.direction)
