"""Panels of cases: which slice is kept, in which window, and what is drawn on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from IoUSynthLib.cases.case import UNLABELLED, Case
from IoUSynthLib.constants import COLOURS
from IoUSynthLib.evaluation.pictures import MOST, PICTURES, chosen, panels, read_pictures, write_pictures
from IoUSynthLib.volume import InputError, Volume


def case(labels: np.ndarray) -> Case:
    """A fan over all of 6 x 30 x 30 voxels, the MRI rising with z."""
    z = np.indices((6, 30, 30))[0].astype(np.float32)
    grid = Volume(np.zeros(z.shape, np.uint8), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
    images = {"ioUS": grid.with_array(z + 1), "T2w": grid.with_array(100 * z + 100)}
    return Case(images, grid.with_array(labels), grid.with_array(np.ones(z.shape, np.uint8)), {"targets": ["T2w"]})


def test_the_slice_of_the_lesion_with_true_and_predicted_outlines() -> None:
    labels, predicted = (np.zeros((6, 30, 30), np.uint8) for _ in range(2))
    labels[4, 5:15, 5:15], predicted[4, 20:25, 20:25] = 1, 2
    found = panels(case(labels), {"T2w": np.full(labels.shape, 1.0)}, predicted)
    assert set(found) == {"ultrasound", "T2w", "T2w synthetic"}
    assert {image.shape for image in found.values()} == {(150, 150, 3)}
    for name, colour, others in (("T2w", "tumour", "cavity"), ("T2w synthetic", "cavity", "tumour")):
        assert (found[name] == COLOURS[colour]).all(-1).any()
        assert not (found[name] == COLOURS[others]).all(-1).any()
    assert (found["T2w synthetic"][0, 0] == 255).all(), "it is brighter than all that was acquired"


def test_voxels_are_as_wide_as_they_are_and_unknown_labels_are_not_drawn() -> None:
    """Without a lesion the largest cross-section of the fan: 30 x 30 mm, along z."""
    found = panels(case(np.full((6, 30, 30), UNLABELLED, np.uint8)), {"T2w": np.zeros((6, 30, 30))}, None)
    assert found["T2w"].shape == (150, 150, 3)
    assert not any((found["T2w"] == colour).all(-1).any() for colour in COLOURS.values())


def test_pictures_are_read_back_as_far_as_they_are_asked_for(tmp_path: Path) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    write_pictures(tmp_path / PICTURES, {"a-pre": {"T2w": image}, "b-post": {"T2w": image, "FLAIR": image}})
    found = read_pictures(tmp_path / PICTURES, ["b-post", "c"])
    assert list(found) == ["b-post"]
    assert (found["b-post"]["FLAIR"] == image).all()
    assert read_pictures(tmp_path / "none.npz", ["a-pre"]) == {}
    (tmp_path / PICTURES).write_bytes(b"PK\3\4 cut off")
    with pytest.raises(InputError, match=r"is damaged .* evaluate again"):
        read_pictures(tmp_path / PICTURES, ["a-pre"])


def test_of_many_cases_some_are_kept() -> None:
    names = [f"case-{number:03}" for number in range(100)]
    assert len(chosen(names)) == MOST
    assert {names[0], names[-1]} <= set(chosen(names))
    assert chosen(names[:3]) == names[:3]
    assert chosen([]) == []
