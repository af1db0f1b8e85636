"""Drawing: colours of numbers, outlines, checkerboards, words, and grids of panels."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import contains

from IoUSynthLib.outputs.drawing import (
    NO_DATA,
    SMALL,
    WARNING,
    WHITE,
    Panel,
    Text,
    captioned,
    checkerboard,
    grey,
    grid,
    heat,
    inscribed,
    limits,
    masked,
    outlined,
    resized,
    save,
)
from IoUSynthLib.volume import InputError

BLUE = (0, 0, 200)


def plain(rows: int, columns: int, colour: tuple[int, int, int] = (100, 100, 100)) -> np.ndarray:
    return np.full((rows, columns, 3), colour, np.uint8)


def test_grey_runs_from_black_to_white():
    assert grey(np.array([-5.0, 0.0, 2.0, 4.0, 9.0]), 0.0, 4.0)[:, 0].tolist() == [0, 0, 127, 255, 255]
    assert grey(np.zeros((2, 3, 4)), 1.0, 1.0).shape == (2, 3, 4, 3)  # equal limits are no division by 0


def test_limits_are_percentiles_of_the_inside():
    array = np.arange(2001.0)
    assert limits(array, array <= 1000) == pytest.approx((5.0, 995.0))
    assert limits(array, array <= 1000, (0, 50)) == pytest.approx((0.0, 500.0))
    assert limits(array, array < 0) == (0.0, 1.0)


def test_heat_is_black_red_yellow_white():
    colours = heat(np.array([0.0, 1 / 3, 2 / 3, 1.0, 7.0])).tolist()
    assert colours == [[0, 0, 0], [255, 0, 0], [255, 255, 0], [255, 255, 255], [255, 255, 255]]


def test_no_data_is_dark_grey():
    image = masked(plain(2, 2), np.array([[True, False], [False, True]]))
    assert image.dtype == np.uint8
    assert [tuple(pixel) for pixel in image.reshape(-1, 3)] == [(100,) * 3, NO_DATA, NO_DATA, (100,) * 3]


def test_enlarging_keeps_pixels_and_labels():
    labels = np.array([[0, 2], [1, 0]], np.uint8)
    np.testing.assert_array_equal(resized(labels, (6, 4)), labels.repeat(3, axis=0).repeat(2, axis=1))
    assert resized(plain(5, 7), (10, 3)).shape == (10, 3, 3)


def test_an_outline_is_one_pixel_wide_and_within_the_mask():
    mask = np.zeros((8, 9), bool)
    mask[2:6, 0:5] = True  # it touches the left edge
    line = (outlined(plain(8, 9), mask, BLUE) == BLUE).all(axis=-1)
    expected = mask.copy()
    expected[3:5, 1:4] = False
    np.testing.assert_array_equal(line, expected)


def test_half_of_a_dashed_outline_is_drawn():
    mask = np.pad(np.ones((60, 80), bool), 5)
    whole, dashes = ((outlined(plain(70, 90), mask, BLUE, dashed=d) == BLUE).all(-1) for d in (False, True))
    assert not (dashes & ~whole).any()
    assert dashes.sum() / whole.sum() == pytest.approx(0.5, abs=0.05)
    assert dashes[5, 5:85].any()
    assert not dashes[5, 5:85].all()


def test_checkerboard_squares_are_10_mm():
    squares = checkerboard((30, 20, 4), (1.0, 2.0, 5.0))
    assert squares[0, 0, 0]
    assert not squares[0, 0, 10]
    assert squares[0, 5, 10]
    assert not squares[2, 0, 0]


def test_words_on_a_panel_can_be_read_on_white():
    white = plain(40, 90, (255, 255, 255))
    for place, rows, columns in (
        ("top", slice(0, 18), slice(30, 60)), ("left", slice(10, 30), slice(0, 30)),
        ("bottom left", slice(22, 40), slice(0, 30)),
    ):  # fmt: skip
        image = inscribed(white, Text("AL", colour=WARNING), place)
        rim = (image < 60).all(axis=-1)
        letters = (image == WARNING).all(axis=-1)
        for pixels in (rim, letters):
            assert pixels.any()
            pixels[rows, columns] = False
            assert not pixels.any()
    assert (white == 255).all()


def test_a_grid_has_captions_above_its_panels_and_lines_below():
    rows = [
        [Panel(plain(20, 30), [Text("first")]), Panel(plain(10, 50, BLUE))],
        [Panel(None), Panel(plain(5, 50, BLUE), [Text("third", colour=WARNING), Text("line")])],
    ]
    picture = grid(rows, [[Text("key", swatch=BLUE), Text("it")]], gap=4)
    line = Text("x").height
    top = 4 + line + 20 + 4 + 2 * line
    assert picture.shape == (top + 5 + 4 + line, 4 + 2 * 54, 3)
    assert (picture[4 + line : 4 + line + 20, 14:44] == 100).all()  # in the middle of its column
    assert (picture[4 + line : 4 + line + 10, 58:108] == BLUE).all()
    assert (picture[top : top + 5, 58:108] == BLUE).all()
    assert not picture[top : top + 5, :58].any()
    for text in (Text("first"), Text("third", colour=WARNING), Text("key", swatch=BLUE), Text("it")):
        assert contains(picture, text)
    assert not contains(picture, Text("third"))
    assert not contains(picture, Text("fourth"))


def test_nothing_is_cut_off_that_is_wider_than_the_panels():
    long = Text("SYNTHETIC - NOT ACQUIRED", 32)
    picture = grid([[Panel(plain(9, 9), [Text("a caption that is rather long")])]], [[long]])
    assert contains(picture, long)
    assert contains(picture, Text("a caption that is rather long"))


def test_titles_stand_above_columns_and_captions_above_rows():
    images = [[plain(5, 5), None], [plain(5, 5), plain(5, 5)]]
    rows = captioned(images, [Text("ioUS"), Text("T2w")], ["one", "two"])
    words = [[[text.words for text in panel.captions] for panel in row] for row in rows]
    assert words == [[["ioUS", "one"], ["T2w"]], [["two"], []]]
    assert [[panel.image is None for panel in row] for row in rows] == [[False, True], [False, False]]


def test_letters_are_as_high_as_they_can_be_read():
    picture = grid([[Panel(plain(1, 1), [Text("E")])]])
    rows = np.nonzero((picture[..., 0] > 150).any(axis=1))[0]
    assert np.ptp(rows) + 1 >= 0.6 * SMALL
    assert max(WHITE) - 5 < picture.max() <= max(WHITE)


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent.a\.png: cannot be written \(No such file"):
        save(plain(2, 2), tmp_path / "absent" / "a.png")
