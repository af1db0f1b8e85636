"""Batches that other processes draw, and cases that they load."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from IoUSynthLib.cases.case import NO_TUMOUR, UNLABELLED, Case, write_case
from IoUSynthLib.generators.recipe import NOT_VARIED, PUBLISHED_SLICES
from IoUSynthLib.training.data import (
    DrawnAhead,
    PatchBatches,
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


@pytest.mark.parametrize(("structure", "label", "rest"), [("tumour", 1, NO_TUMOUR), ("cavity", 2, UNLABELLED)])
def test_of_one_outlined_structure_the_rest_is_only_known_not_to_be_it(tmp_path, structure, label, rest):
    grid = np.zeros((12, 12, 12), np.uint8)
    labels, fan = (Volume(grid.copy(), (0.8,) * 3) for _ in range(2))
    labels.array[3:6], fan.array[1:] = label, 1
    images = {"ioUS": labels.with_array(np.random.default_rng(0).integers(1, 200, grid.shape).astype(np.int16))}
    write_case(Case(images, labels, fan, {"targets": [], "labelled": [structure]}), tmp_path / "case")
    volume = segmenter_volume(tmp_path / "case", ("ioUS",))
    assert np.unique(volume.target[0][volume.fan]).tolist() == [label, rest]
    assert (volume.target[0][~volume.fan] == 0).all()


def ramp(axis) -> TrainingVolume:
    """A cube whose values grow along an axis."""
    image = (np.indices((24, 24, 24))[axis] / 100)[None].astype(np.float16)
    return TrainingVolume(image, image, np.ones((24, 24, 24), bool), np.argwhere(image[0] >= 0)[::37])


def test_published_slices_lie_along_one_axis_and_are_flipped_within_it():
    flips = set()
    for axis, step in ((0, (0.01, 0, 0)), (1, (0, 0.01, 0)), (2, (0, 0, 0.01))):
        batches = SliceBatches(
            [ramp(axis)], 8, 16, seed=0, augment=False, augmentation=PUBLISHED_SLICES, context=1, axes=(0,)
        )
        image = batches.draw(0).image[:, :, 2:-2, 2:-2]
        for part in image:
            if part[0].mean() != part[1].mean() or axis:  # not at the rim, where a slice is its own neighbour
                found = [float(part.diff(dim=dim).mean()) for dim in range(3)]
                assert np.abs(found) == pytest.approx(step, abs=0.006 if axis == 0 else 1e-3)
                assert found[0] >= -1e-4, "the neighbours of a slice keep their order"
                flips.add(tuple(np.sign(np.round(found, 3))))
    assert {(0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)} <= flips


def test_patches_from_anywhere_reach_the_corners_of_the_box_of_the_fan_and_are_mirrored_beyond():
    place = np.indices((40, 40, 40))
    fan = ((place > 5) & (place < 30)).all(0) & (np.abs(place - 17.5).sum(0) < 20)
    image = np.where(fan, place[0] / 100, -1)[None].astype(np.float16)
    volume = TrainingVolume(image, np.full_like(image, np.nan), fan, np.argwhere(fan)[::99])
    batches = PatchBatches([volume], 64, (8, 8, 48), seed=0, augment=True, augmentation=NOT_VARIED, anywhere=True)
    batch = batches.draw(0)
    assert float(batch.image[batch.fan > 0].min()) == pytest.approx(0.06, abs=1e-3)
    assert float(batch.image[batch.fan > 0].max()) == pytest.approx(0.29, abs=1e-3)
    assert (batch.image[batch.fan == 0] == -1).all()
    share = batch.fan.mean(dim=(0, 1, 2, 3))
    assert float(share[36:].mean()) == pytest.approx(float(share[:12].mean()), rel=0.5), "beyond the box it is mirrored"
    filled = batch.fan.flatten(1).mean(1)
    assert float(filled.min()) < 0.4, "patches are not drawn to the fan"
    assert float(filled.max()) > 0.9


def test_a_case_is_complete_with_all_of_its_targets():
    whole = volume(0)
    both = np.concatenate([whole.target, whole.target])
    assert TrainingVolume(whole.image, both, whole.fan, whole.centres).complete
    both[1] = np.nan
    assert not TrainingVolume(whole.image, both, whole.fan, whole.centres).complete
