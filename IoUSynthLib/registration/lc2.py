"""Linear correlation of linear combination (LC2): how well a patch of one image follows from several others.

Wein et al. 2008 and 2013 ("Global registration of ultrasound to MRI using the LC2 metric for enabling neurosurgical
guidance"). In every patch the fixed image u is fitted by least squares as ``sum_k c_k m_k + constant`` of the moving
channels, for ultrasound those are an MRI and the magnitude of its gradient; the patch's value is the share of the
variance of u that the fit explains, and patches are weighted by the standard deviation of u. One channel gives the
squared local correlation coefficient.

:class:`LC2` needs NumPy only, and gives the exact gradient and the Gauss-Newton weights that :mod:`.rigid` and
:mod:`.deformable` need.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .similarity import RADIUS, box_sum, standardise

#: Variance that is added to every channel's in a patch, in units of its variance in the whole image.
RIDGE = 1e-4
#: Patches in which the fixed image varies less than this, in the same units, say nothing.
_FLAT = 1e-8


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit of all patches gives.

    Attributes
    ----------
    value
        LC2 in [0, 1].
    covered
        Fraction of the fixed mask that the moving channels have data for.
    shares, weights
        (z, y, x): share of the fixed image's variance that the patch round each voxel has explained, and the patch's
        weight, 0 where there is too little data for one. ``value`` is the weighted mean.
    gradient
        (channels, z, y, x): derivative of ``value`` by the moving channels' voxels.
    curvature
        (channels, channels, z, y, x): Gauss-Newton weights, so that ``-sum_kl curvature_kl d_k d_l / 2`` is the second
        order of ``value`` for changes d of the channels while the coefficients stay.
    """

    value: float
    covered: float
    shares: np.ndarray
    weights: np.ndarray
    gradient: np.ndarray | None = None
    curvature: np.ndarray | None = None


class LC2:
    """LC2 of a fixed image with any number of moving channels on its grid.

    Parameters
    ----------
    fixed
        (z, y, x), any linear scale.
    mask
        (z, y, x) bool: voxels that enter.
    radius
        Of the patches, in voxels.
    positive
        Coefficients below 0 count as 0. For a single channel of the same contrast as the fixed image: an inverted copy
        is then no match.
    """

    def __init__(self, fixed: np.ndarray, mask: np.ndarray, *, radius: int = RADIUS, positive: bool = False) -> None:
        self.mask, self.radius, self.positive = mask, radius, positive
        self.image = standardise(fixed, mask) * mask

    def evaluate(self, channels: np.ndarray, derivatives: bool = False) -> Fit:
        """Fit all patches.

        Parameters
        ----------
        channels
            (channels, z, y, x) of about unit variance; NaN where there is no data.
        derivatives
            Fill in ``gradient`` and ``curvature``.
        """
        known = np.isfinite(channels[0]) & self.mask
        inside = known.astype(np.float32)
        moving = np.where(known, channels, np.float32(0))
        u = self.image * inside
        count = box_sum(inside, self.radius)
        enough = count > (2 * self.radius + 1) ** 3 / 2
        share = np.where(enough, 1 / np.maximum(count, 1), 0).astype(np.float32)
        mean_u, uu = box_sum(np.stack([u, u * u]), self.radius) * share
        variance = np.maximum(uu - mean_u**2, 0)
        weight = np.sqrt(variance) * (variance > _FLAT)
        total = max(float(weight.sum(dtype=np.float64)), 1e-12)  # without a patch all is 0
        covered = float(known.sum() / max(self.mask.sum(), 1))
        means = box_sum(moving, self.radius) * share
        along = box_sum(moving * u, self.radius) * share - means * mean_u
        matrix = self._covariance(moving, means, share)
        coefficients = _solve(matrix, along)
        if self.positive:
            coefficients = np.maximum(coefficients, 0)
        fitted = np.einsum("klzyx,lzyx->kzyx", matrix, coefficients)
        explained = (coefficients * (2 * along - fitted)).sum(0)
        shares = explained / (variance + RIDGE)
        value = float((weight * shares).sum(dtype=np.float64) / total)
        if not derivatives:
            return Fit(value, covered, shares, weight)
        scale = (weight / (total * (variance + RIDGE)) * share).astype(np.float32)
        return Fit(
            value, covered, shares, weight,
            *self._derivatives(
                moving, u, inside=inside, coefficients=coefficients, means=means, mean_u=mean_u, scale=scale
            ),
        )

    def _covariance(self, moving: np.ndarray, means: np.ndarray, share: np.ndarray) -> np.ndarray:
        number = len(moving)
        matrix = np.empty((number, number, *self.image.shape), dtype=np.float32)
        for k in range(number):
            for other in range(k + 1):
                product = box_sum(moving[k] * moving[other], self.radius) * share - means[k] * means[other]
                matrix[k, other] = matrix[other, k] = product + RIDGE * (k == other)
        return matrix

    def _derivatives(
        self, moving: np.ndarray, u: np.ndarray, *, inside: np.ndarray, coefficients: np.ndarray, means: np.ndarray,
        mean_u: np.ndarray, scale: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Gradient and curvature: the coefficients are at their optimum, so that their own change drops out."""
        constant = mean_u - (coefficients * means).sum(0)
        weighted = scale * coefficients
        slope, offset = box_sum(weighted, self.radius), box_sum(weighted * constant, self.radius)
        curvature = box_sum(weighted[:, None] * coefficients[None], self.radius)
        residual = slope * u - offset - np.einsum("klzyx,lzyx->kzyx", curvature, moving)
        return 2 * inside * residual, 2 * inside * curvature


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve small positive definite systems at every voxel, by elimination: (k, l, ...) and (k, ...)."""
    matrix, right = matrix.copy(), right.copy()
    number = len(right)
    for pivot in range(number):
        for row in range(pivot + 1, number):
            factor = matrix[row, pivot] / matrix[pivot, pivot]
            matrix[row, pivot:] -= factor * matrix[pivot, pivot:]
            right[row] -= factor * right[pivot]
    for row in reversed(range(number)):
        right[row] -= (matrix[row, row + 1 :] * right[row + 1 :]).sum(0)
        right[row] /= matrix[row, row]
    return right


def gradient_magnitude(array: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Magnitude of the gradient of (z, y, x) by central differences, per mm; ``spacing`` is (x, y, z)."""
    parts = np.gradient(array.astype(np.float32), *reversed(spacing))
    return np.sqrt(sum(part**2 for part in parts))
