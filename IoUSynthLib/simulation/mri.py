"""T2w, FLAIR and ceT1 contrast of a field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..constants import TARGETS
from .fields import blur, gaussian_noise, smooth_noise
from .scene import Scene
from .tissues import CE_T1, PROPERTIES, Tissue


def draw_contrast(rng: np.random.Generator) -> dict[str, list[float]]:
    """Signal of every tissue in T2w and FLAIR, relative to CSF in T2w, drawn around the table's means."""
    table = {}
    for target, attribute in zip(TARGETS, ("t2w", "flair"), strict=True):
        factors = [1 + PROPERTIES[tissue].contrast_spread * rng.standard_normal() for tissue in Tissue]
        table[target] = [float(getattr(PROPERTIES[t], attribute) * f) for t, f in zip(Tissue, factors, strict=True)]
    return table


@dataclass(frozen=True)
class Agent:
    """What is drawn of a contrast agent.

    Attributes
    ----------
    signal
        T1w signal by tissue, on a scale of its own.
    rim
        Thickness in mm of the part of a high-grade tumour that takes up most of it, along its borders.
    inside
        Signal of the tumour away from its borders, as a fraction of the rim's.
    vessels
        Signal that a small vessel adds.
    """

    signal: list[float]
    rim: float
    inside: float
    vessels: float


def draw_agent(seed: int) -> Agent:
    """The contrast agent of a case, by random numbers of its own: the case is the same without it."""
    rng = np.random.default_rng((seed, 1))
    spread = {tissue: PROPERTIES[tissue].contrast_spread * rng.standard_normal() for tissue in Tissue}
    return Agent(
        signal=[float(CE_T1[tissue] * (1 + spread[tissue])) for tissue in Tissue],
        rim=float(rng.uniform(1.5, 5)),
        inside=float(rng.uniform(0.45, 1)),
        vessels=float(rng.uniform(0.15, 0.5)),
    )


def take_up(image: torch.Tensor, scene: Scene, agent: Agent, *, echo: float) -> torch.Tensor:
    """Show in T1w what takes up the agent unevenly: the rim of high-grade tumour, and small vessels.

    Parameters
    ----------
    image
        Signal as :func:`simulate_mri` gives it for the agent's.
    scene
        Tissues, and the vessels' echoes.
    agent
        As drawn.
    echo
        Of a vessel, as a multiple of white matter's.
    """
    tumour = (scene.tissues == Tissue.HIGH_GRADE_TUMOUR).float()
    within = 2 * blur(tumour[None], (agent.rim / scene.voxel,) * 3)[0] - 1  # 0 at a border, 1 far from it
    image = image * torch.lerp(torch.ones_like(image), torch.full_like(image, agent.inside), within.clamp(0, 1))
    return image + agent.vessels * (scene.vessels / echo).clamp(0, 1)


def simulate_mri(
    scene: Scene, signal: list[float], texture: torch.Tensor, *, partial_volume: float, texture_contrast: float
) -> torch.Tensor:
    """Noise-free MR signal, on the scale of ``signal``: relative to CSF in T2w.

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
