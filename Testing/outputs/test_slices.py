"""Three planes of images on one grid: square pixels, outlines where the labels are, and the patient's sides."""

from __future__ import annotations

import numpy as np
import pytest

from IoUSynthLib.constants import COLOURS
from IoUSynthLib.outputs.drawing import NO_DATA, WARNING, Text
from IoUSynthLib.outputs.slices import Column, in_grey, orthogonal_slices, sides
from IoUSynthLib.volume import Volume

GRID = Volume(np.zeros((24, 48, 96), np.float32), (0.5, 1.0, 2.0))  # a cube of 48 mm


def ball(centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Voxels of the grid within a sphere; centre (z, y, x) and radius in mm."""
    k, j, i = np.indices(GRID.array.shape)
    distances = (k * 2.0 - centre[0], j * 1.0 - centre[1], i * 0.5 - centre[2])
    return np.sqrt(sum(distance**2 for distance in distances)) < radius


def column(mask: np.ndarray, **about) -> Column:
    return Column("", in_grey(mask.astype(np.uint8), np.ones(mask.shape, bool)), np.ones(mask.shape, bool), **about)


def test_a_sphere_is_a_circle_although_the_voxels_are_not_cubes():
    for row in orthogonal_slices([column(ball((24, 24, 24), 16))], GRID, (12, 24, 48)):
        (panel,) = row
        assert panel.image.shape == (300, 300, 3)
        rows, columns = np.nonzero(panel.image[20:, 20:, 0])  # without the letters at the upper and left edge
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=15)
        assert np.ptp(rows) == pytest.approx(32 / 48 * 300, abs=15)


def test_outlines_lie_where_the_labels_are():
    labels = 1 * ball((24, 12, 24), 8) + 2 * ball((24, 36, 24), 8)  # tumour anterior, cavity posterior of the middle
    shown = column(np.zeros(labels.shape, bool))
    rows = orthogonal_slices([shown], GRID, (12, 24, 48), labels=labels.astype(np.uint8))
    for axis, (panel,) in enumerate(rows):
        for name, middle in (("tumour", 12), ("cavity", 36)):
            line = np.argwhere((panel.image == COLOURS[name]).all(axis=-1)) * 48 / 300
            if axis == 1:  # the plane between them
                assert len(line) == 0
                continue
            across = 0 if axis == 0 else 1  # y runs down in the axial plane, to the right in the sagittal one
            assert (line.min(0) + line.max(0))[across] / 2 == pytest.approx(middle, abs=1)
            assert (line.min(0) + line.max(0))[1 - across] / 2 == pytest.approx(24, abs=1.5)
            assert np.ptp(line, axis=0) == pytest.approx([16, 16], abs=2.5)


def test_no_data_is_dark_grey_and_titles_stand_above_the_first_row():
    valid = ball((24, 24, 24), 16)
    light = np.full((*valid.shape, 3), 200, np.uint8)
    shown = Column("T2w", lambda plane: light[plane], valid, Text("SYNTHETIC", colour=WARNING))
    rows = orthogonal_slices([shown], GRID, (12, 24, 48))
    assert [text.words for text in rows[0][0].captions] == ["T2w", "SYNTHETIC"]
    assert not rows[1][0].captions
    for (panel,) in rows:
        assert tuple(panel.image[150, 150]) == (200, 200, 200)
        assert tuple(panel.image[280, 280]) == NO_DATA


def test_an_inscription_stands_at_the_bottom_on_the_left():
    plain, marked = (column(np.zeros(GRID.array.shape, bool), inscription=words) for words in ("", "SYNTHETIC"))
    for row in orthogonal_slices([plain, marked], GRID, (12, 24, 48)):
        changed = np.argwhere((row[0].image != row[1].image).any(axis=-1))
        assert (changed.min(0) > (280, 0)).all()
        assert (changed.max(0) < (300, 90)).all()
        assert (row[1].image == WARNING).all(axis=-1).any()


@pytest.mark.parametrize(
    ("vector", "letters"), [((1, 0, 0), "L"), ((0, -1, 0), "A"), ((-0.1, 0.6, 0.79), "SP"), ((-0.8, 0.6, 0), "RP")]
)
def test_sides_of_the_patient(vector, letters):
    assert sides(np.array(vector)) == letters
