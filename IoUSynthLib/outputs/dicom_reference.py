"""The DICOM file whose patient and study a series shall belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.dicom import is_dicom, is_directory_file, pydicom_module
from ..volume import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Reference:
    """A DICOM file of the patient and study that a series shall belong to.

    Attributes
    ----------
    header
        Its attributes without the pixels.
    same_frame
        Whether the image lies in its coordinates, so that both share the frame of reference.
    """

    header: Dataset
    same_frame: bool = False


def read_reference(path: Path, same_frame: bool = False) -> Reference:
    """Read the header of a DICOM file, or of the first one in a folder or on a CD, whose files are of one study.

    Raises
    ------
    InputError
        There is none, there are several studies, it lacks a study, or one frame of reference where that is wanted.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the name")
    folder = path.parent if is_directory_file(path) else path
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else [path]
    headers = [header for header in map(header_of, files) if header is not None]
    if not headers:
        raise InputError(f"{path}: is no DICOM file and holds none; give a DICOM image of the patient")
    headers = [header for header in headers if header.get("StudyInstanceUID")]
    if not headers:
        raise InputError(f"{path}: names no study; give a DICOM image of the patient")
    _check_one(path, headers, keyword="StudyInstanceUID", name="studies")
    if same_frame and not headers[0].get("FrameOfReferenceUID"):
        raise InputError(f"{path}: names no frame of reference; leave out --same-frame")
    if same_frame:
        _check_one(path, headers, keyword="FrameOfReferenceUID", name="frames of reference")
    return Reference(headers[0], same_frame)


def header_of(file: Path) -> Dataset | None:
    """Read a DICOM file without its pixels; None for any other file, and for the table of contents of a CD."""
    pydicom = pydicom_module()
    try:
        if is_directory_file(file) or not is_dicom(file):
            return None
        return pydicom.dcmread(file, stop_before_pixels=True, force=True)
    except Exception:  # what pydicom raises depends on what the damaged file happens to hold
        return None


def _check_one(path: Path, headers: Sequence[Dataset], *, keyword: str, name: str) -> None:
    """Refuse files that differ in an identifier; which of them is meant, nobody can know."""
    found = {h.get(keyword): f"{h.get('StudyDate') or ''} {h.get('SeriesDescription') or '?'}".strip() for h in headers}
    if len(found) > 1:
        listed = "; ".join(sorted(found.values()))
        raise InputError(f"{path}: holds {len(found)} {name} ({listed}); give a file of the one that is meant")
