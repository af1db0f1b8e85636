"""One picture of a result: three orthogonal slices of every image, outlined, labelled and marked as synthetic."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import preprocessing
from ..constants import COLOURS, LABELS, MARK, MUTED_CONTRAST, VEIL_OPACITY
from ..synthesis.echo import NO_ECHO, hatched
from ..synthesis.spread import tumour_words
from ..synthesis.trust import UNCERTAIN, UNFAMILIAR
from ..volume import Volume
from .drawing import GREY, HUGE, VEIL, WARNING, Text, blended, grid, heat, save
from .slices import Column, Plane, Shades, in_grey, middle_of, orthogonal_slices

if TYPE_CHECKING:
    from ..pipeline import SynthesisResult

#: The expected error, as a fraction of the intensity range, that is drawn white.
_WHITE_ERROR = 0.3
#: The same of the standard deviation over samples.
_WHITE_SPREAD = 0.15
_TITLES = {"tumour": "Tumour", "cavity": "Resection cavity"}
#: Why images are muted, in a few words.
_MUTED = {
    UNFAMILIAR: "this ultrasound is unlike all that the model has learned from",
    UNCERTAIN: "the model expects large errors",
}


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
    the intensity range); of several samples their standard deviation (white 15 %) and in how many a voxel is tumour.
    Synthetic images are muted where the report says so, and under grey stripes where there is no
    echo.

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
    footer += [*_samples(result), *_why_muted(result)]
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
    stripes = hatched(result.valid.array[box] == NO_ECHO, cropped.spacing)
    muted = bool(result.report.get("muted"))
    for key, image in result.images.items():
        shades = in_grey(image.array[box], valid)
        colour = partial(_veiled, shades=shades, stripes=stripes, muted=muted)
        columns.append(_synthetic(key, colour, valid, muted))
    if result.uncertainty is not None:
        error = result.uncertainty.array[box]
        columns.append(_synthetic("Expected error", lambda plane: heat(error[plane] / _WHITE_ERROR), valid))
    if result.spread is not None:
        apart, frequency = result.spread.deviation.array[box], result.spread.frequency.array[box]
        count = result.report["spread"]["samples"]
        columns.append(_synthetic("Spread", lambda plane: heat(apart[plane] / _WHITE_SPREAD), valid))
        columns.append(_synthetic("Tumour in samples", lambda plane: heat(frequency[plane] / count), valid))
    return columns


def _veiled(plane: Plane, *, shades: Shades, stripes: np.ndarray, muted: bool) -> np.ndarray:
    """A plane of a synthetic image, muted where all of it is to be, and under stripes where there is no echo."""
    colour = blended(shades(plane), GREY, 1 - MUTED_CONTRAST) if muted else shades(plane)
    for number, veil in enumerate(VEIL, start=1):
        colour = np.where((stripes[plane] == number)[..., None], blended(colour, veil, VEIL_OPACITY), colour)
    return colour


def _acquired(title: str, array: np.ndarray, valid: np.ndarray) -> Column:
    return Column(title, in_grey(array, valid), valid, Text("ACQUIRED"))


def _synthetic(title: str, colour: Shades, valid: np.ndarray, muted: bool = False) -> Column:
    return Column(title, colour, valid, Text(f"SYNTHETIC{', muted' if muted else ''}", colour=WARNING), "SYNTHETIC")


def _centre(labels: np.ndarray, valid: np.ndarray) -> tuple[int, ...]:
    """Return the voxel in the middle of the tumour, else of the cavity, else of the fan."""
    masks = [*(labels == LABELS[name] for name in ("tumour", "cavity")), valid]
    mask = next((mask for mask in masks if mask.any()), np.ones(valid.shape, dtype=bool))
    return middle_of(mask)


def _legend(result: SynthesisResult) -> list[Text]:
    entries = []
    for name, colour in COLOURS.items():
        volume = result.report.get("volumes_ml", {}).get(name, 0.0)
        doubt = ", doubtful (dashed)" if name in result.report.get("doubtful", ()) else ""
        found = f"{volume:.1f} ml{doubt}" if volume or name != "tumour" else "not outlined"  # 0 ml would deny it
        entries.append(Text(f"{_TITLES[name]} {found}", swatch=colour))
    error = "not estimated" if result.uncertainty is None else f"black 0, white {_WHITE_ERROR:.0%}"
    silent = result.report.get("quality", {}).get("no_echo", 0.0)
    if round(silent, 2):
        entries.append(Text(f"Stripes: no echo, made up: {silent:.0%} of the fan", swatch=VEIL[0]))
    return [*entries, Text(f"Dark grey: no data.  Expected error: {error}")]


def _samples(result: SynthesisResult) -> list[list[Text]]:
    """A line about samples, where there are several."""
    if result.spread is None:
        return []
    report = result.report["spread"]
    scales = f"Spread: black 0, white {_WHITE_SPREAD:.0%}.  Tumour in samples: black 0, white {report['samples']}."
    return [[Text(f"Images: mean of {report['samples']} samples; {tumour_words(report)}.  {scales}")]]


def _why_muted(result: SynthesisResult) -> list[list[Text]]:
    """A line that says why the images are muted, where they are."""
    words = [_MUTED[reason] for reason in result.report.get("muted", ()) if reason in _MUTED]
    return [[Text(f"Muted: {'; '.join(words)}. Trust the ultrasound.", colour=WARNING)]] if words else []
