"""A small tree of DICOM like ReMIND as TCIA gives it, of a phantom, with flaws that tests expect by name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from IoUSynthLib.preprocessing import resample_like
from IoUSynthLib.volume import Volume
from support import phantom
from support.dicom_files import ULTRASOUND_VOLUME, decimals, image, item, save

SEGMENTATION = UID("1.2.840.10008.5.1.4.1.1.66.4")
#: As in the collection, where all studies have the same made-up date.
DATE = "19821225"


@cache
def uid(name: str) -> str:
    """The same identifier for the same name."""
    return generate_uid(entropy_srcs=[name])


def describe(dataset: Dataset, patient: str, study: str, *, series: str, modality: str) -> None:
    """Say whose an instance is; study and series are told apart by their names."""
    dataset.PatientID, dataset.StudyDescription, dataset.StudyDate = patient, study, DATE
    dataset.SeriesDescription, dataset.Modality = series, modality
    dataset.StudyInstanceUID = uid(f"{patient} {study}")
    dataset.SeriesInstanceUID = uid(f"{patient} {study} {series}")


def folder_of(tree: Path, patient: str, study: str, series: str) -> Path:
    """Where TCIA's downloader puts a series: without the underscores of its name."""
    plain = series.replace("_", "").replace(":", "")
    return tree / patient / f"12-25-1982-NA-{study}-1" / f"1.000000-{plain}-1"


def mri_series(tree: Path, patient: str, study: str, *, series: str, volume: Volume) -> Path:
    """Write a file a slice."""
    folder = folder_of(tree, patient, study, series)
    for k, pixels in enumerate(volume.array.astype("<i2")):
        dataset = image(UID("1.2.840.10008.5.1.4.1.1.4"), pixels)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.PixelData = pixels.tobytes()
        dataset.PixelSpacing = [volume.spacing[1], volume.spacing[0]]
        dataset.ImagePositionPatient = decimals((volume.ijk_to_lps @ [0, 0, k, 1])[:3])
        dataset.ImageOrientationPatient = decimals(volume.direction[:, :2].T.ravel())
        describe(dataset, patient, study, series=series, modality="MR")
        save(dataset, folder / f"1-{k + 1:03}.dcm")
    return folder


def _frames(volume: Volume, numbers: list[int]) -> tuple[Dataset, list[Dataset]]:
    """The shared functional groups of frames along the axes of a volume, and those of each slice."""
    measures = item(
        PixelSpacing=[volume.spacing[1], volume.spacing[0]], SliceThickness=volume.spacing[2],
        SpacingBetweenSlices=volume.spacing[2],
    )  # fmt: skip
    orientation = item(ImageOrientationPatient=decimals(volume.direction[:, :2].T.ravel()))
    shared = item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    places = ((volume.ijk_to_lps @ [0, 0, k, 1])[:3] for k in numbers)
    return shared, [item(PlanePositionSequence=[item(ImagePositionPatient=decimals(place))]) for place in places]


def ultrasound_series(tree: Path, patient: str, *, series: str, volume: Volume) -> Path:
    """Write one file of all frames."""
    dataset = image(ULTRASOUND_VOLUME, volume.array.astype(np.uint8))
    shared, frames = _frames(volume, list(range(len(volume.array))))
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    describe(dataset, patient, "Intraop", series=series, modality="US")
    return save(dataset, folder_of(tree, patient, "Intraop", series) / "1-1.dcm")


def segmentation(structures: dict[str, np.ndarray], volume: Volume, *, referenced: str = "") -> Dataset:
    """A DICOM SEG of masks (z, y, x) on the grid of a volume: frames of the slices that are not empty alone."""
    masks, frames, shared = [], [], Dataset()
    for number, mask in enumerate(structures.values(), start=1):
        slices = [k for k in range(len(mask)) if mask[k].any()]
        shared, groups = _frames(volume, slices)
        for group in groups:
            group.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]
        masks += [mask[k] for k in slices]
        frames += groups
    bits = np.packbits(np.array(masks, np.uint8).ravel(), bitorder="little")
    dataset = image(SEGMENTATION, np.array(masks, np.uint8))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.PixelData = bits.tobytes() + bytes(len(bits) % 2)
    dataset.SegmentationType = "BINARY"
    dataset.SegmentSequence = [
        item(SegmentNumber=number, SegmentLabel=name) for number, name in enumerate(structures, start=1)
    ]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    if referenced:
        dataset.ReferencedSeriesSequence = [item(SeriesInstanceUID=referenced)]
    return dataset


def coarse(volume: Volume, spacing: float = 8.0) -> Volume:
    """The same place in larger voxels, so that a series has few files."""
    extent = np.multiply(volume.size, volume.spacing)
    size = np.ceil(extent / spacing).astype(int)
    grid = Volume(np.zeros(size[::-1], np.int16), (spacing,) * 3, volume.origin, volume.direction)
    return grid.with_array(resample_like(volume, grid).array)


def patient(tree: Path, name: str, *series: str) -> Path:
    """Write series of a patient, each as "Preop 3D_AX_T2_SPACE"; the outline of the tumour is one of T2w above 800."""
    images = phantom.head()
    t2 = coarse(images["T2w"])
    for study, kind in (entry.split(" ", 1) for entry in series):
        if kind.startswith("US"):
            ultrasound_series(tree, name, series=kind, volume=phantom.field_of_view(images)[0])
        elif " seg " in kind:
            outline = segmentation({kind.partition(" seg ")[0]: t2.array > 800}, t2)
            describe(outline, name, study, series=kind, modality="SEG")
            save(outline, folder_of(tree, name, study, kind) / "1-1.dcm")
        else:
            contrast = "FLAIR" if "FLAIR" in kind else "T2w"
            mri_series(tree, name, study, series=kind, volume=coarse(images[contrast]))
    return tree / name


def flawed_tree(tree: Path) -> dict[str, str]:
    """Write seven patients, and return what the table says of the flaws, by patient.

    ReMIND-001 has none. That ReMIND-006 is in both splits, the split says.
    """
    before = ("Intraop US_pre_dura", "Preop 3D_AX_T2_SPACE")
    patient(
        tree, "ReMIND-001", *before, "Preop 3D_SAG_T2_FLAIR", "Preop tumor seg - MR ref: 3D_AX_T2_SPACE",
        "Preop cerebrum seg - MR ref: 3D_AX_T2_SPACE", "Intraop US_post_dura", "Intraop US_pre_imri",
        "Intraop 3D_AX_T2_SPACE", "Intraop tumor_residual seg - MR ref: 3D_AX_T2_SPACE",
    )  # fmt: skip
    patient(tree, "ReMIND-002", *before, "Intraop US_pre_imri")
    patient(tree, "ReMIND-003", *before, "Preop 3D_SAG_T2_FLAIR")
    file = folder_of(tree, "ReMIND-003", "Preop", "3D_SAG_T2_FLAIR") / "1-010.dcm"
    file.write_bytes(file.read_bytes()[:-100])
    patient(tree, "ReMIND-004", *before)
    copied = folder_of(tree, "ReMIND-004", "Preop", "3D_AX_T2_SPACE")
    shutil.copytree(copied, copied.with_name("2.000000-again-1"))
    patient(tree, "ReMIND-005", before[0])
    volume = coarse(phantom.head()["T2w"])
    skew = np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    mri_series(tree, "ReMIND-005", "Preop", series="3D_AX_T2_SPACE", volume=replace(volume, direction=skew))
    patient(tree, "ReMIND-006", *before)
    patient(tree, "ReMIND-007", *before, "Preop 2D_AX_T2_BLADE")
    (tree / "ReMIND-007" / "LICENSE").write_text("CC BY 4.0")
    return {
        "ReMIND-002": "is missing",
        "ReMIND-003": "1-010.dcm: is cut off",
        "ReMIND-004": "is a copy of ReMIND-004/12-25-1982-NA-Preop-1/1.000000-3DAXT2SPACE-1",
        "ReMIND-005": "right angles",
        "ReMIND-007": "one of 2 T2w of this phase",
    }
