"""DICOM as volumes: which files belong together, and where their frames lie.

GDCM, within ITK, decodes the voxels. Where they lie is taken from the headers, for the slices of a series and for the
frames of one enhanced file alike: in any order, and refused where they are no regular grid; ITK would only warn.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..volume import InputError, Volume
from .dicom_planes import Grid, plane_of_slice, planes_of_frames, regular_grid
from .itk import ERRORS, quiet, to_volume, unreadable
from .paths import FORMATS, check_path

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: SOP classes of a clip: frames over time, not a volume.
_CLIPS = ("1.2.840.10008.5.1.4.1.1.3", "1.2.840.10008.5.1.4.1.1.3.1")

#: The elements of group 8 that files without a preamble begin with, in little endian.
_FIRST_ELEMENTS = tuple(bytes([element, 0]) for element in (0x00, 0x01, 0x05, 0x08, 0x12, 0x13, 0x14, 0x16, 0x18))
#: What ends compressed pixels: the item Sequence Delimitation, of length 0, in little endian.
_LAST_ITEM = bytes.fromhex("feffdde000000000")
#: Kinds of values whose lengths have four bytes (PS3.5, 7.1.2), and the length of one that has none.
_LONG_KINDS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_NO_LENGTH = 0xFFFFFFFF
#: Bytes at the end of a file that hold it; only padding and signatures come after.
_TAIL = 1 << 20


def pydicom_module() -> Any:
    """Return the package pydicom.

    Raises
    ------
    InputError
        It is not installed.
    """
    try:
        import pydicom
        import pydicom.errors
    except ImportError as error:
        raise InputError(
            "DICOM: the package pydicom is not installed; run pip install pydicom (Slicer has it)"
        ) from error
    return pydicom


def is_dicom(file: Path) -> bool:
    """Tell by its first bytes whether a file is DICOM; old ones begin with their first element, without a preamble."""
    try:
        with open(file, "rb") as stream:
            start = stream.read(132)
    except OSError:  # whoever reads it says why it cannot be read
        return False
    return start[128:] == b"DICM" or (start[:2] == b"\x08\x00" and start[2:4] in _FIRST_ELEMENTS)


def is_directory_file(file: Path) -> bool:
    """Tell whether a file is the table of contents of a CD, which holds no image."""
    return file.name.upper() == "DICOMDIR"


def read_file(path: Path) -> Volume:
    """Read a file that holds all frames of a volume; of a DICOMDIR, the one series of its folder.

    Raises
    ------
    InputError
        It is damaged, or its frames are not those of one volume.
    """
    if is_directory_file(path):
        return read_folder(path.parent)
    header = read_header(path)
    if header is None:
        raise InputError(f"{path}: is no DICOM image; give {FORMATS}")
    return _read_frames(path, header)


def read_folder(folder: Path) -> Volume:
    """Read a folder that holds one DICOM series, or a CD with one in its subfolders.

    Raises
    ------
    InputError
        It holds none, several, or one whose slices are no regular grid.
    """
    series = _series_in(folder)
    if not series:
        raise InputError(f"{folder}: holds no DICOM series; give {FORMATS}")
    if len(series) > 1:
        listed = "; ".join(_describe(files, folder) for files in series)
        raise InputError(
            f"{folder}: holds {len(series)} DICOM series ({listed}); move the ultrasound series into its own folder"
        )
    files, notes = _without_copies(series[0], folder)
    if len(files) == 1:
        return _read_frames(*next(iter(files.items())))
    grid = _grid_of_slices(files, folder)
    names = [str(list(files)[number]) for number in grid.order]
    return _placed(_decode(names, folder, next(iter(files.values()))), grid, notes)


def check_series(files: dict[Path, Dataset], folder: Path) -> None:
    """Raise :class:`InputError` where the files of a series are no volume, as far as their headers tell.

    Parameters
    ----------
    files
        What :func:`read_header` gave of each.
    folder
        What messages call the series.
    """
    files, _ = _without_copies(files, folder)
    if len(files) == 1:
        _grid_of_frames(*next(iter(files.items())))
    else:
        _grid_of_slices(files, folder)


# Files ----------------------------------------------------------------------------------------------------------------


def _series_in(folder: Path) -> list[dict[Path, Dataset]]:
    """Return the images of each series in a folder, or where it holds none itself, in the folders below it."""
    for files in (folder.iterdir(), folder.rglob("*")):
        series: dict[str, dict[Path, Dataset]] = {}
        for path in sorted(path for path in files if path.is_file()):
            header = read_header(path)
            if header is not None:
                series.setdefault(str(header.get("SeriesInstanceUID", "")), {})[path] = header
        if series:
            return [series[uid] for uid in sorted(series)]
    return []


def read_header(path: Path) -> Dataset | None:
    """Read what a DICOM image says besides its pixels; None for any other file.

    Raises
    ------
    InputError
        It is cut off, damaged or not to be read.
    """
    pydicom = pydicom_module()
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: cannot be read; check its permissions")
    if not is_dicom(path) or is_directory_file(path):
        return None
    with open(path, "rb") as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
            kind = header.get("SOPClassUID")
            if kind is not None and "Image Storage" not in kind.name and "Rows" not in header:
                return None  # a report, a presentation state
            start = stream.tell()
            whole = "Rows" in header and _is_complete(header, stream)
            if whole and _runs_over(header, stream, start):
                raise ValueError("an element is longer than the file")
        except Exception as error:  # pydicom raises what the damage happens to cause
            raise InputError(f"{path}: is damaged ({error}); copy or export it again") from error
    if not whole:
        raise InputError(f"{path}: is cut off, its pixels are not all there; copy or export it again")
    return header


def _is_complete(header: Dataset, stream: BinaryIO) -> bool:
    """Tell whether a file, read up to its pixels, goes on to their end; GDCM leaves it out or fills it up."""
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if syntax is not None and syntax.is_deflated:
        return True  # else zlib would have complained
    start = stream.tell()
    end = stream.seek(0, 2)
    if syntax is not None and syntax.is_compressed:
        stream.seek(max(start, end - _TAIL))
        return _LAST_ITEM in stream.read()
    frames = int(header.get("NumberOfFrames") or 1)
    bits = int(header.BitsAllocated) * int(header.Rows) * int(header.Columns) * frames
    samples = 2 if "422" in header.get("PhotometricInterpretation", "") else int(header.get("SamplesPerPixel", 1))
    return end - start >= 8 + bits * samples // 8


def _runs_over(header: Dataset, stream: BinaryIO, start: int) -> bool:
    """Tell whether an element from the pixels on is said to be longer than the file: GDCM would reserve that much."""
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    if syntax is not None and syntax.is_deflated:
        return False
    implicit, little = header.is_implicit_VR, header.is_little_endian
    order, end = "<" if little else ">", stream.seek(0, 2)
    while end - start >= 12:
        stream.seek(start)
        head = stream.read(12)
        if implicit:
            (length,), skip = struct.unpack_from(order + "I", head, 4), 8
        elif head[4:6] in _LONG_KINDS:
            (length,), skip = struct.unpack_from(order + "I", head, 8), 12
        else:
            (length,), skip = struct.unpack_from(order + "H", head, 6), 8
        if length == _NO_LENGTH:
            return False  # items follow, whose end has been looked for
        start += skip + length
    return start > end


def _describe(files: dict[Path, Dataset], folder: Path) -> str:
    """Say what a series is, and in which subfolder."""
    path, header = next(iter(files.items()))
    where = "" if path.parent == folder else f" in {path.parent.relative_to(folder)}"
    description = header.get("SeriesDescription") or "no description"
    return f"{header.get('Modality') or '?'} '{description}', {len(files)} file{'s' * (len(files) > 1)}{where}"


def _without_copies(files: dict[Path, Dataset], folder: Path) -> tuple[dict[Path, Dataset], tuple[str, ...]]:
    """Leave out copies of a file, with a note."""
    kept: dict[str, Path] = {}
    for path, header in files.items():
        first = kept.setdefault(str(header.get("SOPInstanceUID", path)), path)
        if first != path and not filecmp.cmp(first, path, shallow=False):
            raise InputError(
                f"{folder}: {first.name} and {path.name} have the same SOP Instance UID, but differ; remove one of them"
            )
    if len(kept) == len(files):
        return files, ()
    return {path: files[path] for path in kept.values()}, (
        f"Copies of DICOM files left out: {len(files) - len(kept)}.",
    )


# Voxels ---------------------------------------------------------------------------------------------------------------


def _grid_of_slices(files: dict[Path, Dataset], folder: Path) -> Grid:
    """Return where the volume lies that files of a slice each are."""
    if any(int(header.get("NumberOfFrames") or 1) > 1 for header in files.values()):
        raise InputError(
            f"{folder}: its DICOM series has {len(files)} files of several frames each (volumes over time?); give one "
            "of the files"
        )
    with _naming(folder):
        return regular_grid([plane_of_slice(header, path.name) for path, header in files.items()])


def _read_frames(path: Path, header: Dataset) -> Volume:
    """Read a file with several frames."""
    grid, notes, doubts = _grid_of_frames(path, header)
    volume = _decode([str(path)], path, header)
    volume = replace(volume, array=volume.array[grid.order], warnings=(*volume.warnings, *doubts))
    return _placed(volume, grid, notes)


def _grid_of_frames(path: Path, header: Dataset) -> tuple[Grid, tuple[str, ...], tuple[str, ...]]:
    """Return where the frames of a file lie, and notes and warnings about that."""
    if int(header.get("NumberOfFrames") or 1) < 2:
        raise InputError(f"{path}: is a single slice; give the folder that holds the whole series")
    if header.get("SOPClassUID") in _CLIPS:
        raise InputError(f"{path}: is an ultrasound clip (2D+t); reconstruct it into a 3D volume first")
    with _naming(path):
        planes, notes, doubts = planes_of_frames(header)
        grid = regular_grid(planes)
        _check_one_scale(header)
    return grid, notes, doubts


def _check_one_scale(header: Dataset) -> None:
    """Refuse frames whose numbers have a scale each: GDCM gives all the first one's."""
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    items = [groups.get("PixelValueTransformationSequence") for groups in frames]
    scales = {(str(item[0].get("RescaleSlope")), str(item[0].get("RescaleIntercept"))) for item in items if item}
    if len(scales) > 1:
        raise InputError("its frames are scaled each by a slope of its own; convert it with dcm2niix first")


def _decode(names: list[str], where: Path, header: Dataset) -> Volume:
    """Read voxels as they are stored in files, one after the other; their geometry means nothing."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader() if len(names) > 1 else sitk.ImageFileReader()
    for name in names:
        check_path(name)
    reader.SetFileNames(names) if len(names) > 1 else reader.SetFileName(names[0])
    if str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        reader.SetOutputPixelType(sitk.sitkFloat32)  # a later slice may have a scale that the first does not need
    with quiet():
        try:
            return to_volume(reader.Execute(), where)
        except ERRORS as error:
            raise unreadable(where, error) from error


def _placed(volume: Volume, grid: Grid, notes: tuple[str, ...]) -> Volume:
    notes = (*notes, *volume.notes)
    return replace(volume, spacing=grid.spacing, origin=grid.origin, direction=grid.direction, notes=notes)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's or folder's name in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
