"""Real tumours as templates: shape, parts and measured signals of a patient's lesion, to be put into other heads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from ..constants import TARGETS
from .anatomy import Head
from .fields import sample
from .sulci import signed_distance
from .tissues import TUMOUR, Tissue

#: Around the tumour and its oedema, in mm.
_MARGIN = 6.0
_SMALLEST = 0.2


@dataclass(frozen=True, eq=False)
class Template:
    """A patient's lesion on a crop of the patient's grid.

    Attributes
    ----------
    name
        The patient.
    centre
        Centroid of the tumour in the patient's head, (x, y, z) in mm of the head's array.
    origin
        Of the crop's first voxel, in mm from ``centre``.
    spacing
        Isotropic voxel size in mm.
    radius
        Of the ball that is as large as the tumour, in mm.
    maps
        (4, z, y, x) float32: signed distance to the tumour in mm, tissue (0 where it is none of the lesion's), T2w and
        FLAIR.
    """

    name: str
    centre: np.ndarray
    origin: np.ndarray
    spacing: float
    radius: float
    maps: np.ndarray

    def at(self, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Normalised radius (1 on the tumour's border), tissue, and (2, ...) signals at (3, ...) mm from the centre."""
        maps = torch.from_numpy(self.maps).to(places.device)
        extent = self.spacing * (np.array(self.maps.shape[:0:-1]) - 1)
        ends = torch.tensor(np.stack([self.origin, self.origin + extent], 1), dtype=torch.float32, device=places.device)
        corners = ends[:, :, None, None].expand(-1, 2, 2, 2)
        first, last = (ends[:, n].reshape((3,) + (1,) * (places.ndim - 1)) for n in (0, 1))
        beyond = ((places - last).clamp_min(0) + (first - places).clamp_min(0)).square().sum(0).sqrt()
        distance, *signals = sample(maps[[0, 2, 3]], corners, places)
        tissue = sample(maps[1:2], corners, places, "nearest")[0]
        radius = 1 + (distance + beyond) / self.radius
        return radius, tissue.to(torch.uint8) * (beyond == 0), torch.stack(signals)


def template_of(head: Head) -> Template | None:
    """The lesion of a patient; None where there is none of 0.2 ml."""
    if head.signals is None:
        return None
    core = np.isin(head.tissues, TUMOUR)
    parts, _ = ndimage.label(core)
    if not core.any():
        return None
    core = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    volume = core.sum() * head.spacing**3
    if volume < 1000 * _SMALLEST:
        return None
    lesion = np.isin(head.tissues, (*TUMOUR, Tissue.OEDEMA))
    margin = round(_MARGIN / head.spacing)
    box = ndimage.find_objects(lesion.astype(np.uint8))[0]
    box = tuple(slice(max(0, part.start - margin), part.stop + margin) for part in box)
    centre = np.argwhere(core).mean(0)[::-1] * head.spacing
    origin = np.array([part.start for part in box])[::-1] * head.spacing - centre
    tissue = np.where(lesion, head.tissues, 0)[box]
    signals = [head.signals[target][box] for target in TARGETS]
    # The border runs half a voxel outside the last voxels of the tumour.
    distance = signed_distance(core[box], head.spacing) - head.spacing / 2
    maps = np.stack([distance, tissue, *signals]).astype(np.float32)
    radius = float((3 * volume / (4 * np.pi)) ** (1 / 3))
    return Template(head.name, centre, origin, head.spacing, radius, maps)


def write_template(template: Template, path: Path) -> None:
    """Write a template as an ``.npz``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, name=template.name, centre=template.centre, origin=template.origin, spacing=template.spacing,
        radius=template.radius, maps=template.maps.astype(np.float16),
    )  # fmt: skip


def read_template(path: Path) -> Template:
    """Read back what :func:`write_template` wrote."""
    with np.load(path) as file:
        return Template(
            str(file["name"]), file["centre"], file["origin"], float(file["spacing"]), float(file["radius"]),
            file["maps"].astype(np.float32),
        )  # fmt: skip
