"""Freehand 3D ultrasound of a field of view: physics along rays, speckle, sweep and reconstruction.

The equations are the usual ones of ray-based simulators (Burger et al. 2013, Salehi et al. 2015): an amplitude
reflection coefficient from the impedance step, two-way attenuation against time-gain compensation, a complex
scatterer field convolved with a separable point spread function whose envelope is the speckle, and logarithmic
compression. Shadow and enhancement follow from attenuation, they are not painted in. Beams fan out in the image
plane; the plane is swept by translation or tilt with irregular steps and a drifting hand, which the tracker sees, and
a tracking error, which it does not; every voxel is read back from the nearest frames, which leaves holes where the
probe moved too fast and a ragged outline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as functional

from .fields import blur, gaussian_noise, middle_sheet, sample, smooth_noise, within
from .tissues import PROPERTIES, Tissue

LINES = 112
SAMPLES = 208
#: Attenuation in dB/cm/MHz that time-gain compensation assumes.
BRAIN_ATTENUATION = 0.55
#: Part of the dynamic range that may be lost between the face and what the surgeon looks at.
LARGEST_LOSS = 0.15


@dataclass(frozen=True)
class Probe:
    """Parameters of a sweep; lengths in mm, angles in radians, gains in dB.

    ``even_attenuation`` is that of everything, in dB/cm/MHz; each tissue has its own where it is None.
    """

    frequency: float
    depth: float
    half_angle: float
    face_radius: float
    axial_blur: float
    lateral_blur: float
    elevational_blur: float
    dynamic_range: float
    compensation: float
    gain_curve: tuple[float, ...]
    unevenness: float
    reflection: float
    specularity: float
    noise_floor: float
    reject: float
    gamma: float
    brightness: float
    sweep_half_length: float
    tilt_pivot: float | None
    frames: int
    step_irregularity: float
    drift: tuple[float, float]
    unsteadiness: float
    tracking_error: float
    longest_gap: float
    compounding_blur: float
    lost_contact: tuple[float, float] | None
    reverberation: float
    even_attenuation: float | None = None


def draw_probe(rng: np.random.Generator) -> Probe:
    """A random probe and sweep, in ranges around measurements of real intraoperative sweeps."""
    # The middle of the face is pressed on; it is the sides that lose contact.
    side = float(rng.choice((0, 1)) + rng.normal(0, 0.1))
    lost = (side, float(rng.uniform(0.04, 0.2))) if rng.random() < 0.25 else None
    face_radius, half_angle = _draw_face(rng)
    return Probe(
        frequency=float(rng.uniform(4, 9)),
        depth=float(rng.uniform(50, 95)),
        half_angle=half_angle,
        face_radius=face_radius,
        axial_blur=float(rng.uniform(0.18, 0.4)),
        # Beams of all arrays are about equally wide in mm half-way down, where the focus is.
        lateral_blur=float(np.deg2rad(rng.uniform(0.5, 1.3)) * 50 / (face_radius + 45)),
        elevational_blur=float(rng.uniform(0.4, 1.1)),
        dynamic_range=float(rng.uniform(34, 54)),
        compensation=float(rng.uniform(0.5, 1.05)),
        gain_curve=_draw_gain_curve(rng),
        unevenness=float(rng.uniform(0, 2.5)),
        reflection=float(rng.uniform(10, 60)),
        specularity=float(rng.uniform(1, 6)),
        noise_floor=float(rng.uniform(-50, -30)),
        reject=float(rng.uniform(0, 0.1)) if rng.random() < 0.5 else 0.0,
        gamma=float(rng.uniform(0.8, 2.4)),
        brightness=float(rng.uniform(0.6, 1.0)),
        sweep_half_length=float(rng.uniform(16, 40)),
        tilt_pivot=float(rng.uniform(15, 60)) if rng.random() < 0.4 else None,
        frames=int(rng.integers(36, 90)),
        step_irregularity=float(rng.uniform(0.1, 0.7)),
        drift=(float(rng.normal(0, 5)), float(rng.normal(0, 4))),
        unsteadiness=float(rng.uniform(0.0, 0.5)),
        tracking_error=float(rng.uniform(0.0, 0.4)),
        longest_gap=float(rng.uniform(1.2, 3.0)),
        compounding_blur=float(rng.uniform(0.0, 0.6)),
        lost_contact=lost,
        reverberation=float(rng.uniform(0, 0.5)) if rng.random() < 0.4 else 0.0,
    )


def _draw_gain_curve(rng: np.random.Generator) -> tuple[float, ...]:
    """Gain in dB at equally spaced depths: a random setting of the sliders about a slope that loses with depth."""
    slope = rng.uniform(-22, 3)
    return tuple(float(slope * depth + rng.normal(0, 2)) for depth in np.linspace(0, 1, 5))


def set_compensation(probe: Probe, depth: float) -> Probe:
    """Turn the compensation up until what lies at ``depth`` (mm) shows, as a surgeon does before the sweep.

    Without this a quarter of the targets would lie in the dark, where nobody would have swept.
    """
    sliders = np.interp(depth, np.linspace(0, probe.depth, len(probe.gain_curve)), probe.gain_curve)
    full = 2 * probe.frequency * BRAIN_ATTENUATION * depth / 10
    gain = full * (probe.compensation - 1) + sliders - probe.gain_curve[0]
    missing = -gain - LARGEST_LOSS * probe.dynamic_range
    return replace(probe, compensation=probe.compensation + max(0.0, float(missing)) / full)


def limit_penetration(probe: Probe, rng: np.random.Generator) -> Probe:
    """One time in four, the sound does not reach the bottom: there the image is dark whatever lies there."""
    lost = rng.uniform(10, 40)
    if rng.random() < 0.75:
        return probe
    *upper, lower, lowest = probe.gain_curve
    return replace(probe, gain_curve=(*upper, float(lower - lost / 2), float(lowest - lost)))


def _draw_face(rng: np.random.Generator) -> tuple[float, float]:
    """Radius of the face in mm and half of the opening angle: a sector or curved array, one time in five a flat one."""
    if rng.random() < 0.2:
        radius = float(rng.uniform(80, 250))
        return radius, float(rng.uniform(18, 26) / radius)
    return float(rng.uniform(4, 45)), float(np.deg2rad(rng.uniform(28, 50)))


def draw_scatter(rng: np.random.Generator) -> list[float]:
    """Echogenicity by tissue; one time in seven a tumour is no brighter than the brain around it."""
    values = [p.echogenicity * np.exp(p.scatter_spread * rng.standard_normal()) for p in PROPERTIES.values()]
    if rng.random() < 0.15:
        dim = values[Tissue.WHITE_MATTER] * rng.uniform(0.7, 1.2)
        values[Tissue.LOW_GRADE_TUMOUR] = values[Tissue.HIGH_GRADE_TUMOUR] = dim
    return [float(value) for value in values]


def draw_sulcal_filling(rng: np.random.Generator) -> float:
    """Echo of a sulcus off its middle, see :func:`simulate_ultrasound`: half of the heads show lines, not bands."""
    return float(rng.uniform(0.1, 0.5) if rng.random() < 0.5 else rng.uniform(0.5, 1))


@dataclass(frozen=True, eq=False)
class SweepPoses:
    """Poses of the frames: along the sweep (mm, or radians for a tilt), and lateral and in depth (2, frames) in mm.

    ``shift`` is what the tracker reports; ``true_shift`` adds the error of tracking.
    """

    positions: torch.Tensor
    shift: torch.Tensor
    true_shift: torch.Tensor


def simulate_ultrasound(
    tissues: torch.Tensor, points: torch.Tensor, texture: torch.Tensor, *, probe: Probe, scatter: list[float],
    generator: torch.Generator, voxels: torch.Tensor | None = None, sulcal_filling: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reconstructed B-mode volume of a field of view.

    Parameters
    ----------
    tissues
        Uint8 cube of :class:`Tissue`.
    points
        (3, n, n, n) lateral, depth and elevation of every voxel in mm, the probe's face at the origin.
    texture
        Cube that is added to the logarithm of the echogenicity.
    probe
        The probe and its sweep.
    scatter
        Echogenicity by tissue.
    generator
        Source of scatterers, noise and freehand motion, on the device of ``tissues``.
    voxels
        (3, ...) like ``points``: where to reconstruct, if not there.
    sulcal_filling
        Echogenicity of a sulcus off its middle sheet, as a fraction of its mean; what is missing there is added on it.

    Returns
    -------
    tuple of torch.Tensor
        B-mode in [0, 1] (0 outside the fan) and the boolean mask of voxels that a frame covers.
    """
    sweep = _draw_sweep(probe, generator)
    properties = _property_maps(
        tissues, texture, scatter, even_attenuation=probe.even_attenuation, sulcal_filling=sulcal_filling
    )
    rays, spacing = _ray_points(probe, sweep)
    sampled = sample(properties, points, rays)
    frames = _b_mode(sampled, spacing, probe=probe, sweep=sweep, generator=generator)
    voxels = points if voxels is None else voxels
    image, covered = _reconstruct(frames, voxels, probe, sweep)
    known = within(points, voxels)
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


def _property_maps(
    tissues: torch.Tensor, texture: torch.Tensor, scatter: list[float], *, even_attenuation: float | None,
    sulcal_filling: float,
) -> torch.Tensor:
    """Impedance, attenuation, echogenicity and the size of the impedance gradient, as (4, n, n, n)."""
    index = tissues.long()
    attenuations = [p.attenuation if even_attenuation is None else even_attenuation for p in PROPERTIES.values()]
    columns = [[p.impedance for p in PROPERTIES.values()], attenuations, scatter]
    impedance, attenuation, echo = (torch.tensor(column, device=tissues.device)[index] for column in columns)
    # Pia and vessels, which echo, line a narrow cleft whose label is as wide as a voxel of the MRI it came from.
    sulcus = tissues == Tissue.SULCUS
    sheet = torch.where(middle_sheet(sulcus), 2 - sulcal_filling, sulcal_filling)
    echo = torch.where(sulcus, echo * sheet, echo)
    impedance = blur(impedance[None], (0.6,) * 3)[0]
    gradient = torch.stack(torch.gradient(impedance)).square().sum(0).sqrt()
    return torch.stack([impedance, attenuation, echo * torch.exp(texture), gradient])


def _ray_points(probe: Probe, sweep: SweepPoses) -> tuple[torch.Tensor, float]:
    """Sample positions (3, frames, lines, samples) in mm and the distance between samples."""
    device = sweep.positions.device
    angles = torch.linspace(-probe.half_angle, probe.half_angle, LINES, device=device)[None, :, None]
    ranges = torch.linspace(0, probe.depth, SAMPLES, device=device)[None, None]
    lateral = (probe.face_radius + ranges) * torch.sin(angles) + sweep.true_shift[0][:, None, None]
    depth = (probe.face_radius + ranges) * torch.cos(angles) - probe.face_radius
    depth = depth + sweep.true_shift[1][:, None, None]
    position = sweep.positions[:, None, None]
    if probe.tilt_pivot is None:
        elevation = position.expand_as(depth)
    else:
        elevation = (depth + probe.tilt_pivot) * torch.sin(position)
        depth = (depth + probe.tilt_pivot) * torch.cos(position) - probe.tilt_pivot
    return torch.stack([lateral, depth, elevation]), probe.depth / (SAMPLES - 1)


def _b_mode(
    sampled: torch.Tensor, spacing: float, *, probe: Probe, sweep: SweepPoses, generator: torch.Generator
) -> torch.Tensor:
    """B-mode frames in [0, 1], shape (frames, lines, samples), from properties along the rays."""
    impedance, attenuation, echo, gradient = sampled
    step = impedance[..., 1:] - impedance[..., :-1]
    reflection = functional.pad(step / (impedance[..., 1:] + impedance[..., :-1]), (0, 1))
    cosine = (functional.pad(step, (0, 1)).abs() / (gradient * spacing / 0.8 + 1e-3)).clamp(max=1)
    transmitted = torch.cumprod(1 - reflection**2, -1)
    depth = torch.arange(SAMPLES, device=sampled.device) * spacing / 10
    loss = 2 * probe.frequency * torch.cumsum(attenuation, -1) * spacing / 10
    sliders = torch.tensor(probe.gain_curve, device=sampled.device)[None, None]
    sliders = functional.interpolate(sliders, SAMPLES, mode="linear", align_corners=True)[0, 0]
    gain = 2 * probe.frequency * BRAIN_ATTENUATION * probe.compensation * depth + sliders
    gain = gain + probe.unevenness * _beam_gain(probe.frames, generator)[..., None]
    amplitude = transmitted * 10 ** ((gain - loss) / 20)
    scatterers = echo * _complex_noise(echo.shape, generator)
    specular = probe.reflection * reflection.abs() * cosine**probe.specularity
    field = torch.stack([scatterers.real + specular, scatterers.imag]) * amplitude
    line_pitch = 2 * probe.half_angle / (LINES - 1)
    frame_pitch = 2 * probe.sweep_half_length / (probe.frames - 1)
    sigmas = (probe.elevational_blur / frame_pitch, probe.lateral_blur / line_pitch, probe.axial_blur / spacing)
    # The point spread function passes energy, not amplitude: keep the speckle's level whatever its size.
    focus = float(np.prod([max(1.0, 2 * np.sqrt(np.pi) * sigma) ** 0.5 for sigma in sigmas]))
    envelope = (blur(field, sigmas) * focus).square().sum(0).sqrt()
    if probe.reverberation:
        bands = torch.exp(-depth / 0.5) * (1 + torch.cos(2 * np.pi * depth / 0.18)) * 0.5
        envelope = envelope + probe.reverberation * bands * envelope.mean()
    reference = torch.quantile(envelope.flatten()[::37], 0.995)
    noise = 10 ** (probe.noise_floor / 20) * reference * _complex_noise(echo.shape, generator).abs()
    decibel = 20 * torch.log10((envelope + noise) / reference + 1e-6)
    image = (decibel / probe.dynamic_range + 1).clamp(0, 1) ** probe.gamma
    image = (image - probe.reject).clamp_min(0) / (1 - probe.reject) * probe.brightness
    return _lose_contact(image, probe)


def _beam_gain(frames: int, generator: torch.Generator) -> torch.Tensor:
    """Gain of every beam (frames, LINES) of unit variance: contact, bubbles and bone near the face differ slowly."""
    coarse = gaussian_noise((1, 1, 8, 12), generator)
    gain = functional.interpolate(coarse, (frames, LINES), mode="bicubic", align_corners=True)[0, 0]
    return gain / gain.std()


def _complex_noise(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    return torch.complex(*(gaussian_noise(shape, generator) for _ in range(2)))


def _lose_contact(image: torch.Tensor, probe: Probe) -> torch.Tensor:
    """Darken the wedge of beams whose part of the face does not touch."""
    if probe.lost_contact is None:
        return image
    centre, width = probe.lost_contact
    lines = torch.linspace(0, 1, LINES, device=image.device)
    wedge = torch.sigmoid((width - (lines - centre).abs()) / 0.02)
    return image * (1 - 0.9 * wedge)[None, :, None]


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
    behind = depth - shift[1] + probe.face_radius
    angle = torch.atan2(lateral, behind)
    distance = torch.sqrt(lateral**2 + behind**2) - probe.face_radius
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


def scatter_texture(size: int, voxel: float, generator: torch.Generator) -> torch.Tensor:
    """Texture of unit variance on scales of 3 and 10 mm."""
    fine, coarse = (smooth_noise(size, scale / voxel, generator)[0] for scale in (3, 10))
    return (fine + coarse) / 2**0.5
