"""Image files that are damaged in any way are refused in one line or read as what they are; sound ones are read."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from support.dicom_files import enhanced, save, write_slices
from support.fuzzing import damaged, examples, read_or_refuse
from support.headers import SMALL, STRAIGHT, metaimage, nifti, nrrd

from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.input_checks import check_input
from IoUSynthLib.volume import SHEAR_TOLERANCE, InputError, Volume


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one example; nothing may be written into it but what the test itself writes."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def contents(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def check(place: Path, file: Path) -> Volume | None:
    """Read a file; what is taken is a usable volume, and nothing of the folder has changed."""
    before = contents(place)
    volume = read_or_refuse(lambda: read_volume(file), file, *before)
    usable = volume and read_or_refuse(lambda: check_input(volume, str(file)), file)
    assert contents(place) == before
    if volume is not None:
        assert volume.array.ndim == 3
        assert volume.array.dtype == np.float32
    if usable is not None:
        assert np.isfinite(usable.array).all()
        assert min(usable.spacing) > 0
        assert np.abs(usable.direction.T @ usable.direction - np.eye(3)).max() <= SHEAR_TOLERANCE
    return usable


def packed(kind: str) -> bytes:
    """An image in one file."""
    with folder() as place:
        if kind in ("nrrd", "nrrd.gz"):
            content = nrrd(place / "a", "(1,0,0) (0,1,0) (0,0,1)").read_bytes()
            if kind == "nrrd":
                return content
            head, _, voxels = content.partition(b"\n\n")
            return head.replace(b"encoding: raw", b"encoding: gzip") + b"\n\n" + gzip.compress(voxels, mtime=0)
        if kind == "mha":
            return metaimage(place / "a").read_bytes()
        if kind == "mha.z":
            voxels = zlib.compress(SMALL.tobytes())
            more = f"CompressedData = True\nCompressedDataSize = {len(voxels)}\n"
            head = metaimage(place / "a", more=more).read_bytes()
            return head[: head.index(b"LOCAL\n") + 6] + voxels
        if kind == "dcm":
            return save(enhanced(), place / "a").read_bytes()
        content = nifti(place / "a", STRAIGHT, (1, 1, 1)).read_bytes()
        return gzip.compress(content, mtime=0) if kind == "nii.gz" else content


#: Formats by the suffix that the file gets, and the bytes of their headers.
FORMATS = {
    "nrrd": (".nrrd", 220), "nrrd.gz": (".nrrd", 220), "mha": (".mha", 210), "mha.z": (".mha", 270),
    "nii": (".nii", 352), "nii.gz": (".nii.gz", 20), "dcm": (".dcm", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_file_is_refused_or_usable(kind):
    suffix, head = FORMATS[kind]
    sound = packed(kind)

    @examples(40 if kind != "dcm" else 15, 1.0 if kind != "dcm" else 0.2)
    @given(damaged(sound, head))
    def run(content: bytes) -> None:
        with folder() as place:
            file = place / f"a{suffix}"
            file.write_bytes(content)
            check(place, file)

    run()


PAIRS = {"a.nhdr": "a.raw", "a.mhd": "a.raw", "a.hdr": "a.img"}


@pytest.mark.parametrize("name", PAIRS)
def test_a_damaged_header_of_other_files_is_refused_or_usable(name):
    """Also one that names a file elsewhere."""
    with folder() as place:
        sitk.WriteImage(Volume(SMALL).to_sitk(), str(place / name))
        sound, voxels = (place / name).read_bytes(), (place / PAIRS[name]).read_bytes()

    @examples(30)
    @given(damaged(sound), st.integers(0, 2))
    def run(content: bytes, missing: int) -> None:
        with folder() as place:
            (place / name).write_bytes(content)
            (place / PAIRS[name]).write_bytes(voxels if missing else voxels[:-1])
            check(place, place / name)

    run()


def test_an_element_longer_than_its_file_is_refused_before_memory_is_reserved_for_it(tmp_path):
    content = packed("dcm")
    (tmp_path / "a.dcm").write_bytes(content + bytes.fromhex("e17f1000") + b"OB\0\0" + bytes.fromhex("00ffff7f") + b"x")
    with pytest.raises(InputError, match="an element is longer than the file"):
        read_volume(tmp_path / "a.dcm")


def test_a_damaged_series_is_refused_or_usable():
    with folder() as place:
        files = {path.name: path.read_bytes() for path in write_slices(place)}

    @examples(15, 0.3)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        with folder() as place:
            for name, content in files.items():
                (place / name).write_bytes(content)
            name = data.draw(st.sampled_from(sorted(files)))
            (place / name).write_bytes(data.draw(damaged(files[name], 600)))
            before = contents(place)
            read_or_refuse(lambda: read_volume(place), place, *before)
            assert contents(place) == before

    run()


def test_a_damaged_nifti_lies_where_nibabel_puts_it_or_says_so():
    """An independent reader: what both take for an image has the same voxels in the same place, or a warning."""
    nibabel = pytest.importorskip("nibabel")
    sound = packed("nii")

    @examples(60)
    @given(damaged(sound, 352))
    def run(content: bytes) -> None:
        with folder() as place:
            file = place / "a.nii"
            file.write_bytes(content)
            volume = check(place, file)
            if volume is None or volume.warnings or volume.notes:
                return
            try:
                other = nibabel.load(file)
                voxels = np.asarray(other.dataobj, dtype=np.float32)
            except Exception:  # it is stricter
                return
            unit = {1: 1000.0, 3: 1e-3}.get(int(other.header["xyzt_units"]) & 7, 1.0)
            affine = np.diag([-unit, -unit, unit, 1]) @ other.affine
            assert np.array_equal(voxels.squeeze().T, volume.array.squeeze().astype(np.float32))
            if other.header["qform_code"] > 0 or other.header["sform_code"] > 0:  # else each has a rule of its own
                corners = np.array(np.meshgrid(*([0, n - 1] for n in volume.size), [1])).reshape(4, -1)
                assert np.abs((affine - volume.ijk_to_lps) @ corners).max() < 0.3

    run()
