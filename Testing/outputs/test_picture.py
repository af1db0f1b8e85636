"""The picture of a result: it says synthetic, shows outlines and no data."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from support.pictures import contains

from IoUSynthLib import pipeline
from IoUSynthLib.constants import COLOURS, MARK
from IoUSynthLib.outputs import picture
from IoUSynthLib.outputs.drawing import HUGE, LARGE, NO_DATA, VEIL, WARNING, Text
from IoUSynthLib.synthesis.echo import NO_ECHO
from IoUSynthLib.volume import Volume


@pytest.fixture
def result(tiny_models, ultrasound):
    return pipeline.synthesize(ultrasound)


def test_words_are_burned_in(result, ultrasound):
    image = picture.draw_picture(ultrasound, result, name="case 7")
    assert image.dtype == np.uint8
    assert contains(image, Text(MARK, HUGE, WARNING))
    for title in ("ioUS", "T2w", "FLAIR", "Expected error"):
        assert contains(image, Text(title, LARGE))
    assert contains(image, Text("case 7   ious2mr-2.5d"))
    assert contains(image, Text("ACQUIRED"))
    assert contains(image, Text("SYNTHETIC", colour=WARNING))
    assert not contains(image, Text("Preoperative MRI", LARGE))


def test_without_an_estimate_of_the_error(tiny_models, ultrasound):
    image = picture.draw_picture(ultrasound, pipeline.synthesize(ultrasound, "published-2d"))
    assert contains(image, Text("Dark grey: no data.  Expected error: not estimated"))
    assert not contains(image, Text("Expected error", LARGE))
    assert not contains(image, Text("FLAIR", LARGE))


def test_outlines_and_no_data(result, ultrasound):
    image = picture.draw_picture(ultrasound, result)
    for colour in (*COLOURS.values(), NO_DATA):
        assert (image == colour).all(axis=-1).sum() > 50


def test_a_doubtful_outline_is_dashed(result, ultrasound):
    def lengths():
        image = picture.draw_picture(ultrasound, result)
        return [(image == colour).all(axis=-1).sum() for colour in COLOURS.values()], image

    volume = result.report["volumes_ml"]["tumour"]
    doubt = Text(f"Tumour {volume:.1f} ml, doubtful (dashed)", swatch=COLOURS["tumour"])
    (tumour, cavity), image = lengths()
    assert contains(image, Text(f"Tumour {volume:.1f} ml", swatch=COLOURS["tumour"]))
    assert not contains(image, doubt)
    result.report["doubtful"] = ["tumour"]
    (dashes, same), image = lengths()
    assert 0.3 < dashes / tumour < 0.7
    assert same == cavity
    assert contains(image, doubt)


def test_images_that_are_not_to_be_trusted_are_muted_and_the_ultrasound_is_not(result, ultrasound):
    usual = picture.draw_picture(ultrasound, result)
    assert not contains(usual, Text("SYNTHETIC, muted", colour=WARNING))
    result.report["muted"] = ["unfamiliar", "uncertain"]
    image = picture.draw_picture(ultrasound, result)
    why = "this ultrasound is unlike all that the model has learned from; the model expects large errors"
    assert contains(image, Text(f"Muted: {why}. Trust the ultrasound.", colour=WARNING))
    assert contains(image, Text("SYNTHETIC, muted", colour=WARNING))
    assert contains(image, Text("SYNTHETIC", colour=WARNING)), "the expected error"
    rows, width = usual.shape[0] // 2, usual.shape[1] // 4  # of the four columns
    assert np.array_equal(image[60:rows, :width], usual[60:rows, :width]), "ioUS"
    bright = [(part[60:rows, width : 3 * width] > 200).all(axis=-1).sum() for part in (usual, image)]
    assert bright[0] > 3 * bright[1], "letters alone"


def test_where_there_is_no_echo_images_are_grey(result, ultrasound):
    usual = picture.draw_picture(ultrasound, result)
    result.valid.array[:, :, :32] *= NO_ECHO
    result.report["quality"]["no_echo"] = 0.5
    image = picture.draw_picture(ultrasound, result)
    assert contains(image, Text("Stripes: no echo, made up: 50% of the fan", swatch=VEIL[0]))
    changed = (image != usual).any(axis=-1)
    for stripe in VEIL:
        assert (changed & (np.abs(image.astype(int) - stripe).max(axis=-1) <= 0.15 * 255)).sum() > 2000
    width = image.shape[1] // 4
    assert not changed[60 : image.shape[0] // 2, :width].any(), "ioUS"


def test_preoperative_column(result, ultrasound):
    mri = Volume(np.random.default_rng(0).random((30, 30, 30)) + 1, (2, 2, 2), (-60, 0, 60))
    plain, wide = (
        picture.draw_picture(ultrasound, result, shown=shown) for shown in ({}, {"Preoperative MRI": mri})
    )
    assert contains(wide, Text("Preoperative MRI", LARGE))
    assert wide.shape[1] > plain.shape[1]


def test_centre_is_that_of_the_lesion():
    labels, valid = np.zeros((9, 9, 9), dtype=np.uint8), np.ones((9, 9, 9), dtype=bool)
    assert picture._centre(labels, valid) == (4, 4, 4)
    labels[7, 7, 7] = 2
    assert picture._centre(labels, valid) == (7, 7, 7)
    labels[1, 2, 3] = 1
    assert picture._centre(labels, valid) == (1, 2, 3)


def test_png_can_be_read(result, ultrasound, tmp_path):
    picture.write_picture(tmp_path / "a.png", ultrasound, result)
    written = sitk.ReadImage(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), picture.draw_picture(ultrasound, result))
