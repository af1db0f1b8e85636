"""MRI of two contrasts, of which networks learn to make one of the other: BraTS and folders like it.

The images of a patient lie on one grid already (BraTS: 1 mm, skull-stripped), so nothing is registered, nor
interpolated unless voxels of one size are asked for; their slices are made axial, and the case is the box of the brain,
which takes the place of the fan. Both are normalised by eq. 2 of the ioUS-to-MR benchmark (arXiv 2606.00630), or by
their lowest and highest value as 3D-mDAUNet does. The study of T1 to T2 that this serves splits by slice, so that
neighbours of its test slices are trained on; here patients are split, as everywhere, unless :func:`split_slices` is
asked for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..cases.case import UNLABELLED, Case, from_network_range
from ..constants import OUTSIDE, TARGETS
from ..files.names import BRATS_ROLES, brats_role_of_name
from ..files.paths import case_name
from ..outputs.case_files import read_acquired
from ..preprocessing import (
    SCALINGS,
    axial,
    crop_to_mask,
    field_of_view,
    mri_statistics,
    resample_inside,
    resample_to_spacing,
)
from ..synthesis.report import versions
from ..volume import InputError, Volume
from .exclusions import FOREGROUND, GRIDS_DIFFER, IN_DOUBT, NO_MRI, Exclusion
from .labels import read_labels
from .readers import Study

#: The outline among a patient's files: all of its labels are of the tumour.
OUTLINE = "tumour"

_RULES = {"z-score": "eq. 2 of arXiv 2606.00630", "min-max": "lowest value to -1, highest to 1"}
_CONTRASTS = tuple(dict.fromkeys(role for role in BRATS_ROLES.values() if role != OUTLINE))


def pair(text: str) -> tuple[str, str]:
    """Input and target, of an argument like ``T1w:T2w``."""
    source, colon, target = text.partition(":")
    if not colon or source not in _CONTRASTS or target not in TARGETS or source == target:
        raise argparse.ArgumentTypeError(
            f"{text} is no pair; write INPUT:TARGET, one of {', '.join(_CONTRASTS)}, another of {', '.join(TARGETS)}"
        )
    return source, target


def choose_pair(study: Study, contrasts: tuple[str, str]) -> dict[str, Path]:
    """The files of two contrasts and, where it is there, of the outline, by what they are.

    Raises
    ------
    Exclusion
        A contrast is missing, or there are several files of one.
    """
    found: dict[str, Path] = {}
    for path in study.images:
        role = brats_role_of_name(case_name(path))
        if role in found:
            names = f"{found[role].name} and {path.name}"
            raise Exclusion(IN_DOUBT, f"{study.name}: {names} could both be {role}; keep one")
        if role in (*contrasts, OUTLINE):
            found[role] = path
    missing = [name for name in contrasts if name not in found]
    if missing:
        raise Exclusion(
            NO_MRI, f"{study.name}: holds no {' and no '.join(missing)}; end file names as BraTS does: _t1, _t2, _flair"
        )
    return found


def mean_voxels(studies: Iterable[Study], contrasts: tuple[str, str]) -> tuple[float, float, float]:
    """Mean edges (x, y, z) in mm of the voxels of all patients' axial slices, as 3D-mDAUNet resamples each data set to.

    Raises
    ------
    InputError
        No patient has both contrasts, or an image cannot be read.
    """
    found = []
    for study in studies:
        try:
            found.append(axial(read_acquired(choose_pair(study, contrasts)[contrasts[0]])).spacing)
        except Exclusion:
            continue  # it is left out, and said, when it is prepared
    if not found:
        raise InputError(f"no patient has {' and '.join(contrasts)}; end file names as BraTS does: _t1, _t2, _flair")
    return tuple(np.mean(found, axis=0).round(4).tolist())


def prepare_pair(
    files: Mapping[str, Path], contrasts: tuple[str, str], *, scaling: str = "z-score",
    voxels: tuple[float, float, float] | None = None,
) -> Case:
    """Make a case of two contrasts.

    Parameters
    ----------
    files
        Of :func:`choose_pair`.
    contrasts
        Input and target.
    scaling
        A name in :data:`IoUSynthLib.preprocessing.SCALINGS`.
    voxels
        Edges (x, y, z) in mm of the case's voxels; those of the files without it.

    Returns
    -------
    Case
        On the grid of the files, or on such voxels, with axial slices, cropped to the brain with a margin of one voxel.
        Both images are int16 from 0 to 1100, which :func:`IoUSynthLib.cases.case.target_image` brings back to [-1, 1];
        the fan is the brain of the input; labels are ``UNLABELLED`` throughout where there is no outline. The
        parameters name the input.

    Raises
    ------
    InputError
        An image cannot be used; as an :class:`.Exclusion`, it is empty, or the grids differ.
    """
    started = time.perf_counter()
    source = contrasts[0]
    images = {name: axial(read_acquired(files[name])) for name in contrasts}
    statistics = {name: _statistics(image, files[name]) for name, image in images.items()}
    brain = field_of_view(images[source].array)
    fan, box = crop_to_mask(images[source].with_array(brain.astype(np.uint8)), brain, margin=1)
    scaled = {}
    for name, image in images.items():
        _check_grid(image, images[source], files[name], files[source])
        scaled[name] = fan.with_array(SCALINGS[scaling](image.array)[box])
    labels = fan.with_array(np.full(fan.array.shape, UNLABELLED, np.uint8))
    if OUTLINE in files:
        outline = axial(read_labels(files[OUTLINE], OUTLINE))
        _check_grid(outline, images[source], files[OUTLINE], files[source])
        labels = fan.with_array(outline.array[box].astype(np.uint8))
    if voxels is not None:
        scaled, fan, labels = _resampled(scaled, fan, labels, voxels=voxels)
    stored = {
        name: image.with_array((1000 * from_network_range(image.array)).round().astype(np.int16))
        for name, image in scaled.items()
    }
    parameters = {
        "simulated": False,
        "input": source,
        "targets": list(contrasts[1:]),
        "labelled": OUTLINE in files,
        "grid": "mri",
        "spacing_mm": list(fan.spacing),
        "fan_ml": round(float(fan.array.sum()) * fan.voxel_volume_ml, 2),
        "covered": 1.0,
        "scaling": scaling,
        "resampled": voxels is not None,
        "normalisation": {"rule": f"{_RULES[scaling]}; -1 to 1 stored as 0 to 1100", **statistics},
        "registration": None,
        "warnings": [f"{name}: {text}" for name, image in images.items() for text in image.warnings],
        "seconds": round(time.perf_counter() - started, 2),
        "versions": versions(),
    }
    return Case(stored, labels, fan, parameters)


def _resampled(
    images: Mapping[str, Volume], fan: Volume, labels: Volume, *, voxels: tuple[float, float, float]
) -> tuple[dict[str, Volume], Volume, Volume]:
    """Images, fan and labels of a case on voxels of another size; a label is where it fills half of a voxel."""
    moved, inside = resample_inside(list(images.values()), voxels, fan.array > 0)
    filled = {
        value: resample_to_spacing(labels.with_array(labels.array == value), voxels).array >= 0.5
        for value in np.unique(labels.array)
    }
    masks = moved[0].with_array(np.select(list(filled.values()), list(filled), 0).astype(np.uint8))
    blank = {
        name: image.with_array(np.where(inside, image.array, OUTSIDE))
        for name, image in zip(images, moved, strict=True)
    }
    return blank, moved[0].with_array(inside.astype(np.uint8)), masks


def split_slices(case: Case, splits: Sequence[str]) -> dict[str, Case]:
    """Cases of the slices of one that are in each split, one on the other; of splits without a slice there is none.

    Parameters
    ----------
    case
        With axial slices.
    splits
        Of each of its slices.
    """
    parts = {}
    for split in dict.fromkeys(splits):
        chosen = [number for number, other in enumerate(splits) if other == split]

        def drawn(volume: Volume, chosen: list[int] = chosen) -> Volume:
            return replace(volume, array=np.ascontiguousarray(volume.array[chosen]))

        images = {name: drawn(image) for name, image in case.images.items()}
        parameters = {**case.parameters, "slices": chosen}
        parts[split] = Case(images, drawn(case.labels), drawn(case.fan), parameters)
    return parts


def _statistics(image: Volume, path: Path) -> dict[str, float]:
    found = mri_statistics(image.array)
    if found is None:
        raise Exclusion(FOREGROUND, f"{path}: holds no image; give one with a brain in it")
    return dict(zip(("mean", "standard_deviation"), found, strict=True))


def _check_grid(image: Volume, other: Volume, path: Path, reference: Path) -> None:
    if not image.same_grid(other, 1e-3):
        raise Exclusion(GRIDS_DIFFER, f"{path}: lies on another grid than {reference.name}; resample both onto one")
