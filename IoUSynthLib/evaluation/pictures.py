"""What an evaluation keeps of each case to be looked at: one slice of the ultrasound, of acquired and synthetic MRI."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ..cases.case import UNLABELLED, Case, input_image, target_image
from ..constants import COLOURS, LABELS, OUTSIDE
from ..outputs.drawing import grey, limits, masked, outlined, resized
from ..preprocessing import bounding_box
from ..volume import InputError

#: Name of the file, and most cases in it.
PICTURES, MOST = "pictures.npz", 24
ULTRASOUND, SYNTHETIC = "ultrasound", "synthetic"
_PANEL = 150  # pixels along the longer side
#: Percentiles of the acquired image that are shown black and white, also in the synthetic one.
_WINDOW = (1.0, 99.5)


def chosen(names: Collection[str]) -> list[str]:
    """As many cases as are kept at most, spread over all."""
    every = sorted(names)
    return [every[at] for at in np.unique(np.linspace(0, len(every) - 1, MOST).round().astype(int))] if every else []


def panels(case: Case, images: Mapping[str, np.ndarray], labels: np.ndarray | None) -> dict[str, np.ndarray]:
    """The slice with the largest lesion, or fan where none is outlined, (rows, columns, 3) uint8 by what it shows.

    Parameters
    ----------
    case
        The true case.
    images
        Synthetic MRI by contrast, (z, y, x) in [-1, 1].
    labels
        Its outlines, (z, y, x): 0 background, 1 tumour, 2 cavity, drawn on the synthetic MRI; those of the case are
        drawn on the acquired one.

    Returns
    -------
    dict
        ``ultrasound``, or the MRI that is the input, such as ``T1w as input``; then each contrast as it was acquired,
        and ``T2w synthetic``, ``FLAIR synthetic``.
    """
    fan, true = case.fan.array > 0, case.labels.array
    true = np.where(true == UNLABELLED, 0, true)
    axis, index = _largest((true > 0) & fan if ((true > 0) & fan).any() else fan)
    inside = fan.take(index, axis)
    box = bounding_box(inside, margin=2)
    spacing = np.delete(case.fan.spacing[::-1], axis)

    def drawn(array: np.ndarray, window: tuple[float, float], outlines: np.ndarray | None) -> np.ndarray:
        extent = np.array(inside[box].shape) * spacing
        shape = np.maximum(1, np.rint(_PANEL * extent / extent.max())).astype(int)
        image = resized(masked(grey(array.take(index, axis), *window), inside)[box], shape)
        for name, colour in COLOURS.items() if outlines is not None else ():
            mask = outlines.take(index, axis)[box] == LABELS[name]
            image = outlined(image, resized(mask.astype(np.uint8), shape) > 0, colour)
        return image

    seen = input_image(case)
    found = {_input_name(case): drawn(seen, limits(seen, fan, _WINDOW), None)}
    for name, image in images.items():
        acquired = target_image(case, name)
        window = limits(acquired, fan, _WINDOW)
        found[name] = drawn(acquired, window, true)
        found[f"{name} {SYNTHETIC}"] = drawn(np.nan_to_num(image, nan=OUTSIDE), window, labels)
    return found


def _input_name(case: Case) -> str:
    """Not the contrast alone, which another case may have as a target."""
    return ULTRASOUND if case.input == "ioUS" else f"{case.input} as input"


def _largest(mask: np.ndarray) -> tuple[int, int]:
    """Axis and index of the slice in which most of a mask lies."""
    areas = [mask.sum(tuple(other for other in range(3) if other != axis)) for axis in range(3)]
    axis = int(np.argmax([area.max() for area in areas]))
    return axis, int(np.argmax(areas[axis]))


def write_pictures(path: Path, pictures: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write the panels of cases, by name."""
    named = {f"{case}/{name}": image for case, own in pictures.items() for name, image in own.items()}
    np.savez_compressed(path, **named)


def read_pictures(path: Path | None, cases: Collection[str]) -> dict[str, dict[str, np.ndarray]]:
    """Read those of some cases back, as far as they are there.

    Raises
    ------
    InputError
        The file is damaged.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    if path is None or not path.is_file():
        return found
    try:
        with np.load(path) as file:
            for key in file.files:
                case, _, name = key.rpartition("/")
                if case in cases:
                    found.setdefault(case, {})[name] = file[key]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is damaged ({error}); evaluate again") from error
    return found
