"""Labels from probabilities by known answers."""

from __future__ import annotations

import numpy as np
import pytest

from IoUSynthLib.synthesis import outlines


def probabilities(tumour: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    return np.stack([np.full(tumour.shape, 0.5), np.where(tumour, 0.9, 0.0), np.where(cavity, 0.8, 0.0)])


def block(*corner: int, side: int, shape: tuple = (20, 20, 20)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(c, c + side) for c in corner)] = True
    return mask


def test_most_probable_class_within_the_fan():
    tumour, cavity = block(2, 2, 2, side=6), block(5, 5, 5, side=8)
    valid = np.ones((20, 20, 20), dtype=bool)
    valid[12:] = False
    labels = outlines.labels_from_probabilities(probabilities(tumour, cavity), valid, 0.01)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels == 1, tumour)
    assert np.array_equal(labels == 2, cavity & ~tumour & valid)


def test_without_a_cavity_its_probability_is_the_tumours():
    given = np.array([0.45, 0.3, 0.25]).reshape(3, 1, 1, 1)
    told = outlines.without_cavity(given)
    assert told.ravel() == pytest.approx([0.45, 0.55, 0.0])
    assert outlines.labels_from_probabilities(told, np.ones((1, 1, 1), bool), 1.0).item() == 1


def test_specks_are_removed_by_volume():
    everywhere = np.ones((20, 20, 20), dtype=bool)
    tumour = block(2, 2, 2, side=5) | block(15, 15, 15, side=2)  # 125 and 8 voxels
    none = np.zeros_like(tumour)
    kept = outlines.labels_from_probabilities(probabilities(tumour, none), everywhere, 0.02)
    assert kept.sum() == 133
    cleaned = outlines.labels_from_probabilities(probabilities(tumour, none), everywhere, 0.01)
    assert cleaned.sum() == 125
    assert not outlines.labels_from_probabilities(probabilities(tumour, none), everywhere, 0.0001).any()


def test_nothing_found():
    none = np.zeros((4, 4, 4), dtype=bool)
    assert not outlines.labels_from_probabilities(probabilities(none, none), ~none, 1.0).any()


def test_the_confidence_of_an_outline_is_its_mean_share_of_the_probability():
    labels = np.zeros((1, 1, 4), dtype=np.uint8)
    labels[0, 0] = (0, 1, 1, 0)
    background, tumour = np.array([0.9, 1.0, 0.1, 0.2]), np.array([0.1, 3.0, 0.4, 0.8])  # shares 0.75 and 0.8
    given = np.stack([background, tumour, np.zeros(4)]).reshape(3, 1, 1, 4)
    assert outlines.confidences(given, labels) == pytest.approx({"tumour": 0.775})
    assert outlines.confidences(given, np.zeros_like(labels)) == {}


def test_volumes():
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[:2], labels[5] = 1, 2
    assert outlines.volumes_ml(labels, 0.001) == {"tumour": 0.2, "cavity": 0.1}


def test_softmax():
    logits = np.array([[[1000.0], [1000.0], [-1000.0]]])
    assert np.allclose(outlines.softmax(logits)[0, :, 0], [0.5, 0.5, 0.0])


def test_weights_move_the_operating_point():
    tumour = block(2, 2, 2, side=6)
    faint = np.stack([np.full(tumour.shape, 0.6), np.where(tumour, 0.4, 0.0), np.zeros(tumour.shape)])
    everywhere = np.ones_like(tumour)
    assert not outlines.labels_from_probabilities(faint, everywhere, 0.01).any()
    labels = outlines.labels_from_probabilities(outlines.weighted(faint, (1, 2, 1)), everywhere, 0.01)
    assert np.array_equal(labels == 1, tumour)


def test_beside_a_cavity_tumour_is_called_more_readily():
    tumour, cavity = block(2, 2, 2, side=6), block(10, 10, 10, side=8)
    everywhere = np.ones_like(tumour)
    for hole, expected in ((cavity, 216), (np.zeros_like(cavity), 0)):
        faint = np.stack([np.full(tumour.shape, 0.6), np.where(tumour, 0.1, 0.0), np.where(hole, 0.9, 0.0)])
        shown = outlines.weighted_by_phase(
            faint, everywhere, 0.01, weights=(1, 2, 1), weights_with_cavity=(1, 8, 1)
        )
        labels = outlines.labels_from_probabilities(shown, everywhere, 0.01)
        assert (labels == 1).sum() == expected
        assert np.array_equal(labels == 2, hole)


def bump(height: float, offset: float) -> np.ndarray:
    """Probabilities without cavity, whose log odds of tumour are a bump of 8 voxels around (20, 20, 24)."""
    z, y, x = np.indices((40, 40, 40))
    odds = offset + height * np.exp(-((z - 20) ** 2 + (y - 20) ** 2 + (x - 24) ** 2) / (2 * 8**2))
    tumour = 1 / (1 + np.exp(-odds))
    return np.stack([1 - tumour, tumour, np.zeros_like(tumour)])


def test_the_most_probable_place_is_shown_where_no_tumour_stands_out():
    everywhere = np.ones((40, 40, 40), dtype=bool)
    faint = bump(3, -9)
    assert not outlines.labels_from_probabilities(faint, everywhere, 0.001).any()
    shown, placed = outlines.with_probable_place(faint, everywhere, (1.0, 1.0, 1.0))
    place = outlines.labels_from_probabilities(shown, everywhere, 0.001) == 1
    assert placed
    assert place.sum() / 1000 == pytest.approx(outlines.PROBABLE_PLACE_ML, rel=0.05)
    assert np.argwhere(place).mean(axis=0) == pytest.approx([20, 20, 24], abs=0.2)


def test_where_no_place_is_more_probable_the_probabilities_stay_as_they_are():
    given = bump(0, -9)
    shown, placed = outlines.with_probable_place(given, np.ones((40, 40, 40), dtype=bool), (1.0, 1.0, 1.0))
    assert not placed
    assert shown is given


@pytest.mark.parametrize(("height", "offset", "expected"), [(10, -5, True), (3, -9, False)])
def test_a_tumour_of_half_a_millilitre_stands_out(height, offset, expected):
    everywhere = np.ones((40, 40, 40), dtype=bool)
    assert outlines.tumour_stands_out(bump(height, offset), everywhere, 0.001) == expected
    assert not outlines.tumour_stands_out(bump(height, offset), ~everywhere, 0.001)


def test_no_place_outside_the_fan():
    valid = np.zeros((40, 40, 40), dtype=bool)
    valid[:, :, :20] = True
    shown, _ = outlines.with_probable_place(bump(3, -9), valid, (1.0, 1.0, 1.0))
    place = outlines.labels_from_probabilities(shown, valid, 0.001) == 1
    assert place.sum() / 1000 == pytest.approx(outlines.PROBABLE_PLACE_ML, rel=0.05)
    assert np.argwhere(place)[:, 2].max() == 19
