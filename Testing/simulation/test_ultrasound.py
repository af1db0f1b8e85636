"""Physics and geometry of the simulated sweep, by known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from IoUSynthLib.simulation.case import STANDOFF
from IoUSynthLib.simulation.probe import BRAIN_ATTENUATION, draw_probe, fit_sweep, reach_target
from IoUSynthLib.simulation.scene import plain_scene
from IoUSynthLib.simulation.tissues import PROPERTIES, Tissue
from IoUSynthLib.simulation.ultrasound import simulate_ultrasound

ECHO = [0.3] * len(Tissue)


def scan(tissues, points, probe, echo=None, **scene):
    generator = torch.Generator().manual_seed(3)
    return simulate_ultrasound(replace(plain_scene(tissues, points), **scene), probe, echo or ECHO, generator=generator)


def decibel(volume, probe):
    """Relative to white matter as the gain expects it."""
    return (volume - probe.tissue_level) * probe.dynamic_range


def column(points, depths, half_width=6.0):
    """Voxels under the probe's face between two depths in mm."""
    lateral, depth, elevation = points
    near = (lateral.abs() < half_width) & (elevation.abs() < 15)
    return near & (depth >= depths[0]) & (depth < depths[1])


@pytest.mark.parametrize("tissue", [Tissue.WHITE_MATTER, Tissue.BLOOD])
def test_attenuation_is_two_way_and_the_gain_cancels_that_of_brain(white_matter, points, probe, tissue):
    white_matter[:] = int(tissue)
    volume, fan = scan(white_matter, points, probe)
    depths = np.arange(10, 60, 5.0)
    means = [decibel(volume, probe)[column(points, (d, d + 5)) & fan].mean().item() for d in depths]
    slope = np.polyfit(depths / 10, means, 1)[0]
    expected = -2 * probe.frequency * (PROPERTIES[tissue].attenuation - BRAIN_ATTENUATION)
    assert slope == pytest.approx(expected, abs=0.25)


def test_behind_the_penetration_everything_looks_alike(white_matter, points, probe):
    """There the receiver's noise, which the gain lifts, covers an echo 6 dB above it; nearer it does not."""
    noisy = replace(probe, penetration=30.0, noise_looks=20.0)
    white_matter[points[0] > 0] = int(Tissue.LOW_GRADE_TUMOUR)
    bright = list(ECHO)
    bright[Tissue.LOW_GRADE_TUMOUR] = 0.6
    volume, fan = scan(white_matter, points, noisy, bright)
    sides = [(points[0].abs() > 2) & (points[0].abs() < 10) & side & fan for side in (points[0] > 0, points[0] < 0)]
    steps = []
    for depths in ((5, 15), (60, 75)):
        left, right = (decibel(volume, noisy)[column(points, depths, 15.0) & side].mean() for side in sides)
        steps.append(float(left - right))
    assert 4.5 < steps[0] < 6.5
    assert abs(steps[1]) < 0.5


@pytest.mark.parametrize(("looks", "ratio"), [(1.0, 1.91), (9.0, 6.0)])
def test_speckle_of_homogeneous_tissue_is_rayleigh(white_matter, points, probe, looks, ratio):
    """Mean over standard deviation of the envelope: 1.91, and near 2 sqrt(looks) where powers are averaged."""
    probe = replace(probe, looks=looks)
    volume, fan = scan(white_matter, points, probe)
    frame = volume[48]  # the middle of the sweep: interpolation between frames would average speckle
    inside = column(points, (20, 60), 15.0)[48] & fan[48]
    envelope = 10 ** (decibel(frame, probe)[inside] / 20)
    assert float(envelope.mean() / envelope.std()) == pytest.approx(ratio, rel=0.22)


@pytest.mark.parametrize(("tissue", "darker"), [(Tissue.SKULL, True), (Tissue.CAVITY, False)])
def test_bone_shadows_and_saline_enhances(white_matter, points, probe, tissue, darker):
    block = column(points, (20, 34))
    white_matter[block] = int(tissue)
    volume, fan = scan(white_matter, points, probe)
    behind = volume[column(points, (45, 60), 4.0) & fan].mean()
    lateral = points[0]
    beside = volume[(lateral.abs() > 18) & (lateral.abs() < 24) & column(points, (45, 60), 30.0) & fan].mean()
    assert (behind < beside - 0.01) if darker else (behind > beside + 0.01)


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


def test_a_flat_face_is_flat(white_matter, points, probe):
    flat = replace(probe, flat_face=True, face_radius=60.0, half_angle=0.3)
    _, fan = scan(white_matter, points, flat)
    first = [float(points[1][48, :, 48 + off][fan[48, :, 48 + off]].min()) for off in (-15, -7, 0, 7, 15)]
    assert np.ptp(first) <= 1.0
    assert abs(np.mean(first)) <= 1.0


def test_saline_under_the_face_lifts_it(white_matter, points, probe):
    lifted = replace(probe, standoff=6.0)
    _, fan = scan(white_matter, points, lifted)
    assert float(points[1][48, :, 48][fan[48, :, 48]].min()) == pytest.approx(-6, abs=1)


def test_a_sheet_is_a_bright_line(white_matter, points, probe):
    echo = list(ECHO)
    echo[Tissue.SULCUS] = 3.0
    sheet = torch.exp(-(((points[1] - 40) / 0.8) ** 2))
    volume, _ = scan(white_matter, points, probe, echo, sheet=sheet)
    middle, side = (decibel(volume, probe)[column(points, (40 + off - 0.6, 40 + off + 0.6))].mean() for off in (0, 4))
    assert 8 < float(middle - side) < 20


def test_fans_are_as_large_as_real_ones(points):
    """40 to 130 ml as the rule, measured on the mask."""
    tissues = torch.full((96,) * 3, int(Tissue.WHITE_MATTER), dtype=torch.uint8)
    wanted = replace(draw_probe(np.random.default_rng(3)), tilt_pivot=None, drift=(0.0, 0.0), longest_gap=3.0)
    fitted = fit_sweep(replace(wanted, standoff=0.0, depth=50.0), 90.0)
    _, fan = scan(tissues, points, fitted)
    assert float(fan.sum()) / 1000 == pytest.approx(90, rel=0.15)
    drawn = [draw_probe(np.random.default_rng(seed)) for seed in range(200)]
    assert all(20 <= 2 * probe.sweep_half_length <= 80 for probe in drawn)


def test_the_surgeon_lets_the_sound_reach_the_target():
    probe = replace(draw_probe(np.random.default_rng(1)), depth=40.0, penetration=20.0, standoff=3.0)
    deep = reach_target(probe, 36.0)
    assert deep.depth >= 36 + 3
    assert deep.penetration >= 0.9 * 39
    assert reach_target(probe, 10.0) == probe
