"""The operating point of a segmenter, on the tiny one: tumour logit 20 ioUS - 8 against 0 for the background."""

import numpy as np

from IoUSynthLib.models.bundle import load
from IoUSynthLib.training.data import TrainingVolume
from IoUSynthLib.training.operating_point import (
    TumourScore,
    has_operating_point,
    read_operating_point,
    score_tumour_weights,
    write_operating_point,
)


def faint_tumour(ultrasound_inside: float, truth: bool = True, cavity: bool = False) -> TrainingVolume:
    """A cube whose tumour logit is 20 times the value given, less 8; and elsewhere perhaps a cavity."""
    inside = np.zeros((24, 24, 24), bool)
    inside[6:18, 6:18, 6:18] = True
    ultrasound = np.where(inside, ultrasound_inside, -0.5)
    images = np.stack([ultrasound, np.zeros_like(ultrasound), np.zeros_like(ultrasound)]).astype(np.float16)
    target = (inside & truth).astype(np.float16)
    if cavity:
        target[:2] = 2
    return TrainingVolume(images, target[None], np.ones_like(inside), np.argwhere(inside))


def test_a_faint_tumour_is_found_from_the_right_weight_on(tiny_models):
    """Its logit is -0.8: less probable than the background by a factor of 2.2."""
    scores = score_tumour_weights(load("lesion-3d"), [faint_tumour(0.36)], 0.01)
    assert list(scores) == ["class_weights"]
    found = scores["class_weights"]
    assert (found[1.0].dice, found[2.0].dice) == (0, 0)
    assert found[2.8].dice > 0.7
    assert found[2.8].false_ml == 0


def test_cases_with_a_cavity_are_scored_for_themselves(tiny_models):
    cases = [faint_tumour(0.36), faint_tumour(0.32, cavity=True), faint_tumour(0.36, truth=False, cavity=True)]
    scores = score_tumour_weights(load("lesion-3d"), cases, 0.01)
    assert scores["class_weights"][2.8].dice > 0.7
    after = scores["class_weights_with_cavity"]
    assert (after[2.8].dice, after[2.8].false_ml > 1) == (0, True), "what it finds is not there"
    assert after[5.6].dice > 0.7, "a logit of -1.6"


def test_the_best_weight_with_little_false_tumour_goes_into_the_metadata(tmp_path):
    assert not has_operating_point(tmp_path)
    assert read_operating_point(tmp_path) == {}
    before = {0.7: TumourScore(0.3, 0.0), 1.4: TumourScore(0.6, 0.0), 2.0: TumourScore(0.5, 0.0)}
    after = {1.4: TumourScore(0.3, 0.0), 8.0: TumourScore(0.4, 0.5), 16.0: TumourScore(0.5, 0.6)}
    write_operating_point(tmp_path, {"class_weights": before, "class_weights_with_cavity": after})
    point = read_operating_point(tmp_path)
    assert point["class_weights"] == [1.0, 1.4, 1.0]
    assert point["class_weights_with_cavity"] == [1.0, 8.0, 1.0]
    assert point["class_weights_with_cavity_chosen_by"]["scores"]["16.0"] == [0.5, 0.6]
