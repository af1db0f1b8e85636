"""Synthetic images as DICOM series that no reader can take for acquired MRI.

An image becomes a series of Secondary Capture instances (PS3.3 A.8.1) with the conversion type SYN, synthetic image,
and the modality OT. MR Image Storage is not for it: its instances must have the modality MR, which names what acquired
the data. Enhanced MR does not allow SECONDARY in Image Type. As US, Slicer would load each slice as a clip.
The attributes of the Image Plane and Frame of Reference modules extend the class, so that the slices are a volume in
every program that looks at the geometry; ``volume.read_volume`` reads it back.

Identifiers are derived from the content: exporting the same image again gives the same series, not a second one.
"""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..constants import FREQUENCY, NOTICE, SPREAD
from ..files.dicom import pydicom_module
from ..models.bundle import titled
from ..volume import InputError, Volume
from .case_files import staging_folder
from .dicom_reference import Reference, header_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Images that can be exported, and the numbers of their series. Segments have a format of their own, DICOM SEG.
SERIES_NUMBERS = {"T2w": 9101, "FLAIR": 9102, "uncertainty": 9103, SPREAD: 9104, FREQUENCY: 9105}

#: Intensity of one step of the stored integers: the ranges 0 to 1000 and 0 to 1 become 0 to 50000; samples are counted.
_STEPS = {"T2w": 0.02, "FLAIR": 0.02, "uncertainty": 0.00002, SPREAD: 0.00002, FREQUENCY: 1.0}

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PRODUCT = "IoUSynth"
_SYNTHETIC_DATA = (0x0008, 0x001C)  # younger than some versions of pydicom, which cannot name it
_NAMESPACE = uuid.UUID("9f0b2a4e-52a4-4a3c-8e0a-5f1d7f8e6c11")

#: What is taken from a reference: who the patient is, and the study.
_PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
)  # fmt: skip
_STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip
#: Attributes that must be there, empty where nothing is known.
_REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


@dataclass(frozen=True)
class Export:
    """An image that shall become a series; the attributes are the arguments of :func:`write_series`."""

    folder: Path
    image: Volume
    kind: str
    report: dict[str, Any]


def write_all(exports: Sequence[Export], reference: Reference | None = None) -> list[Path]:
    """Write images as a series each, none of them if one cannot be, and return their folders.

    Raises
    ------
    InputError
        As :func:`write_series`, or two would go into the same folder.
    """
    folders = Counter(str(export.folder).casefold() for export in exports)  # some disks do not tell case apart
    for export in exports:
        if folders[str(export.folder).casefold()] > 1:
            raise InputError(f"{export.folder}: would get more than one series; give the images different names")
        _earlier_files(export.folder, kind=export.kind, report=export.report, reference=reference)
    return [write_series(**vars(export), reference=reference) for export in exports]


def write_series(
    folder: Path, image: Volume, *, kind: str, report: dict[str, Any], reference: Reference | None = None
) -> Path:
    """Write an image as a series, a file a slice.

    Parameters
    ----------
    folder
        Is made, or holds an earlier export of the same image of the same patient, which is replaced.
    image
        float, 0 for no data; LPS geometry with axes at right angles, in the reference's coordinates if it shares them.
    kind
        One of :data:`SERIES_NUMBERS`.
    report
        That of the run that made the image.
    reference
        Whose patient and study it is; left out, these stay empty and the study is new.

    Returns
    -------
    Path
        ``folder``.

    Raises
    ------
    InputError
        pydicom is missing, the folder holds something else, or it cannot be written.
    """
    pydicom = pydicom_module()
    earlier = _earlier_files(folder, kind=kind, report=report, reference=reference)
    if float(np.linalg.det(image.direction)) < 0:  # the slices of a series follow the right hand
        image = _reversed(image)
    stored = np.rint(np.clip(image.array / _STEPS[kind], 0, 65535)).astype("<u2")
    series = _series(image, stored, kind=kind, report=report, reference=reference)
    now = datetime.datetime.now()
    with staging_folder(folder) as staging:
        for number, pixels in enumerate(stored):
            instance = pydicom.Dataset()
            instance.update(series)
            _add_slice(instance, image, number=number, pixels=pixels)
            instance.InstanceCreationDate, instance.InstanceCreationTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
            _save(instance, staging / f"{number + 1:04}.dcm")
        for file in earlier:
            file.unlink()
    return folder


def _save(instance: Dataset, file: Path) -> None:
    pydicom = pydicom_module()
    instance.file_meta = pydicom.dataset.FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    if int(pydicom.__version__.partition(".")[0]) >= 3:
        instance.save_as(file, enforce_file_format=True)
    else:  # Slicer 5.10 has pydicom 2.4
        instance.is_little_endian, instance.is_implicit_VR = True, False
        instance.save_as(file, write_like_original=False)


def _earlier_files(folder: Path, *, kind: str, report: dict[str, Any], reference: Reference | None) -> list[Path]:
    """Return the files of an earlier export of the same image; refuse a folder that holds anything else."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    for file in files:
        header = header_of(file)
        if header is None or header.get("ManufacturerModelName") != _PRODUCT:
            raise InputError(f"{folder}: holds other files ({file.name}); choose another folder")
        if not _is_replaced(header, kind=kind, report=report, reference=reference):
            raise InputError(
                f"{folder}: holds the series of another image or patient ({header.get('SeriesDescription')}; patient "
                f"ID {header.get('PatientID') or 'not given'}), which is not replaced; choose another folder"
            )
    return files


def _is_replaced(earlier: Dataset, *, kind: str, report: dict[str, Any], reference: Reference | None) -> bool:
    """Tell whether an earlier series is the same kind of image of the same ultrasound, in the same study or in none."""
    source = report.get("input", {}).get("voxels_sha256")
    if not source or f"SHA-256 of its voxels {source}" not in str(earlier.get("DerivationDescription")):
        return False
    studies = [_uid("study", source), *([reference.header.StudyInstanceUID] if reference else [])]
    return earlier.get("StudyInstanceUID") in studies and earlier.get("SeriesNumber") == SERIES_NUMBERS[kind]


def _reversed(image: Volume) -> Volume:
    """Return the same image with its slices in the other order."""
    origin = (image.ijk_to_lps @ [0, 0, image.size[2] - 1, 1])[:3]
    return Volume(image.array[::-1], image.spacing, tuple(origin), image.direction * [1, 1, -1], image.notes)


def _uid(*parts: object) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(map(str, parts))).int}"


# What the instances say -----------------------------------------------------------------------------------------------


def _series(
    image: Volume, stored: np.ndarray, *, kind: str, report: dict[str, Any], reference: Reference | None
) -> Dataset:
    """Return what all instances have in common."""
    from pydicom import Dataset
    from pydicom.valuerep import DSfloat

    place = hashlib.sha256(np.round(image.ijk_to_lps, 6).tobytes()).hexdigest()
    source = report.get("input", {}).get("voxels_sha256", "")
    header = Dataset()
    for keyword in _REQUIRED:
        setattr(header, keyword, "")
    header.StudyInstanceUID = _uid("study", source)
    header.FrameOfReferenceUID = _uid("frame of reference", source, place)
    header.SpecificCharacterSet = "ISO_IR 192"
    if reference is not None:
        _take_over(header, reference)
    pixels = hashlib.sha256(stored.tobytes()).hexdigest()
    header.SeriesInstanceUID = _uid("series", header.StudyInstanceUID, header.FrameOfReferenceUID, kind, place, pixels)
    header.SeriesNumber = SERIES_NUMBERS[kind]
    header.SeriesDescription = f"SYNTHETIC {kind}, not acquired, not for diagnosis"
    header.BodyPartExamined = "BRAIN"
    header.PositionReferenceIndicator = ""
    header.Modality, header.ConversionType, header.SOPClassUID = "OT", "SYN", _SECONDARY_CAPTURE
    header.ImageType = ["DERIVED", "SECONDARY", "OTHER", "SYNTHETIC"]
    header.add_new(_SYNTHETIC_DATA, "CS", "YES")
    header.ContentQualification = "RESEARCH"
    header.BurnedInAnnotation, header.RecognizableVisualFeatures = "NO", "NO"
    header.DerivationDescription = _derivation(kind, report)
    header.ImageComments = NOTICE
    _add_equipment(header, report)
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Columns, header.Rows = image.size[:2]
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.PixelPaddingValue = 0  # no data
    header.RescaleIntercept, header.RescaleSlope, header.RescaleType = 0, DSfloat(_STEPS[kind], auto_format=True), "US"
    low, high = _window(image.array)
    header.WindowCenter, header.WindowWidth = (DSfloat(v, auto_format=True) for v in ((low + high) / 2, high - low))
    return header


def _take_over(header: Dataset, reference: Reference) -> None:
    for keyword in (*_PATIENT, *_STUDY):
        if keyword in reference.header:
            setattr(header, keyword, reference.header[keyword].value)
    if reference.same_frame:
        header.FrameOfReferenceUID = reference.header.FrameOfReferenceUID


def _derivation(kind: str, report: dict[str, Any]) -> str:
    """Say how the image came about, in at most 1024 characters."""
    model = report["model"]
    source = report.get("input", {})
    name = source.get("node") or source.get("file") or "an ultrasound volume"
    drawn = report.get("spread") or {}
    samples = f"Of {drawn['samples']} samples (seed {drawn['seed']}). " if drawn else ""
    return (
        f"{kind} predicted by a neural network ({titled(model)}, SHA-256 {model['sha256']}) from "
        f"intraoperative ultrasound ({name}, SHA-256 of its voxels {source.get('voxels_sha256', 'unknown')}). "
        f"{samples}Not an acquired image. Value 0 is no data."
    )[:1024]


def _add_equipment(header: Dataset, report: dict[str, Any]) -> None:
    from pydicom import Dataset

    model, own = report["model"], report.get("versions", {}).get("iousynth", __version__)
    versions = [f"{_PRODUCT} {own}", titled(model)[:64], model["sha256"]]
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    for where in (header, equipment):
        where.Manufacturer, where.ManufacturerModelName = "IoUSynth contributors", _PRODUCT
        where.SoftwareVersions = versions
    equipment.ContributionDescription = "Synthesis of MR images from ultrasound; research use only"
    header.ContributingEquipmentSequence = [equipment]


def _window(array: np.ndarray) -> tuple[float, float]:
    """Return the range between the 0.5 and the 99.5 percentile of the valid voxels."""
    valid = array[array > 0]
    low, high = np.percentile(valid, (0.5, 99.5)) if valid.size else (0.0, 1.0)
    return float(low), float(high if high > low else low + 1)


def _add_slice(instance: Dataset, image: Volume, *, number: int, pixels: np.ndarray) -> None:
    from pydicom.valuerep import DSfloat

    def decimal(values: np.ndarray) -> list[DSfloat]:
        return [DSfloat(float(value), auto_format=True) for value in values]

    instance.SOPInstanceUID = _uid("instance", instance.SeriesInstanceUID, number)
    instance.InstanceNumber = number + 1
    instance.PatientOrientation = ""
    instance.PixelSpacing = decimal(np.array(image.spacing)[[1, 0]])
    instance.SliceThickness, instance.SpacingBetweenSlices = decimal(np.array(image.spacing)[[2, 2]])
    instance.ImageOrientationPatient = decimal(image.direction[:, :2].T.ravel())
    instance.ImagePositionPatient = decimal((image.ijk_to_lps @ [0, 0, number, 1])[:3])
    instance.PixelData = pixels.tobytes()
