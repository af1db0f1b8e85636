"""Preoperative MRI as second input: what of it a generator sees, what it changes, and when it is not believed."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from support.noise import speckle
from support.tiny_models import WITH_MRI, mri_generator_network, oblique_direction, write_bundle

from IoUSynthLib import pipeline, preprocessing
from IoUSynthLib.models.bundle import DEFAULT_GENERATOR, load
from IoUSynthLib.preprocessing import normalize_preoperative, resample_like
from IoUSynthLib.synthesis.grid import FieldOfView, network_grid, network_inputs
from IoUSynthLib.synthesis.preoperative import (
    MOST_DISAGREEMENT,
    Preoperative,
    compare,
    image_sha256,
    on_grid,
    synthesize_both,
)
from IoUSynthLib.volume import InputError, Volume

#: From the ultrasound's LPS points to those of an MRI in a frame of its own.
ANGLES, SHIFT = (0.1, -0.05, 0.2), (12.0, -7.0, 30.0)


@pytest.fixture(scope="module")
def registration():
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*ANGLES)
    transform.SetTranslation(SHIFT)
    return transform


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("onnx")
    return load(write_bundle(tmp_path_factory.mktemp("models") / "with-mri", mri_generator_network(), **WITH_MRI))


def placed(ultrasound, registration, values=lambda x, y, z: 200 + 5 * x + 3 * y + 2 * z, *, side=80):
    """An MRI in a frame of its own whose values are a function of the ultrasound's LPS points, in mm round its middle.

    Values that are linear survive linear interpolation, so that what arrives on any grid is known.
    """
    middle = (ultrasound.ijk_to_lps @ [*(np.array(ultrasound.size) / 2), 1.0])[:3]
    centre = np.array(registration.TransformPoint(middle.tolist()))
    spacing, direction = (1.1, 1.0, 1.3), oblique_direction().T
    origin = centre - direction @ (np.multiply(spacing, side - 1) / 2)
    grid = Volume(np.zeros((side,) * 3, np.float32), spacing, tuple(origin), direction)
    ijk = np.indices(grid.array.shape)[::-1].reshape(3, -1)
    points = (grid.ijk_to_lps[:3, :3] @ ijk).T + grid.origin
    matrix = np.array(registration.GetMatrix()).reshape(3, 3)
    back = (points - registration.GetTranslation() - registration.GetCenter()) @ matrix + registration.GetCenter()
    x, y, z = (back - middle).T
    return grid.with_array(np.maximum(values(x, y, z), 0).reshape(grid.array.shape).astype(np.float32))


@pytest.fixture(scope="module")
def t2w(ultrasound, registration):
    return placed(ultrasound, registration)


@pytest.fixture
def grid(model, ultrasound):
    return network_grid(FieldOfView.of(ultrasound), model)


def points_on(grid):
    ijk = np.indices(grid.valid.shape)[::-1].reshape(3, -1)
    return ((grid.image.ijk_to_lps[:3, :3] @ ijk).T + grid.image.origin).reshape(*grid.valid.shape, 3)


def test_the_mri_arrives_where_the_transform_says(t2w, registration, grid, ultrasound):
    seen, left_out = on_grid(Preoperative({"T2w": t2w}, registration), grid)
    middle = (ultrasound.ijk_to_lps @ [*(np.array(ultrasound.size) / 2), 1.0])[:3]
    expected = normalize_preoperative(200 + (points_on(grid) - middle) @ [5.0, 3.0, 2.0], grid.valid)
    assert left_out == {}
    assert np.abs(seen["T2w"] - expected).max() < 1e-3
    assert (seen["T2w"][~grid.valid] == -1).all()
    assert seen["T2w"][grid.valid].std() > 0.2


def test_what_the_mri_does_not_cover_is_minus_one(t2w, registration, grid):
    cut = Volume(t2w.array[35:], t2w.spacing, t2w.ijk_to_lps[:3] @ [0, 0, 35, 1], t2w.direction)
    seen, left_out = on_grid(Preoperative({"T2w": cut}, registration), grid)
    missing = grid.valid & (seen["T2w"] == -1)
    assert left_out == {}
    assert 0.2 < missing.sum() / grid.valid.sum() < 0.5
    less = Volume(t2w.array[55:], t2w.spacing, t2w.ijk_to_lps[:3] @ [0, 0, 55, 1], t2w.direction)
    seen, left_out = on_grid(Preoperative({"T2w": less, "FLAIR": t2w.with_array(0 * t2w.array)}, registration), grid)
    assert seen == {}
    assert left_out["T2w"].startswith("the T2w MRI covers only ")
    assert left_out["FLAIR"] == "the FLAIR MRI holds no image where the ultrasound is"


def test_channels_come_in_the_order_of_the_inputs_and_missing_ones_are_minus_one(model, grid):
    t2w, flair = (np.full(grid.valid.shape, value, np.float32) for value in (0.25, 0.5))
    stack = network_inputs(model, grid, {"FLAIR": flair, "T2w": t2w})
    assert stack.shape == (4, *grid.valid.shape)
    np.testing.assert_array_equal(stack[0], grid.image.array)
    assert [np.unique(channel).tolist() for channel in stack[1:]] == [[0.25], [-1.0], [0.5]]
    np.testing.assert_array_equal(network_inputs(model, grid)[1:], -1)


def test_a_bundle_can_miss_only_inputs_that_it_has(tmp_path):
    pytest.importorskip("onnx")
    for number, optional in enumerate((["T1w"], ["ioUS"])):
        folder = write_bundle(tmp_path / str(number), b"", **{**WITH_MRI, "optional": optional})
        with pytest.raises(InputError, match="optional must be among the inputs, and ioUS is never"):
            load(folder)


def test_percentiles_are_of_the_foreground_in_the_fan():
    """An MRI in other units, with a bright skull beside the fan, gives the same picture."""
    rng = np.random.default_rng(0)
    data, mask = rng.uniform(50, 150, (10, 10, 10)), np.zeros((10, 10, 10), bool)
    mask[2:8] = True
    data[4, :3] = 0
    scaled = normalize_preoperative(data, mask)
    np.testing.assert_allclose(normalize_preoperative(np.where(mask, 7 * data, 1e6), mask), scaled, atol=1e-5)
    low, high = np.percentile(data[mask & (data > 0)], (0.5, 99.5))
    assert scaled[5, 5, 5] == pytest.approx(np.clip(2 * (data[5, 5, 5] - low) / (high - low) - 1, -1, 1), abs=1e-5)
    assert (scaled[4, :3] == -1).all()
    assert (normalize_preoperative(np.full((2, 2), 5.0), np.ones((2, 2), bool)) == -1).all()


# --- A run ------------------------------------------------------------------------------------------------------------


def test_the_result_is_that_of_ultrasound_and_mri(tiny_models, model, ultrasound, t2w, registration, grid):
    """The tiny model adds 0.05 (MRI + 1) to T2w and leaves FLAIR."""
    alone = pipeline.synthesize(ultrasound, model.path, "cpu")
    both = pipeline.synthesize(ultrasound, model.path, "cpu", preoperative=Preoperative({"T2w": t2w}, registration))
    assert alone.contribution is None
    assert alone.report["contribution"] is None
    contribution = both.contribution
    assert contribution.used
    without, with_mri = contribution.pair(both.images)
    for name in ("T2w", "FLAIR"):
        np.testing.assert_array_equal(without[name].array, alone.images[name].array)
        assert with_mri[name] is both.images[name]
    np.testing.assert_array_equal(both.images["FLAIR"].array, alone.images["FLAIR"].array)
    fan = both.valid.array > 0
    seen, _ = on_grid(Preoperative({"T2w": t2w}, registration), grid)
    scaled = resample_like(grid.image.with_array(seen["T2w"] + 1), both.valid).array
    inner = fan & (resample_like(grid.image.with_array(grid.valid.astype(np.float32)), both.valid).array > 0.999)
    change = both.images["T2w"].array - alone.images["T2w"].array
    np.testing.assert_allclose(change[inner], 500 * 0.05 * scaled[inner], atol=0.2)
    np.testing.assert_allclose(contribution.difference.array[inner], change[inner] / 2000, atol=2e-4)
    assert np.array_equal(contribution.difference.array > 0, fan)
    np.testing.assert_array_equal(both.segmentation.array, alone.segmentation.array)


def test_the_report_names_mri_checksum_and_transform(tiny_models, model, ultrasound, t2w, registration):
    given = Preoperative({"T2w": t2w}, registration, {"T2w": "t2.nrrd", "transform": "reg.tfm"})
    report = pipeline.synthesize(ultrasound, model.path, "cpu", preoperative=given).report
    described = report["input"]["preoperative_mri"]
    assert described["images"]["T2w"]["name"] == "t2.nrrd"
    assert described["images"]["T2w"]["sha256"] == image_sha256(t2w)
    assert described["transform"]["name"] == "reg.tfm"
    matrix = np.array(described["transform"]["ultrasound_to_mri_lps"])
    point = (3.0, 4.0, 5.0)
    np.testing.assert_allclose((matrix @ [*point, 1])[:3], registration.TransformPoint(point), atol=1e-9)
    contribution = report["contribution"]
    assert contribution["used"]
    assert contribution["contrasts"] == ["T2w"]
    assert 0 < contribution["disagreement"] < MOST_DISAGREEMENT == contribution["most_disagreement"]
    assert contribution["why_not"] == ""
    changed = f"{contribution['disagreement']:.1%}"
    assert f"; with preoperative T2w, which changed the images by {changed}; " in report["summary"]


def test_the_checksum_is_of_voxels_and_place():
    image = Volume(np.random.default_rng(0).random((3, 4, 5)))
    moved = Volume(image.array, origin=(0, 0, 0.01))
    other = image.with_array(np.where(image.array == image.array.max(), 2, image.array))
    assert len({image_sha256(one) for one in (image, moved, other)}) == 3
    same = Volume(image.array.astype(np.float32), origin=(-1e-9, 0, 1e-9))
    assert image_sha256(same) == image_sha256(image)


@pytest.fixture(scope="module")
def loud(tmp_path_factory):
    """A model that believes MRI more than is good."""
    pytest.importorskip("onnx")
    return load(write_bundle(tmp_path_factory.mktemp("models") / "loud", mri_generator_network(0.3), **WITH_MRI))


def test_images_that_disagree_too_much_are_those_of_ultrasound_alone(tiny_models, loud, ultrasound, t2w, registration):
    given = Preoperative({"T2w": t2w, "FLAIR": t2w}, registration)
    alone = pipeline.synthesize(ultrasound, loud.path, "cpu")
    result = pipeline.synthesize(ultrasound, loud.path, "cpu", preoperative=given)
    for name, image in alone.images.items():
        np.testing.assert_array_equal(result.images[name].array, image.array)
    contribution = result.contribution
    assert not contribution.used
    assert contribution.pair(result.images) == (result.images, contribution.other)
    assert (contribution.other["T2w"].array > alone.images["T2w"].array).any()
    report = result.report["contribution"]
    assert not report["used"]
    assert report["disagreement"] > MOST_DISAGREEMENT
    (warning,) = [text for text in result.report["warnings"] if "not used" in text]
    assert warning.startswith("the preoperative MRI was not used, the images are of ultrasound alone: the images with")
    assert "; preoperative MRI not used; " in result.report["summary"]


def test_mri_of_elsewhere_is_not_used(tiny_models, model, ultrasound, t2w):
    """It lies far off without its registration."""
    far = Volume(t2w.array, t2w.spacing, np.add(t2w.origin, 500), t2w.direction)
    result = pipeline.synthesize(ultrasound, model.path, "cpu", preoperative=Preoperative({"T2w": far}))
    assert result.contribution is None
    assert result.report["contribution"] == {
        "used": False, "contrasts": [], "why_not": "the T2w MRI covers only 0% of the ultrasound",
    }  # fmt: skip
    assert result.report["input"]["preoperative_mri"]["images"]["T2w"]["sha256"] == image_sha256(far)


def test_places_of_other_tissue_are_marked_and_texture_is_not(grid):
    z, y, x = np.indices(grid.valid.shape)
    middle = [length // 2 for length in grid.valid.shape]
    ball = (np.hypot(np.hypot(x - middle[2], y - middle[1]), z - middle[0]) < 6) & grid.valid
    without = {"T2w": np.zeros(grid.valid.shape, np.float32)}
    texture = 0.2 * (speckle(np.random.default_rng(0), grid.valid.shape) - 1)
    found = compare(without, {"T2w": (np.where(ball, 0.8, 0) + texture).astype(np.float32)}, grid)
    assert (found.places & ball).sum() > 0.6 * ball.sum()
    assert (found.places & ~ball).sum() < 0.25 * ball.sum()
    expected = np.abs(np.where(ball, 0.8, 0) + texture)[grid.valid].mean() / 2
    assert found.disagreement == pytest.approx(expected, rel=1e-3)
    assert not compare(without, {"T2w": texture.astype(np.float32)}, grid).places.any()


def test_the_ultrasound_itself_and_unread_contrasts_are_refused(tiny_models, model, ultrasound, t2w):
    for given, name, said in (
        ({"T2w": ultrasound}, model.path, "T2w MRI: is the ultrasound itself"),
        ({"T1w": t2w}, model.path, "T1w MRI: with-mri reads T2w, ceT1, FLAIR beside ultrasound; leave it out"),
        ({"T2w": t2w}, DEFAULT_GENERATOR, "ious2mr-2.5d reads ultrasound alone; choose a model that reads MRI, too"),
    ):
        with pytest.raises(InputError, match=said):
            pipeline.synthesize(ultrasound, name, "cpu", preoperative=Preoperative(given))


def test_the_default_reads_mri_where_there_is_any(tiny_models):
    for with_mri, name in ((False, "ious2mr-2.5d"), (True, "ious-mri2mr-2.5d")):
        models = pipeline.load_models(None, with_mri=with_mri)
        assert (models.generator.name, bool(models.generator.optional)) == (name, with_mri)
        assert (models.paired_generator is None) != with_mri, "outlines are made on the images of ultrasound alone"


def test_without_mri_the_network_runs_once(model, grid):
    fractions = []
    found = synthesize_both(model, grid, None, device="cpu", progress=fractions.append)
    assert found.other is None
    assert found.report == {}
    assert fractions[-1] == 1
    assert fractions == sorted(fractions)
    assert set(found.shown.images) == {"T2w", "FLAIR"}
    assert preprocessing.PREOPERATIVE_PERCENTILES == (0.5, 99.5)
