"""The real patients of a folder, and what each of them has: ultrasound, MRI, landmarks, an outline.

Three layouts are read: RESECT as it was released, a folder for each patient (both as :mod:`IoUSynthLib.cohort.readers`
finds them), and a cohort of patients that ``iousynth prepare`` has made. Outlines on the ultrasound are named as in
RESECT-SEG (Behboodi et al. 2022), ``Case1-US-before-tumor.nii.gz``; one with label or seg in its name lies in the frame
of the MRI. What a patient lacks is said by name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...cases.case import UNLABELLED, Case, read_case, target_image
from ...cases.index import INDEX, describe_index, read_index
from ...cases.splits import SPLITS
from ...cohort.readers import Study, find_studies, landmark_file
from ...constants import LABELS, TARGETS
from ...files.names import VOLUME_SUFFIXES, is_before_resection, is_ultrasound_outline, role_of
from ...files.paths import case_name
from ...files.volumes import read_volume
from ...preprocessing import resample_inside, resample_like
from ...registration.curious import read_mri, read_ultrasound
from ...registration.landmarks import fit_rigid, read_landmark_pairs, target_registration_errors
from ...registration.rigid import to_sitk
from ...synthesis.acquired import on_ultrasound
from ...synthesis.grid import FieldOfView
from ...synthesis.report import describe_place, voxels_sha256
from ...volume import InputError, Volume

#: Ultrasound is measured on cubic voxels, no finer than this in mm; RESECT as released has 0.14 to 0.36 mm.
FINEST_MM = 0.5
#: Voxels whose edges differ by no more than this share are cubic, and need not be resampled.
_CUBIC = 0.02
#: MRI that was deformed onto the ultrasound, by its name: there is no rigid place of it to find or to compare at.
_WARPED = re.compile(r"(?<!un)warped", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Reference:
    """Acquired MRI at its place on the grid of the ultrasound.

    Attributes
    ----------
    images
        (z, y, x) in [-1, 1] by contrast, normalised by eq. 2 of the benchmark.
    seen
        (z, y, x) bool: where all of it has data.
    aligned_by
        What put it there.
    """

    images: dict[str, np.ndarray]
    seen: np.ndarray
    aligned_by: str


@dataclass(frozen=True, eq=False)
class Patient:
    """What is there of one patient and one ultrasound.

    Attributes
    ----------
    name
        Of the patient, and of the phase where there are several.
    ultrasound
        On cubic voxels.
    fan
        1 inside its field of view.
    mri
        To be registered, by contrast: T2w and FLAIR where they are, else the others.
    landmarks
        (n, 3) LPS points of the MRI and of the ultrasound, n each.
    reference
        The MRI at its place.
    tumour
        (z, y, x) bool on the ultrasound: where somebody outlined it.
    before_resection
        Whether the ultrasound's name says that nothing had been removed.
    missing
        What cannot be measured and why, a line each.
    """

    name: str
    ultrasound: Volume
    fan: Volume
    mri: dict[str, Volume]
    landmarks: tuple[np.ndarray, np.ndarray] | None
    reference: Reference | None
    tumour: np.ndarray | None
    before_resection: bool
    missing: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Tells all that was read of the patient from anything else, by its content."""
        places = {name: describe_place(image) for name, image in {"ultrasound": self.ultrasound, **self.mri}.items()}
        digest = hashlib.sha256(json.dumps([places, self.before_resection], sort_keys=True).encode())
        digest.update("".join(map(voxels_sha256, (self.ultrasound, *self.mri.values()))).encode())
        arrays = [*(self.landmarks or ()), *([] if self.tumour is None else [self.tumour])]
        arrays += [*self.reference.images.values(), self.reference.seen] if self.reference else []
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def rigid_error_mm(self) -> float:
        """Mean distance of the landmarks after their best rigid fit: no rigid registration can be much better."""
        return _mean_error(fit_rigid(*self.landmarks), self.landmarks)


#: Reads a patient; raises :class:`InputError` where there is nothing to measure.
Reader = Callable[[], Patient]


def find_patients(data: Path, patterns: Sequence[str] = ("*",)) -> dict[str, Reader]:
    """Find the patients of a folder; each is read when it is asked for.

    Parameters
    ----------
    data
        RESECT, a folder with a folder for each patient, or a cohort of ``iousynth prepare``, of which the cases for
        testing are taken where it has any.
    patterns
        Of the names of MRI files that are used.

    Raises
    ------
    InputError
        The folder is missing, holds no patients, or simulated ones.
    """
    if (data / INDEX).is_file():
        return {folder.name: partial(_read_prepared, folder) for folder in _prepared_cases(data)}
    return {study.name: partial(_read_study, study, data, patterns) for study in find_studies(data)}


# Cohorts that were prepared -------------------------------------------------------------------------------------------


def _prepared_cases(cohort: Path) -> list[Path]:
    try:
        simulated = describe_index(cohort).get("simulated", True)
        folders = read_index(cohort, "test") or [case for split in SPLITS for case in read_index(cohort, split)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{cohort / INDEX}: is damaged ({error!r}); prepare the cohort again") from error
    if simulated:
        raise InputError(f"{cohort}: holds simulated cases; give real patients, or score these with iousynth evaluate")
    return folders


def _read_prepared(folder: Path) -> Patient:
    case = read_case(folder)
    ultrasound, source = case.images["ioUS"], case.parameters.get("source", {})
    images = {name: target_image(case, name) for name in TARGETS if name in case.images}
    done = case.parameters.get("registration")
    method = "landmarks" if done and "landmarks" in done else "LC2"
    aligned_by = f"iousynth prepare ({method})" if done else "the files' own places"
    tumour, missing = _labelled(case)
    return Patient(
        folder.name, ultrasound, _fan(ultrasound), {}, None,
        reference=Reference(images, case.fan.array > 0, aligned_by), tumour=tumour,
        before_resection=is_before_resection(str(source.get("ultrasound", ""))),
        missing=("registration: a prepared cohort has no landmarks", *missing),
    )  # fmt: skip


def _labelled(case: Case) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if (case.labels.array == UNLABELLED).all():
        return None, ("Dice: nobody has outlined the tumour",)
    return case.labels.array == LABELS["tumour"], ()


# Files as they are ----------------------------------------------------------------------------------------------------


def _read_study(study: Study, data: Path, patterns: Sequence[str]) -> Patient:
    missing: list[str] = []

    def attempt(what: str, make: Callable[[], Any]) -> Any:
        """What is made, or None, and why it is missing."""
        try:
            return make()
        except InputError as error:
            missing.append(f"{what}: {str(error).removeprefix(f'{study.name}: ')}")
            return None

    given = read_ultrasound(study)
    ultrasound = _cubic(given)
    fan = _fan(ultrasound)
    study = _without_warped(study, missing)
    mri = _compared(attempt("registration, fidelity", lambda: read_mri(study, patterns)) or {})
    landmarks = attempt("landmarks", lambda: read_landmark_pairs([landmark_file(study, data)]))
    reference = None
    if mri and landmarks:
        reference = attempt("fidelity", lambda: _at_landmarks(mri, fan, landmarks))
    tumour = attempt("Dice", lambda: _outlined(study, data, given=given, grid=ultrasound, landmarks=landmarks))
    names = " ".join(path.name for path in study.images if role_of(path) == "ultrasound")
    return Patient(
        study.name, ultrasound, fan, mri, landmarks, reference=reference, tumour=tumour,
        before_resection=is_before_resection(f"{study.name} {names}"), missing=tuple(missing),
    )  # fmt: skip


def _cubic(volume: Volume) -> Volume:
    """The volume on cubic voxels no finer than :data:`FINEST_MM`, as it is where it lies on such ones."""
    edge = float(np.prod(volume.spacing)) ** (1 / 3)
    if np.ptp(volume.spacing) <= _CUBIC * edge and edge >= (1 - _CUBIC) * FINEST_MM:
        return volume
    (cubic,), _ = resample_inside([volume], (max(edge, FINEST_MM),) * 3, FieldOfView.of(volume).fan)
    return cubic


def _fan(ultrasound: Volume) -> Volume:
    return ultrasound.with_array(FieldOfView.of(ultrasound).fan.astype(np.uint8))


def _without_warped(study: Study, missing: list[str]) -> Study:
    """Leave out MRI that was deformed by others."""
    warped = [path.name for path in study.images if _WARPED.search(path.name)]
    if warped:
        missing.append(f"{', '.join(warped)}: was deformed by others, by its name, and is not used")
    return replace(study, images=tuple(path for path in study.images if path.name not in warped))


def _compared(mri: dict[str, Volume]) -> dict[str, Volume]:
    """The contrasts that are synthesized, else the others."""
    return {name: mri[name] for name in TARGETS if name in mri} or mri


def _at_landmarks(
    mri: dict[str, Volume], fan: Volume, landmarks: tuple[np.ndarray, np.ndarray]
) -> Reference:
    found = on_ultrasound(mri, fan, transform=to_sitk(fit_rigid(*landmarks)))
    return Reference(found.images, found.seen, f"a rigid fit of {len(landmarks[0])} landmarks")


def _mean_error(matrix: np.ndarray, landmarks: tuple[np.ndarray, np.ndarray]) -> float:
    return float(target_registration_errors(to_sitk(matrix), *landmarks).mean())


def _outlined(
    study: Study, data: Path, *, given: Volume, grid: Volume, landmarks: tuple[np.ndarray, np.ndarray] | None
) -> np.ndarray:
    """The tumour as somebody outlined it, bool (z, y, x) on ``grid``; ``given`` is the ultrasound as it was read."""
    masks = _ultrasound_outlines(study, data)
    labels = [path for path in study.images if role_of(path) == "labels"]
    if len(masks) + len(labels) != 1:
        names = ", ".join(path.name for path in (*masks, *labels))
        raise InputError(f"{names} all outline the tumour; keep one" if names else "nobody has outlined the tumour")
    if masks:
        mask = _on_ultrasound(read_volume(masks[0], labels=True), given)
        tumour = resample_like(mask, grid, nearest=True).array > 0
    elif landmarks is None:
        raise InputError(f"{labels[0].name}: lies in the frame of the MRI, and there are no landmarks to bring it here")
    else:
        label = read_volume(labels[0], labels=True)
        moved = resample_like(label, grid, nearest=True, transform=to_sitk(fit_rigid(*landmarks)))
        tumour = moved.array == LABELS["tumour"]
    if not tumour.any():
        raise InputError(f"{(masks or labels)[0].name}: outlines nothing where the ultrasound is; check where it lies")
    return tumour


def _ultrasound_outlines(study: Study, data: Path) -> list[Path]:
    """Masks of the tumour on the ultrasound before resection, by the patient's name or beside the images."""
    files = (path for path in sorted(data.rglob("*")) if path.name.lower().endswith(VOLUME_SUFFIXES))
    masks = [path for path in files if is_ultrasound_outline(case_name(path))]
    prefix = f"{study.patient}-"
    if all(path.name.startswith(prefix) for path in study.images):  # RESECT, which may lie in one folder
        return [path for path in masks if path.name.startswith(prefix)]
    return [path for path in masks if path.parent in {image.parent for image in study.images}]


def _on_ultrasound(mask: Volume, ultrasound: Volume) -> Volume:
    """The mask where its file places it, or, where that is elsewhere, voxel for voxel on the ultrasound.

    Some programs leave the place out of the masks that they write.
    """
    middles = [(image.ijk_to_lps @ [*((np.array(image.size) - 1) / 2), 1])[:3] for image in (mask, ultrasound)]
    elsewhere = np.linalg.norm(np.subtract(*middles)) > max(ultrasound.spacing)
    return ultrasound.with_array(mask.array) if elsewhere and mask.size == ultrasound.size else mask
