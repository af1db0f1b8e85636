"""Where an ultrasound carries no echo: a block of speckle above even noise, with fluid in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.noise import speckle

from IoUSynthLib.constants import LABELS
from IoUSynthLib.models.bundle import load
from IoUSynthLib.synthesis.echo import ECHO, NO_ECHO, find_no_echo, mark_no_echo, no_echo_within
from IoUSynthLib.synthesis.grid import FieldOfView, network_grid
from IoUSynthLib.volume import Volume

#: Depth (y) in voxels at which the echoes end, and the place (z, y, x) of a cyst.
END, CYST = 34, (24, 18, 24)


def block(noise: float = 0.3, level: float = 60.0, opens: bool = False) -> Volume:
    """48 mm cubed: speckle down to :data:`END`, then noise; in the speckle a cyst, which may open to the probe."""
    rng, shape = np.random.default_rng(5), (60, 60, 60)
    z, y, x = np.indices(shape)
    array = np.where(y < END, 80 * speckle(rng, shape), level * (1 + noise * rng.standard_normal(shape)))
    across = np.hypot(z - CYST[0], x - CYST[2])
    cyst = (across < 14) & (y < 28) if opens else np.hypot(across, y - CYST[1]) < 7
    array[cyst] = 2.0
    inside = np.zeros(shape, dtype=bool)
    inside[2:-2, 2:-2, 2:-2] = True
    return Volume(np.where(inside, array.clip(1, 255), 0).astype(np.float32), (0.8, 0.8, 0.8))


@pytest.fixture
def grid_of(tiny_models):
    return lambda volume: network_grid(FieldOfView.of(volume), load("ious2mr-2.5d"))


@pytest.mark.parametrize(("noise", "level"), [(0.3, 60.0), (0.1, 120.0), (0.0, 6.0)], ids=["grey", "bright", "black"])
def test_the_depth_is_found_whatever_the_gain_makes_of_it(grid_of, noise, level):
    grid = grid_of(block(noise, level))
    found = find_no_echo(grid)
    assert found[:, END + 8 : -2][grid.valid[:, END + 8 : -2]].mean() > 0.98, "up to 6 mm behind the last echo"
    assert not found[:, :END].any(), "neither the speckle nor the cyst in it, which the sound passes"


def test_speckle_all_over_is_echo(grid_of):
    volume = block()
    everywhere = 80 * speckle(np.random.default_rng(6), volume.array.shape)
    assert not find_no_echo(grid_of(volume.with_array(np.where(volume.array > 0, everywhere, 0)))).any()


def test_without_an_image_there_is_nothing_to_say(grid_of):
    assert not find_no_echo(replace(grid_of(block()), percentiles=None)).any()


def test_a_cavity_that_opens_to_the_probe_is_fluid(tiny_models):
    volume = block(opens=True)
    field = FieldOfView.of(volume)
    grid, none = network_grid(field, load("ious2mr-2.5d")), np.zeros(field.cropped.array.shape, np.uint8)
    cavity = np.where(field.cropped.array == 2, LABELS["cavity"], 0)
    opening = (slice(None), slice(8, 20), slice(None))
    fan, found = field.fan[field.box], no_echo_within(field, grid)
    assert (mark_no_echo(fan, found, none)[opening] == NO_ECHO).any(), "as a shadow would be"
    marked = mark_no_echo(fan, found, cavity)
    assert not (marked[opening] == NO_ECHO)[cavity[opening] > 0].any()
    assert np.array_equal(marked > 0, fan)
    assert set(np.unique(marked)) == {0, ECHO, NO_ECHO}


def test_real_ultrasound_whose_depth_is_noise(resect_case_4, grid_of):
    """RESECT case 4: the far third of the sweep is an even grey."""
    from IoUSynthLib.files.volumes import read_volume

    grid = grid_of(read_volume(resect_case_4))
    assert 0.12 < find_no_echo(grid).sum() / grid.valid.sum() < 0.22


def test_a_volume_that_is_cropped_to_its_fan_has_a_rim_too(grid_of):
    volume = block()
    cropped = volume.with_array(np.where(volume.array > 0, volume.array, 60.0).astype(np.float32))
    assert find_no_echo(grid_of(cropped))[:, END + 8 :].mean() > 0.98
