"""T2w and FLAIR contrast of a field of view."""

from __future__ import annotations

import numpy as np
import torch

from ..constants import TARGETS
from .fields import blur, gaussian_noise, smooth_noise
from .scene import Scene
from .tissues import PROPERTIES, Tissue


def draw_contrast(rng: np.random.Generator) -> dict[str, list[float]]:
    """Signal of every tissue in T2w and FLAIR, relative to CSF in T2w, drawn around the table's means."""
    table = {}
    for target, attribute in zip(TARGETS, ("t2w", "flair"), strict=True):
        factors = [1 + PROPERTIES[tissue].contrast_spread * rng.standard_normal() for tissue in Tissue]
        table[target] = [float(getattr(PROPERTIES[t], attribute) * f) for t, f in zip(Tissue, factors, strict=True)]
    return table


def simulate_mri(
    scene: Scene, signal: list[float], texture: torch.Tensor, *, partial_volume: float, texture_contrast: float
) -> torch.Tensor:
    """Noise-free MR signal relative to CSF in T2w.

    Parameters
    ----------
    scene
        Tissues and sulci.
    signal
        Signal by tissue.
    texture
        Cube of unit variance, shared in part with the scatterers.
    partial_volume
        Standard deviation of the blur in voxels.
    texture_contrast
        Standard deviation of the texture as a fraction of the signal.

    Returns
    -------
    torch.Tensor
        float32 cube, about 0 to 1.2.
    """
    values = scene.map(signal) * (1 + texture_contrast * texture)
    values = torch.lerp(values, torch.full_like(values, signal[Tissue.SULCUS]), scene.sheet)
    return blur(values[None], (partial_volume,) * 3)[0].clamp_min(0)


def acquire(image: torch.Tensor, generator: torch.Generator, bias: float = 0.08, noise: float = 0.02) -> torch.Tensor:
    """The image as a scanner would give it: smooth bias field and Rician noise (fractions of CSF in T2w)."""
    field = torch.exp(bias * smooth_noise(image.shape[0], image.shape[0] / 2, generator)[0])
    real, imaginary = (noise * gaussian_noise(image.shape, generator) for _ in range(2))
    return ((image * field + real) ** 2 + imaginary**2).sqrt()
