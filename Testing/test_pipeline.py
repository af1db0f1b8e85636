"""The main job on the tiny models: known answers on the input's own grid."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
from support.tiny_models import TINY_ERROR, convolution_model, generator_network, segmenter_network, write_bundle

from IoUSynthLib import pipeline, preprocessing
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.inference import Cancelled
from IoUSynthLib.models.bundle import METADATA, load
from IoUSynthLib.synthesis.segmentation import FAINT_TUMOUR, NO_TUMOUR_SEEN
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture
def result(tiny_models, ultrasound):
    return pipeline.synthesize(ultrasound, device="cpu")


def test_outputs_lie_on_the_input_grid(result, ultrasound):
    outputs = [*result.images.values(), result.uncertainty, result.segmentation, result.valid]
    assert list(result.images) == ["T2w", "FLAIR"]
    assert all(volume.same_grid(ultrasound, 0.0) for volume in outputs)
    assert [volume.array.dtype.name for volume in outputs] == ["float32"] * 3 + ["uint8"] * 2


def test_zero_is_no_data_and_nothing_else(result, ultrasound):
    fan = result.valid.array > 0
    assert np.array_equal(fan, preprocessing.field_of_view(ultrasound.array))
    for volume in (*result.images.values(), result.uncertainty):
        assert np.array_equal(volume.array > 0, fan)
    assert all(image.array[fan].min() >= 1 and image.array.max() <= 1000 for image in result.images.values())
    assert not result.segmentation.array[~fan].any()


def test_known_answers(result, ultrasound):
    """The tiny generator maps u to -u/2 and u/2, so the two images add up to the middle of the range."""
    fan = result.valid.array > 0
    total = result.images["T2w"].array + result.images["FLAIR"].array
    assert np.allclose(total[fan], 1000.0, atol=0.1)
    assert np.allclose(result.uncertainty.array[fan], TINY_ERROR / 2, atol=1e-5)
    ventricle = tuple(np.array([30, 44, 28]))
    assert result.images["FLAIR"].array[ventricle] == pytest.approx(250.0, abs=1.0)
    assert result.segmentation.array[26, 28, 34] == 1, "the bright lesion is tumour"
    assert result.segmentation.array[ventricle] == 2, "the black hole is cavity"


def test_before_a_resection_what_looks_like_a_cavity_is_tumour(tiny_models, result, ultrasound):
    told = pipeline.synthesize(ultrasound, device="cpu", before_resection=True)
    assert told.segmentation.array[30, 44, 28] == 1, "the black hole"
    assert told.segmentation.array[26, 28, 34] == 1, "the bright lesion"
    assert told.report["volumes_ml"]["cavity"] == 0
    assert (told.report["before_resection"], result.report["before_resection"]) == (True, False)
    assert np.array_equal(told.images["T2w"].array, result.images["T2w"].array)


@pytest.fixture
def faint(ultrasound):
    """The lesion little brighter than the rest, and no hole: tumour to no voxel, and still the brightest place."""
    z, y, x = np.indices(ultrasound.array.shape)
    lesion, hole = (
        np.hypot(np.hypot(x - i, y - j), z - k) < r for i, j, k, r in ((34, 28, 26, 8), (28, 44, 30, 6))
    )
    array = np.where(hole, 60, ultrasound.array) * np.where(lesion, 0.44, 1)
    return Volume(array.astype(np.float32), (1.0, 1.0, 1.0))


CHOICES = {"nothing": {}, "before": {"before_resection": True}}
CHOICES["asked"] = {**CHOICES["before"], "probable_place": True}


def test_the_place_of_a_faint_tumour_is_outlined_only_where_that_is_asked_for(tiny_models, faint):
    results = {name: pipeline.synthesize(faint, device="cpu", **told).report for name, told in CHOICES.items()}
    assert [report["volumes_ml"]["tumour"] > 0 for report in results.values()] == [False, False, True]
    assert [report["probable_place"] for report in results.values()] == [False, False, True]
    for name in ("nothing", "before"):
        assert results[name]["summary"].startswith("No tumour outlined, which does not rule one out, resection cavity")
    warned = [[text in report["warnings"] for text in (NO_TUMOUR_SEEN, FAINT_TUMOUR)] for report in results.values()]
    assert warned == [[False, False], [True, False], [False, True]]
    assert results["asked"]["summary"].endswith(f"{len(results['asked']['warnings'])} warning")


@pytest.fixture
def measured_models(tiny_bundles, tmp_path, monkeypatch):
    """The tiny models, of whose segmenter's tumours less is known to be right than of its cavities."""
    shutil.copytree(tiny_bundles, tmp_path / "models")
    metadata = tmp_path / "models" / "lesion-3d" / METADATA
    content = json.loads(metadata.read_text())
    content["iousynth"]["expected_dice"] = {
        "tumour": {"confidence": [0.5, 0.99], "dice": [0.1, 0.4]},
        "cavity": {"confidence": [0.2, 0.8], "dice": [0.6, 0.9]},
    }
    metadata.write_text(json.dumps(content))
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tmp_path / "models"))


def test_a_doubtful_outline_is_called_so(measured_models, ultrasound):
    report = pipeline.synthesize(ultrasound, device="cpu").report
    assert 0.1 < report["expected_dice"]["tumour"] < 0.4
    assert 0.6 < report["expected_dice"]["cavity"] <= 0.9
    assert report["doubtful"] == ["tumour"]
    said = f"the outline of the tumour is doubtful (expected Dice {report['expected_dice']['tumour']:.2f}): compare it"
    assert [warning.startswith(said) for warning in report["warnings"]] == [True]
    assert "ml (doubtful outline), resection cavity" in report["summary"]


def test_what_the_expected_dice_was_measured_on_is_said_where_the_model_says_it(measured_models, ultrasound, tmp_path):
    metadata = tmp_path / "models" / "lesion-3d" / METADATA
    content = json.loads(metadata.read_text())
    content["iousynth"]["expected_dice_measured_on"] = "20 patients"
    metadata.write_text(json.dumps(content))
    (warning,) = pipeline.synthesize(ultrasound, device="cpu").report["warnings"]
    assert ", as measured on 20 patients): compare it" in warning


def test_a_faint_tumours_place_is_doubtful_and_warned_of_once(measured_models, faint):
    report = pipeline.synthesize(faint, device="cpu", **CHOICES["asked"]).report
    assert report["doubtful"] == ["tumour"]
    assert report["expected_dice"]["tumour"] == 0.1, "as unsure as any: the odds are not taken as they were raised"
    assert report["warnings"].count(FAINT_TUMOUR) == 1
    assert not any("the outline of the tumour" in warning for warning in report["warnings"])


def test_where_nobody_has_measured_it_no_outline_is_called_doubtful(result):
    assert (result.report["expected_dice"], result.report["doubtful"]) == ({}, [])


def test_the_expected_error_rises_where_the_slice_axes_disagree(tiny_models, ultrasound, tmp_path):
    """Each slice is shifted by a row: along z or along y, as the axis has it."""
    weights = np.zeros((3, 3, 3, 3))
    weights[0, 1, 0, 1], weights[1, 1, 0, 1] = -0.5, 0.5
    network = convolution_model(weights, np.array([0.0, 0.0, math.log(TINY_ERROR)]))
    volume = Volume(ultrasound.array, spacing=(0.8, 0.8, 0.8))  # the generator's own grid: nothing is interpolated
    result = pipeline.synthesize(volume, write_bundle(tmp_path / "shifting", network, window=[96, 96]), device="cpu")
    fan = result.valid.array > 0
    inside = np.pad(fan, 1)
    for axis in range(3):
        inside &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
    seen = preprocessing.normalize_ultrasound(ultrasound.array)
    along_z, along_y = (np.roll(seen, 1, axis) / 2 for axis in (0, 1))
    deviation = np.abs(along_z - along_y) * 4 / 9  # in the mean, of two equal values and another one
    expected = np.hypot(TINY_ERROR, deviation) / 2
    deep = inside[1:-1, 1:-1, 1:-1]
    assert np.allclose(result.uncertainty.array[deep], expected[deep], atol=1e-4)
    assert result.uncertainty.array[deep].max() > TINY_ERROR / 2 + 0.01


def test_a_generator_on_the_patients_axes(tiny_models, ultrasound, tmp_path):
    """The sweep is oblique, the network sees a grid that is not, and all comes back onto the input's grid."""
    path = write_bundle(tmp_path / "axial", generator_network(), frame="patient", slice_axes=[0])
    result = pipeline.synthesize(ultrasound, path, device="cpu")
    fan = result.valid.array > 0
    assert result.images["T2w"].same_grid(ultrasound, 0.0)
    total = result.images["T2w"].array + result.images["FLAIR"].array
    assert np.allclose(total[fan], 1000.0, atol=0.1)
    assert result.images["FLAIR"].array[28, 44, 30] == pytest.approx(250.0, abs=1.0)
    assert result.segmentation.array[26, 28, 34] == 1, "the bright lesion stays in its place"


def test_a_segmenter_on_larger_voxels(tiny_bundles, ultrasound, tmp_path, monkeypatch):
    shutil.copytree(tiny_bundles / "ious2mr-2.5d", tmp_path / "ious2mr-2.5d")
    section = load(tiny_bundles / "lesion-3d").details | {"spacing": [1.6, 1.6, 1.6]}
    write_bundle(tmp_path / "lesion-3d", segmenter_network(), **section)
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tmp_path))
    result = pipeline.synthesize(ultrasound, device="cpu")
    assert result.segmentation.same_grid(ultrasound, 0.0)
    assert not result.segmentation.array[result.valid.array == 0].any()
    tumour = np.argwhere(result.segmentation.array == 1)
    assert np.allclose(tumour.mean(0), (26, 28, 34), atol=1.0)
    lesion = np.pi / 6 * 10.4 * 9.6 * 11.2 / 1000  # its axes in mm
    assert len(tumour) * ultrasound.voxel_volume_ml == pytest.approx(lesion, rel=0.35)


def test_input_is_left_alone(tiny_models, ultrasound):
    before = ultrasound.array.copy()
    ultrasound.array.setflags(write=False)
    pipeline.synthesize(ultrasound, device="cpu")
    ultrasound.array.setflags(write=True)
    assert np.array_equal(before, ultrasound.array)


def test_report_names_everything(result):
    report = json.loads(json.dumps(result.report))
    assert report["synthetic"] is True
    assert "NOT ACQUIRED" in report["notice"]
    assert report["model"]["name"] == "ious2mr-2.5d"
    assert len(report["model"]["sha256"]) == 64
    assert report["segmenter"]["licence"] == "Apache-2.0"
    assert report["device"] == {"requested": "cpu", "used": "cpu", "runtime": "ONNX Runtime"}
    assert set(report["versions"]) == {"iousynth", "python", "numpy", "onnxruntime", "SimpleITK"}
    assert set(report["seconds"]) == {*pipeline.STAGES, "total"}
    assert report["warnings"] == []
    assert report["companion"] is None
    assert report["grid"]["axes"] == "ultrasound"
    assert "\n" not in report["summary"]
    assert "expected error 10% of the intensity range" in report["summary"]
    assert report["volumes_ml"]["tumour"] > 0.3


def test_progress_rises_through_the_stages(tiny_models, ultrasound):
    calls = []
    pipeline.synthesize(ultrasound, progress=lambda stage, fraction: calls.append((stage, fraction)))
    assert list(dict.fromkeys(stage for stage, _ in calls)) == list(pipeline.STAGES)
    fractions = [fraction for _, fraction in calls]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_cancel_from_the_progress_callback(tiny_models, ultrasound):
    def stop(stage, fraction):
        if stage == "synthesizing" and fraction > pipeline.STAGES["synthesizing"]:
            raise Cancelled

    with pytest.raises(Cancelled):
        pipeline.synthesize(ultrasound, progress=stop)


def test_a_wrong_kind_of_model_is_refused(tiny_models, ultrasound):
    with pytest.raises(InputError, match="is a segmenter, but a generator is needed"):
        pipeline.synthesize(ultrasound, model="lesion-3d")


def test_a_volume_that_is_no_ultrasound_gets_a_warning(tiny_models):
    z, y, x = np.mgrid[:40, :40, :40]
    crop = (300.0 + 40.0 * np.sin(x + y + z)).astype(np.float32)
    result = pipeline.synthesize(Volume(crop, (0.8, 0.8, 0.8)))
    assert "does not look like ultrasound" in result.report["warnings"][0]
    assert f"{len(result.report['warnings'])} warning" in result.report["summary"]


def test_constant_prediction_has_no_dark_rim(tiny_models, ultrasound):
    """Uncertainty of the tiny generator is the same everywhere: any blending with the outside would show."""
    result = pipeline.synthesize(ultrasound)
    values = result.uncertainty.array[result.valid.array > 0]
    assert np.ptp(values) < 1e-5


def test_real_case_comes_back_on_its_own_grid(resect_case_4, tiny_models, tmp_path):
    volume = read_volume(resect_case_4)
    result = pipeline.synthesize(volume)
    assert result.report["warnings"] == []
    assert 75 < result.report["quality"]["fan_ml"] < 90
    for name, image in {**result.images, "segmentation": result.segmentation}.items():
        write_volume(tmp_path / f"{name}.nii.gz", image)
        assert read_volume(tmp_path / f"{name}.nii.gz").same_grid(volume, 1e-5)
