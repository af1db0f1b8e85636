"""One picture of a result: three orthogonal slices of every image, outlined, labelled and marked as synthetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import preprocessing
from ..constants import COLOURS, LABELS, MARK
from ..volume import Volume
from .drawing import HUGE, WARNING, Text, grey, grid, heat, limits, save
from .slices import Column, orthogonal_slices

if TYPE_CHECKING:
    from ..pipeline import SynthesisResult

#: The expected error, as a fraction of the intensity range, that is drawn white.
_WHITE_ERROR = 0.3
_TITLES = {"tumour": "Tumour", "cavity": "Resection cavity"}


def write_picture(
    path: str | Path,
    volume: Volume,
    result: SynthesisResult,
    *,
    shown: Mapping[str, Volume] | None = None,
    name: str = "",
) -> None:
    """Write the picture of a result as PNG.

    Rows are the three planes of the ultrasound's own grid through the middle of the tumour, else of the cavity, else of
    the fan; columns are acquired MRI to be shown, by title (resampled onto the ultrasound as it lies, without
    registration), the ultrasound, the synthetic images and, if there is one, the uncertainty (black 0 to white 30 % of
    the intensity range).

    Raises
    ------
    InputError
        The file cannot be written.
    """
    save(draw_picture(volume, result, shown=shown, name=name), path)


def draw_picture(
    volume: Volume, result: SynthesisResult, *, shown: Mapping[str, Volume] | None = None, name: str = ""
) -> np.ndarray:
    """Return the picture, uint8 (rows, columns, 3)."""
    box = preprocessing.bounding_box(result.valid.array > 0, margin=4)
    cropped = preprocessing.crop(volume, box)
    labels, valid = result.segmentation.array[box], result.valid.array[box] > 0
    columns = _columns(cropped, result, shown=shown or {}, box=box)
    doubtful = result.report.get("doubtful", ())
    rows = orthogonal_slices(columns, cropped, _centre(labels, valid), labels=labels, doubtful=doubtful)
    model = result.report.get("model", {}).get("name", "")
    footer = [[Text(MARK, HUGE, WARNING)], [Text(f"{name}   {model}")], _legend(result)]
    return grid(rows, footer)


def _columns(
    cropped: Volume, result: SynthesisResult, *, shown: Mapping[str, Volume], box: preprocessing.Box
) -> list[Column]:
    valid = result.valid.array[box] > 0
    columns = []
    for title, mri in shown.items():
        array = preprocessing.resample_like(mri, cropped).array.astype(np.float32)
        covered = mri.with_array(np.ones(mri.array.shape, dtype=np.uint8))
        covered = preprocessing.resample_like(covered, cropped, nearest=True).array > 0
        columns.append(_acquired(title, array, covered))
    columns.append(_acquired("ioUS", cropped.array, valid))
    for key, image in result.images.items():
        columns.append(_synthetic(key, grey(image.array[box], *limits(image.array[box], valid)), valid))
    if result.uncertainty is not None:
        columns.append(_synthetic("Expected error", heat(result.uncertainty.array[box] / _WHITE_ERROR), valid))
    return columns


def _acquired(title: str, array: np.ndarray, valid: np.ndarray) -> Column:
    return Column(title, grey(array, *limits(array, valid)), valid, Text("ACQUIRED"))


def _synthetic(title: str, colour: np.ndarray, valid: np.ndarray) -> Column:
    return Column(title, colour, valid, Text("SYNTHETIC", colour=WARNING), "SYNTHETIC")


def _centre(labels: np.ndarray, valid: np.ndarray) -> tuple[int, ...]:
    """Return the voxel in the middle of the tumour, else of the cavity, else of the fan."""
    masks = [*(labels == LABELS[name] for name in ("tumour", "cavity")), valid]
    mask = next((mask for mask in masks if mask.any()), np.ones(valid.shape, dtype=bool))
    points = np.argwhere(mask)
    nearest = points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
    return tuple(int(value) for value in nearest)


def _legend(result: SynthesisResult) -> list[Text]:
    entries = []
    for name, colour in COLOURS.items():
        volume = result.report.get("volumes_ml", {}).get(name, 0.0)
        doubt = ", doubtful (dashed)" if name in result.report.get("doubtful", ()) else ""
        entries.append(Text(f"{_TITLES[name]} {volume:.1f} ml{doubt}", swatch=colour))
    error = "not estimated" if result.uncertainty is None else f"black 0, white {_WHITE_ERROR:.0%}"
    return [*entries, Text(f"Dark grey: no data.  Expected error: {error}")]
