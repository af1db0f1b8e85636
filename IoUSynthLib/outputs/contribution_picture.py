"""The picture of what preoperative MRI contributed: images with and without it, and where the two disagree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import preprocessing
from ..constants import MARK
from ..volume import Volume
from .drawing import HUGE, WARNING, Text, grey, grid, heat, limits, outlined, save
from .slices import Column, Shades, in_grey, middle_of, orthogonal_slices

if TYPE_CHECKING:
    from ..pipeline import SynthesisResult
    from ..synthesis.preoperative import Preoperative

#: The difference, as a fraction of the intensity range, that is drawn white.
_WHITE_DIFFERENCE = 0.3
#: Outline of where images with and without MRI disagree about tissue: no colour of a tumour or cavity.
_PLACES = (255, 80, 220)


def write_contribution_picture(
    path: str | Path, volume: Volume, result: SynthesisResult, *, preoperative: Preoperative, name: str = ""
) -> None:
    """Write what preoperative MRI contributed to a result as PNG.

    Rows are the three planes of the ultrasound's own grid through the middle of the largest place where images with and
    without MRI disagree, else of the fan; columns are the ultrasound, the MRI where its registration puts it, each
    image of ultrasound alone and with MRI, and the difference (black 0 to white 30 % of the intensity range).

    Raises
    ------
    InputError
        The file cannot be written.
    """
    picture = draw_contribution(volume, result, preoperative=preoperative, name=name)
    save(picture, path, description=f"{MARK}; contribution of preoperative MRI")


def draw_contribution(
    volume: Volume, result: SynthesisResult, *, preoperative: Preoperative, name: str = ""
) -> np.ndarray:
    """Return the picture, uint8 (rows, columns, 3)."""
    fan = result.valid.array > 0
    box = preprocessing.bounding_box(fan, margin=4)
    cropped, valid = preprocessing.crop(volume, box), fan[box]
    places = result.contribution.places.array[box] > 0
    columns = [Column("ioUS", in_grey(cropped.array, valid), valid, Text("ACQUIRED"))]
    columns += [
        _acquired(f"Preop. {contrast}", preprocessing.resample_like(image, cropped, transform=preoperative.transform))
        for contrast, image in preoperative.images.items()
        if contrast in result.report["contribution"]["contrasts"]
    ]
    without, with_mri = result.contribution.pair(result.images)
    used = result.contribution.used
    for contrast in result.images:
        window = limits(without[contrast].array[box], valid)  # for both, so that they can be compared
        for title, images, shown in (("ioUS alone", without, not used), ("with MRI", with_mri, used)):
            shades = _in_window(images[contrast].array[box], window)
            columns.append(_synthetic(f"{contrast}, {title}", _marked(shades, places), valid, shown=shown))
    difference = result.contribution.difference.array[box]
    columns.append(
        Column("Difference", _marked(lambda plane: heat(difference[plane] / _WHITE_DIFFERENCE), places), valid)
    )
    rows = orthogonal_slices(columns, cropped, _centre(places, valid))
    return grid(rows, [[Text(MARK, HUGE, WARNING)], [Text(f"{name}   {_model(result)}")], *_legend(result)])


def _acquired(title: str, image: Volume) -> Column:
    shown = image.array > 0
    return Column(title, in_grey(image.array, shown), shown, Text("ACQUIRED, registered"))


def _synthetic(title: str, colour: Shades, valid: np.ndarray, *, shown: bool) -> Column:
    note = "SYNTHETIC, the result" if shown else "SYNTHETIC"
    return Column(title, colour, valid, Text(note, colour=WARNING), "SYNTHETIC")


def _in_window(array: np.ndarray, window: tuple[float, float]) -> Shades:
    return lambda plane: grey(array[plane], *window)


def _marked(shades: Shades, places: np.ndarray) -> Shades:
    return lambda plane: outlined(shades(plane), places[plane], _PLACES)


def _centre(places: np.ndarray, valid: np.ndarray) -> tuple[int, ...]:
    """The voxel (z, y, x) of the largest place nearest to its middle, or of the fan where no place is marked."""
    import SimpleITK as sitk

    mask = valid
    if places.any():
        pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(places.astype(np.uint8)), True)
        mask = sitk.GetArrayFromImage(sitk.RelabelComponent(pieces)) == 1
    return middle_of(mask)


def _model(result: SynthesisResult) -> str:
    return str(result.report.get("model", {}).get("name", ""))


def _legend(result: SynthesisResult) -> list[list[Text]]:
    report = result.report["contribution"]
    places = Text(f"Disagree about tissue: {report['disagreeing_ml']:.1f} ml", swatch=_PLACES)
    scale = Text(f"Difference: black 0, white {_WHITE_DIFFERENCE:.0%}; mean {report['disagreement']:.1%}")
    lines = [[places, scale, Text("Dark grey: no data.")]]
    if not report["used"]:
        lines.append([Text("MRI not used: with it the images change more than is believed.", colour=WARNING)])
    return lines
