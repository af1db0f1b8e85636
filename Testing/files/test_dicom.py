"""DICOM folders: one series, several, gaps, tilt, clips. The files are written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.volume import InputError

VOXELS = np.arange(5 * 8 * 9, dtype=np.uint16).reshape(5, 8, 9)


def write_series(folder: Path, number: int = 1, positions: np.ndarray | None = None, description: str = "ioUS") -> None:
    """Write axial slices of 0.5 mm pixels, 2 mm apart unless positions (n, 3) say otherwise."""
    if positions is None:
        positions = np.stack([np.full(5, 10.0), np.full(5, 20.0), 30.0 + 2.0 * np.arange(5)], axis=1)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, position in enumerate(positions):
        image = sitk.GetImageFromArray(VOXELS[k : k + 1])
        image.SetSpacing((0.5, 0.5, 2.0))
        place = "\\".join(f"{value:g}" for value in position)
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.7",
            "0008|0018": f"1.2.3.{number}.{k + 1}",
            "0008|0060": "US",
            "0008|103e": description,
            "0020|000d": "1.2.3",
            "0020|000e": f"1.2.3.{number}",
            "0020|0013": str(k + 1),
            "0020|0032": place,
            "0020|0037": "1\\0\\0\\0\\1\\0",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        image.SetOrigin([float(value) for value in position])
        writer.SetFileName(str(folder / f"{number}-{k}.dcm"))
        writer.Execute(image)


def test_one_series(tmp_path):
    write_series(tmp_path)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.array, VOXELS)
    assert np.allclose(volume.spacing, (0.5, 0.5, 2.0))
    assert np.allclose(volume.ijk_to_lps @ [1, 0, 2, 1], [10.5, 20, 34, 1])


def test_several_series_are_listed(tmp_path):
    write_series(tmp_path, 1, description="before dura")
    write_series(tmp_path, 2, description="after resection")
    with pytest.raises(InputError, match="2 DICOM series") as caught:
        read_volume(tmp_path)
    assert "before dura" in str(caught.value)
    assert "after resection" in str(caught.value)


def test_missing_slice(tmp_path):
    write_series(tmp_path)
    (tmp_path / "1-2.dcm").unlink()
    with pytest.raises(InputError, match="missing or unevenly spaced"):
        read_volume(tmp_path)


def test_tilted_stack(tmp_path):
    positions = np.stack([np.arange(5) * 1.0, np.zeros(5), np.arange(5) * 2.0], axis=1)
    write_series(tmp_path, positions=positions)
    with pytest.raises(InputError, match="sheared"):
        read_volume(tmp_path)


def test_single_file_of_a_series_is_one_slice(tmp_path):
    from IoUSynthLib.input_checks import check_input

    write_series(tmp_path)
    path = tmp_path / "1-0.dcm"
    with pytest.raises(InputError, match=r"single (2D image|slice)"):
        check_input(read_volume(path), str(path))
