"""Which files of a cohort belong together, and what each of them is.

Two layouts are read. RESECT (Xiao et al., Medical Physics 2017) names its files ``CaseN-US-before``, ``CaseN-FLAIR``
and ``CaseN-T1``, in any folders. Otherwise every subfolder is a patient, whose images lie in it or, where there are
several operations or phases, in a folder for each or, as in BIDS, below it; what an image is, its name says, or that of
its DICOM folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ..constants import CONTRASTS, TARGETS
from ..files.dicom import is_dicom
from ..files.names import ROLES, VOLUME_SUFFIXES, has_agent, is_volume, role_of
from ..files.paths import case_name
from ..volume import InputError
from .exclusions import IN_DOUBT, NO_MRI, NO_ULTRASOUND, Exclusion
from .labels import OUTLINES

#: Folders that part a patient's images by their kind, as in BIDS, not by phases of the operation.
_KINDS = frozenset(("anat", "us"))


@dataclass(frozen=True)
class Study:
    """The images of one ultrasound sweep and the MRI of the same state of the brain.

    Attributes
    ----------
    name
        Of the patient, and of the phase where there are several.
    patient
        Studies of one patient are never split.
    images
        Files and DICOM folders.
    phase
        ``pre`` or ``post`` of the resection, or how else studies of a patient are told apart; empty where they are not.
    roles
        What the images are, where a table says it and not their names.
    on_ultrasound
        Those of the outlines that lie in the frame of the ultrasound, not of the MRI.
    doubts
        Images of the table that are not used: what each is, and which and why.
    """

    name: str
    patient: str
    images: tuple[Path, ...]
    phase: str = ""
    roles: Mapping[Path, str] = field(default_factory=dict)
    on_ultrasound: frozenset[Path] = frozenset()
    doubts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Files:
    """What the images of a study are.

    Attributes
    ----------
    ultrasound
        The reconstructed volume.
    mri
        ``T2w`` and ``FLAIR``, at least one of them, ``ceT1`` where one T1w after contrast agent is there, and other T1w
        by the files' names, which only helps to register; all in one frame.
    labels
        Outlines, by what they are of (:data:`.labels.OUTLINES`).
    unused
        MRI whose names tell another contrast, or more than one.
    on_ultrasound
        Those of the outlines that lie in the frame of the ultrasound, not of the MRI.
    landmarks
        Of MRI and ultrasound, where they are to bring one onto the other.
    """

    ultrasound: Path
    mri: dict[str, Path]
    labels: Mapping[str, Path] = field(default_factory=dict)
    unused: tuple[Path, ...] = ()
    on_ultrasound: frozenset[Path] = frozenset()
    landmarks: Path | None = None

    def named(self) -> dict[str, Path]:
        """All of them."""
        landmarks = {} if self.landmarks is None else {"landmarks": self.landmarks}
        return {"ultrasound": self.ultrasound, **self.mri, **self.labels, **landmarks}


def find_studies(cohort: Path) -> list[Study]:
    """Find the studies of a cohort, sorted by name.

    Raises
    ------
    InputError
        The folder is missing or holds none.
    """
    if not cohort.is_dir():
        raise InputError(f"{cohort}: no such folder; give one with a folder for each patient")
    studies = _resect(cohort) or _by_folder(cohort)
    if not studies:
        raise InputError(
            f"{cohort}: holds no patients; give each a folder with ioUS, T2w and FLAIR in the names of its images "
            f"({', '.join(VOLUME_SUFFIXES)}, or a folder with a DICOM series)"
        )
    return studies


def _resect(cohort: Path) -> list[Study]:
    """Cases of RESECT before resection, to which alone its MRI belongs."""
    files = sorted(path for path in cohort.rglob("Case*-*.nii*") if path.is_file())
    studies = []
    for ultrasound in (path for path in files if case_name(path).endswith("-US-before")):
        patient = case_name(ultrasound).removesuffix("-US-before")
        wanted = {f"{patient}-US-before", f"{patient}-FLAIR", f"{patient}-T1"}
        images = tuple(path for path in files if case_name(path) in wanted)
        studies.append(Study(patient, patient, images, "pre"))
    return sorted(studies, key=lambda study: study.name)


def _by_folder(cohort: Path) -> list[Study]:
    studies = []
    for patient in _subfolders(cohort):
        phases = {phase.name: _images_below(phase) for phase in _subfolders(patient)}
        phases = {phase: images for phase, images in phases.items() if images}
        if _images(patient) or not phases:
            studies.append(Study(patient.name, patient.name, _images(patient)))
        elif set(phases) <= _KINDS:
            studies.append(Study(patient.name, patient.name, tuple(path for part in phases.values() for path in part)))
        else:
            studies += [
                Study(f"{patient.name}-{phase}", patient.name, images, phase) for phase, images in phases.items()
            ]
    return studies


def _images_below(folder: Path) -> tuple[Path, ...]:
    """The images of a phase, in its folder or, where that has none, in those below it."""
    return _images(folder) or tuple(path for below in _subfolders(folder) for path in _images_below(below))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> tuple[Path, ...]:
    files = [path for path in folder.iterdir() if is_volume(path)]
    return tuple(sorted([*files, *(path for path in _subfolders(folder) if _is_series(path))]))


def _is_series(folder: Path) -> bool:
    files = (path for path in folder.iterdir() if path.is_file())
    return any(path.suffix.lower() == ".dcm" or is_dicom(path) for path in files)


def landmark_file(study: Study, cohort: Path) -> Path:
    """The .tag of MRI and ultrasound before resection, by its name or beside the images.

    Raises
    ------
    InputError
        There is none, or more than one.
    """
    folders = {path.parent for path in study.images}
    tags = [path for path in cohort.rglob("*.tag") if path.stem.startswith(f"{study.patient}-MRI-before")]
    tags = tags or sorted(path for folder in folders for path in folder.glob("*.tag"))
    tags = list({path.read_bytes(): path for path in tags}.values())  # RESECT comes as NIfTI and as MINC, with both
    if len(tags) != 1:
        found = ", ".join(path.name for path in tags) or "none"
        raise InputError(f"{study.name}: one .tag of MRI and ultrasound landmarks is needed, found {found}")
    return tags[0]


def choose_files(study: Study) -> Files:
    """Tell what the images of a study are.

    Raises
    ------
    Exclusion
        There is no ultrasound, neither T2w nor FLAIR, or more than one image that could be the same.
    """
    found: dict[str, list[Path]] = {role: [] for role in (*ROLES, *CONTRASTS, *OUTLINES)}
    for path in study.images:
        found[study.roles.get(path) or role_of(path)].append(path)
    _check_one_each(study, found)
    if not found["ultrasound"]:
        remedy = "put ioUS into the name of its reconstructed volume"
        _refuse(study, ("ultrasound",), "holds no ultrasound", remedy=remedy)
    mri = {target: found[target][0] for target in TARGETS if found[target]}
    if not mri:
        doubtful = ", ".join(path.name for path in found["MRI"])
        doubt = f" ({doubtful} is another contrast, or in doubt, by its name)" if doubtful else ""
        remedy = "put the contrast into the name of the MRI, and the MRI into the folder of its ultrasound"
        _refuse(study, TARGETS, f"holds neither T2w nor FLAIR{doubt}", remedy=remedy)
    mri |= _t1w(found["T1w"], found["ceT1"])
    labels = {outline: found[outline][0] for outline in OUTLINES if found[outline]}
    return Files(found["ultrasound"][0], mri, labels, tuple(found["MRI"]), study.on_ultrasound)


def _t1w(found: Sequence[Path], told: Sequence[Path]) -> dict[str, Path]:
    """The one after contrast agent, by its name or as a table told, as ``ceT1``; others, or all if several, by name."""
    after = [*told, *(path for path in found if has_agent(case_name(path)))]
    named = {case_name(path): path for path in (*found, *told) if len(after) != 1 or path not in after}
    return {"ceT1": after[0], **named} if len(after) == 1 else named


def _refuse(study: Study, missing: Sequence[str], message: str, *, remedy: str) -> NoReturn:
    """Say that images are missing, or that all that there are are in doubt."""
    doubts = [text for contrast, text in study.doubts if contrast in missing]
    if doubts:
        raise Exclusion(IN_DOUBT, f"{study.name}: {message} without doubt: {'; '.join(doubts)}")
    if study.roles or study.doubts:
        remedy = "add its row to the table"
    reason = NO_ULTRASOUND if "ultrasound" in missing else NO_MRI
    raise Exclusion(reason, f"{study.name}: {message}; {remedy}")


def _check_one_each(study: Study, found: Mapping[str, list[Path]]) -> None:
    """Refuse several images that could be the same, and outlines of all beside those of one structure."""
    for role in ("ultrasound", *TARGETS, *OUTLINES):
        if len(found[role]) > 1:
            names = ", ".join(path.name for path in found[role])
            raise Exclusion(
                IN_DOUBT,
                f"{study.name}: {names} could all be the {role}; keep one, or give each phase a folder with its images",
            )
    others = [path.name for outline in OUTLINES[1:] for path in found[outline]]
    if found["labels"] and others:
        raise Exclusion(
            IN_DOUBT, f"{study.name}: {found['labels'][0].name} holds all labels, {', '.join(others)} one; keep either"
        )
