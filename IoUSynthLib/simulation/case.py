"""A simulated case: paired ioUS, T2w, FLAIR and labels of one field of view."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..cases.case import Case
from ..constants import LABELS, TARGETS, VOXEL_MM
from ..volume import Volume
from .anatomy import Head
from .fields import sample, smooth_noise, within
from .lesion import Lesion, draw_lesion, grow, push
from .mri import draw_contrast, simulate_mri
from .parts import check_parts, simplify
from .tissues import BRAIN, PARENCHYMA, TUMOUR, Tissue
from .ultrasound import (
    draw_probe,
    draw_scatter,
    draw_sulcal_filling,
    limit_penetration,
    scatter_texture,
    set_compensation,
    simulate_ultrasound,
)

SIZE = 128
STANDOFF = 5.0


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the probe stands: its face's centre (x, y, z in mm of the head's array) and its axes as columns."""

    origin: np.ndarray
    axes: np.ndarray
    lesion_depth: float


def draw_pose(head: Head, rng: np.random.Generator) -> Pose:
    """Probe on the upper brain surface, looking at a random spot 12 to 38 mm below it."""
    targets, surfaces = _targets(head)
    chosen = rng.integers(len(targets))
    target, surface = targets[chosen], surfaces[chosen]
    depth = (target - surface) / np.linalg.norm(target - surface)
    depth = depth + np.tan(np.deg2rad(8)) * rng.standard_normal(3) * 0.5
    depth /= np.linalg.norm(depth)
    lateral = np.cross(depth, rng.standard_normal(3))
    lateral /= np.linalg.norm(lateral)
    axes = np.stack([lateral, depth, np.cross(lateral, depth)], 1)
    return Pose(np.asarray(surface, float), axes, float(np.linalg.norm(target - surface)))


@lru_cache(maxsize=1)
def _targets(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """What a probe may look at, and the place on the brain's surface nearest to each: (n, 3), x, y, z in mm.

    Kept for the next case, because this takes longer than a whole case on a GPU.
    """
    tissues = head.tissues[::3, ::3, ::3]
    spacing = 3 * head.spacing
    inside = ndimage.binary_fill_holes(np.isin(tissues, BRAIN))
    distance, nearest = ndimage.distance_transform_edt(inside, sampling=spacing, return_indices=True)
    rows = np.flatnonzero(inside.any((1, 2)))
    height = np.arange(tissues.shape[0])[:, None, None]
    candidates = np.isin(tissues, PARENCHYMA) & (distance > 12) & (distance < 38)
    candidates &= height > rows[0] + 0.45 * (rows[-1] - rows[0])
    targets = np.argwhere(candidates)
    surfaces = nearest[(slice(None), *targets.T)].T
    return targets[:, ::-1] * spacing, surfaces[:, ::-1] * spacing


def grid_points(size: int = SIZE, voxel: float = VOXEL_MM, device: torch.device | None = None) -> torch.Tensor:
    """Lateral, depth and elevation in mm of the voxels of a field of view, (3, size, size, size).

    The array's axes are elevation, depth, lateral; the probe's face lies STANDOFF below the first depth.
    """
    centred = (torch.arange(size, dtype=torch.float32, device=device) - (size - 1) / 2) * voxel
    depth = torch.arange(size, dtype=torch.float32, device=device) * voxel - STANDOFF
    elevation, depth, lateral = torch.meshgrid(centred, depth, centred, indexing="ij")
    return torch.stack([lateral, depth, elevation])


def draw_turn(rng: np.random.Generator) -> np.ndarray:
    """Rotation of the voxel grid against the probe: any, because a tracker's axes know nothing of the probe's.

    Three times in ten the grid follows the probe, as in volumes that were reconstructed along the sweep.
    """
    turn = Rotation.random(random_state=rng).as_matrix()
    return np.eye(3) if rng.random() < 0.3 else turn


def turned_points(points: torch.Tensor, turn: np.ndarray) -> torch.Tensor:
    """``points`` (3, n, n, n) rotated about their centre."""
    centre = (points[:, 0, 0, 0] + points[:, -1, -1, -1]).reshape(3, 1, 1, 1) / 2
    matrix = torch.tensor(turn, dtype=torch.float32, device=points.device)
    return torch.einsum("ij,jabc->iabc", matrix, points - centre) + centre


def simulate_case(
    head: Head, seed: int, *, size: int = SIZE, voxel: float = VOXEL_MM, device: torch.device | str = "cpu",
    without: Collection[str] = (),
) -> Case:
    """Simulate one case; the same head, seed and device give the same case.

    Parameters
    ----------
    head
        The anatomy.
    seed
        Seed of every random choice.
    size
        Edge of the cubic grid in voxels.
    voxel
        Voxel size in mm.
    device
        Where the tensors live.
    without
        Parts of the simulator to leave out, see :mod:`.parts`; everything else stays as it is with them.
    """
    without = check_parts(without)
    rng = np.random.default_rng(seed)
    device = torch.device(device)
    generator = torch.Generator(device).manual_seed(seed)
    pose = draw_pose(head, rng)
    lesion = draw_lesion(rng, (float(rng.normal(0, 4)), pose.lesion_depth, float(rng.normal(0, 4))))
    probe = simplify(set_compensation(draw_probe(rng), pose.lesion_depth), without)
    scatter, contrast = draw_scatter(rng), draw_contrast(rng)
    if "real MRI" in without:
        head = replace(head, signals=None)
    points = grid_points(size, voxel, device)
    healthy, measured = _field_of_view(head, pose, lesion, points=points, generator=generator)
    tissues = grow(lesion, healthy, points, generator)
    shared, own = (scatter_texture(size, voxel, generator) for _ in range(2))
    if measured is not None:
        shared = _measured_texture(measured[0], healthy)
    share, patchiness = float(rng.uniform(0.3, 0.5)), float(rng.uniform(0.15, 0.45))
    texture = patchiness * (share**0.5 * shared + (1 - share) ** 0.5 * own)
    turn = draw_turn(rng)
    turn = np.eye(3) if "turn" in without else turn
    probe, filling = limit_penetration(probe, rng), draw_sulcal_filling(rng)
    voxels = turned_points(points, turn)
    ultrasound, fan = simulate_ultrasound(
        tissues, points, texture, probe=probe, scatter=scatter, generator=generator, voxels=voxels,
        sulcal_filling=filling,
    )
    partial_volume = float(rng.uniform(0.4, 0.8))
    signals = torch.stack([
        simulate_mri(
            tissues, contrast[target], shared, partial_volume=partial_volume, texture_contrast=0.04,
            measured=None if measured is None else measured[index], simulated=tissues != healthy,
        )
        for index, target in enumerate(TARGETS)
    ])
    known = within(points, voxels)
    signals = sample(signals, points, voxels) * known
    tissues = sample(tissues[None].float(), points, voxels, "nearest")[0].to(torch.uint8) * known
    parameters = {
        "seed": seed, "head": head.name, "simulated": True, "lesion": asdict(lesion), "probe": asdict(probe),
        "scatter": scatter, "contrast": contrast, "sulcal_filling": filling, "texture_share": share,
        "patchiness": patchiness, "partial_volume": partial_volume, "face": pose.origin.tolist(),
        "axes": pose.axes.tolist(), "turn": turn.tolist(), "without": sorted(without),
    }
    origin = pose.origin + pose.axes @ voxels[:, 0, 0, 0].cpu().numpy()
    geometry = {"spacing": (voxel,) * 3, "origin": tuple(map(float, origin)), "direction": pose.axes @ turn}
    signals = dict(zip(TARGETS, signals, strict=True))
    return _case(ultrasound, signals, tissues=tissues, fan=fan, geometry=geometry, parameters=parameters)


def _field_of_view(
    head: Head, pose: Pose, lesion: Lesion, *, points: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Tissues of the head under the probe, elastically varied, with the skull opened at the probe, and its signals."""
    size = points.shape[-1]
    voxel = float(points[0, 0, 0, 1] - points[0, 0, 0, 0])
    moved = push(lesion, points)
    moved = moved + 1.2 * smooth_noise(size, 24 / voxel, generator, channels=3)
    axes = torch.tensor(pose.axes, dtype=torch.float32, device=points.device)
    origin = torch.tensor(pose.origin, dtype=torch.float32, device=points.device)
    world = torch.einsum("ij,jabc->abci", axes, moved) + origin
    extent = torch.tensor(head.tissues.shape[::-1], device=points.device) - 1
    grid = (2 * world / (head.spacing * extent) - 1)[None]

    def looked_up(array: np.ndarray, mode: str) -> torch.Tensor:
        source = torch.from_numpy(array).to(points.device).float()[None, None]
        return functional.grid_sample(source, grid, mode=mode, align_corners=True)[0, 0]

    tissues = looked_up(head.tissues, "nearest").to(torch.uint8)
    from_face = points.square().sum(0).sqrt()
    outside = (tissues == Tissue.OUTSIDE) | (tissues == Tissue.SKULL)
    tissues[outside & (from_face < 28)] = Tissue.COUPLING
    # Fluid over the brain drains when the dura is opened.
    tissues[(tissues == Tissue.VENTRICLE) & (points[1] < 6)] = Tissue.SULCUS
    if head.signals is None:
        return tissues, None
    return tissues, torch.stack([looked_up(head.signals[target], "bilinear") for target in TARGETS])


def _measured_texture(signal: torch.Tensor, tissues: torch.Tensor) -> torch.Tensor:
    """What a measured signal adds to the mean of its tissue, scaled to unit variance and cut at two deviations."""
    texture = torch.zeros_like(signal)
    for tissue in PARENCHYMA:
        inside = tissues == tissue
        if inside.any():
            texture[inside] = signal[inside] - signal[inside].mean()
    return (texture / texture.std().clamp_min(1e-6)).clamp(-2, 2)


def _case(
    ultrasound: torch.Tensor, signals: dict[str, torch.Tensor], *, tissues: torch.Tensor, fan: torch.Tensor,
    geometry: dict, parameters: dict,
) -> Case:
    labels = torch.zeros_like(tissues)
    labels[torch.isin(tissues, torch.tensor([int(t) for t in TUMOUR], device=tissues.device))] = LABELS["tumour"]
    labels[(tissues == Tissue.CAVITY) | (tissues == Tissue.BLOOD)] = LABELS["cavity"]
    arrays = {"ioUS": (ultrasound * 255).round().to(torch.uint8)}
    arrays |= {target: (signal * 1000).round().to(torch.int16) for target, signal in signals.items()}
    images = {name: Volume(array.cpu().numpy(), **geometry) for name, array in arrays.items()}
    masks = [Volume(mask.to(torch.uint8).cpu().numpy(), **geometry) for mask in (labels, fan)]
    return Case(images, *masks, parameters)
