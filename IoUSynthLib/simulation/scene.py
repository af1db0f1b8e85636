"""What lies under the probe: tissues, the sheets of sulci, vessels and texture, on the grid of a field of view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .fields import blur, smooth_noise, voxel_size
from .tissues import TUMOUR, Tissue

#: Share of a sulcus that stays visible within a tumour (low grade grows around it, others destroy it).
_KEPT_SULCI = {Tissue.LOW_GRADE_TUMOUR: 0.8, Tissue.OEDEMA: 0.9, Tissue.HIGH_GRADE_TUMOUR: 0.15}


@dataclass(frozen=True, eq=False)
class Scene:
    """A field of view; all tensors are cubes of n voxels.

    Attributes
    ----------
    points
        (3, n, n, n) lateral, depth and elevation of every voxel in mm, the probe's face at the origin.
    tissues
        Uint8 :class:`Tissue` with the lesion.
    healthy
        The same without.
    lesion
        Share of ``tissues`` in a voxel, the rest being ``healthy``: below 1 where a tumour infiltrates.
    sheet
        Share of a sulcus' sheet in a voxel.
    vessels
        Echo of small vessels as a multiple of white matter's.
    texture
        Added to the logarithm of the echogenicity.
    filling
        Echo of fluid beside the sheet of a wide sulcus, as a fraction of the sheet's.
    """

    points: torch.Tensor
    tissues: torch.Tensor
    healthy: torch.Tensor
    lesion: torch.Tensor
    sheet: torch.Tensor
    vessels: torch.Tensor
    texture: torch.Tensor
    filling: float = 1.0

    @property
    def voxel(self) -> float:
        """Size of a voxel in mm."""
        return voxel_size(self.points)

    def map(self, by_tissue: Sequence[float]) -> torch.Tensor:
        """A property of the tissues, mixed where a lesion shares its voxel with healthy tissue."""
        values = torch.tensor(list(by_tissue), device=self.tissues.device)
        return torch.lerp(values[self.healthy.long()], values[self.tissues.long()], self.lesion)


def plain_scene(tissues: torch.Tensor, points: torch.Tensor) -> Scene:
    """Tissues alone, without sheets, vessels and texture."""
    zeros = torch.zeros(tissues.shape, device=tissues.device)
    return Scene(points, tissues, tissues, zeros + 1, zeros, zeros, zeros)


def sheet_share(
    distance: torch.Tensor, tissues: torch.Tensor, half_width: float, *, generator: torch.Generator
) -> torch.Tensor:
    """Share of a sulcus in every voxel.

    Parameters
    ----------
    distance
        To the nearest sheet in mm.
    tissues
        With the lesion, which a sulcus runs through, or which destroys it.
    half_width
        Of a sulcus in mm, the mean; it varies along the sheet, and here and there the banks touch.
    generator
        Source of that.
    """
    size = tissues.shape[0]
    width = half_width * (1 + 0.3 * smooth_noise(size, 10, generator)[0]).clamp(0.15, 2)
    share = torch.exp(-((distance / width) ** 2)) * (width / half_width).clamp(max=1)
    kept = torch.ones(len(Tissue), device=tissues.device)
    for tissue, part in _KEPT_SULCI.items():
        kept[tissue] = part
    for tissue in (Tissue.NECROSIS, Tissue.CAVITY, Tissue.CAVITY_WALL, Tissue.BLOOD, Tissue.OUTSIDE, Tissue.SKULL,
                   Tissue.COUPLING, Tissue.VENTRICLE):  # fmt: skip
        kept[tissue] = 0
    return share * kept[tissues.long()]


@dataclass(frozen=True)
class Vessels:
    """Small vessels of a case: density of points per ml, half of the width and spacing of lines in mm, and their echo.

    White matter in real volumes shows bright dots and short curved lines of about a millimetre.
    """

    points: float
    width: float
    spacing: float
    echo: float


def draw_vessels(rng: np.random.Generator) -> Vessels:
    """Ranges by eye from the real volumes, between none and as in cases 12 and 21."""
    return Vessels(
        points=float(np.exp(rng.uniform(np.log(0.3), np.log(10)))), width=float(rng.uniform(0.3, 0.5)),
        spacing=float(rng.uniform(6, 14)), echo=float(rng.uniform(1.2, 4)),
    )  # fmt: skip


def draw_tree(
    vessels: Vessels, tissues: torch.Tensor, voxel: float, *, generator: torch.Generator
) -> torch.Tensor:
    """Echo of small vessels in brain and tumour, as a multiple of white matter's.

    Lines are where two smooth random fields are both near zero, which is a set of curves.
    """
    size = tissues.shape[0]
    first, second = smooth_noise(size, vessels.spacing / voxel, generator, channels=2)
    # A field of unit variance changes by about one over its correlation length.
    limit = vessels.width / vessels.spacing * 2
    lines = torch.exp(-(first**2 + second**2) / limit**2)
    rare = torch.rand(tissues.shape, generator=generator, device=tissues.device) < vessels.points * voxel**3 / 1000
    strength = torch.rand(tissues.shape, generator=generator, device=tissues.device)
    dots = blur((rare * strength)[None], (0.35 / voxel,) * 3)[0] * 4
    classes = [Tissue.WHITE_MATTER, Tissue.DEEP_GREY, Tissue.CORTEX, Tissue.OEDEMA, *TUMOUR[:2]]
    inside = torch.isin(tissues, torch.tensor([int(t) for t in classes], device=tissues.device))
    return vessels.echo * (lines + dots) * inside


def soften(changed: torch.Tensor, sigma: float) -> torch.Tensor:
    """Share of a lesion in a voxel: one inside and none outside, over a border of ``sigma`` voxels."""
    return blur(changed[None].float(), (sigma,) * 3)[0].clamp(0, 1)


def scatter_texture(size: int, voxel: float, generator: torch.Generator) -> torch.Tensor:
    """Texture of unit variance on scales of 1.2 and 8 mm, by eye from real volumes."""
    fine, coarse = (smooth_noise(size, scale / voxel, generator)[0] for scale in (1.2, 8))
    return (fine + coarse) / 2**0.5
