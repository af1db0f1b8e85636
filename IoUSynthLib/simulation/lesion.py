"""Tumours and resection cavities grown into a field of view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from .fields import smooth_noise, voxel_size
from .template import Template
from .tissues import PARENCHYMA, TUMOUR, Tissue

KINDS = ("none", "low grade", "high grade", "cavity", "cavity with residual")
KIND_PROBABILITIES = (0.1, 0.28, 0.24, 0.15, 0.23)
#: A lesion that the head itself has, as it is.
OWN = "own"
#: Volume of drawn lesions in ml; one in six is below 1 ml.
_VOLUMES = (0.4, 35.0)
_WRITABLE = (*PARENCHYMA, *TUMOUR, Tissue.OEDEMA, Tissue.SULCUS, Tissue.VENTRICLE, Tissue.VESSEL)


@dataclass(frozen=True)
class Lesion:
    """Parameters of one lesion; lengths in mm, ``centre`` and ``radii`` along (lateral, depth, elevation).

    ``roughness``, ``core``, ``oedema`` and ``residual`` are in units of the radius. Clots fill a cavity where a rough
    field of unit variance exceeds ``2.2 - 4 * blood``. ``mass_effect`` is the fraction by which tissue at the centre
    was pushed outwards. The border is blurred by ``infiltration``. The shape is an ellipsoid, or that of the tumour of
    ``donor``, turned by ``turn`` (3x3 as nested tuples); with ``parts`` also its necrosis, contrast and oedema.
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
    infiltration: float = 0.3
    donor: str | None = None
    turn: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    parts: bool = False


def draw_lesion(
    rng: np.random.Generator, centre: tuple[float, float, float], templates: Sequence[Template] = ()
) -> Lesion:
    """A random lesion around ``centre`` (mm in the field of view), three in four shaped like one of ``templates``."""
    kind = str(rng.choice(KINDS, p=KIND_PROBABILITIES))
    volume = 1000 * np.exp(rng.uniform(*np.log(_VOLUMES)))
    radius = (3 * volume / (4 * np.pi)) ** (1 / 3)
    donor = templates[rng.integers(len(templates))] if templates and rng.random() < 0.75 else None
    mirror = np.diag([rng.choice((-1, 1)), 1, 1])
    low_grade = kind == "low grade"
    return Lesion(
        kind=kind,
        centre=centre,
        radii=tuple(float(radius * factor) for factor in rng.uniform(0.8, 1.2, 3)),
        roughness=float(rng.uniform(0.05, 0.25)),
        core=float(rng.uniform(0.0, 0.75)),
        oedema=float(rng.uniform(1.0, 1.9)),
        wall=float(rng.uniform(0.8, 2.5)),
        residual=float(rng.uniform(0.25, 0.6)),
        opened=bool(rng.random() < 0.6),
        blood=float(rng.uniform(0, 0.25)),
        mass_effect=float(rng.uniform(0, 0.35)),
        infiltration=float(rng.uniform(0.5, 4.0) if low_grade else rng.uniform(0.3, 1.5)) if "cav" not in kind else 0.3,
        donor=donor.name if donor else None,
        turn=_rows(Rotation.random(random_state=rng).as_matrix() @ mirror),
        parts=bool(donor and kind == "high grade" and rng.random() < 0.7),
    )


def at_home(lesion: Lesion, template: Template, *, centre: Sequence[float], axes: np.ndarray) -> Lesion:
    """The lesion in the place and size of the head's own tumour: a cavity where it was, or the tumour as it is.

    ``centre`` is that of the tumour and ``axes`` are the probe's, as columns in the head.
    """
    kind = lesion.kind if "cavity" in lesion.kind else OWN
    # A resection takes most of the tumour, or a margin around it as well.
    radius = template.radius * (0.75 + 0.35 * lesion.core)
    return replace(
        lesion, kind=kind, centre=tuple(map(float, centre)), radii=(radius,) * 3, donor=template.name,
        turn=_rows(axes.T), mass_effect=0.0, parts=False,
    )  # fmt: skip


def before_resection(lesion: Lesion, rng: np.random.Generator) -> Lesion:
    """The tumour in the place of a cavity; any other lesion is what it was.

    A resection takes most of the tumour, or a margin around it as well; what has a residue took up contrast agent.
    """
    if "cavity" not in lesion.kind:
        return lesion
    whole = lesion.kind == "cavity"
    low_grade = whole and rng.random() < 0.5
    share = rng.uniform(0.75, 1.05) if whole else 1.0
    return replace(
        lesion, kind="low grade" if low_grade else "high grade", radii=tuple(float(share * r) for r in lesion.radii),
        infiltration=float(rng.uniform(0.5, 4.0) if low_grade else rng.uniform(0.3, 1.5)),
        parts=bool(lesion.donor and not low_grade and rng.random() < 0.7),
    )  # fmt: skip


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(float, row)) for row in matrix)


def normalised_radius(lesion: Lesion, points: torch.Tensor) -> torch.Tensor:
    """Distance to the centre in units of the ellipsoid's radii; ``points`` (3, ...) in mm."""
    return _scaled(lesion, points).square().sum(0).sqrt()


def _scaled(lesion: Lesion, points: torch.Tensor) -> torch.Tensor:
    shape = (3,) + (1,) * (points.ndim - 1)
    centre, radii = (torch.tensor(v, device=points.device).reshape(shape) for v in (lesion.centre, lesion.radii))
    return (points - centre) / radii


def places_in_donor(lesion: Lesion, template: Template, points: torch.Tensor) -> torch.Tensor:
    """``points`` in mm from the centre of the donor's tumour."""
    back = torch.tensor(lesion.turn, dtype=torch.float32, device=points.device).T
    return template.radius * torch.einsum("ij,j...->i...", back, _scaled(lesion, points))


def push(lesion: Lesion, points: torch.Tensor) -> torch.Tensor:
    """Where the tissue seen at ``points`` lay before the lesion displaced it: inverse radial mass effect."""
    if lesion.kind in ("none", OWN):
        return points
    radius = normalised_radius(lesion, points)
    centre = torch.tensor(lesion.centre, device=points.device).reshape((3,) + (1,) * (points.ndim - 1))
    return points + (centre - points) * (lesion.mass_effect * torch.exp(-((radius / 1.6) ** 2)))


def grow(
    lesion: Lesion, tissues: torch.Tensor, points: torch.Tensor, *, generator: torch.Generator,
    template: Template | None = None,
) -> torch.Tensor:
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
    template
        The tumour of the lesion's donor, if it has one.

    Returns
    -------
    torch.Tensor
        New uint8 cube.
    """
    if lesion.kind in ("none", OWN):
        return tissues
    size = tissues.shape[0]
    voxel = voxel_size(points)
    outline = smooth_noise(size, 12 / voxel, generator)[0]
    detail = smooth_noise(size, 5 / voxel, generator)[0]
    rough = lesion.roughness * (0.7 * outline + 0.3 * detail)
    radius, part = normalised_radius(lesion, points), None
    if template is not None:
        radius, part, _ = template.at(places_in_donor(lesion, template, points))
        rough = rough / 2  # the shape is rough as it is
    radius = radius + rough
    writable = torch.isin(tissues, torch.tensor([int(tissue) for tissue in _WRITABLE], device=tissues.device))
    result = tissues.clone()
    if lesion.kind == "low grade":
        result[writable & (radius < 1)] = Tissue.LOW_GRADE_TUMOUR
    elif lesion.kind == "high grade" and lesion.parts:
        result[(tissues == Tissue.WHITE_MATTER) & (part == Tissue.OEDEMA)] = Tissue.OEDEMA
        for tissue in TUMOUR:
            result[writable & (part == tissue)] = tissue
    elif lesion.kind == "high grade":
        result[(tissues == Tissue.WHITE_MATTER) & (radius < lesion.oedema)] = Tissue.OEDEMA
        result[writable & (radius < 1)] = Tissue.HIGH_GRADE_TUMOUR
        result[writable & (radius < lesion.core + 0.15 * detail)] = Tissue.NECROSIS
    else:
        result = _grow_cavity(lesion, result, points, Fields(radius, outline, detail, writable))
    return result


@dataclass(frozen=True, eq=False)
class Fields:
    """Cubes that a cavity is made of: normalised radius, coarse and fine noise, and where it may be written."""

    radius: torch.Tensor
    outline: torch.Tensor
    detail: torch.Tensor
    writable: torch.Tensor


def _grow_cavity(lesion: Lesion, tissues: torch.Tensor, points: torch.Tensor, fields: Fields) -> torch.Tensor:
    mean_radius = float(np.mean(lesion.radii))
    wall = min(lesion.wall / mean_radius, 0.5)
    radius, writable, result = fields.radius, fields.writable, tissues.clone()
    if lesion.opened:
        lateral, depth, elevation = (points[axis] - lesion.centre[axis] for axis in range(3))
        corridor = (lateral**2 + elevation**2).sqrt() / mean_radius + 0.1 * fields.detail
        radius = torch.where(depth < 0, torch.minimum(radius, corridor + 0.25), radius)
    hollow = radius < 1 - wall
    if lesion.kind == "cavity with residual":
        # A crescent on one side of the wall, thickest opposite to the corridor.
        direction = 0.5 * fields.outline + (points[1] - lesion.centre[1]) / mean_radius
        crescent = (radius < 1 + lesion.residual) & (direction > 0.45)
        result[writable & crescent] = Tissue.HIGH_GRADE_TUMOUR
    result[writable & (radius < 1)] = Tissue.CAVITY_WALL
    result[writable & hollow] = Tissue.CAVITY
    result[writable & hollow & (fields.detail > 2.2 - 4 * lesion.blood)] = Tissue.BLOOD
    return result
