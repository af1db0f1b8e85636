"""Sample pictures of training: what goes in, what comes out and what should, of a few fixed slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

from .data import Batch

#: Draws network output (B, C, H, W) and the slices that it belongs to as (rows, columns, 3) uint8.
Picture = Callable[[torch.Tensor, Batch], np.ndarray]
ROWS = 4
_TITLE = 14
_GAP = 2
_NO_DATA = (42, 42, 46)
_CLASS_COLOURS = np.array([(0, 0, 0), (255, 214, 0), (0, 200, 255)], np.uint8)
#: Expected error that is drawn white, in units of the networks' range [-1, 1].
_FULL_ERROR = 0.6


def draw_generator(output: torch.Tensor, batch: Batch, inputs: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Inputs, synthetic and true MRI, and the expected error if there is one (black 0 to white 30 % of the range).

    Parameters
    ----------
    output
        (B, T, ...): targets in [-1, 1], or (B, T + 1, ...), the last being the logarithm of the error.
    batch
        Its slices, or patches, of which the middle one along the first axis is drawn; targets that a case lacks are
        drawn as no data.
    inputs, targets
        Names for the titles.
    """
    output, batch = _middle_slices(output, batch)
    columns = _inputs(batch, inputs)
    for number, name in enumerate(targets):
        columns.append((f"{name} synthetic", grey(_array(output[:, number]))))
        columns.append((f"{name} true", grey(_array(batch.target[:, number]))))
    if output.shape[1] > len(targets):
        error = np.clip(np.exp(_array(output[:, -1])) / _FULL_ERROR, 0, 1)
        columns.append(("expected error", _heat(error)))
    return draw_grid(columns, _array(batch.fan[:, 0]) > 0)


def draw_segmenter(output: torch.Tensor, batch: Batch, inputs: Sequence[str]) -> np.ndarray:
    """Inputs, predicted and true labels (yellow tumour, blue cavity), from logits (B, 3, ...), as above."""
    output, batch = _middle_slices(output, batch)
    columns = _inputs(batch, inputs)
    columns.append(("predicted", _CLASS_COLOURS[_array(output).argmax(1)]))
    columns.append(("true", _CLASS_COLOURS[np.nan_to_num(_array(batch.target[:, 0])).astype(int)]))
    return draw_grid(columns, _array(batch.fan[:, 0]) > 0)


def _middle_slices(output: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, Batch]:
    """Output and patches as slices; what is one already stays."""
    if output.ndim == 4:
        return output, batch
    middle = output.shape[2] // 2
    return output[:, :, middle], Batch(*(part[:, :, middle] for part in (batch.image, batch.target, batch.fan)))


def _inputs(batch: Batch, names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """The middle one of the slices of each input."""
    count = batch.image.shape[1] // len(names)
    return [(name, grey(_array(batch.image[:, count * number + count // 2]))) for number, name in enumerate(names)]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def grey(values: np.ndarray) -> np.ndarray:
    """(B, H, W) in [-1, 1] as (B, H, W, 3) uint8; NaN is no data."""
    levels = (255 * np.clip((np.nan_to_num(values) + 1) / 2, 0, 1)).astype(np.uint8)
    return np.where(np.isnan(values)[..., None], np.array(_NO_DATA, np.uint8), levels[..., None])


def _heat(fraction: np.ndarray) -> np.ndarray:
    """Black, red, yellow, white for 0 to 1."""
    parts = np.stack([3 * fraction, 3 * fraction - 1, 3 * fraction - 2], -1)
    return (255 * np.clip(parts, 0, 1)).astype(np.uint8)


def draw_grid(columns: Sequence[tuple[str, np.ndarray]], inside: np.ndarray) -> np.ndarray:
    """A row for every slice, up to ``ROWS``, a column for every image, titled, dark grey outside the fan.

    Parameters
    ----------
    columns
        Title and images (B, H, W, 3) uint8 of each.
    inside
        (B, H, W) bool, the fan.
    """
    count, height, width = (min(ROWS, len(inside)), *inside.shape[1:])
    size = (_TITLE + count * (height + _GAP), len(columns) * (width + _GAP), 3)
    picture = np.zeros(size, np.uint8)
    for column, (_, images) in enumerate(columns):
        for row in range(count):
            top, left = _TITLE + row * (height + _GAP), column * (width + _GAP)
            panel = np.where(inside[row, ..., None], images[row], np.array(_NO_DATA, np.uint8))
            picture[top : top + height, left : left + width] = panel
    drawing = Image.fromarray(picture)
    pen = ImageDraw.Draw(drawing)
    for column, (title, _) in enumerate(columns):
        pen.text((column * (width + _GAP) + 2, 1), title, fill=(230, 230, 230))
    return np.asarray(drawing)
