"""One patient's images as networks are trained on them.

The steps are those of the ioUS-to-MR benchmark (arXiv 2606.00630, section 2.2): the MRI is registered rigidly to the
ultrasound by LC2 (2), both are brought onto one grid (3) and cropped to the ultrasound (4), and the MRI is normalised
by eq. 2 (5). The ultrasound keeps its intensities, because training and inference normalise it by eq. 1 themselves.

There are two grids. ``mri`` is the published one: the voxels of the MRI, moved to where the ultrasound is, with their
slices axial; the ultrasound is interpolated onto them by cubic B-splines and cut off at 0, and the case is the box of
what is above 1 % of its maximum there. ``ultrasound``, the default, departs from the benchmark in three ways: it lies
along the ultrasound and has the voxel size of the networks here, as :func:`.synthesis.grid.network_grid` makes it when
they are used; interpolation is linear, after a Gaussian where voxels become larger; and the case is the box of the
closed fan with a margin of one voxel. In both, the ultrasound is 0 outside the fan, which the benchmark does not know.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cases.case import UNLABELLED, Case, from_network_range
from ..constants import CONTRASTS, VOXEL_MM
from ..files.volumes import read_volume
from ..input_checks import check_ultrasound
from ..outputs.case_files import read_acquired
from ..preprocessing import axial, crop_to_mask, resample_like
from ..registration import read_landmark_pairs, register_by_landmarks, register_by_lc2
from ..registration.rigid import to_sitk
from ..synthesis.acquired import check_is_mri, on_ultrasound
from ..synthesis.grid import FieldOfView
from ..synthesis.quality import looks_like_ultrasound
from ..synthesis.report import versions
from ..volume import InputError, Volume
from .exclusions import OVERLAP, REGISTRATION, Exclusion, excluding
from .labels import OUTLINES, read_labels
from .readers import Files

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Whose voxels a case is in.
GRIDS = ("ultrasound", "mri")
#: What brings the MRI onto the ultrasound: LC2, landmarks of both, or nothing, where they are in one frame.
REGISTRATIONS = ("lc2", "landmarks", "none")
#: What is above this share of the ultrasound's maximum is its foreground, by step (4) of the benchmark.
FOREGROUND_SHARE = 0.01


def prepare_case(files: Files, *, register: str = "lc2", grid: str = "ultrasound") -> Case:
    """Bring the images of a study onto one grid.

    Parameters
    ----------
    files
        Ultrasound, MRI in one frame, and the outline on it if there is one; landmarks, where they register.
    register
        One of :data:`REGISTRATIONS`.
    grid
        One of :data:`GRIDS`.

    Returns
    -------
    Case
        On a grid of 0.8 mm along the ultrasound's axes, cropped to the fan, or on that of T2w (of FLAIR, where there is
        no T2w), cropped to the ultrasound. ``ioUS`` is float32 in the file's own units, 0 outside the fan; T2w,
        FLAIR and ceT1 are int16 from 0 to 1100, in the scale of simulated cases, so that
        :func:`IoUSynthLib.cases.case.target_image` gives eq. 2; the fan is where the MRI has data too; labels are
        ``UNLABELLED`` throughout where nobody has outlined them. The parameters name the targets and what was done.

    Raises
    ------
    InputError
        A file cannot be used; as an :class:`.Exclusion`, the registration failed, or the MRI is empty where the
        ultrasound is or does not cover it.
    """
    started = time.perf_counter()
    ultrasound = check_ultrasound(read_volume(files.ultrasound), str(files.ultrasound))
    mri = {name: read_acquired(path) for name, path in files.mri.items()}
    field = _field_of_view(ultrasound, files.ultrasound)
    image, fan = _on_own_grid(field)
    for name, path in files.mri.items():
        check_is_mri(mri[name], ultrasound, str(path))
    matrix, registration = _registered(files, mri, image, fan=fan, register=register)
    transform = to_sitk(matrix)
    targets = {name: mri[name] for name in CONTRASTS if name in mri}
    names = {name: str(path) for name, path in files.mri.items()}
    with excluding(OVERLAP):
        found = on_ultrasound(targets, fan, names=names, transform=transform)
        covered = found.covered  # of the whole fan: the grid of the MRI ends where the MRI does
        if grid == "mri":
            image, fan = _on_mri_grid(field, next(iter(targets.values())), matrix)
            found = on_ultrasound(targets, fan, names=names, transform=transform)
    images = {"ioUS": image}
    for name, normalised in found.images.items():
        images[name] = fan.with_array((1000 * from_network_range(normalised)).round().astype(np.int16))
    statistics = {name: {"mean": mean, "standard_deviation": sd} for name, (mean, sd) in found.statistics.items()}
    parameters = {
        "simulated": False,
        "targets": list(targets),
        "labelled": _labelled(files),
        "grid": grid,
        "spacing_mm": VOXEL_MM if grid == "ultrasound" else list(fan.spacing),
        "fan_ml": round(float(fan.array.sum()) * fan.voxel_volume_ml, 2),
        "covered": round(covered, 4),
        "normalisation": {"rule": "eq. 2 of arXiv 2606.00630; -1 to 1 stored as 0 to 1100", **statistics},
        "registration": registration,
        "warnings": [*_doubts({"ioUS": ultrasound, **mri}), *_not_outlined(files)],
        "notes": list(ultrasound.notes),
        "seconds": round(time.perf_counter() - started, 2),
        "versions": versions(),
    }
    seen = fan.with_array(found.seen.astype(np.uint8))
    return Case(images, _labels(files, fan, transform), seen, parameters)


def _registered(
    files: Files, mri: Mapping[str, Volume], image: Volume, *, fan: Volume, register: str
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """4x4 matrix from the ultrasound's LPS points to the MRI's, and a report; the identity where nothing registers."""
    if register == "none":
        return np.eye(4), None
    said: list[str] = []
    landmarks = read_landmark_pairs([files.landmarks], said.append) if register == "landmarks" else None
    try:
        matrix, done = register_by_lc2(mri, image, fan) if landmarks is None else register_by_landmarks(*landmarks)
    except InputError as error:
        raise Exclusion(REGISTRATION, f"{files.landmarks or files.ultrasound}: {error}") from error
    return matrix, {**done, "warnings": [*done["warnings"], *said]}


def registration_in_words(done: Mapping[str, Any]) -> str:
    """How a registration went, from its report in the parameters of a case, without its warnings."""
    moved = f"MRI moved {done['moved_mm']:.1f} mm"
    if "similarity" in done:
        before, after = (done["similarity"][when] for when in ("before", "after"))
        return f"LC2 {before:.3f} to {after:.3f}, {moved}"
    before, after = (done[when]["mean_mm"] for when in ("before", "after"))
    tre = f", TRE of each by the others {done['TRE']['mean_mm']:.2f} mm" if "TRE" in done else ""
    return (
        f"{done['landmarks']} landmarks {before:.2f} to {after:.2f} mm apart (FLE {done['FLE_rms_mm']:.2f} mm){tre}, "
        f"{moved}"
    )


def _doubts(images: dict[str, Volume]) -> list[str]:
    return [f"{name}: {text}" for name, image in images.items() for text in image.warnings]


def _labelled(files: Files) -> bool | list[str]:
    """Whether tumour and cavity are outlined, or which of them alone."""
    return list(files.labels) if set(files.labels) in ({"tumour"}, {"cavity"}) else bool(files.labels)


def _not_outlined(files: Files) -> list[str]:
    """A word about an outline of one structure: nobody knows where the other one is."""
    return [f"only the {name} is outlined: nothing else of the lesion is learned or scored" for name in files.labels
            if isinstance(_labelled(files), list)]  # fmt: skip


def _field_of_view(volume: Volume, path: Path) -> FieldOfView:
    field = FieldOfView.of(volume)
    plausible, reason = looks_like_ultrasound(volume, field.fan)
    if not plausible:
        raise InputError(f"{path}: does not look like ultrasound ({reason}); name the images by what they are")
    return field


def _on_own_grid(field: FieldOfView) -> tuple[Volume, Volume]:
    """Ultrasound and fan in voxels of the networks here, along the ultrasound's axes."""
    image, fan = field.resampled(VOXEL_MM)
    return image, image.with_array(fan.astype(np.uint8))


def _on_mri_grid(field: FieldOfView, mri: Volume, matrix: np.ndarray) -> tuple[Volume, Volume]:
    """Ultrasound and fan in the voxels of an MRI, moved to where the ultrasound is (2), (3), in the published box (4).

    Parameters
    ----------
    field
        The ultrasound.
    mri
        Gives the grid; its slices are made axial. It covers most of the fan.
    matrix
        4x4, from the ultrasound's LPS points to the MRI's.
    """
    moved = _moved(axial(mri), np.linalg.inv(matrix))
    spline = resample_like(field.volume, moved, bspline=True).array.clip(min=0)
    share = resample_like(field.cropped.with_array(field.fan[field.box].astype(np.float32)), moved).array
    image = np.where(share >= 0.5, spline, 0).astype(np.float32)
    cropped, box = crop_to_mask(moved.with_array(image), image > FOREGROUND_SHARE * image.max())
    return cropped, cropped.with_array((share[box] >= 0.5).astype(np.uint8))


def _moved(volume: Volume, matrix: np.ndarray) -> Volume:
    """The same voxels elsewhere: a point p comes to matrix p."""
    origin = (matrix @ [*volume.origin, 1.0])[:3]
    return replace(volume, origin=tuple(origin), direction=matrix[:3, :3] @ volume.direction)


def _labels(files: Files, grid: Volume, transform: sitk.Transform) -> Volume:
    """The outlines on the grid of the case; those on the MRI lie where the MRI does."""
    if not files.labels:
        return grid.with_array(np.full(grid.array.shape, UNLABELLED, np.uint8))
    merged = np.zeros(grid.array.shape, np.uint8)
    for outline in OUTLINES:  # a cavity lies over the tumour round it
        if outline in files.labels:
            path = files.labels[outline]
            place = None if path in files.on_ultrasound else transform
            labels = resample_like(read_labels(path, outline), grid, nearest=True, transform=place).array
            merged = np.where(labels > 0, labels, merged)
    return grid.with_array(merged.astype(np.uint8))
