"""Freehand 3D ultrasound of a field of view: physics along rays, speckle, sweep and reconstruction.

The equations are the usual ones of ray-based simulators (Burger et al. 2013, Salehi et al. 2015): an amplitude
reflection coefficient from the impedance step, two-way attenuation, a complex scatterer field convolved with a
separable point spread function whose envelope is the speckle. Shadow and enhancement follow from attenuation, they are
not painted in. What the scanner makes of the envelope is in :mod:`.scanner`. Beams fan out in the image plane; the
plane is swept by translation or tilt with irregular steps and a drifting hand, which the tracker sees, and a tracking
error, which it does not; every voxel is read back from the nearest frames, which leaves holes where the probe moved
too fast and a ragged outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional

from .fields import blur, gaussian_noise, sample, within
from .probe import Probe
from .scanner import Echo, process, reference_power
from .scene import Scene
from .tissues import PROPERTIES, Tissue

LINES = 112
SAMPLES = 208


def draw_scatter(rng: np.random.Generator) -> list[float]:
    """Echogenicity by tissue; one time in ten a tumour is no brighter than the brain around it."""
    values = [p.echogenicity * np.exp(p.scatter_spread * rng.standard_normal()) for p in PROPERTIES.values()]
    if rng.random() < 0.1:
        dim = values[Tissue.WHITE_MATTER] * rng.uniform(0.7, 1.2)
        values[Tissue.LOW_GRADE_TUMOUR] = values[Tissue.HIGH_GRADE_TUMOUR] = dim
    return [float(value) for value in values]


@dataclass(frozen=True, eq=False)
class SweepPoses:
    """Poses of the frames: along the sweep (mm, or radians for a tilt), and lateral and in depth (2, frames) in mm.

    ``shift`` is what the tracker reports; ``true_shift`` adds the error of tracking.
    """

    positions: torch.Tensor
    shift: torch.Tensor
    true_shift: torch.Tensor


def simulate_ultrasound(
    scene: Scene, probe: Probe, scatter: list[float], *, generator: torch.Generator, voxels: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reconstructed B-mode volume of a field of view.

    Parameters
    ----------
    scene
        What lies there.
    probe
        The probe and its sweep.
    scatter
        Echogenicity by tissue.
    generator
        Source of scatterers, noise and freehand motion, on the device of the scene.
    voxels
        (3, ...) like the scene's points: where to reconstruct, if not there.

    Returns
    -------
    tuple of torch.Tensor
        B-mode in [0, 1] (0 outside the fan) and the boolean mask of voxels that a frame covers.
    """
    sweep = _draw_sweep(probe, generator)
    rays, spacing = _ray_points(probe, sweep)
    sampled = sample(_property_maps(scene, scatter, probe.even_attenuation), scene.points, rays)
    echo = _receive(sampled, spacing, probe, white_matter=scatter[Tissue.WHITE_MATTER], generator=generator)
    frames = process(echo, probe, generator)
    voxels = scene.points if voxels is None else voxels
    image, covered = _reconstruct(frames, voxels, probe, sweep)
    known = within(scene.points, voxels)
    return image * known, covered & known


def _draw_sweep(probe: Probe, generator: torch.Generator) -> SweepPoses:
    steps = torch.exp(probe.step_irregularity * gaussian_noise((probe.frames,), generator))
    steps = torch.cumsum(steps, 0)
    half = probe.sweep_half_length
    if probe.tilt_pivot is not None:
        half = float(np.arctan(half / (probe.tilt_pivot + 0.6 * probe.depth)))
    positions = (steps - steps[0]) / (steps[-1] - steps[0]) * 2 * half - half
    walk = torch.cumsum(probe.unsteadiness * gaussian_noise((2, probe.frames), generator), 1)
    along = torch.linspace(-1, 1, probe.frames, device=generator.device)
    shift = torch.tensor(probe.drift, device=generator.device)[:, None] * along + walk - walk.mean(1, keepdim=True)
    error = probe.tracking_error * gaussian_noise((2, probe.frames), generator)
    return SweepPoses(positions, shift, shift + error)


def _property_maps(scene: Scene, scatter: list[float], even_attenuation: float | None) -> torch.Tensor:
    """Impedance, attenuation, echogenicity and the size of the impedance gradient, as (4, n, n, n)."""
    attenuations = [p.attenuation if even_attenuation is None else even_attenuation for p in PROPERTIES.values()]
    impedance = blur(scene.map([p.impedance for p in PROPERTIES.values()])[None], (0.6,) * 3)[0]
    gradient = torch.stack(torch.gradient(impedance)).square().sum(0).sqrt()
    beside = [value * (scene.filling if n == Tissue.SULCUS else 1) for n, value in enumerate(scatter)]
    echo = scene.map(beside) * torch.exp(scene.texture)
    echo = torch.maximum(echo, scatter[Tissue.WHITE_MATTER] * scene.vessels)
    echo = torch.lerp(echo, torch.full_like(echo, scatter[Tissue.SULCUS]), scene.sheet)
    return torch.stack([impedance, scene.map(attenuations), echo, gradient])


def _ray_points(probe: Probe, sweep: SweepPoses) -> tuple[torch.Tensor, float]:
    """Sample positions (3, frames, lines, samples) in mm and the distance between samples."""
    device = sweep.positions.device
    angles = torch.linspace(-probe.half_angle, probe.half_angle, LINES, device=device)[None, :, None]
    ranges = torch.linspace(0, probe.depth, SAMPLES, device=device)[None, None]
    reach = _face(probe, angles) + ranges
    lateral = reach * torch.sin(angles) + sweep.true_shift[0][:, None, None]
    depth = reach * torch.cos(angles) - probe.face_radius - probe.standoff
    depth = depth + sweep.true_shift[1][:, None, None]
    position = sweep.positions[:, None, None]
    if probe.tilt_pivot is None:
        elevation = position.expand_as(depth)
    else:
        elevation = (depth + probe.tilt_pivot) * torch.sin(position)
        depth = (depth + probe.tilt_pivot) * torch.cos(position) - probe.tilt_pivot
    return torch.stack([lateral, depth, elevation]), probe.depth / (SAMPLES - 1)


def _receive(
    sampled: torch.Tensor, spacing: float, probe: Probe, *, white_matter: float, generator: torch.Generator
) -> Echo:
    """Power that the probe receives, from properties along the rays."""
    impedance, attenuation, echo, gradient = sampled
    step = functional.pad(impedance[..., 1:] - impedance[..., :-1], (0, 1))
    reflection = step / (2 * impedance)
    cosine = (step.abs() / (gradient * spacing / 0.8 + 1e-3)).clamp(max=1)
    loss = 2 * probe.frequency * torch.cumsum(attenuation, -1) * spacing / 10
    amplitude = torch.cumprod(1 - reflection**2, -1) * 10 ** (-loss / 20)
    specular = probe.reflection * reflection.abs() * cosine**probe.specularity * amplitude
    scattered = echo * amplitude
    sigmas = _point_spread(probe, spacing)
    # The point spread function passes energy, not amplitude: keep the speckle's level whatever its size.
    focus = float(np.prod([max(1.0, 2 * np.sqrt(np.pi) * sigma) ** 0.5 for sigma in sigmas]))
    scatterers = [scattered * gaussian_noise(echo.shape, generator) for _ in range(2)]
    fields = blur(torch.stack([*scatterers, specular]), sigmas) * focus
    # Power spreads by the square of the point spread function.
    mean = blur((2 * scattered**2)[None], tuple(sigma / 2**0.5 for sigma in sigmas))[0] + fields[2] ** 2
    depth = torch.arange(SAMPLES, device=sampled.device) * spacing
    reference = 2 * white_matter**2 * reference_power(depth, probe)
    return Echo(fields[:2].square().sum(0) + fields[2] ** 2, mean, reference, spacing)


def _point_spread(probe: Probe, spacing: float) -> tuple[float, float, float]:
    """Standard deviations of the point spread function in frames, lines and samples."""
    line_pitch = 2 * probe.half_angle / (LINES - 1)
    frame_pitch = 2 * probe.sweep_half_length / (probe.frames - 1)
    return probe.elevational_blur / frame_pitch, probe.lateral_blur / line_pitch, probe.axial_blur / spacing


def _face(probe: Probe, angles: torch.Tensor) -> torch.Tensor:
    """Distance of the face from the virtual apex along beams."""
    return probe.face_radius / torch.cos(angles) if probe.flat_face else torch.full_like(angles, probe.face_radius)


def _reconstruct(
    frames: torch.Tensor, points: torch.Tensor, probe: Probe, sweep: SweepPoses
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read every voxel back from the frames; voxels that no frame comes near are holes."""
    lateral, depth, elevation = points
    position, scale = elevation, 1.0
    if probe.tilt_pivot is not None:
        reach = depth + probe.tilt_pivot
        position = torch.atan2(elevation, reach)
        depth = torch.sqrt(elevation**2 + reach**2) - probe.tilt_pivot
        scale = (depth + probe.tilt_pivot).clamp_min(1)
    upper = torch.searchsorted(sweep.positions, position.contiguous()).clamp(1, probe.frames - 1)
    below, above = sweep.positions[upper - 1], sweep.positions[upper]
    fraction = ((position - below) / (above - below)).clamp(0, 1)
    nearest = torch.where(fraction > 0.5, upper, upper - 1)
    gap = (position - sweep.positions[nearest]).abs() * scale
    shift = torch.lerp(sweep.shift[:, upper - 1], sweep.shift[:, upper], fraction)
    lateral = lateral - shift[0]
    behind = depth - shift[1] + probe.face_radius + probe.standoff
    angle = torch.atan2(lateral, behind)
    distance = torch.sqrt(lateral**2 + behind**2) - _face(probe, angle.clamp(-probe.half_angle, probe.half_angle))
    covered = (angle.abs() <= probe.half_angle) & (distance >= 0) & (distance <= probe.depth)
    covered &= gap <= probe.longest_gap
    grid = torch.stack(
        [
            2 * distance / probe.depth - 1,
            angle / probe.half_angle,
            2 * (upper - 1 + fraction) / (probe.frames - 1) - 1,
        ],
        -1,
    )
    volume = functional.grid_sample(frames[None, None], grid[None], mode="bilinear", align_corners=True)[0, 0]
    if probe.compounding_blur:
        volume = blur(volume[None], (probe.compounding_blur,) * 3)[0]
    return volume * covered, covered
