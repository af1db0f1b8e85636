"""Fixed and moving images at one resolution, and how their similarity changes with the place of the moving ones.

A transform maps LPS points of the fixed images to LPS points of the moving ones, as ITK's resampling does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import preprocessing
from ..volume import InputError, Volume
from .lc2 import LC2, gradient_magnitude
from .similarity import standardise

if TYPE_CHECKING:
    import SimpleITK as sitk

#: How far beyond the fan the moving images are kept, in mm: the capture range, and as much for rotation.
MARGIN = 32.0


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


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Similarity at one transform.

    Attributes
    ----------
    value
        Mean of the pairs' similarity, in [0, 1].
    covered
        Fraction of the mask for which every pair has data.
    force
        (n, 3): derivative of ``value`` by the displacement of each voxel of the mask, per mm, along the LPS axes of the
        fixed frame.
    stiffness
        (n, 3, 3): the Gauss-Newton part of minus its second derivative.
    """

    value: float
    covered: float
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

    Raises
    ------
    InputError
        The mask is empty, or a moving image does not reach it.
    """

    def __init__(self, pairs: list[Pair], mask: Volume, spacing: float, initial: np.ndarray) -> None:
        inside = mask.array > 0
        if not inside.any():
            raise InputError("the ultrasound mask is empty; choose the ultrasound volume, or mark less as cavity")
        frame, box = preprocessing.crop_to_mask(mask, inside, margin=1)
        share = preprocessing.resample_to_spacing(frame, (spacing,) * 3)
        self.mask = share.array >= 0.5
        if not self.mask.any():
            raise InputError(f"the ultrasound mask is smaller than a voxel of {spacing:g} mm; check the spacing")
        self.grid, self.spacing = share, spacing
        index = np.argwhere(self.mask)[:, ::-1]
        self.points = index @ share.ijk_to_lps[:3, :3].T + share.ijk_to_lps[:3, 3]  # (n, 3) LPS
        self.centre = self.points.mean(axis=0)
        self.terms = [self._term(pair, inside, box, initial) for pair in pairs]

    def _term(self, pair: Pair, inside: np.ndarray, box: preprocessing.Box, initial: np.ndarray) -> _Term:
        own = pair.fixed if pair.fixed.array.shape == inside.shape else None
        if own is None:
            raise ValueError("the fixed images and the mask must lie on one grid")
        fixed = preprocessing.resample_to_spacing(preprocessing.crop(own, box), (self.spacing,) * 3, inside[box])
        measure = LC2(fixed.array, self.mask, positive=pair.positive)
        channels = []
        for moving in pair.moving:
            near = _near(moving, self.points, initial, self.spacing)
            images = [near.array, gradient_magnitude(near.array, near.spacing)] if pair.gradient else [near.array]
            tissue = preprocessing.foreground(near.array)
            channels += [near.with_array(standardise(image, tissue)).to_sitk() for image in images]
        return _Term(measure, channels)

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
        value, covered, force, stiffness = 0.0, 1.0, 0.0, 0.0
        for term in self.terms:
            channels = self.warp(term, transform)
            fit = term.measure.evaluate(channels, derivatives)
            value, covered = value + fit.value, min(covered, fit.covered)
            if derivatives:
                slopes = self._slopes(channels)  # (channels, n, 3)
                weights = fit.curvature[:, :, self.mask]
                force = force + np.einsum("kn,kni->ni", fit.gradient[:, self.mask], slopes)
                pulled = np.einsum("kln,lnj->knj", weights, slopes)
                stiffness = stiffness + np.einsum("kni,knj->nij", slopes, pulled)
        number = len(self.terms)
        if not derivatives:
            return Evaluation(value / number, covered)
        return Evaluation(value / number, covered, force / number, stiffness / number)

    def _slopes(self, channels: np.ndarray) -> np.ndarray:
        """Gradient of the warped channels at the mask's voxels along the LPS axes, per mm."""
        known = np.nan_to_num(channels)
        along = [np.gradient(known, self.spacing, axis=axis)[:, self.mask] for axis in (3, 2, 1)]  # i, j, k
        return np.stack(along, axis=-1) @ self.grid.direction.T.astype(np.float32)


def _near(moving: Volume, points: np.ndarray, initial: np.ndarray, spacing: float) -> Volume:
    """The part of a moving image that the fixed points can come to, at most as fine as ``spacing``."""
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
    return preprocessing.resample_to_spacing(part, np.maximum(part.spacing, spacing))


def widened(grid: Volume, margin: int) -> Volume:
    """Return the grid with ``margin`` more voxels on every side, all of them 0."""
    origin = grid.origin - grid.ijk_to_lps[:3, :3] @ np.full(3, margin)
    shape = tuple(length + 2 * margin for length in grid.array.shape)
    return Volume(np.broadcast_to(np.float32(0), shape), grid.spacing, tuple(origin), grid.direction)
