"""Paths that a user gives, and the names of the cases that they stand for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..volume import InputError

FORMATS = "NRRD, NIfTI, MetaImage, or a folder with one DICOM series"

_SUFFIXES = (".seq.nrrd", ".nii.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd", ".dcm", ".hdr", ".img")


def case_name(path: str | Path) -> str:
    """Return the file's or folder's name without the suffix of an image format."""
    name = Path(path).resolve().name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def check_path(path: str | Path) -> None:
    """Raise :class:`InputError` when a path is not text, on which the libraries that read files would abort."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise InputError(
            f"{shown}: its name is no text in this system's encoding, {sys.getfilesystemencoding()}; rename it, or set "
            "LANG to a UTF-8 locale"
        ) from error
