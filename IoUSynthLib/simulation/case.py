"""A simulated case: paired ioUS, T2w, FLAIR, ceT1 if wished, and labels of one field of view."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as functional
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..cases.case import PREOPERATIVE, Case
from ..constants import CONTRASTS, LABELS, TARGETS, VOXEL_MM
from ..volume import Volume
from .anatomy import Head
from .fields import sample, smooth_noise, voxel_size, within
from .lesion import OWN, Lesion, at_home, before_resection, draw_lesion, grow, places_in_donor, push
from .mri import Agent, draw_agent, draw_contrast, simulate_mri, take_up
from .parts import check_parts, simplify
from .probe import Probe, draw_probe, reach_target
from .scene import Scene, Vessels, draw_tree, draw_vessels, scatter_texture, sheet_share, soften
from .template import Template, template_of
from .tissues import BRAIN, PARENCHYMA, TUMOUR, Tissue
from .ultrasound import draw_scatter, simulate_ultrasound

SIZE = 128
#: Depth of the brain's surface under the first voxels, in mm: room for saline and the face of the probe.
STANDOFF = 10.0

#: MRI by contrast, cubes.
Signals = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the probe stands: its face's centre (x, y, z in mm of the head's array) and its axes as columns."""

    origin: np.ndarray
    axes: np.ndarray
    lesion_depth: float


@dataclass(frozen=True)
class Surroundings:
    """What is drawn of a brain under operation; lengths in mm.

    Attributes
    ----------
    mass_effect
        How far the banks of sulci have closed: 0 leaves the fluid of the head, 1 closes them.
    sulcus
        Half of the width of a sulcus.
    filling
        See :class:`.scene.Scene`.
    opening
        Radius of the craniotomy round the probe.
    dura
        Whether the dura is still there.
    """

    mass_effect: float
    sulcus: float
    filling: float
    opening: float
    dura: bool


def draw_surroundings(rng: np.random.Generator) -> Surroundings:
    """Four in five brains are pressed, with sulci of 1 to 2 mm; the others show the head's own fluid."""
    pressed = rng.random() < 0.8
    return Surroundings(
        mass_effect=float(rng.uniform(0.8, 1.2) if pressed else rng.uniform(0, 0.7)),
        sulcus=float(rng.uniform(0.45, 0.8)),
        filling=float(rng.uniform(0.05, 0.3)),
        opening=float(rng.uniform(22, 40)),
        dura=bool(rng.random() < 0.5),
    )


def draw_pose(head: Head, rng: np.random.Generator, own: bool = False) -> Pose:
    """Probe on the upper brain surface, looking at a random spot 3 to 38 mm below it, or at the head's own tumour."""
    targets, surfaces = _targets(head, own)
    chosen = rng.integers(len(targets))
    target, surface = targets[chosen], surfaces[chosen]
    depth = (target - surface) / max(np.linalg.norm(target - surface), 1e-6)
    depth = depth + np.tan(np.deg2rad(8)) * rng.standard_normal(3) * 0.5
    depth /= np.linalg.norm(depth)
    lateral = np.cross(depth, rng.standard_normal(3))
    lateral /= np.linalg.norm(lateral)
    axes = np.stack([lateral, depth, np.cross(lateral, depth)], 1)
    return Pose(np.asarray(surface, float), axes, float(np.linalg.norm(target - surface)))


@lru_cache(maxsize=2)
def _targets(head: Head, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """What a probe may look at, and the place on the brain's surface nearest to each: (n, 3), x, y, z in mm.

    Kept for the next case, because this takes longer than a whole case on a GPU.
    """
    tissues = head.tissues[::3, ::3, ::3]
    spacing = 3 * head.spacing
    inside = ndimage.binary_fill_holes(np.isin(tissues, BRAIN))
    distance, nearest = ndimage.distance_transform_edt(inside, sampling=spacing, return_indices=True)
    rows = np.flatnonzero(inside.any((1, 2)))
    height = np.arange(tissues.shape[0])[:, None, None]
    candidates = np.isin(tissues, TUMOUR if own else PARENCHYMA) & (distance > 3)
    if not own:
        candidates &= (distance < 38) & (height > rows[0] + 0.45 * (rows[-1] - rows[0]))
    targets = np.argwhere(candidates)
    surfaces = nearest[(slice(None), *targets.T)].T
    return targets[:, ::-1] * spacing, surfaces[:, ::-1] * spacing


@lru_cache(maxsize=1)
def _own_template(head: Head) -> Template | None:
    return template_of(head)


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
    without: Collection[str] = (), templates: Sequence[Template] = (), with_agent: bool = False,
    preoperative: bool = False,
) -> Case:
    """Simulate one case; the same head, seed, templates and device give the same case.

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
    templates
        Tumours of patients that may be put into the head.
    with_agent
        Whether ceT1 is simulated, too; nothing else changes by it. It is made of tissues, also in heads of patients.
        The parameters then have ``white_matter``, the medians of all contrasts there, as they are stored.
    preoperative
        Whether the MRI from before the operation comes with it, where the ultrasound's tissue lies: T2w, ceT1 and FLAIR
        with the tumour that a cavity is left of, and its tissues. Nothing else changes by it.
    """
    without = check_parts(without)
    rng = np.random.default_rng(seed)
    device = torch.device(device)
    generator = torch.Generator(device).manual_seed(seed)
    setting = _draw_setting(head, rng, templates)
    setting = replace(
        setting, probe=simplify(setting.probe, without), agent=draw_agent(seed) if with_agent or preoperative else None,
        earlier=_unresected(setting, seed) if preoperative else None,
    )  # fmt: skip
    if "real MRI" in without:
        head = replace(head, signals=None)
    points = grid_points(size, voxel, device)
    scene, signals, earlier = _scene(head, setting, points, generator=generator)
    turn = np.eye(3) if "turn" in without else setting.turn
    voxels = turned_points(points, turn)
    ultrasound, fan = simulate_ultrasound(
        scene, setting.probe, setting.scatter, generator=generator, voxels=voxels
    )
    known = within(points, voxels)

    def seen(signals: Signals) -> Signals:
        return {name: sample(signal[None], points, voxels)[0] * known for name, signal in signals.items()}

    def seen_tissues(scene: Scene) -> torch.Tensor:
        return sample(scene.tissues[None].float(), points, voxels, "nearest")[0].to(torch.uint8) * known

    signals, tissues = seen(signals), seen_tissues(scene)
    pose, probe = setting.pose, setting.probe
    parameters = {
        "seed": seed, "head": head.name, "simulated": True, "lesion": asdict(setting.lesion), "probe": asdict(probe),
        "surroundings": asdict(setting.surroundings), "vessels": asdict(setting.vessels), "scatter": setting.scatter,
        "contrast": setting.contrast, "texture_share": setting.texture_share, "patchiness": setting.patchiness,
        "partial_volume": setting.partial_volume, "face": (pose.origin - pose.axes[:, 1] * probe.standoff).tolist(),
        "axes": pose.axes.tolist(), "turn": turn.tolist(), "without": sorted(without),
    }
    origin = pose.origin + pose.axes @ voxels[:, 0, 0, 0].cpu().numpy()
    geometry = {"spacing": (voxel,) * 3, "origin": tuple(map(float, origin)), "direction": pose.axes @ turn}
    if setting.agent is not None:
        parameters["agent"] = asdict(setting.agent)
    if with_agent:
        parameters |= {"targets": list(signals), "white_matter": _white_matter(signals, tissues, fan)}
    else:
        signals = {name: signals[name] for name in TARGETS}
    case = _case(ultrasound, signals, tissues=tissues, fan=fan, geometry=geometry, parameters=parameters)
    if earlier is None:
        return case
    parameters |= {"preoperative": [*CONTRASTS], "preoperative_lesion": asdict(setting.earlier)}
    arrays = _stored(seen(earlier[1])) | {"tissues": seen_tissues(earlier[0])}
    images = {f"{PREOPERATIVE}{name}": Volume(array.cpu().numpy(), **geometry) for name, array in arrays.items()}
    return replace(case, images=case.images | images)


@dataclass(frozen=True, eq=False)
class Setting:
    """Everything that is drawn before there is a voxel."""

    pose: Pose
    lesion: Lesion
    template: Template | None
    probe: Probe
    surroundings: Surroundings
    vessels: Vessels
    scatter: list[float]
    contrast: dict[str, list[float]]
    turn: np.ndarray
    texture_share: float
    patchiness: float
    partial_volume: float
    at_home: bool
    agent: Agent | None = None
    earlier: Lesion | None = None


def _draw_setting(head: Head, rng: np.random.Generator, templates: Sequence[Template]) -> Setting:
    own = _own_template(head)
    at_own = own is not None and rng.random() < 0.7
    pose = draw_pose(head, rng, at_own)
    lesion = draw_lesion(rng, (float(rng.normal(0, 4)), pose.lesion_depth, float(rng.normal(0, 4))), templates)
    if at_own:
        lesion = at_home(lesion, own, centre=pose.axes.T @ (own.centre - pose.origin), axes=pose.axes)
    donors = {template.name: template for template in (*templates, *([own] if own else []))}
    return Setting(
        pose=pose,
        lesion=lesion,
        template=donors.get(lesion.donor),
        probe=reach_target(draw_probe(rng), pose.lesion_depth),
        surroundings=draw_surroundings(rng),
        vessels=draw_vessels(rng),
        scatter=draw_scatter(rng),
        contrast=draw_contrast(rng),
        turn=draw_turn(rng),
        texture_share=float(rng.uniform(0.3, 0.5)),
        patchiness=float(rng.uniform(0.15, 0.4)),
        partial_volume=float(rng.uniform(0.4, 0.8)),
        at_home=at_own,
    )


def _unresected(setting: Setting, seed: int) -> Lesion:
    """The lesion before the operation, by random numbers of its own."""
    if setting.at_home and "cavity" in setting.lesion.kind:
        return replace(setting.lesion, kind=OWN)
    return before_resection(setting.lesion, np.random.default_rng((seed, 2)))


def _scene(
    head: Head, setting: Setting, points: torch.Tensor, *, generator: torch.Generator
) -> tuple[Scene, Signals, tuple[Scene, Signals] | None]:
    """What lies under the probe, its MRI, with ceT1 where there is an agent, and both before a resection if wished."""
    lesion, surroundings, template = setting.lesion, setting.surroundings, setting.template
    size, voxel = points.shape[-1], voxel_size(points)
    field = _field_of_view(head, setting, points, generator=generator)
    unresected = None
    if setting.earlier is not None:
        unresected = grow(setting.earlier, field.tissues, points, generator=_copied(generator), template=template)
    tissues = grow(lesion, field.tissues, points, generator=generator, template=template)
    shared, own = (scatter_texture(size, voxel, generator) for _ in range(2))
    if field.measured is not None:
        shared = _measured_texture(field.measured["T2w"], field.tissues)
    texture = setting.texture_share**0.5 * shared + (1 - setting.texture_share) ** 0.5 * own
    before_sheets = _copied(generator)
    scene = Scene(
        points=points, tissues=tissues, healthy=field.tissues,
        lesion=_lesion_share(tissues, field, lesion, voxel),
        sheet=sheet_share(field.distance, tissues, surroundings.sulcus, generator=generator),
        vessels=draw_tree(setting.vessels, tissues, voxel, generator=generator),
        texture=setting.patchiness * texture, filling=surroundings.filling,
    )  # fmt: skip
    signals = _signals(scene, lesion, setting, field=field, shared=shared)
    if unresected is None:
        return scene, signals, None
    # What is left of the tumour was part of it.
    unresected = torch.where(_is_tumour(tissues) & ~_is_tumour(unresected), tissues, unresected)
    earlier = replace(
        scene, tissues=unresected, lesion=_lesion_share(unresected, field, setting.earlier, voxel),
        sheet=sheet_share(field.distance, unresected, surroundings.sulcus, generator=before_sheets),
    )  # fmt: skip
    return scene, signals, (earlier, _signals(earlier, setting.earlier, setting, field=field, shared=shared))


def _copied(generator: torch.Generator) -> torch.Generator:
    """A generator that draws what this one will, and leaves it alone."""
    copy = torch.Generator(generator.device)
    copy.set_state(generator.get_state())
    return copy


def _is_tumour(tissues: torch.Tensor) -> torch.Tensor:
    return torch.isin(tissues, torch.tensor([int(tissue) for tissue in TUMOUR], device=tissues.device))


def _lesion_share(tissues: torch.Tensor, field: _FieldOfView, lesion: Lesion, voxel: float) -> torch.Tensor:
    """Share of the lesion in a voxel: 1 where there is none in it or near it."""
    changed = tissues != field.tissues
    return torch.where(changed, soften(changed, max(0.6, lesion.infiltration / voxel)), 1.0)


def _signals(
    scene: Scene, lesion: Lesion, setting: Setting, *, field: _FieldOfView, shared: torch.Tensor
) -> Signals:
    """T2w and FLAIR, and ceT1 where it is simulated; of a patient as measured but for the lesion."""
    how = {"partial_volume": setting.partial_volume, "texture_contrast": 0.04}
    changed = scene.tissues != scene.healthy
    share = soften(changed, max(0.6, lesion.infiltration / scene.voxel))
    donated = None
    if setting.template is not None and lesion.kind in ("low grade", "high grade"):
        donated = setting.template.at(places_in_donor(lesion, setting.template, scene.points))[1:]
    signals = {}
    for index, target in enumerate(TARGETS):
        before, after = (
            simulate_mri(part, setting.contrast[target], shared, **how)
            for part in (replace(scene, tissues=scene.healthy), replace(scene, lesion=torch.ones_like(share)))
        )
        if field.measured is not None:
            before = field.measured[target]
        if donated is not None:
            after = torch.where(donated[0] > 0, donated[1][index], after)
        signals[target] = torch.lerp(before, after, share)
    if setting.agent is not None:
        image = simulate_mri(scene, setting.agent.signal, shared, **how)
        signals["ceT1"] = take_up(image, scene, setting.agent, echo=setting.vessels.echo)
    return signals


def _white_matter(signals: Signals, tissues: torch.Tensor, fan: torch.Tensor) -> dict[str, float]:
    """Medians of the white matter in the fan by contrast, as images are stored; none where there is none in it."""
    there = (tissues == Tissue.WHITE_MATTER) & (fan > 0)
    if not there.any():
        return {}
    return {name: round(1000 * float(signal[there].median()), 1) for name, signal in signals.items()}


@dataclass(frozen=True, eq=False)
class _FieldOfView:
    """Tissues of the head under the probe, distance to sheets of sulci in mm, and signals, where they were measured."""

    tissues: torch.Tensor
    distance: torch.Tensor
    measured: Signals | None


def _field_of_view(
    head: Head, setting: Setting, points: torch.Tensor, *, generator: torch.Generator
) -> _FieldOfView:
    """What is under the probe without the lesion, unless that is the head's own.

    The anatomy is varied elastically, sulci close as the mass effect wants, the skull is open at the probe.
    """
    pose, surroundings = setting.pose, setting.surroundings
    size = points.shape[-1]
    voxel = voxel_size(points)
    moved = push(setting.lesion, points)
    if setting.lesion.kind != OWN:
        moved = moved + 1.2 * smooth_noise(size, 24 / voxel, generator, channels=3)
    axes = torch.tensor(pose.axes, dtype=torch.float32, device=points.device)
    origin = torch.tensor(pose.origin, dtype=torch.float32, device=points.device).reshape(3, 1, 1, 1)
    world = torch.einsum("ij,jabc->iabc", axes, moved) + origin
    sheet, closing = head.folds
    distance = _look_up(sheet[None], world, head.spacing, beyond=float(sheet.max()))[0]
    world = world + surroundings.mass_effect * _look_up(closing, world, head.spacing)
    tissues = _look_up(head.tissues[None], world, head.spacing, mode="nearest")[0].to(torch.uint8)
    outside = (tissues == Tissue.OUTSIDE) | (tissues == Tissue.SKULL)
    tissues[outside & (points.square().sum(0).sqrt() < surroundings.opening)] = Tissue.COUPLING
    if surroundings.dura:
        brain = ~outside & (tissues != Tissue.COUPLING)
        near = functional.max_pool3d(brain[None, None].float(), 3, 1, 1)[0, 0] > 0
        tissues[near & (tissues == Tissue.COUPLING)] = Tissue.FALX
    measured = None
    if head.signals is not None:
        measured = {target: _look_up(head.signals[target][None], world, head.spacing)[0] for target in TARGETS}
    return _FieldOfView(tissues, distance, measured)


def _look_up(
    array: np.ndarray, world: torch.Tensor, spacing: float, *, mode: str = "bilinear", beyond: float = 0.0
) -> torch.Tensor:
    """Values of a head's array (channels, z, y, x) at ``world`` (3, ...) in mm; only the box that is seen is read."""
    index = world / spacing
    low = index.amin((1, 2, 3)).floor().long().cpu().numpy()[::-1]
    high = index.amax((1, 2, 3)).ceil().long().cpu().numpy()[::-1] + 1
    limits = array.shape[1:]
    start = [int(np.clip(a, 0, n - 2)) for a, n in zip(low, limits, strict=True)]
    stop = [int(np.clip(b, a + 2, n)) for a, b, n in zip(start, high, limits, strict=True)]
    box = array[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))]
    first = torch.tensor(start[::-1], device=world.device).reshape(3, 1, 1, 1)
    extent = torch.tensor(box.shape[:0:-1], device=world.device).reshape(3, 1, 1, 1) - 1
    grid = (2 * (index - first) / extent - 1).permute(1, 2, 3, 0)[None]
    source = torch.from_numpy(np.ascontiguousarray(box)).to(world.device).float() - beyond
    return functional.grid_sample(source[None], grid, mode=mode, align_corners=True)[0] + beyond


def _measured_texture(signal: torch.Tensor, tissues: torch.Tensor) -> torch.Tensor:
    """What a measured signal adds to the mean of its tissue, scaled to unit variance and cut at two deviations."""
    texture = torch.zeros_like(signal)
    for tissue in PARENCHYMA:
        inside = tissues == tissue
        if inside.any():
            texture[inside] = signal[inside] - signal[inside].mean()
    return (texture / texture.std().clamp_min(1e-6)).clamp(-2, 2)


def _case(
    ultrasound: torch.Tensor, signals: Signals, *, tissues: torch.Tensor, fan: torch.Tensor,
    geometry: dict, parameters: dict,
) -> Case:
    labels = torch.zeros_like(tissues)
    labels[_is_tumour(tissues)] = LABELS["tumour"]
    labels[(tissues == Tissue.CAVITY) | (tissues == Tissue.BLOOD)] = LABELS["cavity"]
    arrays = {"ioUS": (ultrasound * 255).round().to(torch.uint8)} | _stored(signals)
    images = {name: Volume(array.cpu().numpy(), **geometry) for name, array in arrays.items()}
    masks = [Volume(mask.to(torch.uint8).cpu().numpy(), **geometry) for mask in (labels, fan)]
    return Case(images, *masks, parameters)


def _stored(signals: Signals) -> Signals:
    return {name: (signal * 1000).round().to(torch.int16) for name, signal in signals.items()}
