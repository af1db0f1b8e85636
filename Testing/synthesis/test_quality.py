"""The quality of an input before the run: what it says, and of what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.tiny_models import SHARED

from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.models.bundle import load
from IoUSynthLib.synthesis import quality
from IoUSynthLib.synthesis.quality import FINE, LOOK, UNUSABLE, assess_quality, measure, training_range
from IoUSynthLib.volume import Volume


def on_spacing(volume, factor):
    return replace(volume, spacing=tuple(factor * size for size in volume.spacing))


def test_ultrasound_is_fine_and_is_described(ultrasound, tiny_models):
    found = assess_quality(ultrasound, load("ious2mr-2.5d"))
    assert (found.level, found.findings) == (FINE, ())
    fan = (ultrasound.array > 0).sum() * ultrasound.voxel_volume_ml
    assert found.measures["fan_ml"] == pytest.approx(fan, rel=0.05)  # the black ventricle in it counts
    assert found.summary.startswith(f"{found.measures['fan_ml']:.0f} ml of image, ")
    assert "voxels of 0.6 to 0.7 mm" in found.summary


def test_integers_are_judged_as_they_are(ultrasound):
    whole = ultrasound.with_array(ultrasound.array.round())
    assert measure(whole.with_array(whole.array.astype(np.uint8))) == pytest.approx(measure(whole), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda volume: volume.with_array(np.full_like(volume.array, 3)), "is empty"),
        (lambda volume: volume.with_array(np.where(volume.array > 0, np.nan, 0)), "NaN"),
        (lambda volume: replace(volume, spacing=(0, 1, 1)), "spacing"),
    ],
)
def test_what_cannot_be_worked_on(ultrasound, make, cause):
    found = assess_quality(make(ultrasound), name="Case")
    assert found.level == UNUSABLE
    assert found.findings[0].startswith("Case: ")
    assert cause in found.findings[0]
    assert found.summary == ""


def finding(volume, bundle=None):
    found = assess_quality(volume, bundle)
    assert found.level == LOOK
    assert len(found.findings) == 1
    return found.findings[0]


def test_names_cause_and_remedy(ultrasound, tiny_models):
    bundle = load("ious2mr-2.5d")
    assert "an MRI, or a wrong voxel spacing? Choose the ultrasound" in finding(on_spacing(ultrasound, 4.0))
    noise = np.where(ultrasound.array > 0, ultrasound.array, np.random.default_rng(0).random(ultrasound.array.shape))
    said = " ".join(assess_quality(ultrasound.with_array(noise)).findings)
    assert "as in the air round a head in MRI. Choose the ultrasound volume" in said
    assert "Voxels of 2.1 mm are coarse for the model, which works at 0.8 mm" in finding(
        on_spacing(ultrasound, 3.0), bundle
    )
    assert "set the spacing in mm" in finding(on_spacing(ultrasound, 0.001), bundle)
    frames = ultrasound.array.copy()
    frames[np.arange(len(frames)) % 4 != 0] = 0
    assert "reconstruct the volume with hole filling" in finding(ultrasound.with_array(frames), bundle)


@pytest.mark.parametrize("entries", [{}, {"training_range": None}, {"training_range": {}}])
def test_of_a_training_that_the_model_says_nothing_of_nothing_is_said(entries, ultrasound, tiny_models):
    bundle = replace(load("ious2mr-2.5d"), details=entries)
    inverted = np.where(ultrasound.array > 0, 256 - ultrasound.array, 0)
    found = assess_quality(ultrasound.with_array(inverted), bundle)
    assert (found.level, found.findings) == (FINE, ())


def test_says_in_what_an_image_is_unlike_the_training(ultrasound, tiny_models):
    limits = training_range([ultrasound])
    bundle = load("ious2mr-2.5d")
    bundle = replace(bundle, details={**bundle.details, "training_range": limits})
    within = {name: [low - 0.01, high + 0.01] for name, (low, high) in limits.items()}
    assert assess_quality(ultrasound, replace(bundle, details={"training_range": within})).level == FINE
    inverted = np.where(ultrasound.array > 0, 256 - ultrasound.array, 0)
    said = finding(ultrasound.with_array(inverted), bundle)
    assert said.startswith("Unlike the images that ious2mr-2.5d was trained on (brightness ")
    assert "trained on" in said


def test_grain_is_that_of_speckle(ultrasound):
    inside = ultrasound.array > 0
    x = np.arange(64, dtype=np.float32)
    smooth = ultrasound.with_array(np.where(inside, 100 + x, 0).astype(np.float32))
    assert measure(ultrasound)["grain"] > 0.5
    assert measure(smooth)["grain"] < 0.1


def test_a_sample_is_a_view(ultrasound):
    large = Volume(np.zeros((200, 64, 65), np.uint8), (1.0, 2.0, 3.0))
    sample = quality.sampled(large)
    assert sample.array.base is large.array
    assert sample.array.shape == (50, 64, 33)
    assert sample.spacing == (2.0, 2.0, 12.0)


def test_the_real_case_is_fine(resect_case_4):
    found = assess_quality(read_volume(resect_case_4), load("ious2mr-2.5d"))
    assert found.findings == ()
    assert found.measures["fan_ml"] == pytest.approx(83, abs=2)


def test_looks_like_ultrasound(ultrasound):
    assert quality.looks_like_ultrasound(ultrasound) == (True, "")
    large = Volume(ultrasound.array, (3.0, 3.0, 3.0))
    assert "an MRI, or a wrong voxel spacing" in quality.looks_like_ultrasound(large)[1]
    filled = Volume(np.abs(ultrasound.array) + 50)
    assert "fills 100%" in quality.looks_like_ultrasound(filled)[1]
    noisy = Volume(np.where(ultrasound.array > 0, ultrasound.array, 0.5))
    assert "not 0" in quality.looks_like_ultrasound(noisy)[1]


@pytest.mark.parametrize(
    "name",
    [
        "remind_022/ReMIND-022_3DAXT2SPACE_MRI.nii.gz",
        "remind_022/ReMIND-022_3DAXT1postcontrast_MRI.nii.gz",
        "open_ms/patient19/t1.nii.gz",
        "open_ms/patient07/t2.nii.gz",
        "open_ms/patient07/flair.nii.gz",
        "tcga_lgg/TCGA-DU-7294/t2.nii.gz",
    ],
)
def test_real_mri_does_not_look_like_ultrasound(name):
    path = SHARED / "data" / name
    if not path.exists():
        pytest.skip("the MRI is not here")
    plausible, reason = quality.looks_like_ultrasound(read_volume(path))
    assert not plausible
    assert "ml" in reason


def test_real_ultrasound_looks_like_it(resect_case_4):
    assert quality.looks_like_ultrasound(read_volume(resect_case_4)) == (True, "")
