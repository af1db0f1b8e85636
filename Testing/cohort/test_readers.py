"""Which files belong together, and what their names say."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk

from IoUSynthLib.cohort.readers import Study, choose_files, find_studies, role_of
from IoUSynthLib.files.names import has_agent, role_of_name
from IoUSynthLib.volume import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(("name", "role"), [
    ("ReMIND-004-pre-us.nii.gz", "ultrasound"), ("ioUS.mha", "ultrasound"), ("iUS_1.nrrd", "ultrasound"),
    ("Case4-US-before.nii.gz", "ultrasound"), ("2.000000-USpredura-35", "ultrasound"),
    ("3DUltrasound.nii", "ultrasound"),
    ("3DAXT2SPACE.nrrd", "T2w"), ("subject2_T2w.nii.gz", "T2w"), ("AXT2FLAIR.nrrd", "FLAIR"),
    ("subject2_FLAIR.nii", "FLAIR"), ("subject2_T1.nii", "T1w"), ("patient2_brain.nii", "none"), ("focus.nii", "none"),
    ("t2_tirm_tra_dark-fluid.nrrd", "FLAIR"), ("t2_spc_da-fl_sag_p2_iso.nii.gz", "FLAIR"),
    ("t2_space_dark-fluid.nii", "FLAIR"), ("FLAIR_reg_to_T1.nii", "FLAIR"), ("sub-01_space-T1w_FLAIR.nii", "FLAIR"),
    ("T1_FLAIR.nii", "T1w"), ("t1_tirm_tra_dark-fluid.nii", "T1w"), ("t1_mprage_sag.nii", "T1w"),
    ("T2w_reg_to_US.nrrd", "T2w"), ("T2_turbo_spin_echo.nii", "T2w"), ("sT2W_TSE.nii", "T2w"),
    ("T2star.nii", "MRI"), ("T2*.nii", "MRI"), ("t2_star_tra.nii", "MRI"), ("T2map.nii", "MRI"),
    ("T2_FFE.nii", "MRI"), ("t2_fl2d_tra_hemo.nii", "MRI"), ("t2_tirm_cor.nii", "MRI"), ("pd+t2_tse_tra.nii", "MRI"),
    ("tumor_T2_seg.nrrd", "labels"), ("Case4-US-landmarks.nii.gz", "none"), ("ioUS_mask.nrrd", "none"),
    ("Case1-US-before-tumor.nii.gz", "none"), ("us_before_tumour.nrrd", "none"),
    ("us_after_resection.nii.gz", "ultrasound"), ("us-before-tumor-resection.nii.gz", "ultrasound"),
])  # fmt: skip
def test_names_tell_what_an_image_is(name: str, role: str) -> None:
    assert role_of(Path(name)) == role


@pytest.mark.parametrize(("name", "after"), [
    ("BraTS2021_00000_t1ce", True), ("t1c", True), ("ceT1", True), ("3D_AX_T1_postcontrast", True), ("T1+C", True),
    ("t1_mprage_km", True), ("T1_GAD", True), ("3D_AX_T1_precontrast", False), ("T1 without contrast", False),
    ("t1_ohne_km", False), ("T1 pre Gd", False), ("t1_mprage_cor", False), ("Case1-T1", False), ("T1_post", False),
])  # fmt: skip
def test_names_tell_whether_there_was_contrast_agent(name: str, after: bool) -> None:
    assert has_agent(name) == after
    assert role_of_name(name) == "T1w", "it helps to register as any other"


def test_one_t1w_after_contrast_agent_is_a_target_and_several_are_not(tmp_path: Path) -> None:
    names = ["ious.nrrd", "T2w.nrrd", "T1.nrrd", "T1_postcontrast.nrrd"]
    study = Study("P", "P", tuple(Path(name) for name in names))
    assert {name: path.name for name, path in choose_files(study).mri.items()} == {
        "T2w": "T2w.nrrd", "ceT1": "T1_postcontrast.nrrd", "T1": "T1.nrrd",
    }  # fmt: skip
    files = choose_files(Study("P", "P", (*study.images, Path("t1_gd_tra.nrrd"))))
    assert set(files.mri) == {"T2w", "T1", "T1_postcontrast", "t1_gd_tra"}
    told = Study("P", "P", (*study.images[:2], Path("00003")), roles={Path("00003"): "ceT1"})
    assert set(choose_files(told).mri) == {"T2w", "ceT1"}


def test_resect_takes_the_ultrasound_before_resection(tmp_path: Path) -> None:
    touch(tmp_path, *(f"NIFTI/Case{n}/US/Case{n}-US-{when}.nii.gz" for n in (1, 12) for when in ("before", "after")))
    touch(tmp_path, *(f"NIFTI/Case{n}/MRI/Case{n}-{kind}.nii.gz" for n in (1, 12) for kind in ("FLAIR", "T1")))
    studies = find_studies(tmp_path)
    assert [(study.name, study.patient) for study in studies] == [("Case1", "Case1"), ("Case12", "Case12")]
    files = choose_files(studies[0])
    assert files.ultrasound.name == "Case1-US-before.nii.gz"
    assert {name: path.name for name, path in files.mri.items()} == {
        "FLAIR": "Case1-FLAIR.nii.gz", "Case1-T1": "Case1-T1.nii.gz",
    }


def test_a_folder_a_patient_or_one_for_each_phase(tmp_path: Path) -> None:
    touch(tmp_path, "A/us.nrrd", "A/t2.nii.gz", "A/notes.txt", "B/pre/us.mha", "B/pre/flair.mha", "B/post/us.mha")
    touch(tmp_path, "C/readme.txt", ".hidden/us.nrrd")
    studies = find_studies(tmp_path)
    assert [(study.name, study.patient) for study in studies] == [
        ("A", "A"), ("B-post", "B"), ("B-pre", "B"), ("C", "C"),
    ]  # fmt: skip
    assert [path.name for path in studies[0].images] == ["t2.nii.gz", "us.nrrd"]
    with pytest.raises(InputError, match="C: holds no ultrasound"):
        choose_files(studies[3])


def test_bids_with_and_without_sessions(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_T2w.nii.gz", "sub-01/us/sub-01_us.nii.gz")
    touch(tmp_path, "sub-02/ses-1/anat/sub-02_T2w.nii.gz", "sub-02/ses-1/us/sub-02_us.nii.gz")
    touch(tmp_path, "sub-03/ses-pre/anat/sub-03_T2w.nii.gz", "sub-03/ses-intraop/us/sub-03_us.nii.gz")
    studies = {study.name: study for study in find_studies(tmp_path)}
    assert list(studies) == ["sub-01", "sub-02-ses-1", "sub-03-ses-intraop", "sub-03-ses-pre"]
    for name in ("sub-01", "sub-02-ses-1"):
        assert choose_files(studies[name]).named().keys() == {"ultrasound", "T2w"}
    with pytest.raises(InputError, match="sub-03-ses-intraop: holds neither T2w nor FLAIR; "):
        choose_files(studies["sub-03-ses-intraop"])


def test_images_that_could_be_the_same_are_named(tmp_path: Path) -> None:
    study = Study("P", "P", tuple(Path(name) for name in ("USpredura.nrrd", "USpostdura.nrrd", "T2.nrrd")))
    with pytest.raises(InputError, match=r"USpredura\.nrrd, USpostdura\.nrrd could all be the ultrasound; keep one"):
        choose_files(study)


def test_another_contrast_is_no_target_and_is_named(tmp_path: Path) -> None:
    study = Study("P", "P", tuple(Path(name) for name in ("ious.nrrd", "T2star.nrrd", "t2_tirm.nrrd")))
    with pytest.raises(InputError, match=r"neither T2w nor FLAIR \(T2star\.nrrd, t2_tirm\.nrrd is another contrast"):
        choose_files(study)
    files = choose_files(Study("P", "P", (*study.images, Path("t2_spc_da-fl.nrrd"))))
    assert {name: path.name for name, path in files.mri.items()} == {"FLAIR": "t2_spc_da-fl.nrrd"}
    assert [path.name for path in files.unused] == ["T2star.nrrd", "t2_tirm.nrrd"]


def test_a_dicom_folder_is_known_by_its_name_or_by_its_series(tmp_path: Path) -> None:
    touch(tmp_path, "P/5-AXT2FLAIR/1.dcm")
    image = sitk.Image(4, 4, sitk.sitkUInt16)
    image.SetMetaData("0008|103e", "3D_AX_T2_SPACE")
    image.SetMetaData("0008|0060", "MR")
    (tmp_path / "P" / "00001").mkdir()
    sitk.WriteImage(image, str(tmp_path / "P" / "00001" / "1.dcm"))
    (tmp_path / "P" / "00001" / "1.dcm").rename(tmp_path / "P" / "00001" / "IM0001")  # as on a CD
    study = find_studies(tmp_path)[0]
    assert [(path.name, role_of(path)) for path in study.images] == [("00001", "T2w"), ("5-AXT2FLAIR", "FLAIR")]
