"""Synthetic images as DICOM: what a reader gets back, what the headers say, and what is refused."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from support.batch_inputs import small_ultrasound
from support.tiny_models import oblique_direction

from IoUSynthLib import cli
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.outputs.dicom import _save, write_series
from IoUSynthLib.outputs.dicom_reference import read_reference
from IoUSynthLib.volume import InputError, Volume

pydicom = pytest.importorskip("pydicom")

REPORT = {
    "notice": "SYNTHETIC",
    "model": {"name": "ious2mr-2.5d", "version": "0.2.0", "sha256": "ab" * 32},
    "versions": {"iousynth": "0.1.0"},
    "input": {"file": "case.nrrd", "voxels_sha256": "cd" * 32},
}


def image(direction=None) -> Volume:
    """Intensities from 1 to 1000, and 0 where there is no data, on an odd grid."""
    array = np.linspace(1, 1000, 7 * 8 * 9, dtype=np.float32).reshape(7, 8, 9)
    array[:, :2] = 0
    return Volume(array, (0.7, 0.61, 0.652), (-31.25, 40.5, 77.125), direction)


def case_files(folder, kind="T2w", header="SYNTHETIC - NOT ACQUIRED; T2w"):
    path = folder / f"case_{kind}.nii.gz"
    write_volume(path, image(oblique_direction()), {"descrip": header})
    (folder / "case_report.json").write_text(json.dumps(REPORT))
    return path


def apart(returned: Volume, given: Volume) -> np.ndarray:
    """How far place and value of each voxel of one differ from those of the nearest voxel of the other, (n, 4)."""
    k, j, i = (axis.ravel() for axis in np.indices(given.array.shape))
    places = given.ijk_to_lps @ np.stack([i, j, k, np.ones_like(i)])
    nearest = np.rint(np.linalg.inv(returned.ijk_to_lps) @ places).astype(int)
    values = returned.array[nearest[2], nearest[1], nearest[0]] - given.array.ravel()
    return np.abs(np.column_stack([(returned.ijk_to_lps @ nearest - places)[:3].T, values]))


@pytest.mark.parametrize("mirrored", [False, True])
def test_reads_back_as_the_same_volume(tmp_path, mirrored):
    """Right-handed grids return as they are; of a left-handed one the slices come in the other order."""
    given = image(oblique_direction() * ([1, 1, -1] if mirrored else 1))
    returned = read_volume(write_series(tmp_path / "out", given, kind="T2w", report=REPORT))
    assert (apart(returned, given).max(axis=0) < [1e-5, 1e-5, 1e-5, 0.0101]).all()
    assert returned.array.shape == given.array.shape
    assert (returned.array == 0).sum() == (given.array == 0).sum()
    if not mirrored:
        assert returned.same_grid(given, 1e-6)


def test_every_header_says_what_it_is(tmp_path):
    files = sorted(write_series(tmp_path / "out", image(), kind="T2w", report=REPORT).iterdir())
    assert [file.name for file in files] == [f"{number:04}.dcm" for number in range(1, 8)]
    headers = [pydicom.dcmread(file) for file in files]
    for header in headers:
        assert header.SOPClassUID.name == "Secondary Capture Image Storage"
        assert (header.Modality, header.ConversionType, header[0x0008, 0x001C].value) == ("OT", "SYN", "YES")
        assert header.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert header.SeriesDescription == "SYNTHETIC T2w, not acquired, not for diagnosis"
        assert (header.BurnedInAnnotation, header.ContentQualification) == ("NO", "RESEARCH")
        assert "neural network (ious2mr-2.5d 0.2.0, SHA-256 abab" in header.DerivationDescription
        assert "case.nrrd" in header.DerivationDescription
        (equipment,) = header.ContributingEquipmentSequence
        assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert list(equipment.SoftwareVersions) == ["IoUSynth 0.1.0", "ious2mr-2.5d 0.2.0", "ab" * 32]
        assert (header.PatientName, header.PatientID, header.PixelPaddingValue) == ("", "", 0)
    assert len({header.SOPInstanceUID for header in headers}) == 7
    assert len({header.SeriesInstanceUID for header in headers}) == 1
    assert all(pydicom.uid.UID(header.SOPInstanceUID).is_valid for header in headers)


def test_the_same_image_is_the_same_series_and_another_is_not(tmp_path):
    def identifiers(volume, kind="T2w"):
        header = pydicom.dcmread(write_series(tmp_path / kind, volume, kind=kind, report=REPORT) / "0001.dcm")
        return header.StudyInstanceUID, header.FrameOfReferenceUID, header.SeriesInstanceUID, header.SOPInstanceUID

    first, again = identifiers(image()), identifiers(image())
    assert first == again
    flair = identifiers(image(), "FLAIR")
    assert flair[:2] == first[:2]
    assert flair[2] != first[2]
    moved = identifiers(Volume(image().array, image().spacing, (0, 0, 0)))
    assert moved[0] == first[0]
    assert moved[1] != first[1], "other coordinates are another frame of reference"
    assert len(list((tmp_path / "T2w").iterdir())) == 7, "the earlier export was replaced"


def reference_file(folder):
    header = pydicom.Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"
    header.PatientName, header.PatientID, header.StudyInstanceUID = "Doe^Jane", "17", "1.2.3"
    header.SpecificCharacterSet, header.Modality, header.FrameOfReferenceUID = "ISO_IR 100", "MR", "1.2.9"
    _save(header, folder / "reference.dcm")
    return folder / "reference.dcm"


def test_the_command_with_a_reference(tmp_path, capsys):
    path, reference = case_files(tmp_path), reference_file(tmp_path)
    output = tmp_path / "dicom"
    arguments = ["export-dicom", str(path), "-o", str(output), "--reference", str(reference)]
    frames = []
    for options in ([], ["--same-frame"]):
        assert cli.main([*arguments, *options]) == 0
        header = pydicom.dcmread(output / "case_T2w" / "0001.dcm")
        assert (header.PatientName, header.PatientID, header.StudyInstanceUID) == ("Doe^Jane", "17", "1.2.3")
        assert (header.Modality, header.get("AccessionNumber")) == ("OT", "")
        frames.append(header.FrameOfReferenceUID)
    assert frames[0] != "1.2.9"
    assert frames[1] == "1.2.9"
    assert "case_T2w: 7 slices" in capsys.readouterr().out
    assert apart(read_volume(output / "case_T2w"), read_volume(path)).max() < 0.0101


@pytest.mark.parametrize(
    ("prepare", "cause"),
    [
        (lambda folder: case_files(folder, header="acquired"), "does not say that it is synthetic"),
        (lambda folder: case_files(folder, "segmentation"), "DICOM SEG"),
        (lambda folder: case_files(folder, "bone"), "not named as synthesize does"),
        (lambda folder: (case_files(folder), (folder / "case_report.json").unlink())[0], "keep it beside the image"),
        (lambda folder: folder / "case_FLAIR.nii.gz", "no such file"),
    ],
)
def test_what_is_refused(tmp_path, capsys, prepare, cause):
    path = prepare(tmp_path)
    assert cli.main(["export-dicom", str(path), "-o", str(tmp_path / "dicom")]) == 2
    error = capsys.readouterr().err
    assert cause in error
    assert error.count("\n") == 1
    assert not (tmp_path / "dicom").exists()


def test_a_folder_with_other_files_and_a_reference_that_is_none(tmp_path, capsys):
    path = case_files(tmp_path)
    (tmp_path / "dicom" / "case_T2w").mkdir(parents=True)
    (tmp_path / "dicom" / "case_T2w" / "notes.txt").write_text("keep")
    assert cli.main(["export-dicom", str(path), "-o", str(tmp_path / "dicom")]) == 2
    assert "holds other files (notes.txt)" in capsys.readouterr().err
    assert cli.main(["export-dicom", str(path), "-o", str(tmp_path / "x"), "--reference", str(path)]) == 2
    assert "is no DICOM file" in capsys.readouterr().err
    absent = str(tmp_path / "absent.dcm")
    assert cli.main(["export-dicom", str(path), "-o", str(tmp_path / "x"), "--reference", absent]) == 2
    assert "absent.dcm: no such file or folder; check the name" in capsys.readouterr().err
    assert cli.main(["export-dicom", str(path), "-o", str(tmp_path / "x"), "--same-frame"]) == 2
    assert "needs --reference" in capsys.readouterr().err


def other(**changes):
    """The report of another ultrasound."""
    return {**REPORT, "input": {"file": "case.nrrd", "voxels_sha256": "ef" * 32}, **changes}


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    "export",
    [
        lambda folder: write_series(folder, image(), kind="T2w", report=other()),
        lambda folder: write_series(folder, image(), kind="FLAIR", report=REPORT),
        lambda folder: write_series(folder, image(), kind="T2w", report=REPORT),
        lambda folder: write_series(folder, image(), kind="T2w", report={**REPORT, "input": {}}),
    ],
)
def test_what_is_anothers_is_never_replaced(tmp_path, export):
    """Another ultrasound of the same name, another contrast, the same for no patient, and one that is not known."""
    reference = read_reference(reference_file(tmp_path))
    folder = write_series(tmp_path / "case_T2w", image(), kind="T2w", report=REPORT, reference=reference)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"case_T2w: holds the series of another image or patient .* patient ID 17"):
        export(folder)
    assert contents(tmp_path) == before


def test_a_series_without_a_patient_is_replaced_by_the_same_with_one(tmp_path):
    write_series(tmp_path / "out", image(), kind="T2w", report=REPORT)
    reference = read_reference(reference_file(tmp_path))
    folder = write_series(tmp_path / "out", image(), kind="T2w", report=REPORT, reference=reference)
    assert {pydicom.dcmread(file).PatientID for file in folder.iterdir()} == {"17"}


def test_nothing_is_written_where_one_of_the_images_cannot_be(tmp_path, capsys):
    paths = [case_files(tmp_path, kind) for kind in ("T2w", "FLAIR")]
    output = tmp_path / "dicom"
    write_series(output / "case_FLAIR", image(), kind="FLAIR", report=other())
    before = contents(output)
    assert cli.main(["export-dicom", *map(str, paths), "-o", str(output)]) == 2
    assert "case_FLAIR: holds the series of another image" in capsys.readouterr().err
    assert contents(output) == before
    (tmp_path / "b").mkdir()
    same = [paths[0], case_files(tmp_path / "b")]
    assert cli.main(["export-dicom", *map(str, same), "-o", str(tmp_path / "new")]) == 2
    assert "would get more than one series" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_cd_as_reference(tmp_path, capsys):
    """Its table of contents is no image; several studies are not guessed among."""
    cd = tmp_path / "cd"
    (cd / "IMAGES").mkdir(parents=True)
    directory = pydicom.Dataset()
    directory.SOPClassUID, directory.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.3.0"
    _save(directory, cd / "DICOMDIR")
    first = reference_file(cd / "IMAGES")
    for given in (cd, cd / "DICOMDIR", first):
        assert read_reference(given, same_frame=True).header.PatientID == "17"
    second = pydicom.dcmread(first)
    second.StudyInstanceUID, second.StudyDate, second.SeriesDescription = "1.2.4", "20240102", "T1"
    _save(second, cd / "IMAGES" / "second.dcm")
    arguments = ["export-dicom", str(case_files(tmp_path)), "-o", str(tmp_path / "x"), "--reference"]
    assert cli.main([*arguments, str(cd)]) == 2
    assert "cd: holds 2 studies (20240102 T1; ?); give a file" in capsys.readouterr().err
    assert cli.main([*arguments, str(first)]) == 0


def test_a_folder_with_several_frames_of_reference(tmp_path):
    (tmp_path / "mri").mkdir()
    second = pydicom.dcmread(reference_file(tmp_path / "mri"))
    second.FrameOfReferenceUID = "1.2.10"
    _save(second, tmp_path / "mri" / "second.dcm")
    assert read_reference(tmp_path / "mri").header.PatientID == "17"
    with pytest.raises(InputError, match="holds 2 frames of reference"):
        read_reference(tmp_path / "mri", same_frame=True)


def test_without_pydicom(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match="pip install pydicom"):
        write_series(tmp_path / "out", small_ultrasound(), kind="T2w", report=REPORT)
    assert not (tmp_path / "out").exists()
