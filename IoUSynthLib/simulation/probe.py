"""The probe, its sweep and the scanner's processing, drawn around real volumes.

What is marked "fitted" was measured on the nine RESECT volumes that may be learned from (Xiao et al. 2017; cases 4, 5,
6, 8, 12, 15, 21, 23, 25): fans of 83 to 123 ml, once 413, from a flat 12FLA face of about 40 mm; 40 to 60 mm of depth;
tissue at 24 to 37 of 255, 98th percentile 2.4 to 3.7 times that, the deepest part at 0.5 to 0.9 of it and smooth
(speckle of 0.05 to 0.12 of the mean, 0.13 to 0.26 near the face), a band of 1 to 3 mm at the face 2 to 2.5 times as
bright as tissue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

#: Attenuation of brain in dB/cm/MHz, which the gain compensates.
BRAIN_ATTENUATION = 0.55


@dataclass(frozen=True)
class Probe:
    """Parameters of a sweep; lengths in mm, angles in radians, gains and levels in dB.

    ``penetration`` is the depth where the echo of white matter sinks to the noise, ``slope`` the loss of brightness
    from the face to the bottom that the gain leaves, ``gain_curve`` what the sliders add. ``looks`` is the number of
    independent speckle patterns that compounding and filters average, ``noise_looks`` that of the noise.
    ``face_band`` is the width and the peak of the ring-down at the face, ``clutter`` the level of side lobes and
    reverberation, both relative to white matter. ``tissue_level`` is the place of white matter within the dynamic
    range. ``even_attenuation`` is that of everything, in dB/cm/MHz; each tissue has its own where it is None.
    """

    frequency: float
    depth: float
    half_angle: float
    face_radius: float
    flat_face: bool
    standoff: float
    axial_blur: float
    lateral_blur: float
    elevational_blur: float
    penetration: float
    slope: float
    gain_curve: tuple[float, ...]
    unevenness: float
    reflection: float
    specularity: float
    looks: float
    noise_looks: float
    persistence: float
    edge_enhancement: float
    dynamic_range: float
    tissue_level: float
    gamma: float
    face_band: tuple[float, float]
    clutter: float
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
    even_attenuation: float | None = None


def draw_probe(rng: np.random.Generator) -> Probe:
    """A random probe and sweep."""
    # The middle of the face is pressed on; it is the sides that lose contact.
    side = float(rng.choice((0, 1)) + rng.normal(0, 0.1))
    lost = (side, float(rng.uniform(0.04, 0.2))) if rng.random() < 0.2 else None
    depth = float(rng.uniform(38, 62) if rng.random() < 0.8 else rng.uniform(62, 90))
    face_radius, half_angle, flat = _draw_face(rng)
    probe = Probe(
        frequency=float(rng.uniform(5, 11)),
        depth=depth,
        half_angle=half_angle,
        face_radius=face_radius,
        flat_face=flat,
        # Saline between probe and brain, in a third of the real volumes.
        standoff=float(rng.uniform(2, 9)) if rng.random() < 0.35 else 0.0,
        axial_blur=float(rng.uniform(0.12, 0.3)),
        # Beams of all arrays are about equally wide in mm half-way down, where the focus is.
        lateral_blur=float(np.deg2rad(rng.uniform(0.25, 0.8)) * 50 / (face_radius + 45)),
        elevational_blur=float(rng.uniform(0.25, 0.7)),
        penetration=depth * float(rng.uniform(0.5, 1.25)),
        slope=float(rng.uniform(0, 8)),
        gain_curve=tuple(float(gain) for gain in rng.normal(0, 1.2, 5)),
        unevenness=float(rng.uniform(0, 1.5)),
        reflection=float(rng.uniform(10, 60)),
        specularity=float(rng.uniform(1, 6)),
        looks=float(np.exp(rng.uniform(np.log(2), np.log(10)))),
        noise_looks=float(np.exp(rng.uniform(np.log(8), np.log(60)))),
        persistence=float(rng.uniform(0, 0.8)),
        edge_enhancement=float(rng.uniform(0.2, 1.5)) if rng.random() < 0.85 else 0.0,
        dynamic_range=float(rng.uniform(58, 82)),
        tissue_level=float(rng.uniform(0.42, 0.55)),
        gamma=float(rng.uniform(1.7, 2.5)),
        face_band=(float(rng.uniform(0.5, 1.4)), float(rng.uniform(20, 36))) if rng.random() < 0.9 else (1.0, -60.0),
        clutter=float(rng.uniform(-14, -5)),
        sweep_half_length=25.0,
        tilt_pivot=float(rng.uniform(15, 60)) if rng.random() < 0.3 else None,
        frames=int(rng.integers(60, 110)),
        step_irregularity=float(rng.uniform(0.1, 0.6)),
        drift=(float(rng.normal(0, 4)), float(rng.normal(0, 3))),
        unsteadiness=float(rng.uniform(0.0, 0.4)),
        tracking_error=float(rng.uniform(0.0, 0.3)),
        longest_gap=float(rng.uniform(1.2, 3.0)),
        compounding_blur=float(rng.uniform(0.0, 0.35)),
        lost_contact=lost,
    )
    return fit_sweep(probe, _draw_volume(rng))


def _draw_face(rng: np.random.Generator) -> tuple[float, float, bool]:
    """Radius of the face in mm, half of the opening angle, whether it is flat: mostly a linear array that fans out."""
    if rng.random() < 0.65:
        width, half_angle = rng.uniform(30, 44), np.deg2rad(rng.uniform(6, 28))
        return float(width / 2 / np.tan(half_angle)), float(half_angle), True
    return float(rng.uniform(5, 30)), float(np.deg2rad(rng.uniform(24, 45))), False


def _draw_volume(rng: np.random.Generator) -> float:
    """Volume of a fan in ml: 40 to 130 as the rule, up to 400 in one sweep of eight (fitted)."""
    if rng.random() < 0.88:
        return float(rng.uniform(40, 130))
    return float(np.exp(rng.uniform(np.log(130), np.log(400))))


def fit_sweep(probe: Probe, volume: float) -> Probe:
    """Set the length of the sweep, 20 to 80 mm, so that the fan holds ``volume`` ml, and shrink the depth if needed."""
    for depth in np.linspace(probe.depth, 0.6 * probe.depth, 5):
        length = 1000 * volume / _fan_area(replace(probe, depth=float(depth)))
        if length > 20:
            break
    scale = float(depth) / probe.depth
    half = float(np.clip(length, 20, 80)) / 2
    return replace(probe, depth=float(depth), penetration=scale * probe.penetration, sweep_half_length=half)


def _fan_area(probe: Probe) -> float:
    """Area of a frame in mm^2."""
    return probe.half_angle * ((probe.face_radius + probe.depth) ** 2 - probe.face_radius**2)


def reach_target(probe: Probe, depth: float) -> Probe:
    """Let the sound reach what lies at ``depth`` mm, as a surgeon does who sweeps for it; the image ends below it."""
    bottom = max(probe.depth, min(1.15 * (depth + probe.standoff) + 5, 75.0))
    return replace(probe, depth=bottom, penetration=max(probe.penetration, 0.9 * (depth + probe.standoff)))
