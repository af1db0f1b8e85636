"""DICOM series as volumes: which files belong together, and whether their slices are a regular grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .volume import _FORMATS, InputError, Volume, _quiet, _to_volume, _unreadable, read_volume

if TYPE_CHECKING:
    import SimpleITK as sitk


def read_folder(folder: Path) -> Volume:
    """Read a folder that holds one DICOM series.

    Raises
    ------
    InputError
        It holds none, several, or one whose slices are no regular grid.
    """
    import SimpleITK as sitk

    with _quiet():
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if not series:
            raise InputError(f"{folder}: holds no DICOM series; give {_FORMATS}")
        if len(series) > 1:
            listed = "; ".join(_describe_series(folder, uid) for uid in series)
            raise InputError(
                f"{folder}: holds {len(series)} DICOM series ({listed}); move the ultrasound series into its own folder"
            )
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
        if len(names) == 1:
            return read_volume(names[0])
        _check_slice_positions(folder, names)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(names)
        try:
            return _to_volume(reader.Execute(), folder)
        except RuntimeError as error:
            raise _unreadable(folder, error) from error


def _dicom_header(name: str) -> sitk.ImageFileReader:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(Path(name), error) from error
    return reader


def _describe_series(folder: Path, uid: str) -> str:
    import SimpleITK as sitk

    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
    header = _dicom_header(names[0])
    keys = header.GetMetaDataKeys()
    description = header.GetMetaData("0008|103e").strip("\0 ") if "0008|103e" in keys else "no description"
    modality = header.GetMetaData("0008|0060").strip("\0 ") if "0008|0060" in keys else "?"
    return f"{modality} '{description}', {len(names)} file{'s' if len(names) > 1 else ''}"


def _check_slice_positions(folder: Path, names: tuple[str, ...]) -> None:
    """Refuse a series with missing slices or a tilted gantry: ITK would misplace its slices and only warn."""
    headers = [_dicom_header(name) for name in names]
    if any("0020|0032" not in header.GetMetaDataKeys() for header in headers):
        raise InputError(f"{folder}: its DICOM slices have no position (2D+t?); reconstruct them into a volume first")
    positions = np.array([[float(v) for v in header.GetMetaData("0020|0032").split("\\")] for header in headers])
    steps = np.diff(positions, axis=0)
    normal = np.reshape(headers[0].GetDirection(), (len(headers[0].GetSize()),) * 2)[:3, -1]
    along = steps @ normal
    across = np.linalg.norm(steps - along[:, None] * normal, axis=1)
    if float(across.max()) > 0.01 * float(np.abs(along).max()):
        raise InputError(f"{folder}: its DICOM slices are sheared (tilted stack); resample it to a regular grid first")
    if float(np.ptp(along)) > 0.02 * float(np.abs(along).mean()) or float(np.abs(along).min()) < 1e-6:
        raise InputError(f"{folder}: its DICOM slices are missing or unevenly spaced; export the whole series again")
