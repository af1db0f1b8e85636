"""Batches that other processes draw, and cases that they load."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.training.data import (
    DrawnAhead,
    SliceBatches,
    TrainingVolume,
    load_volumes,
    refiner_volume,
    segmenter_volume,
)
from IoUSynthLib.volume import InputError, Volume


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


def test_damaged_predictions_are_named(tmp_path):
    """A file that is cut off ended in a traceback."""
    grid = np.zeros((12, 12, 12), np.int16)
    images = {name: Volume(grid + 100, (0.8,) * 3) for name in ("ioUS", "T2w", "FLAIR")}
    labels = Volume(grid.astype(np.uint8), (0.8,) * 3)
    write_case(Case(images, labels, labels.with_array(labels.array + 1), {}), tmp_path / "case-0000")
    path = tmp_path / "case-0000_T2w.npy"
    for content, message in ((grid.astype(np.float16), "is missing or damaged"), (np.zeros((3, 3, 3)), "another grid")):
        np.save(path, content)
        if content.shape == grid.shape:
            path.write_bytes(path.read_bytes()[:-100])
        for load in (
            lambda: segmenter_volume(tmp_path / "case-0000", ("ioUS", "T2w"), tmp_path),
            lambda: refiner_volume(tmp_path / "case-0000", tmp_path, ("T2w",), ultrasound=True),
        ):
            with pytest.raises(InputError, match=rf"case-0000_T2w\.npy: is (of )?.*{message.removeprefix('is ')}"):
                load()
