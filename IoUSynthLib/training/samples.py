"""Sample pictures of training: what goes in, what comes out and what should, of a few fixed slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..cases.case import NO_TUMOUR
from ..constants import COLOURS, LABELS
from ..outputs.drawing import Text, captioned, grey, grid, heat, masked
from .data import Batch

#: Draws network output (B, C, H, W) and the slices that it belongs to as (rows, columns, 3) uint8.
Picture = Callable[[torch.Tensor, Batch], np.ndarray]
ROWS = 4
_TITLE, _GAP = 10, 2  # pixels: slices may be small
_CLASS_COLOURS = np.array([COLOURS.get(name, (0, 0, 0)) for name in LABELS], np.uint8)
#: Expected error that is drawn white, in units of the networks' range [-1, 1].
_FULL_ERROR = 0.6


def draw_generator(
    output: torch.Tensor, batch: Batch, *, inputs: Sequence[str], targets: Sequence[str]
) -> np.ndarray:
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
        columns.append((f"{name} synthetic", shaded(_array(output[:, number]))))
        columns.append((f"{name} true", shaded(_array(batch.target[:, number]))))
    if output.shape[1] > len(targets):
        columns.append(("expected error", heat(np.exp(_array(output[:, -1])) / _FULL_ERROR)))
    return draw_grid(columns, _array(batch.fan[:, 0]) > 0)


def draw_segmenter(output: torch.Tensor, batch: Batch, inputs: Sequence[str]) -> np.ndarray:
    """Inputs, predicted and true labels (yellow tumour, blue cavity), from logits (B, 3, ...), as above."""
    output, batch = _middle_slices(output, batch)
    columns = _inputs(batch, inputs)
    columns.append(("predicted", _CLASS_COLOURS[_array(output).argmax(1)]))
    columns.append(("true", _CLASS_COLOURS[_known_labels(_array(batch.target[:, 0]))]))
    return draw_grid(columns, _array(batch.fan[:, 0]) > 0)


def _known_labels(target: np.ndarray) -> np.ndarray:
    """Labels as int, 0 where they are not known."""
    return np.where(np.isfinite(target) & (target < NO_TUMOUR), target, 0).astype(int)


def _middle_slices(output: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, Batch]:
    """Output and patches as slices; what is one already stays."""
    if output.ndim == 4:
        return output, batch
    middle = output.shape[2] // 2
    return output[:, :, middle], Batch(*(part[:, :, middle] for part in (batch.image, batch.target, batch.fan)))


def _inputs(batch: Batch, names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """The middle one of the slices of each input."""
    count = batch.image.shape[1] // len(names)
    return [(name, shaded(_array(batch.image[:, count * number + count // 2]))) for number, name in enumerate(names)]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def shaded(values: np.ndarray) -> np.ndarray:
    """(B, H, W) in [-1, 1] as (B, H, W, 3) uint8; NaN is no data."""
    return masked(grey(np.nan_to_num(values), -1.0, 1.0), ~np.isnan(values))


def draw_grid(columns: Sequence[tuple[str, np.ndarray]], inside: np.ndarray) -> np.ndarray:
    """A row for every slice, up to ``ROWS``, a column for every image, titled, dark grey outside the fan.

    Parameters
    ----------
    columns
        Title and images (B, H, W, 3) uint8 of each.
    inside
        (B, H, W) bool, the fan.
    """
    rows = [[masked(images[row], inside[row]) for _, images in columns] for row in range(min(ROWS, len(inside)))]
    return grid(captioned(rows, [Text(title, _TITLE) for title, _ in columns]), gap=_GAP)
