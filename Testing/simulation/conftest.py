"""A small head of nested ellipsoids and a plain probe, so that physics has known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from IoUSynthLib.simulation.anatomy import Head
from IoUSynthLib.simulation.case import grid_points
from IoUSynthLib.simulation.probe import draw_probe
from IoUSynthLib.simulation.scanner import without_processing
from IoUSynthLib.simulation.tissues import Tissue


@pytest.fixture(scope="session")
def head():
    """Brain of 150 x 180 x 140 mm: ventricle, white matter, cortex, a shell of sulci and the skull."""
    spacing = 2.0
    shape = (84, 104, 90)
    index = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")) * spacing
    radius = np.sqrt(sum((axis / half) ** 2 for axis, half in zip(index, (70, 90, 75), strict=True)))
    tissues = np.full(shape, Tissue.OUTSIDE, np.uint8)
    shells = ((1.06, Tissue.SKULL), (1, Tissue.SULCUS), (0.97, Tissue.CORTEX), (0.9, Tissue.WHITE_MATTER))
    for limit, tissue in (*shells, (0.2, Tissue.VENTRICLE)):
        tissues[radius < limit] = tissue
    return Head("ellipsoid", tissues, spacing)


@pytest.fixture(scope="session")
def probe():
    """A translated sector without noise, jitter, gain or any other processing; 200 dB dynamic range, linear."""
    drawn = draw_probe(np.random.default_rng(0))
    return replace(
        without_processing(drawn), frequency=5.0, depth=80.0, half_angle=0.6, face_radius=20.0, flat_face=False,
        standoff=0.0, axial_blur=0.4, lateral_blur=0.01, elevational_blur=0.6, reflection=0.0, dynamic_range=200.0,
        tissue_level=0.5, sweep_half_length=25.0, tilt_pivot=None, frames=64, step_irregularity=0.0, drift=(0.0, 0.0),
        unsteadiness=0.0, tracking_error=0.0, longest_gap=2.0,
    )  # fmt: skip


@pytest.fixture(scope="session")
def points():
    return grid_points(96, 1.0)


@pytest.fixture
def white_matter():
    return torch.full((96, 96, 96), int(Tissue.WHITE_MATTER), dtype=torch.uint8)
