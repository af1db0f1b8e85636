"""Resection cavities painted into real ultrasound from before the resection: real speckle with a known label.

A cavity changes the echo of what it replaces and the sound that reaches what lies behind it. Both are known in dB from
the simulator's tissues, so that the real grey levels are taken back to dB, changed, and shown again by the same curve.
Experts told such volumes (made by a network) from real ones in 53 to 56 % (Carton et al. 2021, J. Med. Imaging 8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import ndimage

from ..cases.case import Case, is_complete, write_case
from ..cases.index import write_index
from ..constants import LABELS, VOXEL_MM
from ..files.paths import case_name
from ..files.volumes import read_volume
from ..input_checks import check_ultrasound
from ..synthesis.grid import FieldOfView
from ..volume import InputError, Volume
from .face import Face, find_face
from .fields import blur, sample, smooth_noise, voxel_size
from .lesion import Lesion, draw_lesion, grow
from .probe import BRAIN_ATTENUATION
from .template import Template
from .tissues import PROPERTIES, Tissue
from .ultrasound import draw_scatter

#: Of the names of painted cases, which lie beside simulated ones when a segmenter learns from both.
PREFIX = "painted-"
#: Depths of a cavity's centre below the face in mm.
_DEPTHS = (6.0, 28.0)
#: Percentile of a layer that is its noise, and thickness of the layers in mm.
_NOISE, _LAYER = 4.0, 4.0
#: Standard deviations of the blur of edges in voxels, and of the wall's echo in dB, which clots and folds make uneven.
_EDGE, _UNEVEN = 0.8, 3.0
_REPLACED = (Tissue.CAVITY, Tissue.CAVITY_WALL, Tissue.BLOOD)


@dataclass(frozen=True)
class Curve:
    """How a scanner shows levels in dB relative to tissue: (level / dynamic_range + tissue) ** gamma of ``white``."""

    dynamic_range: float
    tissue: float
    gamma: float
    white: float

    def decibel(self, grey: torch.Tensor) -> torch.Tensor:
        """Levels of grey values."""
        return ((grey / self.white).clamp(0, 1) ** (1 / self.gamma) - self.tissue) * self.dynamic_range

    def grey(self, decibel: torch.Tensor) -> torch.Tensor:
        """Grey values of levels."""
        return self.white * (decibel / self.dynamic_range + self.tissue).clamp(0, 1) ** self.gamma


def paint_cavity(volume: Volume, inside: np.ndarray, *, seed: int, templates: Sequence[Template] = ()) -> Case:
    """A real volume with a cavity; the same volume, templates and seed give the same case.

    Parameters
    ----------
    volume
        Real ultrasound on isotropic voxels, 0 outside the fan.
    inside
        Its fan.
    seed
        Of the cavity's place and shape, its contents and the scanner's curve.
    templates
        Tumours that give the shape; an ellipsoid without.

    Returns
    -------
    Case
        Of the ultrasound alone: labels are those of the cavity, tumours are not outlined.

    Raises
    ------
    ValueError
        The probe's face is not found, or there is no room for a cavity.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    voxel = volume.spacing[0]
    face = find_face(volume.array, inside, voxel)
    points = probe_points(face, volume.array.shape, voxel)
    lesion = _draw_cavity(rng, points, inside, templates=templates)
    template = next((t for t in templates if t.name == lesion.donor), None)
    tissues = _grow_in(points, inside, lesion, generator=generator, template=template)
    scatter, curve = draw_scatter(rng), _draw_curve(rng, volume.array[inside])
    frequency = float(rng.uniform(5, 11))
    extra = _extra_sound(tissues, points, face, voxel=voxel) * frequency
    noise = _noise_by_depth(volume.array, points[1].numpy(), inside)
    image = _show(volume.array, noise, _echo_change(tissues, scatter, generator), extra=extra, curve=curve)
    labels = np.isin(tissues.numpy(), (Tissue.CAVITY, Tissue.BLOOD)) & inside
    parameters = {
        "seed": seed, "simulated": False, "painted": True, "labelled": ["cavity"], "targets": [],
        "lesion": asdict(lesion), "curve": asdict(curve), "scatter": scatter, "frequency": frequency,
    }  # fmt: skip
    images = {"ioUS": volume.with_array(np.where(inside, image, 0).astype(np.uint8))}
    masks = (volume.with_array(mask.astype(np.uint8)) for mask in (LABELS["cavity"] * labels, inside))
    return Case(images, *masks, parameters)


def paint_cohort(
    volumes: Mapping[str, Path], count: int, output: Path, *, templates: Sequence[Template] = (), seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict]:
    """Write ``count`` cases, spread evenly over real volumes, in the layout of a cohort; every fourth volume validates.

    Parameters
    ----------
    volumes
        Files of ultrasound from before the resection, by name.
    count
        Number of cases.
    output
        Folder of the cohort; cases that are complete in it are kept. Only the cavity is labelled, as ``labelled`` in
        each ``case.json`` says.
    templates, seed
        As of :func:`paint_cavity`.
    progress
        Called with the number of cases that are ready and the number of all.

    Returns
    -------
    list of dict
        The entries of the index: ``name``, ``head`` and ``split``.

    Raises
    ------
    InputError
        A file is no ultrasound, its probe's face is not found, or it has no room for a cavity.
    """
    names = list(volumes)
    splits = ["validation" if number % 4 == 3 else "train" for number in range(len(names))]
    entries = [
        {"name": f"{PREFIX}{n:04d}", "head": names[n % len(names)], "split": splits[n % len(names)]}
        for n in range(count)
    ]
    output.mkdir(parents=True, exist_ok=True)
    done = 0
    for name, path in volumes.items():
        seen = None
        for number in range(names.index(name), count, len(names)):
            folder = output / entries[number]["name"]
            if not is_complete(folder):
                seen = seen or _read(path)
                try:
                    case = paint_cavity(*seen, seed=seed * 1_000_000 + number, templates=templates)
                except ValueError as error:
                    raise InputError(f"{path}: {error}; leave this volume out") from error
                case.parameters["head"] = name
                write_case(case, folder)
            done += 1
            if progress:
                progress(done, count)
    write_index(output, entries, simulated=False, seed=seed)
    return entries


def names_of(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by their names, or by folder and name where several have the same.

    Raises
    ------
    InputError
        Several have the same folder and name, so that all but one would be lost.
    """
    names = [case_name(path) for path in paths]
    if len(set(names)) < len(names):
        names = [f"{path.resolve().parent.name}-{name}" for path, name in zip(paths, names, strict=True)]
    twice = next((path for path, name in zip(paths, names, strict=True) if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice}: another volume has the same folder and name; rename one of the two folders")
    return dict(zip(names, paths, strict=True))


def _read(path: Path) -> tuple[Volume, np.ndarray]:
    """Real ultrasound on the networks' voxels, 0 to 255 and 0 outside the fan, and its fan."""
    image, inside = FieldOfView.of(check_ultrasound(read_volume(path), str(path))).resampled(VOXEL_MM)
    grey = np.clip(image.array * (255 / max(float(image.array.max()), 1)), 1, 255)
    return image.with_array(np.where(inside, grey, 0).astype(np.uint8)), inside


def probe_axes(face: Face) -> np.ndarray:
    """Lateral, depth and elevation as rows, along [z, y, x]; lateral is any direction in the face."""
    lateral = np.cross(face.direction, np.eye(3)[np.abs(face.direction).argmin()])
    lateral /= np.linalg.norm(lateral)
    return np.stack([lateral, face.direction, np.cross(lateral, face.direction)]).astype(np.float32)


def probe_points(face: Face, shape: tuple[int, ...], voxel: float) -> torch.Tensor:
    """Lateral, depth and elevation of the voxels in mm, (3, z, y, x)."""
    places = np.indices(shape, dtype=np.float32) * voxel - face.point.reshape(3, 1, 1, 1).astype(np.float32)
    return torch.from_numpy(np.einsum("ij,jabc->iabc", probe_axes(face), places))


def _draw_cavity(
    rng: np.random.Generator, points: torch.Tensor, inside: np.ndarray, *, templates: Sequence[Template]
) -> Lesion:
    """A cavity without drawn residual around a voxel of the fan, at least 4 mm from its border."""
    voxel = voxel_size(points)
    core = ndimage.binary_erosion(inside, iterations=round(4 / voxel))
    depth = points[1].numpy()
    candidates = np.argwhere(core & (depth > _DEPTHS[0]) & (depth < _DEPTHS[1]))
    if not len(candidates):
        raise ValueError(f"the fan has no room for a cavity {_DEPTHS[0]:.0f} to {_DEPTHS[1]:.0f} mm below the face")
    centre = tuple(map(float, points[(slice(None), *candidates[rng.integers(len(candidates))])]))
    return replace(draw_lesion(rng, centre, templates), kind="cavity", infiltration=0.3, parts=False)


def _grow_in(
    points: torch.Tensor, inside: np.ndarray, lesion: Lesion, *, generator: torch.Generator, template: Template | None
) -> torch.Tensor:
    """Tissues of the volume: brain, and the cavity with its wall and clots; the lesion's noise needs a cube."""
    edge = max(inside.shape)
    padding = [p for n in reversed(inside.shape) for p in (0, edge - n)]
    cube = functional.pad(points, padding, value=1e3)
    brain = torch.full((edge,) * 3, int(Tissue.WHITE_MATTER), dtype=torch.uint8)
    grown = grow(lesion, brain, cube, generator=generator, template=template)
    tissues = grown[tuple(slice(n) for n in inside.shape)].clone()
    tissues[points[1] < 1.5] = int(Tissue.WHITE_MATTER)  # the face itself stays as it is
    return tissues


def _draw_curve(rng: np.random.Generator, values: np.ndarray) -> Curve:
    """The scanner's curve in the simulator's ranges, with the volume's median as tissue."""
    gamma, white = float(rng.uniform(2.0, 3.2)), float(max(values.max(), 1))
    return Curve(float(rng.uniform(58, 82)), float((np.median(values) / white) ** (1 / gamma)), gamma, white)


def _extra_sound(tissues: torch.Tensor, points: torch.Tensor, face: Face, *, voxel: float) -> torch.Tensor:
    """What reaches a voxel more than through brain, in dB per MHz, along parallel beams."""
    table = torch.tensor([p.attenuation for p in PROPERTIES.values()])
    missing = torch.where(tissues == Tissue.WHITE_MATTER, 0.0, BRAIN_ATTENUATION - table[tissues.long()])
    flat = points.reshape(3, -1)
    low, high = flat.amin(1).tolist(), flat.amax(1).tolist()
    steps = [torch.arange(start, stop + voxel, voxel) for start, stop in zip(low, high, strict=True)]
    beams = torch.stack(torch.meshgrid(*reversed(steps), indexing="ij")).flip(0)
    places = torch.einsum("ji,jabc->iabc", torch.from_numpy(probe_axes(face)), beams)
    places = places + torch.from_numpy(face.point.astype(np.float32)).reshape(3, 1, 1, 1)
    extent = torch.tensor(missing.shape, dtype=torch.float32).reshape(3, 1, 1, 1) - 1
    grid = (2 * places / voxel / extent - 1).flip(0).permute(1, 2, 3, 0)[None]
    along = functional.grid_sample(missing[None, None], grid, align_corners=True)[0]
    return sample(2 * torch.cumsum(along, 2) * voxel / 10, beams, points)[0]


def _echo_change(tissues: torch.Tensor, scatter: list[float], generator: torch.Generator) -> torch.Tensor:
    """Echo of the tissues of a cavity in dB relative to white matter, uneven; 0 elsewhere."""
    change = torch.zeros(tissues.shape)
    for tissue in _REPLACED:
        change[tissues == tissue] = 20 * np.log10(scatter[tissue] / scatter[Tissue.WHITE_MATTER])
    size = max(tissues.shape)
    uneven = _UNEVEN * smooth_noise(size, 5, generator)[0][tuple(slice(n) for n in tissues.shape)]
    return torch.where(change != 0, change + uneven, 0.0)


def _show(
    array: np.ndarray, noise: torch.Tensor, change: torch.Tensor, *, extra: torch.Tensor, curve: Curve
) -> np.ndarray:
    """The real volume with the echoes of the new tissues and the extra sound, over its own noise; 1 to 255."""
    power = 10 ** (curve.decibel(torch.from_numpy(array.astype(np.float32))) / 10)
    floor = 10 ** (curve.decibel(noise) / 10)
    # What was there goes; the grain of the echo stays.
    grain = power / blur(power[None], (3.0,) * 3)[0].clamp_min(1e-6)
    replaced = blur((change != 0)[None].float(), (_EDGE,) * 3)[0]
    echo = torch.lerp((power - floor).clamp_min(0), grain.clamp(max=8), replaced)
    echo = echo * 10 ** (blur((change + extra)[None], (_EDGE,) * 3)[0] / 10)
    # Noise has a grain as well, which the smooth floor would lack where nothing else is left.
    floor = floor * torch.lerp(torch.ones_like(grain), grain.clamp(0.05, 8) ** 0.35, replaced)
    return curve.grey(10 * torch.log10(echo + floor)).round().clamp(1, 255).numpy()


def _noise_by_depth(grey: np.ndarray, depth: np.ndarray, inside: np.ndarray) -> torch.Tensor:
    """A low percentile of every layer of the fan, for every voxel."""
    edges = np.arange(0, max(float(depth[inside].max()), _LAYER) + _LAYER, _LAYER)
    layers = [grey[inside & (depth >= low) & (depth < low + _LAYER)] for low in edges]
    floor = [float(np.percentile(layer, _NOISE)) if layer.size > 50 else np.nan for layer in layers]
    known = np.isfinite(floor)
    centres = edges + _LAYER / 2
    return torch.from_numpy(np.interp(depth, centres[known], np.array(floor)[known]).astype(np.float32))
