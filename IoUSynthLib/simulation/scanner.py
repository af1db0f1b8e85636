"""What a scanner makes of the echoes: gain, noise, compounding, persistence, edge enhancement and grey levels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as functional

from .fields import blur, gaussian_noise
from .probe import BRAIN_ATTENUATION, Probe


@dataclass(frozen=True, eq=False)
class Echo:
    """Received power (frames, lines, samples), of single speckle patterns, of their mean, and of white matter alone.

    ``reference`` (samples,) is the power that white matter would have returned from every depth, ``spacing`` the
    distance between samples in mm.
    """

    look: torch.Tensor
    mean: torch.Tensor
    reference: torch.Tensor
    spacing: float


def process(echo: Echo, probe: Probe, generator: torch.Generator) -> torch.Tensor:
    """B-mode in [0, 1] of received echoes.

    Averaging ``looks`` independent patterns leaves 1 / looks of the variance of speckle (Burckhardt 1978, IEEE Trans.
    Sonics Ultrason. 25:1), which a mixture with the mean power does as well. Noise is that of the receiver, so that
    the gain lifts it: behind the depth of penetration the image is even, whatever lies there.
    """
    depth = torch.arange(len(echo.reference), device=echo.mean.device) * echo.spacing
    noise = reference_power(probe.penetration, probe) * echo.reference[0]
    power = torch.lerp(echo.mean, echo.look, probe.looks**-0.5)
    power = power + 10 ** (probe.clutter / 10) * echo.reference
    power = power + noise * (1 + gaussian_noise(power.shape, generator) / (2 * probe.noise_looks**0.5)) ** 2
    decibel = 10 * torch.log10(power + 1e-20) - 10 * torch.log10(echo.reference + noise) + _gain(depth, probe)
    beams = _beam_gain(power.shape[:2], generator)[..., None]
    decibel = decibel + probe.unevenness * beams
    width, peak = probe.face_band
    decibel = torch.maximum(decibel, peak + 2 * beams - 10 / np.log(10) * depth / width)
    decibel = blur(decibel[None], (probe.persistence, 0, 0))[0]
    if probe.edge_enhancement:
        smooth = blur(decibel[None], (0, 1.5, 0.5 / echo.spacing))[0]
        decibel = decibel + probe.edge_enhancement * (decibel - smooth)
    return _lose_contact((decibel / probe.dynamic_range + probe.tissue_level).clamp(0, 1) ** probe.gamma, probe)


def reference_power(depth: float | torch.Tensor, probe: Probe) -> float | torch.Tensor:
    """Power that comes back from brain at ``depth`` mm, relative to that from the face."""
    return 10 ** (-2 * probe.frequency * BRAIN_ATTENUATION * depth / 100)


def _gain(depth: torch.Tensor, probe: Probe) -> torch.Tensor:
    """Level in dB at which the gain shows white matter and noise together: even but for a slope and the sliders."""
    sliders = torch.tensor(probe.gain_curve, device=depth.device)[None, None]
    sliders = functional.interpolate(sliders, len(depth), mode="linear", align_corners=True)[0, 0]
    return sliders - probe.slope * depth / probe.depth


def without_processing(probe: Probe) -> Probe:
    """The probe on a scanner that shows the logarithm of the envelope and nothing else."""
    return replace(
        probe, penetration=1e4, slope=0.0, gain_curve=(0.0, 0.0), unevenness=0.0, looks=1.0, persistence=0.0,
        edge_enhancement=0.0, gamma=1.0, face_band=(1.0, -1e3), clutter=-200.0, compounding_blur=0.0, lost_contact=None,
    )  # fmt: skip


def _beam_gain(shape: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Gain of every beam (frames, lines) of unit variance: contact, bubbles and bone near the face differ slowly."""
    coarse = gaussian_noise((1, 1, 8, 12), generator)
    gain = functional.interpolate(coarse, tuple(shape), mode="bicubic", align_corners=True)[0, 0]
    return gain / gain.std()


def _lose_contact(image: torch.Tensor, probe: Probe) -> torch.Tensor:
    """Darken the wedge of beams whose part of the face does not touch."""
    if probe.lost_contact is None:
        return image
    centre, width = probe.lost_contact
    lines = torch.linspace(0, 1, image.shape[1], device=image.device)
    wedge = torch.sigmoid((width - (lines - centre).abs()) / 0.02)
    return image * (1 - 0.9 * wedge)[None, :, None]
