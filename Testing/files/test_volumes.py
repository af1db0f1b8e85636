"""Orientation by known answers, and what readers do with unusable files."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import SimpleITK as sitk
from support.headers import SMALL, STRAIGHT, metaimage, nifti, nrrd, write
from support.tiny_models import SHARED, oblique_direction

from IoUSynthLib.files.paths import case_name
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.input_checks import check_input
from IoUSynthLib.volume import InputError, Volume


def oblique() -> Volume:
    return Volume(SMALL, (0.5, 0.75, 1.25), (-12.5, 33.25, 71.0), oblique_direction())


def test_world_coordinates_of_voxels():
    volume = Volume(SMALL, (2.0, 3.0, 4.0), (10.0, 20.0, 30.0), [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    assert np.allclose(volume.ijk_to_lps @ [0, 0, 0, 1], [10, 20, 30, 1])
    assert np.allclose(volume.ijk_to_lps @ [1, 0, 0, 1], [10, 22, 30, 1])
    assert np.allclose(volume.ijk_to_lps @ [0, 1, 0, 1], [10, 20, 33, 1])
    assert np.allclose(volume.ijk_to_lps @ [0, 0, 1, 1], [14, 20, 30, 1])
    assert volume.size == (8, 7, 6)


def test_agrees_with_simpleitk():
    volume = oblique()
    expected = volume.to_sitk().TransformIndexToPhysicalPoint((5, 2, 3))
    assert np.allclose((volume.ijk_to_lps @ [5, 2, 3, 1])[:3], expected)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_files_keep_voxels_and_place(tmp_path, suffix):
    volume = oblique()
    write_volume(tmp_path / f"a{suffix}", volume)
    back = read_volume(tmp_path / f"a{suffix}")
    assert back.same_grid(volume, 1e-5)
    assert np.array_equal(back.array, volume.array)


def test_nifti_affine_is_ras(tmp_path):
    """The first voxel at LPS (10, 20, 30) stands in the file as RAS (-10, -20, 30), +i to the left as -x."""
    write_volume(tmp_path / "a.nii", Volume(SMALL, (2.0, 2.0, 2.0), (10.0, 20.0, 30.0)))
    rows = np.array(struct.unpack_from("<12f", (tmp_path / "a.nii").read_bytes(), 280)).reshape(3, 4)
    assert np.allclose(rows, [[-2, 0, 0, -10], [0, -2, 0, -20], [0, 0, 2, 30]])


def test_nrrd_in_ras_is_read_as_lps(tmp_path):
    head = (
        "NRRD0004\ntype: float\ndimension: 3\nsizes: 8 7 6\nendian: little\nencoding: raw\n"
        "space: right-anterior-superior\nspace directions: (2,0,0) (0,2,0) (0,0,2)\nspace origin: (1,2,3)\n\n"
    )
    (tmp_path / "a.nrrd").write_bytes(head.encode() + SMALL.tobytes())
    volume = read_volume(tmp_path / "a.nrrd")
    assert np.allclose(volume.ijk_to_lps @ [1, 1, 1, 1], [-3, -4, 5, 1])


def test_header_says_synthetic(tmp_path):
    write_volume(tmp_path / "a.nii.gz", oblique(), {"descrip": "SYNTHETIC - NOT ACQUIRED"})
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert image.GetMetaData("descrip") == "SYNTHETIC - NOT ACQUIRED"
    write_volume(tmp_path / "a.nrrd", oblique(), {"IoUSynth.synthetic": "1"})
    assert sitk.ReadImage(str(tmp_path / "a.nrrd")).GetMetaData("IoUSynth.synthetic") == "1"


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_becomes_luminance(tmp_path, channels):
    colour = np.zeros((6, 7, 8, channels), dtype=np.uint8)
    colour[..., 0], colour[..., 1], colour[..., 2] = 200, 100, 50
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(tmp_path / "a.nrrd"))
    volume = read_volume(tmp_path / "a.nrrd")
    assert np.allclose(volume.array, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, atol=1e-3)
    assert "luminance" in volume.notes[0]


UNUSABLE = {
    "missing": (lambda f: f / "nothing.nrrd", "no such file"),
    "text": (lambda f: write(f / "a.nrrd", b"hello"), "not an image"),
    "empty file": (lambda f: write(f / "a.nii.gz", b""), "not an image"),
    "truncated": (lambda f: write(f / "a.mha", metaimage(f / "b.mha").read_bytes()[:-200]), "damaged"),
    "empty folder": (lambda f: f, "no DICOM series"),
    "NIfTI 4D": (lambda f: nifti(f / "a.nii", STRAIGHT, (1, 1, 1), size=(8, 7, 3, 2)), "is 4D"),
    "NIfTI 2D": (lambda f: nifti(f / "a.nii", STRAIGHT, (1, 1, 1), size=(8, 7)), "single 2D image"),
    "NIfTI single slice": (lambda f: nifti(f / "a.nii", STRAIGHT, (1, 1, 1), size=(8, 7, 1)), "single slice"),
    "NIfTI zero spacing": (
        lambda f: nifti(f / "a.nii", [1, 0, 0, 0, 0, 1, 0, 0, *[0] * 4], (1, 1, 0)),
        "spacing of zero",
    ),
    "NIfTI zero spacing, no sform": (lambda f: nifti(f / "a.nii", [0] * 12, (1, 1, 0), sform=0), "spacing of zero"),
    "NIfTI sheared": (lambda f: nifti(f / "a.nii", [1, 0.2, *STRAIGHT[2:]], (1, 1, 1)), "sheared"),
    "MetaImage zero spacing": (lambda f: metaimage(f / "a.mha", spacing="1 1 0"), "spacing of zero"),
    "MetaImage sheared": (lambda f: metaimage(f / "a.mha", matrix="1 0 0 0.3 1 0 0 0 1"), "sheared"),
    "MetaImage sequence": (lambda f: metaimage(f / "a.mha", more="Seq_Frame0000_Timestamp = 1\n"), r"2D\+t"),
    "NRRD zero spacing": (lambda f: nrrd(f / "a.nrrd", "(1,0,0) (0,1,0) (0,0,0)"), "spacing of zero"),
    "NRRD sheared": (lambda f: nrrd(f / "a.nrrd", "(1,0,0) (0.3,1,0) (0,0,1)"), "sheared"),
    "NRRD sequence": (
        lambda f: nrrd(f / "a.nrrd", "none (1,0,0) (0,1,0) (0,0,1)", "kinds: list domain domain domain\n", "3 8 7 6"),
        "4D",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_files_are_named_in_one_line(tmp_path, name, capfd):
    make, cause = UNUSABLE[name]
    path = make(tmp_path)
    with pytest.raises(InputError, match=cause) as caught:
        check_input(read_volume(path), str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == "", "ITK's own warnings stay away"


@pytest.mark.parametrize(
    ("volume", "cause"),
    [
        (Volume(np.zeros((4, 4, 4))), "is empty"),
        (Volume(np.full((4, 4, 4), 7.0)), "every voxel is 7"),
        (Volume(-SMALL), "no positive voxel"),
        (Volume(np.where(SMALL == 3, np.nan, SMALL)), "NaN or infinite"),
        (Volume(np.where(SMALL == 3, np.inf, SMALL)), "NaN or infinite"),
        (Volume(np.where(SMALL == 3, -np.inf, SMALL)), "NaN or infinite"),
        (Volume(SMALL[:1]), "single slice"),
        (Volume(SMALL[:0]), "no voxels"),
        (Volume(SMALL[None]), "4 dimensions"),
        (Volume(SMALL, (1, 1, 0)), "spacing"),
        (Volume(SMALL, (1, 1, np.nan)), "spacing"),
        (Volume(SMALL, origin=(0, np.inf, 0)), "not finite"),
        (Volume(SMALL, direction=[[1, 0.2, 0], [0, 1, 0], [0, 0, 1]]), "sheared"),
        (Volume(SMALL, direction=np.diag([1, 1, 0])), "sheared"),
    ],
)
def test_check_input_names_cause(volume, cause):
    with pytest.raises(InputError, match=cause) as caught:
        check_input(volume)
    assert str(caught.value).startswith("input volume: ")


def test_check_input_accepts_oblique_and_mirrored_volumes():
    check_input(oblique())
    check_input(Volume(SMALL, direction=np.diag([1, 1, -1])))


def test_a_trailing_dimension_of_one_is_no_time(tmp_path):
    path = nifti(tmp_path / "a.nii", STRAIGHT, (1, 1, 1), size=(8, 7, 6, 1))
    assert np.array_equal(read_volume(path).array, SMALL)


@pytest.mark.parametrize(
    ("name", "case"), [("a.nii.gz", "a"), ("b.c.NRRD", "b.c"), ("folder", "folder"), ("s.seq.nrrd", "s")]
)
def test_case_name(name, case):
    assert case_name(name) == case


def test_same_grid_needs_size_and_geometry():
    volume = oblique()
    assert volume.same_grid(volume.with_array(volume.array * 2))
    assert not volume.same_grid(Volume(SMALL[1:], volume.spacing, volume.origin, volume.direction))
    assert not volume.same_grid(Volume(SMALL, volume.spacing, (-12.5, 33.25, 71.01), volume.direction))
    with pytest.raises(ValueError, match="does not fit"):
        volume.with_array(SMALL[1:])


def test_real_case_survives_nifti(resect_case_4, tmp_path):
    volume = read_volume(resect_case_4)
    check_input(volume)
    write_volume(tmp_path / "a.nii.gz", volume)
    assert read_volume(tmp_path / "a.nii.gz").same_grid(volume, 1e-5)


def test_real_tracked_sequence_is_refused():
    path = SHARED / "data" / "tracked_us" / "SpinePhantomFreehand.igs.mha"
    if not path.exists():
        pytest.skip("the tracked sequence is not here")
    with pytest.raises(InputError, match=r"2D\+t"):
        read_volume(path)
