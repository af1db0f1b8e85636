"""Volumes from files, and to files: NRRD, NIfTI, MetaImage and DICOM."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..constants import RAS_TO_LPS
from ..volume import InputError, Volume, right_angled
from . import dicom
from .headers import Header, examine
from .itk import ERRORS, metadata, quiet, to_volume, unreadable
from .paths import check_path

if TYPE_CHECKING:
    import SimpleITK as sitk




def read_volume(path: str | Path, labels: bool = False) -> Volume:
    """Read a 3D image as float32.

    Parameters
    ----------
    path
        NRRD, NIfTI or MetaImage file, a DICOM file with a 3D image, or a folder that holds one DICOM series.
    labels
        Whether a segmentation of 3D Slicer will do.

    Returns
    -------
    Volume
        In millimetres, whatever unit the file is in. Colour images become luminance, with a note; where a file places
        its image in two ways that contradict each other, a warning says which was taken.

    Raises
    ------
    InputError
        The file is missing, cut off, damaged, not an image, not one 3D volume, or its geometry is unusable.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_volume(f"{folder}/case.nrrd", Volume(np.ones((4, 3, 2)), spacing=(0.5, 0.5, 1.0)))
    ...     volume = read_volume(f"{folder}/case.nrrd")
    >>> volume.size, volume.spacing
    ((2, 3, 4), (0.5, 0.5, 1.0))
    """
    path = Path(path)
    check_path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the name")
    if path.is_dir():
        return dicom.read_folder(path)
    if dicom.is_dicom(path):
        return dicom.read_file(path)
    with quiet():
        header = examine(path)
        if header.segmentation and not labels:
            raise InputError(f"{path}: is a segmentation of 3D Slicer, not an image; give the volume it was drawn on")
        try:
            volume = _read_as_placed(path, header)
        except ERRORS as error:
            raise unreadable(path, error) from error
    doubts = header.doubts(volume.ijk_to_lps, volume.size)
    spacing, origin = (np.multiply(values, header.unit_mm) for values in (volume.spacing, volume.origin))
    return replace(volume, spacing=spacing, origin=origin, warnings=(*volume.warnings, *doubts))


def _read_file(path: Path) -> Volume:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    _check_not_over_time(reader, path)
    return to_volume(reader.Execute(), path)


def _read_as_placed(path: Path, header: Header) -> Volume:
    """Read a file; also one whose axes are at right angles but for numbers that were rounded."""
    try:
        return _read_file(path)
    except RuntimeError as error:
        if "orthonormal" not in str(error) or header.nearly_right_angled is None:
            raise
    with _any_axes():
        return _placed(_read_file(path), header.nearly_right_angled)


def _placed(volume: Volume, ijk_to_ras: np.ndarray) -> Volume:
    """Give a volume another place."""
    matrix = np.diag([*RAS_TO_LPS, 1.0]) @ ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    return replace(volume, spacing=spacing, origin=matrix[:3, 3], direction=right_angled(matrix[:3, :3] / spacing))


@contextlib.contextmanager
def _any_axes() -> Iterator[None]:
    """Let ITK read a NIfTI file whose axes are not quite at right angles; it then turns them somehow."""
    name = "ITK_NIFTI_SFORM_PERMISSIVE"
    before = os.environ.get(name)
    os.environ[name] = "ON"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before






def _is_nifti(path: str | Path) -> bool:
    return Path(path).name.lower().endswith((".nii", ".nii.gz", ".hdr"))


def _check_not_over_time(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse sequences of 2D frames or of volumes that would otherwise pass for one volume."""
    entries = metadata(reader)
    if any(key.startswith("Seq_Frame") for key in entries):
        raise InputError(f"{path}: is a tracked 2D sequence (2D+t); reconstruct it into a 3D volume first")
    listed = entries.get("NRRD_kinds[pixel]", "").strip() == "list"
    if listed and reader.GetNumberOfComponents() > 1:
        raise InputError(f"{path}: is a sequence of volumes (4D); export one of them as a 3D volume")




def write_volume(path: str | Path, volume: Volume, header: dict[str, str] | None = None) -> None:
    """Write a volume, compressed, in the format that the file's suffix names.

    Parameters
    ----------
    path
        Ends in ``.nii.gz``, ``.nrrd`` or ``.mha``.
    header
        Entries for the file's header. NIfTI keeps only ``descrip``, of at most 79 characters; NRRD and MetaImage keep
        them all.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    import SimpleITK as sitk

    image = volume.to_sitk()
    for key, value in (header or {}).items():
        # ITK reads NIfTI's description as "descrip" but writes it from "ITK_FileNotes".
        image.SetMetaData("ITK_FileNotes" if key == "descrip" and _is_nifti(path) else key, value)
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
        whole = not _is_zipped(path) or _unzipped_length(path) == (_NIFTI_HEADER + volume.array.nbytes) % 2**32
    except (RuntimeError, OSError) as error:
        raise InputError(f"{path}: cannot be written; choose a folder with write permission and free space") from error
    if not whole:
        raise InputError(f"{path}: cannot be written as a whole; free space on its disk, or choose another folder")


#: Bytes before the voxels of a NIfTI file that ITK writes.
_NIFTI_HEADER = 352


def _is_zipped(path: str | Path) -> bool:
    return Path(path).name.lower().endswith(".nii.gz")


def _unzipped_length(path: str | Path) -> int:
    """Return what a gzip file says at its end that it holds, modulo 2^32 (RFC 1952).

    ITK's NIfTI writer does not notice that a disk is full, and leaves a file that ends early.
    """
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(4), "little")
