"""Physics and geometry of the simulated sweep, by known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from IoUSynthLib.simulation.case import STANDOFF
from IoUSynthLib.simulation.fields import middle_sheet
from IoUSynthLib.simulation.tissues import PROPERTIES, Tissue
from IoUSynthLib.simulation.ultrasound import (
    BRAIN_ATTENUATION,
    LARGEST_LOSS,
    limit_penetration,
    set_compensation,
    simulate_ultrasound,
)

ECHO = [0.3] * len(Tissue)


def scan(tissues, points, probe, echo=None):
    generator = torch.Generator().manual_seed(3)
    texture = torch.zeros(tissues.shape)
    return simulate_ultrasound(tissues, points, texture, probe=probe, scatter=echo or ECHO, generator=generator)


def decibel(volume, probe):
    return (volume - 1) * probe.dynamic_range


def column(points, depths, half_width=6.0):
    """Voxels under the probe's face between two depths in mm."""
    lateral, depth, elevation = points
    near = (lateral.abs() < half_width) & (elevation.abs() < 15)
    return near & (depth >= depths[0]) & (depth < depths[1])


def test_attenuation_is_two_way_in_decibel_per_centimetre(white_matter, points, probe):
    volume, fan = scan(white_matter, points, probe)
    depths = np.arange(10, 70, 5.0)
    means = [decibel(volume, probe)[column(points, (d, d + 5)) & fan].mean().item() for d in depths]
    slope = np.polyfit(depths / 10, means, 1)[0]
    expected = -2 * probe.frequency * PROPERTIES[Tissue.WHITE_MATTER].attenuation
    assert slope == pytest.approx(expected, rel=0.05)


def test_compensation_cancels_the_attenuation_it_assumes(white_matter, points, probe):
    matched = replace(probe, compensation=PROPERTIES[Tissue.WHITE_MATTER].attenuation / 0.55)
    volume, fan = scan(white_matter, points, matched)
    shallow, deep = (decibel(volume, matched)[column(points, part) & fan].mean() for part in ((10, 25), (55, 70)))
    assert abs(float(shallow - deep)) < 1.0


def test_speckle_of_homogeneous_tissue_is_rayleigh(white_matter, points, probe):
    volume, fan = scan(white_matter, points, replace(probe, compensation=PROPERTIES[1].attenuation / 0.55))
    frame = volume[48]  # the middle of the sweep: interpolation between frames would average speckle
    inside = column(points, (20, 60), 15.0)[48] & fan[48]
    envelope = 10 ** (decibel(frame, probe)[inside] / 20)
    assert float(envelope.mean() / envelope.std()) == pytest.approx(1.91, abs=0.35)


@pytest.mark.parametrize(("tissue", "darker"), [(Tissue.SKULL, True), (Tissue.CAVITY, False)])
def test_bone_shadows_and_saline_enhances(white_matter, points, probe, tissue, darker):
    compensated = replace(probe, compensation=1.0)
    block = column(points, (20, 34))
    white_matter[block] = int(tissue)
    volume, fan = scan(white_matter, points, compensated)
    behind = volume[column(points, (45, 60), 4.0) & fan].mean()
    lateral = points[0]
    beside = volume[(lateral.abs() > 18) & (lateral.abs() < 24) & column(points, (45, 60), 30.0) & fan].mean()
    assert (behind < beside - 0.02) if darker else (behind > beside + 0.02)


def test_the_fan_has_the_probes_shape(white_matter, points, probe):
    volume, fan = scan(white_matter, points, probe)
    lateral, depth, elevation = points
    angle = torch.atan2(lateral, depth + probe.face_radius)
    distance = torch.hypot(lateral, depth + probe.face_radius) - probe.face_radius
    expected = (angle.abs() <= probe.half_angle) & (distance >= 0) & (distance <= probe.depth)
    expected &= elevation.abs() <= probe.sweep_half_length + probe.longest_gap
    assert (fan == expected).float().mean() > 0.999
    assert volume[~fan].abs().max() == 0


def test_a_fast_sweep_leaves_holes(white_matter, points, probe):
    sparse = replace(probe, frames=8, longest_gap=1.5)
    _, fan = scan(white_matter, points, sparse)
    covered = fan[:, 50, 48]
    assert 0 < int(covered.sum()) < int(covered.nonzero().max() - covered.nonzero().min())


def test_a_reflector_appears_at_its_depth(white_matter, points, probe):
    bright = list(ECHO)
    bright[Tissue.FALX] = 30.0
    sheet = (points[1] - 40).abs() < 1
    white_matter[sheet] = int(Tissue.FALX)
    volume, _ = scan(white_matter, points, probe, bright)
    profile = volume[40:56, :, 46:50].mean((0, 2))
    assert abs(float(profile.argmax()) - STANDOFF - 40) <= 1


def test_the_middle_sheet_of_a_band_is_thin_wherever_the_band_turns():
    band = torch.zeros((40, 40, 40), dtype=torch.bool)
    band[10:15, :30] = True
    band[10:30, 25:30] = True
    sheet = middle_sheet(band)
    assert not (sheet & ~band).any()
    assert sheet[:, 10, 20].nonzero().flatten().tolist() == [12]
    assert sheet[25, :, 20].nonzero().flatten().tolist() == [27]


def test_a_wide_sulcus_is_a_line_where_only_its_middle_echoes(white_matter, points, probe):
    white_matter[(points[1] - 40).abs() < 2.5] = int(Tissue.SULCUS)
    echo = list(ECHO)
    echo[Tissue.SULCUS] = 3.0
    contrasts = []
    for filling in (1.0, 0.1):
        volume, _ = simulate_ultrasound(
            white_matter, points, torch.zeros(white_matter.shape), probe=probe, scatter=echo,
            generator=torch.Generator().manual_seed(3), sulcal_filling=filling,
        )
        middle, side = (volume[column(points, (40 + off - 0.5, 40 + off + 0.5))].mean() for off in (0.0, 2.0))
        contrasts.append(float(middle - side))
    assert abs(contrasts[0]) < 0.03 < 0.06 < contrasts[1]


def test_limited_penetration_takes_gain_from_the_lower_half_alone(probe):
    sliders = replace(probe, gain_curve=(0.0, -1.0, -2.0, -3.0, -4.0))
    rng = np.random.default_rng(0)
    drawn = [limit_penetration(sliders, rng) for _ in range(400)]
    limited = [p.gain_curve for p in drawn if p is not sliders]
    assert 70 < len(limited) < 130
    assert {curve[:3] for curve in limited} == {(0.0, -1.0, -2.0)}
    assert all(-44 <= lowest <= -14 and lower == pytest.approx(-3 + (lowest + 4) / 2) for *_, lower, lowest in limited)


def test_the_surgeon_turns_the_compensation_up_until_the_target_shows(white_matter, points, probe):
    dark = replace(probe, compensation=0.4, gain_curve=(0.0, -5.0, -10.0, -15.0, -20.0))
    target, shallow = (column(points, part) for part in ((37, 43), (2, 6)))
    losses = []
    for sweep in (dark, set_compensation(dark, 40.0)):
        sweep = replace(sweep, dynamic_range=120.0)  # nothing is cut off at the dark end
        volume, fan = scan(white_matter, points, sweep)
        near, far = (decibel(volume, sweep)[part & fan].mean() for part in (shallow, target))
        losses.append(float(near - far))
    # White matter attenuates a little more than what compensation assumes.
    extra = 2 * probe.frequency * (PROPERTIES[Tissue.WHITE_MATTER].attenuation - BRAIN_ATTENUATION) * 3.6
    assert losses[0] > 20
    assert losses[1] - extra == pytest.approx(0.9 * LARGEST_LOSS * dark.dynamic_range, abs=1.5)


def test_a_target_that_shows_leaves_the_compensation_alone(probe):
    bright = replace(probe, compensation=1.0, gain_curve=(0.0,) * 5)
    assert set_compensation(bright, 30.0) == bright
