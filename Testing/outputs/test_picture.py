"""The picture: it says synthetic, shows outlines and no data, and keeps the aspect."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from IoUSynthLib import pipeline
from IoUSynthLib.outputs import picture
from IoUSynthLib.volume import Volume


@pytest.fixture
def result(tiny_models, ultrasound):
    return pipeline.synthesize(ultrasound)


def contains(image: np.ndarray, text: str, scale: int, colour: tuple[int, int, int]) -> bool:
    """Look for a text by drawing it alone and sliding it over the picture's pixels of that colour."""
    stamp = np.zeros((7 * scale, 6 * scale * len(text), 3), dtype=np.uint8)
    picture._write(stamp, text, 0, 0, scale, colour)
    wanted, found = stamp.any(axis=-1), (image == colour).all(axis=-1)
    rows, columns = np.nonzero(wanted)
    height, width = found.shape[0] - wanted.shape[0], found.shape[1] - wanted.shape[1]
    hits = np.ones((height + 1, width + 1), dtype=bool)
    for row, column in zip(rows, columns, strict=True):
        hits &= found[row : row + height + 1, column : column + width + 1]
    return bool(hits.any())


def test_words_are_burned_in(result, ultrasound):
    image = picture.draw_picture(ultrasound, result, name="case 7")
    assert image.dtype == np.uint8
    assert contains(image, picture.MARK, 3, picture._MARK_COLOUR)
    for title in ("IOUS", "T2W", "FLAIR", "EXPECTED ERROR"):
        assert contains(image, title, 2, picture._TEXT)
    assert contains(image, "CASE 7", 1, picture._TEXT)
    assert not contains(image, "PREOPERATIVE MRI", 2, picture._TEXT)


def test_without_an_estimate_of_the_error(tiny_models, ultrasound):
    image = picture.draw_picture(ultrasound, pipeline.synthesize(ultrasound, "published-2d"))
    assert contains(image, "EXPECTED ERROR: NOT ESTIMATED", 1, picture._TEXT)
    assert not contains(image, "EXPECTED ERROR", 2, picture._TEXT)
    assert not contains(image, "FLAIR", 2, picture._TEXT)


def test_outlines_and_no_data(result, ultrasound):
    image = picture.draw_picture(ultrasound, result)
    for colour in (*picture.COLOURS.values(), picture._NO_DATA):
        assert (image == colour).all(axis=-1).sum() > 50


def test_a_doubtful_outline_is_dashed(result, ultrasound):
    def lengths():
        image = picture.draw_picture(ultrasound, result)
        return [(image == colour).all(axis=-1).sum() for colour in picture.COLOURS.values()], image

    (tumour, cavity), image = lengths()
    assert not contains(image, "DOUBTFUL", 1, picture._TEXT)
    result.report["doubtful"] = ["tumour"]
    (dashes, same), image = lengths()
    assert 0.3 < dashes / tumour < 0.7
    assert same == cavity
    assert contains(image, "ML, DOUBTFUL (DASHED)", 1, picture._TEXT)


def test_preoperative_column(result, ultrasound):
    mri = Volume(np.random.default_rng(0).random((30, 30, 30)) + 1, (2, 2, 2), (-60, 0, 60))
    plain, wide = (picture.draw_picture(ultrasound, result, other) for other in (None, mri))
    assert contains(wide, "PREOPERATIVE MRI", 2, picture._TEXT)
    assert wide.shape[1] > plain.shape[1]


def test_pixels_are_square(result, ultrasound):
    """A sphere in mm stays a circle although the voxels are not cubes."""
    spacing = (0.5, 1.0, 2.0)
    size = (24, 48, 96)
    k, j, i = np.indices(size)
    distance = np.sqrt(((k - 12) * 2.0) ** 2 + ((j - 24) * 1.0) ** 2 + ((i - 48) * 0.5) ** 2)
    ball = distance < 16
    column = picture._Column("", False, np.repeat(ball[..., None].astype(float), 3, -1), np.ones(size, dtype=bool))
    labels = np.zeros(size, dtype=np.uint8)
    for axis in range(3):
        panel = picture._panel(column, labels, axis, (12, 24, 48), tuple(reversed(spacing)))
        rows, columns = np.nonzero(panel[..., 0])
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=15)
        assert np.ptp(rows) == pytest.approx(32 / 48 * picture._PANEL, abs=15)


def test_centre_is_that_of_the_lesion():
    labels, valid = np.zeros((9, 9, 9), dtype=np.uint8), np.ones((9, 9, 9), dtype=bool)
    assert picture._centre(labels, valid) == (4, 4, 4)
    labels[7, 7, 7] = 2
    assert picture._centre(labels, valid) == (7, 7, 7)
    labels[1, 2, 3] = 1
    assert picture._centre(labels, valid) == (1, 2, 3)


@pytest.mark.parametrize(
    ("vector", "letters"), [((1, 0, 0), "L"), ((0, -1, 0), "A"), ((-0.1, 0.6, 0.79), "SP"), ((-0.8, 0.6, 0), "RP")]
)
def test_sides_of_the_patient(vector, letters):
    assert picture.sides(np.array(vector)) == letters


def test_png_can_be_read(result, ultrasound, tmp_path):
    picture.write_picture(tmp_path / "a.png", ultrasound, result)
    assert sitk.ReadImage(str(tmp_path / "a.png")).GetNumberOfComponentsPerPixel() == 3
