"""DICOM SEG and label maps are read as labels, voxel by voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import remind
from support.dicom_files import known_volume, save

from IoUSynthLib.cohort.labels import outline_of, read_labels, structure_of
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.preprocessing import resample_like
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    """12 slices of 9 x 11 pixels, no multiple of 8; the slices of the tumour have a gap, the cavity lies within."""
    rng = np.random.default_rng(0)
    tumour = rng.random((12, 9, 11)) > 0.5
    tumour[[0, 1, 5, 6, 11]] = False
    cavity = np.zeros_like(tumour)
    cavity[3, 2:5, 3:8] = True
    return {"Residual tumor": tumour, "Excision of brain": cavity, "Brain": np.ones_like(tumour)}


def expected(masks: dict[str, np.ndarray]) -> np.ndarray:
    return np.where(masks["Excision of brain"], 2, masks["Residual tumor"].astype(int))


def on(grid: Volume, labels: Volume) -> np.ndarray:
    return resample_like(labels, grid, nearest=True).array


@pytest.mark.parametrize(("name", "structure"), [
    ("tumor", "tumour"), ("tumor_residual", "tumour"), ("Glioma", "tumour"), ("previous_resection_cavity", "cavity"),
    ("Excision of brain", "cavity"), ("cerebrum", ""), ("ventricles", ""), ("Brain ventricle", ""),
])  # fmt: skip
def test_names_of_structures(name: str, structure: str) -> None:
    assert structure_of(name) == structure


def test_a_segmentation_lies_where_it_was_drawn(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    grid = known_volume()
    path = save(remind.segmentation(masks, grid), tmp_path / "seg.dcm")
    dataset = remind.segmentation(masks, grid)
    dataset.Modality = "SEG"
    save(dataset, path)
    assert outline_of(dataset) == "labels"
    np.testing.assert_array_equal(on(grid, read_labels(path, "labels")), expected(masks))
    np.testing.assert_array_equal(on(grid, read_labels(path, "tumour")), masks["Residual tumor"])
    np.testing.assert_array_equal(on(grid, read_labels(path, "cavity")), 2 * masks["Excision of brain"])


def test_a_single_slice_and_a_single_segment_that_the_table_names(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    grid = known_volume()
    dataset = remind.segmentation({"Segment_1": masks["Excision of brain"]}, grid)
    dataset.Modality, dataset.SeriesDescription = "SEG", "outline"
    path = save(dataset, tmp_path / "seg.dcm")
    assert outline_of(dataset) == "none"
    np.testing.assert_array_equal(on(grid, read_labels(path, "tumour")), masks["Excision of brain"])
    with pytest.raises(InputError, match=r"seg\.dcm: holds no binary segment of the tumour or cavity; name"):
        read_labels(path, "labels")


def test_frames_that_are_no_grid_are_refused(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    dataset = remind.segmentation({"tumor": masks["Residual tumor"]}, known_volume())
    dataset.Modality = "SEG"
    place = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    place.ImagePositionPatient = [float(value) + 0.6 for value in place.ImagePositionPatient]
    with pytest.raises(InputError, match=r"seg\.dcm: its frames lie in no regular grid"):
        read_labels(save(dataset, tmp_path / "seg.dcm"), "tumour")


def test_label_maps(tmp_path: Path, masks: dict[str, np.ndarray]) -> None:
    grid = known_volume()
    for name in ("map.nrrd", "map.nii.gz"):
        write_volume(tmp_path / name, grid.with_array(expected(masks).astype(np.uint8)))
        labels = read_labels(tmp_path / name, "labels")
        assert labels.array.dtype == np.uint8
        np.testing.assert_array_equal(labels.array, expected(masks))
        np.testing.assert_array_equal(read_labels(tmp_path / name, "cavity").array, 2 * (expected(masks) > 0))
    write_volume(tmp_path / "map.nrrd", grid)
    with pytest.raises(InputError, match=r"map\.nrrd: holds other values than 0 \(background\), 1 \(tumour\)"):
        read_labels(tmp_path / "map.nrrd", "labels")
