"""Files that are cut, damaged or contradict themselves are refused or said; units and rounded numbers are honoured."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.headers import SMALL, STRAIGHT, metaimage, nifti, nrrd, write
from support.tiny_models import oblique_direction

from IoUSynthLib.files.headers import examine
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.volume import InputError, Volume

NOISE = np.random.default_rng(1).integers(0, 255, (12, 14, 16)).astype(np.uint8)


def image(path: Path, compressed: bool = False) -> Path:
    """Noise, which compresses badly, in the format that the suffix names."""
    volume = Volume(NOISE, (0.8, 0.7, 0.9), (3, -4, 5), oblique_direction())
    sitk.WriteImage(volume.to_sitk(), str(path), compressed)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    return write(path, content[: int(len(content) * share)])


def cut_pair(header: Path) -> Path:
    cut(header.with_suffix(".img" if header.suffix == ".hdr" else ".raw"))
    return header


def one_bit_other(path: Path, place: int = -40) -> Path:
    """The file's length stays, and deflate finds an end."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    return write(path, bytes(content))


def stored(path: Path) -> Path:
    """A NIfTI in gzip whose voxels stand as they are, so that only the checksum can tell."""
    content = nifti(path.with_suffix(".tmp"), STRAIGHT, (1, 1, 1)).read_bytes()
    return write(path, gzip.compress(content, 0))


def compressed_metaimage(path: Path, more: str = "") -> Path:
    packed = zlib.compress(SMALL.tobytes())
    head, _, _ = metaimage(path, more=f"CompressedData = True\n{more}").read_bytes().partition(b"LOCAL\n")
    return write(path, head + b"LOCAL\n" + packed)


def gzipped_nrrd(path: Path, more: bytes = b"") -> Path:
    head, _, voxels = nrrd(path, "(1,0,0) (0,1,0) (0,0,1)").read_bytes().partition(b"\n\n")
    packed = gzip.compress(voxels + more, 9 if more else 0)
    return write(path, head.replace(b"encoding: raw", b"encoding: gzip") + b"\n\n" + packed)


def changed(path: Path, before: bytes, after: bytes) -> Path:
    content = path.read_bytes()
    assert before in content
    return write(path, content.replace(before, after))


def with_dimensions(path: Path, size: tuple[int, int, int]) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into("<3h", content, 42, *size)
    return write(path, bytes(content))


def without(path: Path, line: bytes) -> Path:
    lines = path.read_bytes().split(b"\n")
    return write(path, b"\n".join(text for text in lines if not text.startswith(line)))


def alone(path: Path) -> Path:
    path.with_suffix(".raw").unlink()
    return path


def analyze(path: Path) -> Path:
    content = bytearray(nifti(path, STRAIGHT, (1, 1, 1)).read_bytes())
    content[344:348] = bytes(4)
    write(path.with_suffix(".img"), bytes(content[352:]))
    return write(path, bytes(content[:348]))


REFUSED = {
    "NIfTI cut": (lambda f: cut(image(f / "a.nii")), r"ends after \d+ of \d+ bytes"),
    "NIfTI cut in gzip": (lambda f: cut(image(f / "a.nii.gz", True)), "compressed voxels end early"),
    "NIfTI short in gzip": (
        lambda f: write(f / "a.nii.gz", gzip.compress(nifti(f / "b.nii", STRAIGHT, (1, 1, 1)).read_bytes()[:-4])),
        "ends after 1692 of 1696 bytes",
    ),
    "NIfTI cut in its header": (lambda f: cut(image(f / "a.nii"), 0.05), "header is not complete"),
    "NIfTI with another bit": (lambda f: one_bit_other(stored(f / "a.nii.gz")), "do not add up"),
    "NIfTI pair cut": (lambda f: cut_pair(image(f / "a.hdr")), r"a\.img: is damaged: it ends after"),
    "NRRD cut": (lambda f: cut(image(f / "a.nrrd")), "ends after"),
    "NRRD cut in gzip": (lambda f: cut(image(f / "a.nrrd", True)), "compressed voxels end early"),
    "NRRD with another bit": (lambda f: one_bit_other(gzipped_nrrd(f / "a.nrrd")), "do not add up"),
    "NRRD cut beside its header": (lambda f: cut_pair(image(f / "a.nhdr")), r"a\.raw: is damaged: it ends after"),
    "MetaImage cut": (lambda f: cut(image(f / "a.mha")), "ends after"),
    "MetaImage cut in zlib": (lambda f: cut(image(f / "a.mha", True)), "compressed voxels end early"),
    "MetaImage with another bit": (
        lambda f: one_bit_other(compressed_metaimage(f / "a.mha", f"CompressedDataSize = {10**3}\n"), -2),
        "do not add up",
    ),
    "MetaImage without the length": (lambda f: compressed_metaimage(f / "a.mha"), "lacks CompressedDataSize"),
    "MetaImage cut beside its header": (lambda f: cut_pair(image(f / "a.mhd")), r"a\.raw: is damaged: it ends after"),
    "MetaImage alone": (lambda f: alone(image(f / "a.mhd")), r"a\.raw does not lie beside it"),
    "MetaImage without voxel size": (lambda f: without(metaimage(f / "a.mha"), b"ElementSpacing"), "no voxel size"),
    "MetaImage in one plane": (lambda f: metaimage(f / "a.mha", "1 0 0 0 1 0 0 0 0"), "lie in one plane"),
    "MetaImage of no dimensions": (
        lambda f: changed(metaimage(f / "a.mha"), b"NDims = 3", b"NDims = -2147483648"),
        "has -2147483648 dimensions",
    ),
    "MetaImage with a short matrix": (lambda f: metaimage(f / "a.mha", "1 0 0 0 1 0 0 0"), "not 9 numbers"),
    "MetaImage with axes beyond reason": (
        lambda f: metaimage(f / "a.mha", "1 0 0 0 1 0 1e308 0 1"), r"TransformMatrix holds 1e\+308"
    ),
    "MetaImage of voxels beyond reason": (
        lambda f: changed(metaimage(f / "a.mha"), b"DimSize = 8 7 6", b"DimSize = 8 7 60000000"),
        "more than can be worked on",
    ),
    "MetaImage of files that are not there": (
        lambda f: changed(metaimage(f / "a.mha"), b"LOCAL\n", b"s%02d.raw 1 6 1\n"), r"s01\.raw does not lie beside it"
    ),
    "MetaImage of a strange pattern": (
        lambda f: changed(metaimage(f / "a.mha"), b"LOCAL\n", b"%s%n.raw 1 6 1\n"), "its voxels are missing"
    ),
    "MetaImage of a list with a device": (
        lambda f: changed(metaimage(f / "a.mha"), b"LOCAL\n", b"LIST\n/dev/zero\n"), "/dev/zero does not lie beside it"
    ),
    "NRRD with axes beyond reason": (lambda f: nrrd(f / "a.nrrd", "(1e308,0,0) (0,1,0) (0,0,1)"), r"holds 1e\+308"),
    "NRRD that inflates for ever": (lambda f: gzipped_nrrd(f / "a.nrrd", bytes(1 << 24)), "more compressed data than"),
    "NIfTI with no place": (lambda f: nifti(f / "a.nii", [np.inf, *STRAIGHT[1:]], (1, 1, 1)), "sform holds inf"),
    "NIfTI of voxels beyond reason": (
        lambda f: with_dimensions(nifti(f / "a.nii", STRAIGHT, (1, 1, 1)), (30000, 30000, 2)), "more than can be worked"
    ),
    "NRRD without voxel size": (lambda f: without(nrrd(f / "a.nrrd", ""), b"space"), "no voxel size"),
    "NRRD in inches": (
        lambda f: nrrd(f / "a.nrrd", "(1,0,0) (0,1,0) (0,0,1)", 'space units: "inch" "inch" "inch"\n'),
        'lengths in "inch"',
    ),
    "NRRD of a segmentation": (
        lambda f: nrrd(f / "a.seg.nrrd", "(1,0,0) (0,1,0) (0,0,1)", "Segment0_ID:=tumour\n"),
        "is a segmentation",
    ),
    "TIFF": (lambda f: image(f / "a.tif"), "is in the format TIFF"),
    "VTK": (lambda f: image(f / "a.vtk"), "is in the format VTK"),
    "MINC": (lambda f: image(f / "a.mnc"), "is in the format MINC"),
    "Analyze": (lambda f: analyze(f / "a.hdr"), "is an Analyze file"),
    "Analyze by its voxels": (lambda f: analyze(f / "a.hdr").with_suffix(".img"), "is an Analyze file"),
    "NIfTI-2": (lambda f: write(f / "a.nii", struct.pack("<i", 540) + bytes(600)), "is a NIfTI-2 file"),
    "NIfTI in gzip without its suffix": (lambda f: image(f / "a.nii.gz", True).rename(f / "a.nii"), "rename it"),
    "NIfTI sheared": (lambda f: nifti(f / "a.nii", [1, 5e-3, *STRAIGHT[2:]], (1, 1, 1)), "rigid transform instead"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_refused_in_one_line(tmp_path, name, capfd):
    make, cause = REFUSED[name]
    path = make(tmp_path)
    with pytest.raises(InputError, match=cause) as caught:
        read_volume(path)
    assert str(caught.value).startswith(str(path.with_suffix("")))
    assert ";" in str(caught.value), "the remedy follows the cause"
    assert capfd.readouterr().err == "", "ITK's own warnings stay away"


@pytest.mark.parametrize(
    "suffix", [".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd"], ids=lambda suffix: suffix[1:]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_whole_files_of_every_format_are_read(tmp_path, suffix, compressed):
    image(tmp_path / f"a{suffix}", compressed)
    volume = read_volume(tmp_path / f"a{suffix}")
    assert np.array_equal(volume.array, NOISE)
    assert volume.same_grid(Volume(NOISE, (0.8, 0.7, 0.9), (3, -4, 5), oblique_direction()), 1e-4)
    assert volume.warnings == ()


@pytest.mark.parametrize("form", ["s%02d.raw 1 6 1", "LIST\ns01.raw\ns02.raw\ns03.raw\ns04.raw\ns05.raw\ns06.raw"])
def test_a_file_for_each_slice_is_read_and_none_may_be_cut(tmp_path, form):
    for number, voxels in enumerate(SMALL, 1):
        (tmp_path / f"s{number:02}.raw").write_bytes(voxels.tobytes())
    path = metaimage(tmp_path / "a.mhd")
    path.write_bytes(path.read_bytes().partition(b"LOCAL\n")[0] + form.encode() + b"\n")
    assert np.array_equal(read_volume(path).array, SMALL)
    cut(tmp_path / "s04.raw")
    with pytest.raises(InputError, match=r"s04\.raw: is damaged: it ends after"):
        read_volume(path)


@pytest.mark.parametrize("text", ["Größe".encode("latin-1"), b"\xff\xfe"], ids=["Latin-1", "no text"])
def test_a_header_that_is_not_utf_8_is_read(tmp_path, text):
    path = nrrd(tmp_path / "a.nrrd", "(1,0,0) (0,1,0) (0,0,1)", "seen:=\n")
    write(path, path.read_bytes().replace(b"seen:=", b"seen:=" + text + b"\n" + text + b":=1"))
    assert np.array_equal(read_volume(path).array, SMALL)


def test_gzip_of_many_members_is_read(tmp_path):
    """As bgzip and pigz write it; what follows the last member does not count."""
    content = nifti(tmp_path / "b.nii", STRAIGHT, (1, 1, 1)).read_bytes()
    parts = [gzip.compress(content[start : start + 100]) for start in range(0, len(content), 100)]
    assert np.array_equal(read_volume(write(tmp_path / "a.nii.gz", b"".join(parts) + b"\0\0\0")).array, SMALL)
    with pytest.raises(InputError, match="ends after"):
        read_volume(write(tmp_path / "a.nii.gz", b"".join(parts[:-1])))


@pytest.mark.parametrize(("unit", "length"), [("cm", 0.2), ("m", 0.002), ("um", 2000), ("mm", 2), ("meters", 0.002)])
def test_nrrd_units_are_honoured(tmp_path, unit, length):
    units = " ".join([f'"{unit}"'] * 3)
    path = nrrd(
        tmp_path / "a.nrrd", f"({length},0,0) (0,{length},0) (0,0,{length})", f"space units: {units}\n"
    )
    path.write_bytes(path.read_bytes().replace(b"space origin: (0,0,0)", f"space origin: (0,{5 * length},0)".encode()))
    volume = read_volume(path)
    assert np.allclose(volume.spacing, 2.0)
    assert np.allclose(volume.origin, (0, 10, 0))


@pytest.mark.parametrize(("unit", "length"), [("cm", 0.2), ("um", 2000), ("mm", 2), ("?", 2)])
def test_metaimage_units_are_honoured(tmp_path, unit, length):
    path = metaimage(tmp_path / "a.mha", spacing=f"{length} {length} {length}", more=f"DistanceUnits = {unit}\n")
    assert np.allclose(read_volume(path).spacing, 2.0)


@pytest.mark.parametrize(("unit", "length"), [(1, 0.002), (2, 2), (3, 2000), (0, 2)])
def test_nifti_units_are_honoured(tmp_path, unit, length):
    rows = np.multiply(STRAIGHT, length)
    content = bytearray(nifti(tmp_path / "a.nii", list(rows), (length,) * 3).read_bytes())
    content[123] = unit
    volume = read_volume(write(tmp_path / "a.nii", bytes(content)))
    assert np.allclose(volume.spacing, 2.0)
    assert volume.warnings == ()


def twice_placed(path: Path, shift: float, scale: float = 1.0, codes: tuple[int, int] = (1, 2)) -> Path:
    """A qform of 2 mm along the axes, and an sform that is shifted and scaled."""
    rows = np.reshape(STRAIGHT, (3, 4)) * 2.0 * scale
    rows[0, 3] += shift
    content = bytearray(nifti(path, rows.ravel().tolist(), (2, 2, 2)).read_bytes())
    struct.pack_into("<2h", content, 252, *codes)
    return write(path, bytes(content))


def test_second_placement_is_said_with_its_distance(tmp_path):
    volume = read_volume(twice_placed(tmp_path / "a.nii", 20.0))
    assert volume.origin[0] == 0
    assert len(volume.warnings) == 1
    assert "taken was the qform, as 3D Slicer does; the sform" in volume.warnings[0]
    assert "20.0 mm elsewhere. " in volume.warnings[0]


def test_sform_of_the_scanner_is_taken_and_the_qform_said(tmp_path):
    volume = read_volume(twice_placed(tmp_path / "a.nii", 20.0, codes=(1, 1)))
    assert volume.origin[0] == -20
    assert "taken was the sform, as 3D Slicer does; the qform" in volume.warnings[0]


@pytest.mark.parametrize(("codes", "taken"), [((1, 2), "the qform"), ((0, 2), "the voxel size in pixdim")])
def test_voxel_size_that_contradicts_the_sform_is_said_with_its_factor(tmp_path, codes, taken):
    volume = read_volume(twice_placed(tmp_path / "a.nii", 0.0, 1.25, codes))
    assert np.allclose(volume.spacing, 2.0)
    assert taken in volume.warnings[0]
    assert "voxels of 2.5 x 2.5 x 2.5 instead of 2 x 2 x 2 mm: volumes are 1.95 times as large" in volume.warnings[0]


def test_equal_placements_are_nothing_to_say(tmp_path):
    assert read_volume(twice_placed(tmp_path / "a.nii", 0.0)).warnings == ()


@pytest.mark.parametrize("shear", [1e-4, 8e-4])
def test_axes_rounded_to_a_few_decimals_are_right_angles(tmp_path, shear):
    rows = np.hstack([oblique_direction() @ [[1, shear, 0], [0, 1, 0], [0, 0, 1]], [[5], [6], [7]]])
    volume = read_volume(nifti(tmp_path / "a.nii", rows.ravel().tolist(), (1, 1, 1)))
    assert np.allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-9)
    expected = np.diag([-1, -1, 1]) @ rows @ [7, 6, 5, 1]
    assert np.allclose((volume.ijk_to_lps @ [7, 6, 5, 1])[:3], expected, atol=0.01)
    assert volume.warnings == ()


@pytest.mark.parametrize(
    ("sizes", "kinds", "directions"),
    [
        ("1 8 7 6", "list domain domain domain", "none (1,0,0) (0,1,0) (0,0,1)"),
        ("8 7 6 1", "domain domain domain list", "(1,0,0) (0,1,0) (0,0,1) none"),
    ],
)
def test_a_sequence_of_one_volume_is_that_volume(tmp_path, sizes, kinds, directions):
    path = nrrd(tmp_path / "a.nrrd", directions, f"kinds: {kinds}\n", sizes)
    assert np.array_equal(read_volume(path).array, SMALL)


def test_a_segmentation_is_read_where_labels_are_wanted(tmp_path):
    path = nrrd(tmp_path / "a.seg.nrrd", "(1,0,0) (0,1,0) (0,0,1)", "Segment0_ID:=tumour\n")
    assert np.array_equal(read_volume(path, labels=True).array, SMALL)


def test_what_is_written_here_is_whole(tmp_path):
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        write_volume(tmp_path / f"a{suffix}", Volume(SMALL))
        examine(tmp_path / f"a{suffix}")
