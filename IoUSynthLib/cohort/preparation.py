"""One patient's images as networks are trained on them.

The steps are those of the ioUS-to-MR benchmark (arXiv 2606.00630, section 2.2): the MRI is registered rigidly to the
ultrasound by LC2 (2), both are brought onto one grid (3) and cropped to the ultrasound (4), and the MRI is normalised
by eq. 2 (5). In contrast to the benchmark the grid is not the MRI's: it lies along the ultrasound and has the voxel
size of the networks here, as :func:`.synthesis.grid.network_grid` makes it when they are used. The ultrasound keeps its
intensities, because training and inference normalise it by eq. 1 themselves.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..cases.case import UNLABELLED, Case, from_network_range
from ..constants import TARGETS, VOXEL_MM
from ..files.volumes import read_volume
from ..input_checks import check_ultrasound
from ..outputs.case_files import read_acquired
from ..preprocessing import resample_like, resample_to_spacing
from ..registration import register_by_lc2
from ..registration.rigid import to_sitk
from ..synthesis.acquired import check_is_mri, on_ultrasound
from ..synthesis.grid import FieldOfView
from ..synthesis.quality import looks_like_ultrasound
from ..synthesis.report import versions
from ..volume import InputError, Volume
from .readers import Files

if TYPE_CHECKING:
    import SimpleITK as sitk


def prepare_case(files: Files, *, register: bool = True) -> Case:
    """Bring the images of a study onto one grid.

    Parameters
    ----------
    files
        Ultrasound, MRI in one frame, and the outline on it if there is one.
    register
        Whether the MRI is registered to the ultrasound; otherwise both are taken to be in one frame.

    Returns
    -------
    Case
        On a grid of 0.8 mm along the ultrasound's axes, cropped to the fan. ``ioUS`` is float32 in the file's own
        units, 0 outside the fan; T2w and FLAIR are int16 from 0 to 1100, in the scale of simulated cases, so that
        :func:`IoUSynthLib.cases.case.target_image` gives eq. 2; the fan is where the MRI has data too; labels are
        ``UNLABELLED`` throughout where nobody has outlined them. The parameters name the targets and what was done.

    Raises
    ------
    InputError
        An image cannot be used, is empty where the ultrasound is, or does not cover it.
    """
    started = time.perf_counter()
    ultrasound = check_ultrasound(read_volume(files.ultrasound), str(files.ultrasound))
    mri = {name: read_acquired(path) for name, path in files.mri.items()}
    image, fan = _ultrasound(ultrasound, files.ultrasound)
    for name, path in files.mri.items():
        check_is_mri(mri[name], ultrasound, str(path))
    matrix, registration = np.eye(4), None
    if register:
        try:
            matrix, registration = register_by_lc2(mri, image, fan)
        except InputError as error:
            raise InputError(f"{files.ultrasound}: {error}") from error
    transform = to_sitk(matrix)
    targets = {name: mri[name] for name in TARGETS if name in mri}
    names = {name: str(path) for name, path in files.mri.items()}
    found = on_ultrasound(targets, fan, names=names, transform=transform)
    images = {"ioUS": image}
    for name, normalised in found.images.items():
        images[name] = fan.with_array((1000 * from_network_range(normalised)).round().astype(np.int16))
    statistics = {name: {"mean": mean, "standard_deviation": sd} for name, (mean, sd) in found.statistics.items()}
    parameters = {
        "simulated": False,
        "targets": list(targets),
        "labelled": files.labels is not None,
        "spacing_mm": VOXEL_MM,
        "fan_ml": round(float(fan.array.sum()) * fan.voxel_volume_ml, 2),
        "covered": round(found.covered, 4),
        "normalisation": {"rule": "eq. 2 of arXiv 2606.00630; -1 to 1 stored as 0 to 1100", **statistics},
        "registration": registration,
        "warnings": _doubts({"ioUS": ultrasound, **mri}),
        "notes": list(ultrasound.notes),
        "seconds": round(time.perf_counter() - started, 2),
        "versions": versions(),
    }
    seen = fan.with_array(found.seen.astype(np.uint8))
    return Case(images, _labels(files.labels, fan, transform), seen, parameters)


def _doubts(images: dict[str, Volume]) -> list[str]:
    return [f"{name}: {text}" for name, image in images.items() for text in image.warnings]


def _ultrasound(volume: Volume, path: Path) -> tuple[Volume, Volume]:
    """Ultrasound and fan on the grid of the case."""
    field = FieldOfView.of(volume)
    plausible, reason = looks_like_ultrasound(volume, field.fan)
    if not plausible:
        raise InputError(f"{path}: does not look like ultrasound ({reason}); name the images by what they are")
    inside = field.fan[field.box]
    image = resample_to_spacing(field.cropped, (VOXEL_MM,) * 3, inside)
    share = resample_to_spacing(field.cropped.with_array(inside), (VOXEL_MM,) * 3)
    return image, image.with_array((share.array >= 0.5).astype(np.uint8))


def _labels(path: Path | None, grid: Volume, transform: sitk.Transform) -> Volume:
    if path is None:
        return grid.with_array(np.full(grid.array.shape, UNLABELLED, np.uint8))
    volume = read_volume(path, labels=True)
    if not np.isin(volume.array, (0, 1, 2)).all():
        raise InputError(f"{path}: holds other values than 0 (background), 1 (tumour) and 2 (cavity); recode it")
    resampled = resample_like(volume, grid, nearest=True, transform=transform)
    return resampled.with_array(resampled.array.astype(np.uint8))
