"""MRI from before the operation beside ultrasound: what a network learns to read, and to distrust."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.noise_cohort import write_noise_cohort
from support.toy_presets import toy_unet

from IoUSynthLib.cases.case import case_grid, read_case
from IoUSynthLib.constants import OUTSIDE
from IoUSynthLib.models.bundle import load
from IoUSynthLib.synthesis.generate import generate
from IoUSynthLib.training.preoperative import (
    CONTRASTS,
    PreoperativeBatches,
    PreoperativeVolume,
    acquired,
    displaced,
    drawn_mri,
    other_contrast,
    preoperative_volume,
    read_at,
)
from IoUSynthLib.training.presets import find_preset
from IoUSynthLib.training.release import export_run
from IoUSynthLib.training.run import train
from IoUSynthLib.volume import InputError

SIZE = 32


def volume(value: float) -> PreoperativeVolume:
    """A case whose T2w counts along x, ceT1 along y, FLAIR along z, each from -1 on, plus a small value."""
    fan = np.zeros((40,) * 3, bool)
    fan[4:-4, 4:-4, 4:-4] = True
    ramps = np.stack(np.meshgrid(*[np.linspace(-0.9, 0.8, 40)] * 3, indexing="ij"))[::-1]
    mri = (ramps + value).astype(np.float16)
    image = np.where(fan, 0.3, OUTSIDE)[None].astype(np.float16)
    tissues = (np.arange(40) // 8).astype(np.uint8)[None, None].repeat(40, 0).repeat(40, 1)
    means = np.stack([[one[tissues == tissue].mean() for tissue in range(5)] for one in mri.astype(float)])
    return PreoperativeVolume(image, mri[[0, 2]], fan, np.argwhere(fan)[::97].astype(np.int16), mri, tissues, means)


def batches(*volumes: PreoperativeVolume, augment: bool = False) -> PreoperativeBatches:
    return PreoperativeBatches(volumes, 64, SIZE, seed=3, augment=augment)


def test_exact_mri_lies_where_the_target_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through all axes, flips and transpositions: the middle slices of T2w and FLAIR are the targets."""
    monkeypatch.setattr("IoUSynthLib.training.preoperative._EXACT", 1.0)
    monkeypatch.setattr("IoUSynthLib.training.preoperative._ANOTHER", 0.0)
    batch = batches(volume(0.0)).draw(0)
    image = batch.image.unflatten(1, (4, 3))
    checked = 0
    for channel, target in ((1, 0), (3, 1)):
        for part, wanted, fan in zip(image[:, channel, 1], batch.target[:, target], batch.fan[:, 0] > 0, strict=True):
            assert (part[~fan] == OUTSIDE).all()
            if (part > OUTSIDE).any():
                torch.testing.assert_close(part[fan], wanted[fan], atol=2e-3, rtol=0)
                checked += 1
    assert checked > 40


def test_every_subset_is_drawn_and_none_in_a_fifth() -> None:
    drawn = [batches(volume(0.0)).draw(number).image.unflatten(1, (4, 3)) for number in range(12)]
    there = (torch.cat(drawn)[:, 1:] > OUTSIDE).any(-1).any(-1).any(-1)
    subsets = (there * torch.tensor([1, 2, 4])).sum(1)
    counts = torch.bincount(subsets, minlength=8) / len(subsets)
    assert counts[0] == pytest.approx(0.2, abs=0.05)
    assert (counts[1:] > 0.06).all()


def test_another_patients_mri_comes_with_the_ultrasound_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IoUSynthLib.training.preoperative._EXACT", 1.0)
    monkeypatch.setattr("IoUSynthLib.training.preoperative._ANOTHER", 0.4)
    batch = batches(volume(0.0), volume(0.1)).draw(0)
    image = batch.image.unflatten(1, (4, 3))
    known = (image[:, 1, 1] > OUTSIDE) & (batch.fan[:, 0] > 0)
    offsets = [float((one - target)[mask].median()) for one, target, mask in
               zip(image[:, 1, 1], batch.target[:, 0], known, strict=True) if mask.any()]  # fmt: skip
    foreign = np.abs(offsets) > 0.05
    assert 0.05 < foreign.mean() < 0.4, "the share is 0.4, of which half is the patient's own by chance"


def test_displacements_are_those_of_registration_and_brain_shift() -> None:
    points = np.stack(np.meshgrid([50.0], np.arange(0, 77, 4.0), np.arange(0, 77, 4.0), indexing="ij"))
    rng = np.random.default_rng(0)
    lengths = [np.linalg.norm(displaced(points, rng) - points, axis=0) for _ in range(400)]
    means, largest = np.array([one.mean() for one in lengths]), np.array([one.max() for one in lengths])
    assert (means == 0).mean() == pytest.approx(0.15, abs=0.05)
    assert 2.5 < np.median(means[means > 0]) < 5
    assert 8 < largest.max() < 25, "a shift, a turn of the window's corners, and the deformation"


def test_mri_of_a_whole_case_lies_as_in_slices_or_is_missing(tmp_path: Path) -> None:
    with_mri, without = (write_noise_cohort(tmp_path / str(count), CONTRASTS[:count]) for count in (3, 0))
    case = read_case(with_mri / "case-0000")
    drawn = [drawn_mri(case, CONTRASTS, np.random.default_rng(seed)) for seed in range(40)]
    assert {0 if mri is None else len(mri.images) for mri in drawn} == {0, 1, 2, 3}
    transforms = [mri.transform for mri in drawn if mri]
    assert {one and one.GetName() for one in transforms} == {None, "AffineTransform", "DisplacementFieldTransform"}
    point = (20.0, 20.0, 20.0)
    moved = [np.linalg.norm(np.subtract(one.TransformPoint(point), point)) for one in transforms if one]
    assert 0.5 < np.median(moved) < 4
    assert max(moved) <= 8.001
    assert drawn_mri(read_case(without / "case-0000"), CONTRASTS, np.random.default_rng(0)) is None


def test_reading_interpolates_and_knows_nothing_beyond() -> None:
    maps = np.arange(64, dtype=np.float32).reshape(1, 4, 4, 4)
    points = np.array([[1.0, 2.5, 9.0], [2.0, 1.0, 1.0], [3.0, 0.5, 1.0]]).reshape(3, 1, 1, 3)
    assert read_at(maps, points)[0, 0, 0].tolist() == pytest.approx([27.0, 44.5, OUTSIDE], abs=1e-3)


def test_another_contrast_has_the_same_places_and_other_grey_levels() -> None:
    rng = np.random.default_rng(1)
    tissues = rng.integers(0, 5, (3, 40, 40))
    means = np.array([-0.8, -0.4, 0.0, 0.4, 0.8])
    image = (means[tissues] + 0.02 * rng.standard_normal(tissues.shape)).astype(np.float32)
    orders = set()
    for _ in range(12):
        changed = other_contrast(image, tissues, means, rng)
        assert np.abs(changed).max() <= 1
        found = [changed[tissues == tissue] for tissue in range(5)]
        spread = np.mean([values.std() for values in found])
        assert spread < 0.5 * np.std([values.mean() for values in found]), "tissues stay apart"
        orders.add(tuple(np.argsort([values.mean() for values in found])))
    assert len(orders) > 4


def test_a_scanner_changes_little_and_stays_in_range() -> None:
    rng = np.random.default_rng(2)
    image = np.tile(np.linspace(-1, 1, 48, dtype=np.float32), (3, 48, 1))
    for _ in range(10):
        seen = acquired(image, rng)
        assert np.abs(seen).max() <= 1
        assert np.corrcoef(seen.ravel(), image.ravel())[0, 1] > 0.9


def test_the_preset_learns_and_its_bundle_runs_with_and_without_mri(tmp_path: Path) -> None:
    cohort = write_noise_cohort(tmp_path / "cohort", preoperative=CONTRASTS)
    preset = toy_unet(find_preset("ious-mri2mr-2.5d"))
    train(preset, cohort, tmp_path / "run", report=lambda _line: None)
    export_run(tmp_path / "run", tmp_path / "bundle", preset=preset, torchscript=False)
    bundle = load(tmp_path / "bundle")
    case = read_case(cohort / "case-0001")
    grid, ramp = case_grid(case), np.linspace(-1, 1, case.fan.array.size).reshape(case.fan.array.shape)
    alone, with_ramp = (generate(bundle, grid, preoperative=mri).images for mri in ({}, {"ceT1": ramp}))
    assert np.isfinite(alone["T2w"]).all()
    assert np.abs(with_ramp["T2w"] - alone["T2w"]).max() > 0
    assert bundle.inputs == ("ioUS", "T2w", "ceT1", "FLAIR")
    assert bundle.optional == ("T2w", "ceT1", "FLAIR")
    assert bundle.outputs == ("T2w", "FLAIR", "log_error")
    assert bundle.regime == "2.5D"


def test_a_cohort_without_such_mri_is_refused(tmp_path: Path) -> None:
    cohort = write_noise_cohort(tmp_path)
    with pytest.raises(InputError, match=r"has no FLAIR and T2w and ceT1 .* simulate --preoperative"):
        preoperative_volume(cohort / "case-0000")
