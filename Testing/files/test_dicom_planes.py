"""Where DICOM of other programs lies: enhanced files, rounded positions, and series that are no regular grid."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("pydicom")

from support.dicom_files import (
    CAPTURE,
    CLIP,
    MR,
    SPACING,
    ULTRASOUND_VOLUME,
    directory_file,
    enhanced,
    image,
    item,
    known_volume,
    save,
    write_slices,
)

from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.outputs.batch import find_inputs
from IoUSynthLib.volume import InputError


def assert_known(volume, millimetres: float = 1e-5) -> None:
    known = known_volume()
    np.testing.assert_array_equal(volume.array, known.array)
    corners = np.array([[i, j, k, 1] for i in (0, 10) for j in (0, 8) for k in (0, 11)]).T
    np.testing.assert_allclose(volume.ijk_to_lps @ corners, known.ijk_to_lps @ corners, atol=millimetres)
    np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-9)


ORDERS = {"as stored": range(12), "reversed": range(11, -1, -1), "shuffled": [3, 0, 7, 11, 1, 10, 5, 2, 9, 4, 8, 6]}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", [ULTRASOUND_VOLUME, MR])
@pytest.mark.parametrize("measures", ["shared", "frame"])
def test_frames_of_an_enhanced_file_lie_where_their_groups_say(tmp_path, order, kind, measures):
    file = save(enhanced(kind, ORDERS[order], measures), tmp_path / "one.dcm")
    for path in (file, tmp_path):
        volume = read_volume(path)
        assert_known(volume)
    assert ("table" in "".join(volume.notes)) == (kind == ULTRASOUND_VOLUME)


def test_a_place_in_the_patient_comes_before_that_on_the_table(tmp_path):
    dataset, placed = enhanced(), enhanced(MR)
    for frame, patient in zip(
        dataset.PerFrameFunctionalGroupsSequence, placed.PerFrameFunctionalGroupsSequence, strict=True
    ):
        frame.update(patient)
    dataset.SharedFunctionalGroupsSequence[0].update(placed.SharedFunctionalGroupsSequence[0])
    dataset.VolumeToTableMappingMatrix = np.eye(4).ravel().tolist()
    dataset.PatientFrameOfReferenceSource = "ESTIMATED"
    volume = read_volume(save(dataset, tmp_path / "one.dcm"))
    assert_known(volume)
    assert "estimate" in volume.warnings[0]


def test_ultrasound_with_coordinates_of_its_own_says_so(tmp_path):
    dataset = enhanced()
    del dataset.VolumeToTableMappingMatrix
    volume = read_volume(save(dataset, tmp_path / "one.dcm"))
    assert volume.spacing == pytest.approx(SPACING)
    assert volume.origin == (0, 0, 0)
    assert "does not say where its volume lies in the patient" in volume.warnings[0]


def test_colour_frames_become_luminance_in_their_place(tmp_path):
    dataset = enhanced(order=ORDERS["shuffled"])
    pixels = np.repeat(np.frombuffer(dataset.PixelData, np.uint8)[: 12 * 99], 3)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.PixelData = pixels.tobytes()
    volume = read_volume(save(dataset, tmp_path / "one.dcm"))
    np.testing.assert_allclose(volume.array, known_volume().array, atol=1e-3)
    assert volume.same_grid(known_volume(), 1e-5)
    assert "luminance" in volume.notes[-1]


def test_frames_may_be_placed_as_one_stack(tmp_path):
    dataset, known = image(CAPTURE, known_volume().array), known_volume()
    dataset.PixelSpacing, dataset.SpacingBetweenSlices = [SPACING[1], SPACING[0]], SPACING[2]
    dataset.ImagePositionPatient = [f"{v:.8f}" for v in known.origin]
    dataset.ImageOrientationPatient = [f"{v:.8f}" for v in known.direction[:, :2].T.ravel()]
    assert_known(read_volume(save(dataset, tmp_path / "one.dcm")))


def several_moments():
    dataset = enhanced()
    dataset.PerFrameFunctionalGroupsSequence = 2 * list(dataset.PerFrameFunctionalGroupsSequence)
    dataset.NumberOfFrames, dataset.PixelData = 24, 2 * dataset.PixelData
    return dataset


def turned_frame():
    dataset = enhanced(MR, measures="frame")
    dataset.PerFrameFunctionalGroupsSequence[4].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    return dataset


def own_scales():
    dataset = enhanced(MR)
    for number, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        scale = image(MR, np.zeros((1, 1), np.uint8))
        scale.RescaleSlope, scale.RescaleIntercept = 1 + number, 0
        frame.PixelValueTransformationSequence = [scale]
    return dataset


def transposed_matrix():
    dataset = enhanced()
    dataset.VolumeToTableMappingMatrix = np.reshape(dataset.VolumeToTableMappingMatrix, (4, 4)).T.ravel().tolist()
    return dataset


def without_positions():
    dataset = enhanced(MR)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    return dataset


def one_place_too_few():
    dataset = enhanced(MR)
    del dataset.PerFrameFunctionalGroupsSequence[3]
    return dataset


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (one_place_too_few, "holds 12 frames, but says where 11 lie"),
        (lambda: image(CAPTURE, known_volume().array), "does not say how large its voxels are"),
        (lambda: image(CLIP, known_volume().array), "is an ultrasound clip"),
        (several_moments, "several images of the same place, such as frame 1 and frame 13"),
        (turned_frame, "frame 5: lies at another angle than the other slices"),
        (own_scales, "slope of its own"),
        (transposed_matrix, "is not rigid"),
        (without_positions, "its frames have no position"),
    ],
)
def test_frames_that_are_no_volume_are_refused(tmp_path, make, cause):
    file = save(make(), tmp_path / "one.dcm")
    with pytest.raises(InputError, match=cause) as caught:
        read_volume(file)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize(("places", "millimetres"), [(1, 0.1), (2, 0.01), (3, 0.001), (8, 1e-5)])
def test_rounded_positions_are_a_grid(tmp_path, places, millimetres):
    write_slices(tmp_path, places=places)
    assert_known(read_volume(tmp_path), millimetres)


def test_thin_slices_with_rounded_positions_and_axes(tmp_path):
    def thin(dataset, k):
        dataset.ImagePositionPatient = [f"{v:.2f}" for v in known_volume().direction[:, 2] * 0.2 * k]
        dataset.ImageOrientationPatient = [f"{v:.4f}" for v in dataset.ImageOrientationPatient]

    write_slices(tmp_path, thin)
    assert read_volume(tmp_path).spacing == pytest.approx((0.5, 0.8, 0.2), abs=1e-3)


def tilt(dataset, k):
    """A gantry of one degree."""
    dataset.ImagePositionPatient = [
        float(v) + u * np.tan(np.radians(1)) * SPACING[2] * k
        for v, u in zip(dataset.ImagePositionPatient, known_volume().direction[:, 0], strict=True)
    ]


def pixel_size(dataset, k):
    dataset.PixelSpacing = [0.4, 0.4] if k > 5 else dataset.PixelSpacing


def by_hand(dataset, k):
    angle, (row, column) = np.radians(k), known_volume().direction.T[:2]
    turned = np.cos(angle) * row + np.sin(angle) * column, np.cos(angle) * column - np.sin(angle) * row
    dataset.ImageOrientationPatient = [f"{v:.8f}" for v in np.ravel(turned)]


def localizer(dataset, k):
    if k == 3:
        dataset.ImageOrientationPatient, dataset.PixelSpacing = [0, 1, 0, 0, 0, -1], [2, 2]


def other_size(dataset, k):
    if k == 3:
        dataset.Rows, dataset.Columns, dataset.PixelData = 4, 5, bytes(20)


def two_echoes(dataset, k):
    dataset.EchoTime = (10, 80)[k % 2]
    dataset.ImagePositionPatient = [0, 0, k // 2]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def uneven(dataset, k):
    dataset.ImagePositionPatient = list(known_volume().direction[:, 2] * (1.25 * k + (0.5 if k > 5 else 0)))


def nowhere(dataset, k):
    del dataset.ImagePositionPatient


def without_pixel_size(dataset, k):
    del dataset.PixelSpacing


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (tilt, "sheared"),
        (pixel_size, r"differ in pixel size, 0\.4 to 0\.8 mm"),
        (by_hand, "turned against each other, by up to 11 degrees"),
        (localizer, "IM09: lies at another angle than the other slices .a localizer"),
        (other_size, "IM09 has 5 x 4 pixels, others 11 x 9"),
        (two_echoes, r"several images of the same place, .* which differ in EchoTime \(10"),
        (uneven, "missing or unevenly spaced"),
        (nowhere, "have no position"),
        (without_pixel_size, "has no pixel size"),
    ],
)
def test_slices_that_are_no_grid_are_refused(tmp_path, edit, cause):
    write_slices(tmp_path, edit)
    with pytest.raises(InputError, match=cause) as caught:
        read_volume(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ")


def test_ultrasound_gives_its_pixel_size_by_regions(tmp_path):
    def regions(dataset, k):
        del dataset.PixelSpacing
        region = image(CAPTURE, np.zeros((1, 1), np.uint8))
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
        region.PhysicalDeltaX, region.PhysicalDeltaY = SPACING[0] / 10, SPACING[1] / 10
        dataset.SequenceOfUltrasoundRegions = [region]

    write_slices(tmp_path, regions)
    assert_known(read_volume(tmp_path))


def test_missing_slices_are_named_and_copies_left_out(tmp_path):
    files = write_slices(tmp_path)
    (tmp_path / "IM00 (1)").write_bytes(files[0].read_bytes())
    volume = read_volume(tmp_path)
    assert_known(volume)
    assert volume.notes == ("Copies of DICOM files left out: 1.",)
    files[4].unlink()
    with pytest.raises(InputError, match=r"2\.5 mm between IM09 and IM11, else 1\.25 mm"):
        read_volume(tmp_path)


@pytest.mark.parametrize("kept", [-40, 420, 140])
def test_a_slice_that_is_cut_off_is_named(tmp_path, kept):
    file = write_slices(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:kept])
    (tmp_path / "notes.bin").write_bytes(b"\x08\x00\x51\x07" + bytes(300))
    save(item(SOPClassUID="1.2.840.10008.5.1.4.1.1.11.1", SOPInstanceUID="1.2.3.9"), tmp_path / "state.dcm")
    with pytest.raises(InputError, match=f"{file.name}: is cut off"):
        read_volume(tmp_path)


def test_a_compressed_slice_that_is_cut_off_is_named(tmp_path):
    import pydicom

    files = write_slices(tmp_path)
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.compress(pydicom.uid.RLELossless)
        dataset.save_as(file)
    assert_known(read_volume(tmp_path))
    files[4].write_bytes(files[4].read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{files[4].name}: is (cut off|damaged)"):
        read_volume(tmp_path)


def test_a_slice_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    """It is not left out: the volume would end early."""
    file = write_slices(tmp_path)[0]
    monkeypatch.setattr("os.access", lambda path, mode: path != file)
    with pytest.raises(InputError, match=f"{file.name}: cannot be read; check its permissions"):
        read_volume(tmp_path)


def test_a_slice_whose_name_is_no_text_is_named(tmp_path):
    first = write_slices(tmp_path)[0]
    try:
        first.rename(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.dcm"))
    except OSError:
        pytest.skip("this file system holds text only")
    with pytest.raises(InputError, match=r"caf\\xe9\.dcm: its name is no text"):
        read_volume(tmp_path)


def test_a_single_slice_asks_for_its_folder(tmp_path):
    with pytest.raises(InputError, match="single slice; give the folder"):
        read_volume(write_slices(tmp_path)[0])


def test_a_cd_is_read_by_its_folder_or_its_table_of_contents(tmp_path):
    table = directory_file(tmp_path)
    write_slices(tmp_path / "DICOM" / "ST0" / "SE1")
    assert_known(read_volume(tmp_path))
    assert_known(read_volume(table))
    assert find_inputs([tmp_path]) == [tmp_path / "DICOM" / "ST0" / "SE1"]
    write_slices(tmp_path / "DICOM" / "ST0" / "SE2", lambda dataset, k: setattr(dataset, "SeriesInstanceUID", "1.9"))
    with pytest.raises(InputError, match=r"2 DICOM series \(US 'before dura', 12 files in DICOM.ST0.SE1; "):
        read_volume(tmp_path)
