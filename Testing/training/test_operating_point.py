"""The operating point of a segmenter, on the tiny one: tumour logit 20 ioUS - 8 against 0 for the background."""

import numpy as np
import pytest

from IoUSynthLib.bundle import load
from IoUSynthLib.training.data import TrainingVolume
from IoUSynthLib.training.operating_point import (
    has_operating_point,
    read_operating_point,
    score_tumour_weights,
    write_operating_point,
)


@pytest.fixture
def faint_tumour():
    """A tumour with a logit of -0.8: less probable than the background, by a factor of 2.2."""
    inside = np.zeros((24, 24, 24), bool)
    inside[6:18, 6:18, 6:18] = True
    ultrasound = np.where(inside, 0.36, -0.5)
    images = np.stack([ultrasound, np.zeros_like(ultrasound), np.zeros_like(ultrasound)]).astype(np.float16)
    return TrainingVolume(images, inside[None].astype(np.float16), np.ones_like(inside), np.argwhere(inside))


def test_a_faint_tumour_is_found_from_the_right_weight_on(tiny_models, faint_tumour):
    scores = score_tumour_weights(load("lesion-3d"), [faint_tumour], 0.01)
    assert scores[1.0] == 0
    assert scores[2.0] == 0
    assert scores[2.8] > 0.7


def test_the_best_weight_goes_into_the_metadata(tmp_path):
    assert not has_operating_point(tmp_path)
    assert read_operating_point(tmp_path) == {}
    write_operating_point(tmp_path, {0.7: 0.3, 1.4: 0.6, 2.0: 0.5})
    assert read_operating_point(tmp_path)["class_weights"] == [1.0, 1.4, 1.0]
