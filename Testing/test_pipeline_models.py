"""Generators of every kind through the main job: images from the chosen one, outlines from the trained pair."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.tiny_models import KINDS, convolution_model, generator_network, write_bundle, write_kind, write_refined

from IoUSynthLib import pipeline
from IoUSynthLib.volume import InputError, Volume

#: Voxels [z, y, x] in the black ventricle and in the bright lesion of the fixture ``ultrasound``.
VENTRICLE, LESION = (30, 44, 28), (26, 28, 34)


@pytest.fixture
def default(tiny_models, ultrasound):
    return pipeline.synthesize(ultrasound, device="cpu")


def check(result, ultrasound, default, images, sign=-1):
    """T2w = sign * ioUS / 2 and FLAIR the opposite, no estimate of the error, and the outlines of the default pair."""
    fan = result.valid.array > 0
    assert list(result.images) == list(images)
    for image in (*result.images.values(), result.segmentation, result.valid):
        assert image.same_grid(ultrasound, 0.0)
    for image in result.images.values():
        assert np.array_equal(image.array > 0, fan)
    t2w = result.images["T2w"].array
    assert t2w[VENTRICLE] == pytest.approx(500 - sign * 250, abs=40)
    assert sign * (t2w[LESION] - 500) > 60
    if len(images) == 2:
        assert np.allclose((t2w + result.images["FLAIR"].array)[fan], 1000.0, atol=0.1)
    assert result.uncertainty is None
    assert np.array_equal(result.segmentation.array, default.segmentation.array)


@pytest.mark.parametrize("images", [("T2w",), ("T2w", "FLAIR")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_without_an_estimate_of_its_error(tiny_models, ultrasound, default, tmp_path, kind, images):
    calls = []
    path = write_kind(tmp_path / "chosen", kind, images)
    result = pipeline.synthesize(ultrasound, path, "cpu", lambda stage, fraction: calls.append((stage, fraction)))
    check(result, ultrasound, default, images)
    report = result.report
    assert (report["model"]["name"], report["companion"]["name"]) == ("chosen", "ious2mr-2.5d")
    assert report["segmenter"]["name"] == "lesion-3d"
    assert report["quality"]["uncertainty"] == "not estimated: chosen does not predict its own error"
    assert "expected error not estimated: chosen does not predict its own error" in report["summary"]
    assert "(outlined on the images of ious2mr-2.5d)" in report["summary"]
    assert list(dict.fromkeys(stage for stage, _ in calls)) == list(pipeline.STAGES)
    fractions = [fraction for _, fraction in calls]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize("images", [("T2w",), ("T2w", "FLAIR")])
def test_a_generator_in_two_stages(tiny_models, ultrasound, default, tmp_path, images):
    result = pipeline.synthesize(ultrasound, write_refined(tmp_path / "refined", images), device="cpu")
    check(result, ultrasound, default, images, sign=1)


def test_a_second_stage_that_sees_the_ultrasound(tiny_models, ultrasound, default, tmp_path):
    """T2w of the first stage is -ioUS / 2; the second adds the ultrasound."""
    weights = np.zeros((1, 2, 3, 3, 3))
    weights[0, :, 1, 1, 1] = 1.0
    second = convolution_model(weights, np.zeros(1))
    path = write_refined(tmp_path / "refined", second=second, inputs=["T2w", "ioUS"])
    check(pipeline.synthesize(ultrasound, path, device="cpu"), ultrasound, default, ("T2w",), sign=1)


def test_an_estimate_of_another_generator_is_its_own(tiny_models, ultrasound, default, tmp_path):
    """Another generator with an error: its own estimate is shown, while the default pair makes the outlines."""
    path = write_bundle(tmp_path / "other", generator_network(repeats=1), spacing=[1.1, 1.1, 1.1])
    result = pipeline.synthesize(ultrasound, path, device="cpu")
    assert result.report["companion"]["name"] == "ious2mr-2.5d"
    assert np.allclose(result.uncertainty.array[result.valid.array > 0], 0.1, atol=1e-5)
    assert "expected error 10%" in result.report["summary"]
    assert np.array_equal(result.segmentation.array, default.segmentation.array)


def test_a_copy_of_the_default_needs_no_paired_generator(tiny_models, ultrasound, default, tmp_path):
    path = shutil.copytree(tiny_models / "ious2mr-2.5d", tmp_path / "copy")
    result = pipeline.synthesize(ultrasound, path, device="cpu")
    assert result.report["companion"] is None
    assert np.array_equal(result.uncertainty.array, default.uncertainty.array)


def test_the_patients_mri_gives_axes_and_voxel_size(tiny_models, ultrasound, default, tmp_path):
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    mri = Volume(np.zeros((1, 1, 1)), (1.2, 1.1, 1.7), direction=ultrasound.direction @ turn)
    for kind, spacing in (("stretched", [1.2, 1.1, 1.7]), ("triplanar", [0.5, 0.5, 2.0])):
        result = pipeline.synthesize(ultrasound, write_kind(tmp_path / kind, kind), "cpu", mr_grid=mri)
        check(result, ultrasound, default, ("T2w",))
        grid = result.report["grid"]
        assert (grid["axes"], grid["spacing_mm"]) == ("preoperative MRI", spacing)
        without = pipeline.synthesize(ultrasound, tmp_path / kind, "cpu")
        assert without.report["grid"]["axes"] == "patient"
        assert not np.array_equal(without.images["T2w"].array, result.images["T2w"].array)
    result = pipeline.synthesize(ultrasound, device="cpu", mr_grid=mri)
    assert np.array_equal(result.images["T2w"].array, default.images["T2w"].array), "only in the patient's frame"


def test_an_absurd_mri_is_refused_before_memory_runs_out(tiny_models, ultrasound):
    mri = Volume(np.zeros((1, 1, 1)), (1e-3, 1e-3, 1e-3))
    with pytest.raises(InputError, match=r"voxels of .* mm; check the spacings"):
        pipeline.synthesize(ultrasound, "published-2d", mr_grid=mri)


def test_values_that_are_no_numbers_are_refused(tiny_models, ultrasound, tmp_path):
    network = convolution_model(np.full((1, 1, 3, 3), np.nan), np.zeros(1))
    path = write_bundle(tmp_path / "broken", network, regime="2D", slice_axes=[0], outputs=["T2w"])
    with pytest.raises(InputError, match=r"broken: predicts values that are not finite; .*another model"):
        pipeline.synthesize(ultrasound, path)
