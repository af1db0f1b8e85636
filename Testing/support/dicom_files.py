"""DICOM files of one oblique volume whose every voxel and place is known: as slices, and as frames of one file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from IoUSynthLib.outputs.dicom import _save
from IoUSynthLib.volume import Volume
from support.tiny_models import oblique_direction

SPACING = (0.5, 0.8, 1.25)
SLICE, CLIP, ULTRASOUND_VOLUME, MR, CAPTURE = (
    UID(f"1.2.840.10008.5.1.4.1.1.{end}") for end in ("6.1", "3.1", "6.2", "4.1", "7.2")
)


def known_volume() -> Volume:
    """12 oblique slices of 11 x 9 pixels, no two voxels of a slice and no two slices alike."""
    rng = np.random.default_rng(4)
    return Volume(
        rng.integers(1, 255, (12, 9, 11), dtype=np.uint8), SPACING, (-31.25, 40.5, 97.125), oblique_direction()
    )


def item(**values: object) -> Dataset:
    """A data set of an attribute each."""
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def image(kind: UID, pixels: np.ndarray) -> Dataset:
    """An instance of pixels (rows, columns) or (frames, rows, columns), without a place."""
    dataset = item(
        SOPClassUID=kind, SOPInstanceUID=generate_uid(), StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4",
        Modality="US", SeriesDescription="before dura", SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0,
    )  # fmt: skip
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes() + bytes(pixels.size % 2)
    return dataset


def decimals(values: Sequence[float], places: int = 8) -> list[str]:
    """Numbers as they are written, rounded."""
    return [f"{value:.{places}f}" for value in values]


def write_slices(folder: Path, edit: Callable[[Dataset, int], None] | None = None, places: int = 8) -> list[Path]:
    """Write a file a slice; ``edit`` changes each before it is written, ``places`` rounds the positions."""
    volume, files = known_volume(), []
    folder.mkdir(parents=True, exist_ok=True)
    for k, pixels in enumerate(volume.array):
        dataset = image(SLICE, pixels)
        dataset.PixelSpacing = [SPACING[1], SPACING[0]]
        dataset.ImagePositionPatient = decimals((volume.ijk_to_lps @ [0, 0, k, 1])[:3], places)
        dataset.ImageOrientationPatient = decimals(volume.direction[:, :2].T.ravel())
        if edit:
            edit(dataset, k)
        files.append(folder / f"IM{(7 * k) % 12:02}")
        _save(dataset, files[-1])
    return files


def enhanced(kind: UID = ULTRASOUND_VOLUME, order: Sequence[int] = range(12), measures: str = "shared") -> Dataset:
    """All slices as frames of one file, in any order; pixel sizes and orientation "shared" or "frame" by frame.

    Ultrasound is placed in its own volume's coordinates, where it lies along the axes, and by the matrix to the table.
    """
    volume = known_volume()
    dataset = image(kind, volume.array[list(order)])
    patient = kind != ULTRASOUND_VOLUME
    orientation = decimals(volume.direction[:, :2].T.ravel()) if patient else [1.0, 0, 0, 0, 1, 0]
    where = "Patient" if patient else "Volume"
    suffix = "" if patient else "Volume"
    common = item(
        **{
            "PixelMeasuresSequence": [item(PixelSpacing=[SPACING[1], SPACING[0]])],
            f"PlaneOrientation{suffix}Sequence": [item(**{f"ImageOrientation{where}": orientation})],
        }
    )
    frames = []
    for k in order:
        position = (volume.ijk_to_lps @ [0, 0, k, 1])[:3] if patient else [0.0, 0.0, SPACING[2] * k]
        position = decimals(position) if patient else list(position)
        frames.append(item(**{f"PlanePosition{suffix}Sequence": [item(**{f"ImagePosition{where}": position})]}))
        if measures == "frame":
            frames[-1].update(copy.deepcopy(common))
    dataset.SharedFunctionalGroupsSequence = [common if measures == "shared" else Dataset()]
    dataset.PerFrameFunctionalGroupsSequence = frames
    if not patient:
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = volume.direction, volume.origin
        dataset.VolumeToTableMappingMatrix = matrix.ravel().tolist()
    return dataset


def save(dataset: Dataset, file: Path) -> Path:
    """Write an instance; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    _save(dataset, file)
    return file


def directory_file(folder: Path) -> Path:
    """Write what a CD has at its top: a DICOM file without an image."""
    file = save(item(SOPClassUID="1.2.840.10008.1.3.10", SOPInstanceUID=generate_uid()), folder / "DICOMDIR")
    assert pydicom.dcmread(file).get("StudyInstanceUID") is None
    return file
