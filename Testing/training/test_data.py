"""Batches that other processes draw, and cases that they load."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from IoUSynthLib.training.data import DrawnAhead, SliceBatches, TrainingVolume, load_volumes


def volume(seed) -> TrainingVolume:
    image = np.random.default_rng(seed).uniform(-1, 1, (1, 24, 24, 24)).astype(np.float16)
    return TrainingVolume(image, image, image[0] > -2, np.argwhere(image[0] > 0))


@pytest.fixture
def batches() -> SliceBatches:
    return SliceBatches([volume(0), volume(1)], 2, 16, seed=3, augment=True)


def test_batches_drawn_ahead_are_those_of_their_numbers(batches):
    ahead = DrawnAhead(batches, 2)
    for step in (5, 6, 7, 2, 3):  # a run that is resumed begins in the middle
        expected, found = batches.draw(step), ahead.draw(step)
        for part in ("image", "target", "fan"):
            assert torch.equal(getattr(found, part), getattr(expected, part)), (step, part)


def empty_or(seed) -> TrainingVolume:
    whole = volume(seed)
    return whole if seed else TrainingVolume(whole.image, whole.target, whole.fan, whole.centres[:0])


def test_other_processes_load_the_same_cases_in_the_same_order():
    here, elsewhere = (load_volumes([2, 0, 1], empty_or, workers) for workers in (0, 2))
    assert len(here) == len(elsewhere) == 2
    assert all(np.array_equal(one.image, other.image) for one, other in zip(here, elsewhere, strict=True))
