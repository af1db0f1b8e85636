"""LC2 written down once more: of an MRI and its gradient in one call, and in PyTorch, which differentiates it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from IoUSynthLib.registration.lc2 import LC2, RIDGE, gradient_magnitude
from IoUSynthLib.registration.similarity import RADIUS, standardise

if TYPE_CHECKING:
    import torch

#: Patches in which the fixed image varies less than this, as a fraction of its variance, say nothing.
_FLAT = 1e-8


def lc2(
    fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float], *,
    radius: int = RADIUS,
) -> float:
    """LC2 of ultrasound with MRI that lies on its grid.

    Parameters
    ----------
    fixed
        Ultrasound (z, y, x).
    moving
        MRI (z, y, x), or several contrasts (channels, z, y, x). The gradient's magnitude is added for each.
    mask
        (z, y, x) bool.
    spacing
        (x, y, z) in mm.
    radius
        Of the patches, in voxels.

    Returns
    -------
    float
        0 (nothing is explained) to 1.
    """
    contrasts = moving[None] if moving.ndim == 3 else moving
    images = [image for contrast in contrasts for image in (contrast, gradient_magnitude(contrast, spacing))]
    return LC2(fixed, mask, radius=radius).evaluate(np.stack([standardise(image, mask) for image in images])).value


def lc2_torch(fixed: torch.Tensor, channels: torch.Tensor, mask: torch.Tensor, radius: int = RADIUS) -> torch.Tensor:
    """LC2 that PyTorch differentiates, by fixed image and channels alike.

    Parameters
    ----------
    fixed
        (z, y, x) of about unit variance inside the mask.
    channels
        (channels, z, y, x) of about unit variance; for an MRI, itself and the magnitude of its gradient.
    mask
        (z, y, x) bool.
    radius
        Of the patches, in voxels.

    Returns
    -------
    torch.Tensor
        Scalar in [0, 1].
    """
    import torch

    side = 2 * radius + 1
    images = torch.cat([fixed[None], channels]) * mask

    def total(stack: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool3d(stack[None], side, 1, radius, divisor_override=1)[0]

    def mean(stack: torch.Tensor) -> torch.Tensor:
        return total(stack) / count

    count = total(mask[None].to(fixed.dtype)).clamp_min(1)
    enough = count[0] > side**3 / 2
    average = mean(images)
    first, second = torch.tril_indices(len(images), len(images)).unbind()
    products = mean(images[first] * images[second]) - average[first] * average[second]
    patches = products.new_zeros((int(enough.sum()), len(images), len(images)))
    patches[:, first, second] = patches[:, second, first] = products[:, enough].T
    variance, along, matrix = patches[:, 0, 0], patches[:, 0, 1:], patches[:, 1:, 1:]
    matrix = matrix + RIDGE * torch.eye(len(channels), dtype=fixed.dtype)
    explained = (torch.linalg.solve(matrix, along) * along).sum(1)
    textured = variance > _FLAT
    weight = variance.clamp_min(_FLAT).sqrt() * textured
    return (weight * explained / (variance + RIDGE)).sum() / weight.sum().clamp_min(1e-12)
