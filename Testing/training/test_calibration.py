"""Operating point and expected Dice of the tiny segmenter: tumour logit 20 ioUS - 8 against 0 for the background."""

import json

import numpy as np

from IoUSynthLib.constants import LABELS
from IoUSynthLib.inference import open_session, predict
from IoUSynthLib.models.bundle import load
from IoUSynthLib.synthesis.outlines import confidences, labels_from_probabilities, softmax, weighted_by_phase
from IoUSynthLib.training.calibration import (
    POINTS,
    TumourScore,
    calibrate,
    choose_weights,
    measure_expected_dice,
    read_calibration,
    score_weights,
    try_weights,
    write_calibration,
)
from IoUSynthLib.training.data import TrainingVolume

VOXEL_ML = 0.01


def cube(ultrasound_inside: float, truth: bool = True, cavity: bool = False) -> TrainingVolume:
    """A cube whose tumour logit is 20 times the value given, less 8; a tumour or not; elsewhere perhaps a cavity."""
    inside = np.zeros((24, 24, 24), bool)
    inside[6:18, 6:18, 6:18] = True
    ultrasound = np.where(inside, ultrasound_inside, -0.5)
    images = np.stack([ultrasound, np.zeros_like(ultrasound), np.zeros_like(ultrasound)]).astype(np.float16)
    target = (inside & truth).astype(np.float16)
    if cavity:
        target[:2] = 2
    return TrainingVolume(images, target[None], np.ones_like(inside), np.argwhere(inside))


def tables(volumes, point=None):
    return measure_expected_dice(try_weights(load("lesion-3d"), volumes, VOXEL_ML), point or {})


def test_a_faint_tumour_is_found_from_the_right_weight_on(tiny_models):
    """Its logit is -0.8: less probable than the background by a factor of 2.2."""
    scores = score_weights(try_weights(load("lesion-3d"), [cube(0.36)], VOXEL_ML))
    assert list(scores) == ["class_weights"]
    found = scores["class_weights"]
    assert (found[1.0].dice, found[2.0].dice) == (0, 0)
    assert found[2.8].dice > 0.7
    assert found[2.8].false_ml == 0


def test_cases_with_a_cavity_are_scored_for_themselves(tiny_models):
    cases = [cube(0.36), cube(0.32, cavity=True), cube(0.36, truth=False, cavity=True)]
    scores = score_weights(try_weights(load("lesion-3d"), cases, VOXEL_ML))
    assert scores["class_weights"][2.8].dice > 0.7
    after = scores["class_weights_with_cavity"]
    assert (after[2.8].dice, after[2.8].false_ml > 1) == (0, True), "what it finds is not there"
    assert after[5.6].dice > 0.7, "a logit of -1.6"


def test_the_best_weight_with_little_false_tumour_goes_into_the_metadata(tmp_path):
    assert read_calibration(tmp_path) == {}
    before = {0.7: TumourScore(0.3, 0.0), 1.4: TumourScore(0.6, 0.0), 2.0: TumourScore(0.5, 0.0)}
    after = {1.4: TumourScore(0.3, 0.0), 8.0: TumourScore(0.4, 0.5), 16.0: TumourScore(0.5, 0.6)}
    write_calibration(tmp_path, choose_weights({"class_weights": before, "class_weights_with_cavity": after}))
    point = read_calibration(tmp_path)
    assert point["class_weights"] == [1.0, 1.4, 1.0]
    assert point["class_weights_with_cavity"] == [1.0, 8.0, 1.0]
    assert point["class_weights_with_cavity_chosen_by"]["scores"]["16.0"] == [0.5, 0.6]


def test_sure_outlines_that_are_right_and_unsure_ones_that_are_not(tiny_models):
    false = [cube(brightness, truth=False) for brightness in np.linspace(0.45, 0.5, POINTS)]
    right = [cube(brightness, truth=True) for brightness in np.linspace(0.6, 0.7, POINTS)]
    found = tables([*right, *false])
    assert list(found) == ["tumour"], "no cavity was outlined"
    confidence, dice = found["tumour"]["confidence"], found["tumour"]["dice"]
    assert len(confidence) == len(dice) == POINTS
    assert confidence == sorted(confidence)
    assert dice[: POINTS // 2] == [0] * (POINTS // 2)
    assert min(dice[POINTS // 2 :]) > 0.7


def test_the_dice_never_falls_as_the_confidence_rises(tiny_models):
    unsure_but_right = [cube(brightness, truth=True) for brightness in np.linspace(0.45, 0.5, POINTS)]
    sure_but_wrong = [cube(brightness, truth=False) for brightness in np.linspace(0.6, 0.7, POINTS)]
    table = tables([*unsure_but_right, *sure_but_wrong])["tumour"]
    assert len(set(table["dice"])) == 1, "then it says nothing, and the mean is expected everywhere"
    assert 0.3 < table["dice"][0] < 0.6


def test_few_outlines_say_nothing(tiny_models):
    assert tables([cube(0.6, truth=True)] * (POINTS - 1)) == {}


def with_cavity_in_view(ultrasound_inside: float) -> TrainingVolume:
    """The cube beside T2w that shows a cavity."""
    volume = cube(ultrasound_inside, cavity=True)
    volume.image[1, :4] = 1
    return volume


def test_confidences_are_those_of_the_outlines_that_the_pipeline_would_show(tiny_models):
    """One pass with all factors gives what outlining anew at the chosen operating point gives."""
    bundle, volumes = load("lesion-3d"), [cube(0.36), with_cavity_in_view(0.32), with_cavity_in_view(0.5)]
    weights = {"weights": [1.0, 2.8, 1.0], "weights_with_cavity": [1.0, 8.0, 1.0]}
    point = {f"class_{name}": factors for name, factors in weights.items()}
    cases = try_weights(bundle, volumes, VOXEL_ML)
    for volume, case in zip(volumes, cases, strict=True):
        image = volume.image.astype(np.float32)
        probabilities = predict(open_session(bundle), image, volume.fan, bundle, activation=softmax)
        shown = weighted_by_phase(probabilities, volume.fan, VOXEL_ML, **weights)
        expected = confidences(shown, labels_from_probabilities(shown, volume.fan, VOXEL_ML))
        assert ("cavity" in expected) == case.has_cavity
        outlines = case.outlined[8.0 if "cavity" in case.outlined[2.8].outlines else 2.8].outlines
        assert {name: confidence for name, (confidence, _dice) in outlines.items()} == expected
        assert set(expected) <= set(LABELS)
    repeated = measure_expected_dice(cases * POINTS, point)
    again = measure_expected_dice(try_weights(bundle, volumes * POINTS, VOXEL_ML), point)
    assert repeated == again
    assert set(repeated) == {"tumour", "cavity"}


def test_a_calibration_is_the_whole_of_what_goes_into_the_metadata(tiny_models, tmp_path):
    volumes = [cube(brightness) for brightness in np.linspace(0.45, 0.7, POINTS)]
    found = calibrate(load("lesion-3d"), volumes, VOXEL_ML)
    assert list(found) == ["class_weights", "class_weights_chosen_by", "expected_dice"]
    assert list(found["expected_dice"]) == ["tumour"]
    stated = calibrate(load("lesion-3d"), volumes, VOXEL_ML, measured_on="20 patients")
    assert stated == found | {"expected_dice_measured_on": "20 patients"}
    write_calibration(tmp_path, stated)
    assert read_calibration(tmp_path) == json.loads(json.dumps(stated))
