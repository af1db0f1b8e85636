"""What Dice a confidence stands for, on the tiny segmenter: tumour logit 20 ioUS - 8 against 0 for the background."""

import numpy as np

from IoUSynthLib.models.bundle import load
from IoUSynthLib.training.data import TrainingVolume
from IoUSynthLib.training.expected_dice import POINTS, measure_expected_dice
from IoUSynthLib.training.operating_point import (
    TumourScore,
    add_expected_dice,
    has_operating_point,
    read_operating_point,
    write_operating_point,
)


def outlined(ultrasound_inside: float, truth: bool) -> TrainingVolume:
    """A cube that is outlined, the more surely the brighter it is; a tumour or not."""
    inside = np.zeros((24, 24, 24), bool)
    inside[6:18, 6:18, 6:18] = True
    ultrasound = np.where(inside, ultrasound_inside, -0.5)
    images = np.stack([ultrasound, np.zeros_like(ultrasound), np.zeros_like(ultrasound)]).astype(np.float16)
    target = (inside & truth).astype(np.float16)
    return TrainingVolume(images, target[None], np.ones_like(inside), np.argwhere(inside))


def test_sure_outlines_that_are_right_and_unsure_ones_that_are_not(tiny_models):
    false = [outlined(brightness, truth=False) for brightness in np.linspace(0.45, 0.5, POINTS)]
    right = [outlined(brightness, truth=True) for brightness in np.linspace(0.6, 0.7, POINTS)]
    tables = measure_expected_dice(load("lesion-3d"), [*right, *false], 0.01)
    assert list(tables) == ["tumour"], "no cavity was outlined"
    confidence, dice = tables["tumour"]["confidence"], tables["tumour"]["dice"]
    assert len(confidence) == len(dice) == POINTS
    assert confidence == sorted(confidence)
    assert dice[: POINTS // 2] == [0] * (POINTS // 2)
    assert min(dice[POINTS // 2 :]) > 0.7


def test_the_dice_never_falls_as_the_confidence_rises(tiny_models):
    unsure_but_right = [outlined(brightness, truth=True) for brightness in np.linspace(0.45, 0.5, POINTS)]
    sure_but_wrong = [outlined(brightness, truth=False) for brightness in np.linspace(0.6, 0.7, POINTS)]
    table = measure_expected_dice(load("lesion-3d"), [*unsure_but_right, *sure_but_wrong], 0.01)["tumour"]
    assert len(set(table["dice"])) == 1, "then it says nothing, and the mean is expected everywhere"
    assert 0.3 < table["dice"][0] < 0.6


def test_few_outlines_say_nothing(tiny_models):
    assert measure_expected_dice(load("lesion-3d"), [outlined(0.6, truth=True)] * (POINTS - 1), 0.01) == {}


def test_it_stands_beside_the_operating_point_that_it_holds_for(tmp_path):
    write_operating_point(tmp_path, {"class_weights": {1.4: TumourScore(0.6, 0.0)}})
    assert not has_operating_point(tmp_path), "it is not complete"
    table = {"tumour": {"confidence": [0.5, 0.9], "dice": [0.1, 0.8]}}
    add_expected_dice(tmp_path, table)
    assert has_operating_point(tmp_path)
    point = read_operating_point(tmp_path)
    assert (point["class_weights"], point["expected_dice"]) == ([1.0, 1.4, 1.0], table)
    assert "expected_dice_measured_on" not in point
    add_expected_dice(tmp_path, table, "20 patients")
    assert read_operating_point(tmp_path) == point | {"expected_dice_measured_on": "20 patients"}
