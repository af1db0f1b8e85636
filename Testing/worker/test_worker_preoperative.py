"""MRI for the second input goes to the child and back, with its transform."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from support.noise import speckle
from support.tiny_models import WITH_MRI, mri_generator_network, write_bundle
from support.worker import wait

from IoUSynthLib import pipeline
from IoUSynthLib.files.transforms import field_transform, matrix_of
from IoUSynthLib.pipeline import Options
from IoUSynthLib.registration.rigid import to_sitk
from IoUSynthLib.synthesis.preoperative import Preoperative
from IoUSynthLib.volume import Volume
from IoUSynthLib.worker import messages, shared_volumes


@pytest.fixture(scope="module")
def matrix():
    found = matrix_of(sitk.Euler3DTransform((0, 0, 0), 0.1, 0.2, -0.1, (10.0, 20.0, -5.0)))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def mri(ultrasound, matrix):
    """A T2w in a frame of its own, round where the matrix puts the middle of the ultrasound."""
    array = 300 * (0.4 + speckle(np.random.default_rng(2), (44, 44, 44)))
    middle = matrix @ ultrasound.ijk_to_lps @ [*(np.array(ultrasound.size) / 2), 1.0]
    return Volume(array.astype(np.float32), (1.2,) * 3, tuple(middle[:3] - 1.2 * 21.5))


@pytest.mark.parametrize(("gain", "used"), [(0.05, True), (0.4, False)])
def test_the_child_gives_what_the_pipeline_gives(gain, used, running, ultrasound, mri, matrix, tmp_path, temporary):
    model = write_bundle(tmp_path / "with-mri", mri_generator_network(gain), **WITH_MRI)
    given = Preoperative({"T2w": mri}, to_sitk(matrix), {"T2w": "Preop"}, ("a doubt",))
    running.submit(ultrasound, Options(model), preoperative=given)
    result = wait(running)[-1].result
    expected = pipeline.synthesize(ultrasound, model, preoperative=given)
    assert result.contribution.used == expected.contribution.used == used
    for name in ("T2w", "FLAIR"):
        for got, wanted in (
            (result.images, expected.images), (result.contribution.other, expected.contribution.other),
        ):  # fmt: skip
            np.testing.assert_array_equal(got[name].array, wanted[name].array)
    for name in ("difference", "places"):
        got, wanted = getattr(result.contribution, name), getattr(expected.contribution, name)
        np.testing.assert_array_equal(got.array, wanted.array)
        assert got.same_grid(ultrasound, 0.0)
    assert result.report["contribution"] == expected.report["contribution"]
    assert result.report["input"] == expected.report["input"]
    assert "a doubt" in result.report["warnings"]
    assert {path.name for path in next(temporary.iterdir()).iterdir()} == {"stdout", "stderr"}, "no MRI is left behind"


def test_without_mri_nothing_more_comes_back(running, ultrasound, tmp_path):
    model = write_bundle(tmp_path / "with-mri", mri_generator_network(), **WITH_MRI)
    running.submit(ultrasound, Options(model))
    assert wait(running)[-1].result.contribution is None


def test_an_mri_that_the_model_does_not_read_is_an_error_in_one_line(running, ultrasound, mri):
    running.submit(ultrasound, Options("ious2mr-2.5d"), preoperative=Preoperative({"T2w": mri}))
    event = wait(running)[-1]
    assert (event.kind, event.details) == ("error", "")
    assert event.message.startswith("T2w MRI: ious2mr-2.5d reads ultrasound alone")


def test_a_transform_that_bends_goes_through(mri, tmp_path):
    """Without a child: what one side writes is what the other reads."""
    grid = Volume(np.zeros((6, 7, 8), np.uint8), (5.0,) * 3, (1.0, 2.0, 3.0))
    field = np.random.default_rng(1).normal(0, 3, (*grid.array.shape, 3))
    given = Preoperative({"T2w": mri}, field_transform(field, grid))
    line, volumes = messages.write_preoperative(given)
    entries = {name: shared_volumes.write(tmp_path, name, volumes[name]) for name in volumes}
    read = {name: shared_volumes.read(tmp_path, entry) for name, entry in entries.items()}
    received = messages.read_preoperative(json.loads(json.dumps(line))["preoperative"], read)
    for point in ((7.0, 9.0, 11.0), (20.5, 3.5, 14.0)):
        np.testing.assert_allclose(received.transform.TransformPoint(point), given.transform.TransformPoint(point))
    assert received.transform.TransformPoint((7.0, 9.0, 11.0)) != (7.0, 9.0, 11.0)
    assert received.describe()["transform"]["kind"] == "DisplacementFieldTransform"
    assert received.describe()["images"] == given.describe()["images"]
