"""What an image is by its name: ultrasound, labels, or an MR contrast."""

from __future__ import annotations

import re
from pathlib import Path

from .volume import case_name

#: Files that hold a whole volume.
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
#: What a name tells, in the order in which it is asked. Digits after letters are a patient's: subject2 is no T2w.
ROLES = {
    "none": re.compile(r"landmark|mask"),
    "labels": re.compile(r"label|seg"),
    "ultrasound": re.compile(r"ultrasound|(?<![a-z])(io|i)?us(?![a-z])|(?<![a-z])us(pre|post)"),
    "FLAIR": re.compile(r"flair"),
    "T2w": re.compile(r"(?<![a-z])(3d)?(ax|sag|cor|tra)?t2"),
    "T1w": re.compile(r"(?<![a-z])(3d)?(ax|sag|cor|tra)?t1"),
}


def is_volume(path: Path) -> bool:
    """Tell whether a path is a file that holds a volume, by its suffix."""
    return path.is_file() and path.name.lower().endswith(VOLUME_SUFFIXES)


def role_of(path: Path) -> str:
    """What an image is by its name: ultrasound, labels, FLAIR, T2w, T1w, or none of these.

    The name of a DICOM folder that tells nothing is replaced by the description of its series.
    """
    role = _role(case_name(path))
    if role == "none" and path.is_dir():
        return _role(_series_description(path))
    return role


def _role(name: str) -> str:
    return next((role for role, pattern in ROLES.items() if pattern.search(name.lower())), "none")


def _series_description(folder: Path) -> str:
    """What a DICOM series is called, for example by TCIA; empty where it says nothing."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(min(path for path in folder.iterdir() if path.suffix.lower() == ".dcm")))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return ""
    return reader.GetMetaData("0008|103e") if reader.HasMetaDataKey("0008|103e") else ""
