"""Which checkpoint is kept: what a network is scored by on validation heads; lower is better.

A generator is chosen by LPIPS and never by SSIM alone, which prefers blurred images (the ioUS-to-MR benchmark, arXiv
2606.00630, shows that it misranks); a segmenter by its Dice.

In 3D six random patches, many of them half empty, would not tell checkpoints apart. There a generator is scored on the
same 64 well filled patches every time. Whole cases, with windows that overlap, would take some ten times as long, and
window and fan may be of any size; 64 patches that go through the network once take a few percent of the time of the
thousand steps between two checkpoints, on a processor as on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import torch

from ..cases.case import NO_TUMOUR
from ..evaluation import perceptual
from .data import Batch, Batches, PatchBatches
from .objectives.objective import Loss
from .trainer import Score

_BATCHES = 6
_PATCHES = 64
#: Part of a patch that is in the fan, or of the fan that is in the patch where that is the smaller of the two.
_FILLED = 0.5
#: Every so many slices of a patch are compared: neighbours look alike.
_EVERY = 4
#: More batches than this are not looked through: of fans of odd shapes no patch may be filled so far.
_MOST_BATCHES = 1024
_LOG = logging.getLogger(__name__)


def perceptual_score(batches: Batches) -> Score | None:
    """LPIPS of all targets, mean over slices, also those of patches, blanked outside the fan; None without weights.

    Targets that a case lacks take no part. Slices are those of six batches, patches at least 64 (see above).
    """
    distance = perceptual.load()
    if distance is None:
        _LOG.warning("no checkpoint is chosen by LPIPS: the last one counts")
        return None

    chosen = _chosen(batches)

    def score(network: torch.nn.Module) -> float:
        values = []
        for batch in _drawn(batches, chosen):
            output = _predict(network, batch)[:, : batch.target.shape[1]].clamp(-1, 1)
            pair = [torch.where(batch.fan > 0, image, -1) for image in (output, batch.target)]
            pair = [(image[:, :, ::_EVERY] if image.ndim == 5 else image).flatten(0, -3) for image in pair]
            known = pair[1].isfinite().flatten(1).all(1)
            if known.any():
                values.append(float(distance(*(image[known].numpy() for image in pair)).mean()))
        return sum(values) / len(values) if values else float("nan")

    return score


def loss_score(batches: Batches, loss: Loss) -> Score:
    """Mean of a loss over the slices or patches that :func:`perceptual_score` takes."""
    chosen = _chosen(batches)

    def score(network: torch.nn.Module) -> float:
        values = [sum(loss(_predict(network, batch), batch).values()) for batch in _drawn(batches, chosen)]
        return float(torch.stack(values).mean()) if values else float("nan")

    return score


def overlap_score(batches: Batches) -> Score:
    """1 minus the mean Dice of tumour and cavity over all voxels of the slices or patches whose label is known."""

    def score(network: torch.nn.Module) -> float:
        overlap, total = torch.zeros(2), torch.zeros(2)
        for number in range(_BATCHES):
            batch = batches.draw(number)
            truth = batch.target[:, 0]
            found = _predict(network, batch).argmax(1) * batch.fan[:, 0] * (truth < NO_TUMOUR)
            for index, label in enumerate((1, 2)):
                overlap[index] += ((found == label) & (truth == label)).sum()
                total[index] += (found == label).sum() + (truth == label).sum()
        return float(1 - (2 * overlap / total.clamp_min(1)).mean())

    return score


def _chosen(batches: Batches) -> list[tuple[int, slice | list[int]]]:
    """Numbers of batches, and which of their parts a generator is scored on: all slices, but not all patches."""
    if not isinstance(batches, PatchBatches):
        return [(number, slice(None)) for number in range(_BATCHES)]
    fan = float(np.median([volume.fan.sum() for volume in batches.volumes]))
    least = _FILLED * min(fan, float(np.prod(batches.window)))
    chosen, count = [], 0
    for number in range(_MOST_BATCHES):
        filled = (batches.draw(number).fan.flatten(1).sum(1) >= least).nonzero()[:, 0].tolist()
        chosen, count = [*chosen, (number, filled)], count + len(filled)
        if count >= _PATCHES:
            break
    return [(number, filled) for number, filled in chosen if filled]


def _drawn(batches: Batches, chosen: list[tuple[int, slice | list[int]]]) -> Iterator[Batch]:
    for number, parts in chosen:
        batch = batches.draw(number)
        yield Batch(batch.image[parts], batch.target[parts], batch.fan[parts])


@torch.no_grad()
def _predict(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return network(batch.image.to(next(network.parameters()).device)).cpu()
