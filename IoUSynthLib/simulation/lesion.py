"""Tumours and resection cavities grown into a field of view."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .fields import smooth_noise
from .tissues import PARENCHYMA, Tissue

KINDS = ("none", "low grade", "high grade", "cavity", "cavity with residual")
KIND_PROBABILITIES = (0.1, 0.25, 0.25, 0.15, 0.25)


@dataclass(frozen=True)
class Lesion:
    """Parameters of one lesion; lengths in mm, ``centre`` and ``radii`` along (lateral, depth, elevation).

    ``roughness``, ``core``, ``oedema`` and ``residual`` are in units of the radius. Clots fill a cavity where a rough
    field of unit variance exceeds ``2.2 - 4 * blood``. ``mass_effect`` is the fraction by which tissue at the centre
    was pushed outwards.
    """

    kind: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    roughness: float
    core: float
    oedema: float
    wall: float
    residual: float
    opened: bool
    blood: float
    mass_effect: float


def draw_lesion(rng: np.random.Generator, centre: tuple[float, float, float]) -> Lesion:
    """A random lesion around ``centre`` (mm in the field of view)."""
    kind = str(rng.choice(KINDS, p=KIND_PROBABILITIES))
    radius = rng.uniform(8, 20)
    return Lesion(
        kind=kind,
        centre=centre,
        radii=tuple(float(radius * factor) for factor in rng.uniform(0.75, 1.25, 3)),
        roughness=float(rng.uniform(0.08, 0.25)),
        core=float(rng.uniform(0.0, 0.75)),
        oedema=float(rng.uniform(1.0, 1.9)),
        wall=float(rng.uniform(1.0, 3.0)),
        residual=float(rng.uniform(0.25, 0.6)),
        opened=bool(rng.random() < 0.6),
        blood=float(rng.uniform(0, 0.25)),
        mass_effect=float(rng.uniform(0, 0.35)),
    )


def normalised_radius(lesion: Lesion, points: torch.Tensor) -> torch.Tensor:
    """Distance to the centre in units of the ellipsoid's radii; ``points`` (3, ...) in mm."""
    shape = (3,) + (1,) * (points.ndim - 1)
    centre = torch.tensor(lesion.centre, device=points.device).reshape(shape)
    radii = torch.tensor(lesion.radii, device=points.device).reshape(shape)
    return (((points - centre) / radii) ** 2).sum(0).sqrt()


def push(lesion: Lesion, points: torch.Tensor) -> torch.Tensor:
    """Where the tissue seen at ``points`` lay before the lesion displaced it: inverse radial mass effect."""
    if lesion.kind == "none":
        return points
    radius = normalised_radius(lesion, points)
    centre = torch.tensor(lesion.centre, device=points.device).reshape((3,) + (1,) * (points.ndim - 1))
    return points + (centre - points) * (lesion.mass_effect * torch.exp(-((radius / 1.6) ** 2)))


def grow(lesion: Lesion, tissues: torch.Tensor, points: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Write the lesion into a field of view.

    Parameters
    ----------
    lesion
        What to grow.
    tissues
        Uint8 cube of :class:`Tissue`.
    points
        (3, n, n, n) lateral, depth and elevation of every voxel in mm.
    generator
        Source of the lesion's rough outline.

    Returns
    -------
    torch.Tensor
        New uint8 cube.
    """
    if lesion.kind == "none":
        return tissues
    size = tissues.shape[0]
    voxel = float(points[0, 0, 0, 1] - points[0, 0, 0, 0])
    outline = smooth_noise(size, 12 / voxel, generator)[0]
    detail = smooth_noise(size, 5 / voxel, generator)[0]
    radius = normalised_radius(lesion, points) + lesion.roughness * (0.7 * outline + 0.3 * detail)
    parenchyma = torch.isin(tissues, torch.tensor([int(tissue) for tissue in PARENCHYMA], device=tissues.device))
    replaceable = parenchyma | (tissues == Tissue.SULCUS) | (tissues == Tissue.VENTRICLE) | (tissues == Tissue.VESSEL)
    result = tissues.clone()
    if lesion.kind == "low grade":
        result[replaceable & (radius < 1)] = Tissue.LOW_GRADE_TUMOUR
    elif lesion.kind == "high grade":
        result[(tissues == Tissue.WHITE_MATTER) & (radius < lesion.oedema)] = Tissue.OEDEMA
        result[replaceable & (radius < 1)] = Tissue.HIGH_GRADE_TUMOUR
        result[replaceable & (radius < lesion.core + 0.15 * detail)] = Tissue.NECROSIS
    else:
        _grow_cavity(
            lesion, result, points, radius=radius, outline=outline, detail=detail, replaceable=replaceable
        )
    return result


def _grow_cavity(
    lesion: Lesion,
    result: torch.Tensor,
    points: torch.Tensor,
    *,
    radius: torch.Tensor,
    outline: torch.Tensor,
    detail: torch.Tensor,
    replaceable: torch.Tensor,
) -> None:
    mean_radius = float(np.mean(lesion.radii))
    wall = lesion.wall / mean_radius
    hollow = radius < 1 - wall
    if lesion.opened:
        lateral, depth, elevation = (points[axis] - lesion.centre[axis] for axis in range(3))
        corridor = (lateral**2 + elevation**2).sqrt() / mean_radius + 0.1 * detail
        radius = torch.where(depth < 0, torch.minimum(radius, corridor + 0.25), radius)
        hollow = radius < 1 - wall
    if lesion.kind == "cavity with residual":
        # A crescent on one side of the wall, thickest opposite to the corridor.
        direction = 0.5 * outline + (points[1] - lesion.centre[1]) / mean_radius
        crescent = (radius < 1 + lesion.residual) & (direction > 0.45)
        result[replaceable & crescent] = Tissue.HIGH_GRADE_TUMOUR
    result[replaceable & (radius < 1)] = Tissue.CAVITY_WALL
    result[replaceable & hollow] = Tissue.CAVITY
    result[replaceable & hollow & (detail > 2.2 - 4 * lesion.blood)] = Tissue.BLOOD
