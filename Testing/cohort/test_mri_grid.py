"""``--grid mri``: the voxels of the MRI, onto which B-splines bring the ultrasound, and the published box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import map_coordinates
from support import phantom

from IoUSynthLib.cases.case import Case, target_image
from IoUSynthLib.cohort import preparation
from IoUSynthLib.cohort.exclusions import Exclusion
from IoUSynthLib.cohort.preparation import prepare_case
from IoUSynthLib.cohort.readers import Files
from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.preprocessing import normalize_mri, resample_like
from IoUSynthLib.volume import Volume

TRUTH = phantom.displacement(4, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ultrasound, T2w and FLAIR where the ultrasound is, and T2w elsewhere or with sagittal slices."""
    folder = tmp_path_factory.mktemp("patient")
    images = phantom.head()
    write_volume(folder / "us.nrrd", phantom.field_of_view(images)[0])
    for name in ("T2w", "FLAIR"):
        write_volume(folder / f"{name}.nrrd", images[name])
    write_volume(folder / "elsewhere.nrrd", phantom.displaced(images, TRUTH)["T2w"])
    sagittal = sitk.PermuteAxes(images["T2w"].to_sitk(), (1, 2, 0))
    write_volume(folder / "sagittal.nrrd", Volume.from_sitk(sitk.Flip(sagittal, (True, False, False))))
    return folder


@pytest.fixture(scope="module")
def case(folder: Path) -> Case:
    files = Files(folder / "us.nrrd", {"T2w": folder / "T2w.nrrd", "FLAIR": folder / "FLAIR.nrrd"})
    return prepare_case(files, register="none", grid="mri")


def test_the_voxels_are_those_of_the_mri(case: Case) -> None:
    """Nothing of T2w is interpolated: within what its int16 leaves, it is the published normalisation of the crop."""
    images = phantom.head()
    start = np.round((np.array(case.fan.origin) - images["T2w"].origin) / phantom.SPACING).astype(int)
    box = tuple(slice(first, first + length) for first, length in zip(start[::-1], case.fan.array.shape, strict=True))
    assert case.fan.spacing == pytest.approx((phantom.SPACING,) * 3)
    assert case.parameters["spacing_mm"] == pytest.approx([phantom.SPACING] * 3)
    for name in ("T2w", "FLAIR"):
        expected = normalize_mri(images[name].array[box])
        np.testing.assert_allclose(target_image(case, name), expected, atol=2e-3)


def test_t1w_after_contrast_agent_is_a_further_image(folder: Path, case: Case) -> None:
    """Here it is a second T2w; the others are as they were."""
    mri = {"T2w": folder / "T2w.nrrd", "FLAIR": folder / "FLAIR.nrrd", "ceT1": folder / "T2w.nrrd"}
    found = prepare_case(Files(folder / "us.nrrd", mri), register="none", grid="mri")
    assert found.parameters["targets"] == ["T2w", "FLAIR", "ceT1"]
    assert np.array_equal(found.images["ceT1"].array, found.images["T2w"].array)
    for name, image in case.images.items():
        assert np.array_equal(found.images[name].array, image.array)


def test_the_ultrasound_is_interpolated_by_cubic_splines(case: Case) -> None:
    """Against SciPy's."""
    ultrasound = phantom.field_of_view(phantom.head())[0]
    inside = np.argwhere(case.fan.array > 0)
    points = inside[:, ::-1] @ case.fan.ijk_to_lps[:3, :3].T + case.fan.ijk_to_lps[:3, 3]
    to_index = np.linalg.inv(ultrasound.ijk_to_lps)
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    expected = map_coordinates(ultrasound.array, index.T[::-1], order=3, mode="mirror").clip(min=0)
    found = case.images["ioUS"].array[tuple(inside.T)]
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert (case.images["ioUS"].array[case.fan.array == 0] == 0).all()


def test_the_box_is_that_of_one_percent_of_the_maximum(case: Case) -> None:
    bright = case.images["ioUS"].array > 0.01 * case.images["ioUS"].array.max()
    for axis in range(3):
        faces = bright.any(tuple(other for other in range(3) if other != axis))
        assert faces[0]
        assert faces[-1]


def test_the_grid_of_an_mri_elsewhere_comes_to_the_ultrasound(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = {"similarity": {"before": 0.1, "after": 0.2}, "moved_mm": 7.0, "warnings": []}
    monkeypatch.setattr(preparation, "register_by_lc2", lambda *images: (TRUTH, done))
    case = prepare_case(Files(folder / "us.nrrd", {"T2w": folder / "elsewhere.nrrd"}), grid="mri")
    np.testing.assert_allclose(case.fan.direction, TRUTH[:3, :3].T, atol=1e-6)
    expected = normalize_mri(resample_like(phantom.head()["T2w"], case.fan).array)
    assert np.corrcoef(expected.ravel(), target_image(case, "T2w").ravel())[0, 1] > 0.97


def test_slices_are_axial_however_the_scanner_stored_them(folder: Path, case: Case) -> None:
    turned = prepare_case(Files(folder / "us.nrrd", {"T2w": folder / "sagittal.nrrd"}), register="none", grid="mri")
    np.testing.assert_allclose(turned.fan.direction, np.eye(3), atol=1e-6)
    assert turned.fan.same_grid(case.fan, tolerance=1e-3)
    np.testing.assert_allclose(target_image(turned, "T2w"), target_image(case, "T2w"), atol=2e-3)


@pytest.mark.parametrize("grid", preparation.GRIDS)
def test_an_mri_that_covers_less_than_half_is_an_exclusion(folder: Path, tmp_path: Path, grid: str) -> None:
    """Also on its own grid, which ends where it does."""
    t2 = phantom.head()["T2w"]
    middle = round((phantom.CENTRE[2] - t2.origin[2]) / phantom.SPACING)
    origin = (*t2.origin[:2], t2.origin[2] + (middle + 10) * phantom.SPACING)
    write_volume(tmp_path / "upper.nrrd", Volume(t2.array[middle + 10 :], t2.spacing, origin))
    with pytest.raises(Exclusion, match=r"upper\.nrrd: the MRI covers only [1-4]\d?% of the ultrasound") as reason:
        prepare_case(Files(folder / "us.nrrd", {"T2w": tmp_path / "upper.nrrd"}), register="none", grid=grid)
    assert reason.value.reason == "overlap below 50 %"
