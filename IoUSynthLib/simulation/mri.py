"""T2w and FLAIR contrast of a field of view."""

from __future__ import annotations

import numpy as np
import torch

from ..constants import TARGETS
from .fields import blur, gaussian_noise, smooth_noise
from .tissues import PROPERTIES, Tissue


def draw_contrast(rng: np.random.Generator) -> dict[str, list[float]]:
    """Signal of every tissue in T2w and FLAIR, relative to CSF in T2w, drawn around the table's means."""
    table = {}
    for target, attribute in zip(TARGETS, ("t2w", "flair"), strict=True):
        factors = [1 + PROPERTIES[tissue].contrast_spread * rng.standard_normal() for tissue in Tissue]
        table[target] = [float(getattr(PROPERTIES[t], attribute) * f) for t, f in zip(Tissue, factors, strict=True)]
    return table


def simulate_mri(
    tissues: torch.Tensor, signal: list[float], texture: torch.Tensor, *, partial_volume: float,
    texture_contrast: float, measured: torch.Tensor | None = None, simulated: torch.Tensor | None = None,
) -> torch.Tensor:
    """Noise-free MR signal relative to CSF in T2w.

    Parameters
    ----------
    tissues
        Uint8 cube of :class:`Tissue`.
    signal
        Signal by tissue.
    texture
        Cube of unit variance, shared in part with the scatterers.
    partial_volume
        Standard deviation of the blur in voxels.
    texture_contrast
        Standard deviation of the texture as a fraction of the signal.
    measured
        Cube of the signal that a scanner measured, if there is one.
    simulated
        Boolean cube: where a lesion or the operation has replaced what was measured.

    Returns
    -------
    torch.Tensor
        float32 cube, about 0 to 1.2.
    """
    values = torch.tensor(signal, device=tissues.device)[tissues.long()]
    drawn = blur((values * (1 + texture_contrast * texture))[None], (partial_volume,) * 3)[0].clamp_min(0)
    if measured is None:
        return drawn
    weight = blur(simulated[None].float(), (0.8,) * 3)[0]
    return torch.lerp(measured, drawn, weight)


def acquire(image: torch.Tensor, generator: torch.Generator, bias: float = 0.08, noise: float = 0.02) -> torch.Tensor:
    """The image as a scanner would give it: smooth bias field and Rician noise (fractions of CSF in T2w)."""
    field = torch.exp(bias * smooth_noise(image.shape[0], image.shape[0] / 2, generator)[0])
    real, imaginary = (noise * gaussian_noise(image.shape, generator) for _ in range(2))
    return ((image * field + real) ** 2 + imaginary**2).sqrt()
