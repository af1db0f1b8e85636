"""Which checkpoint is kept: what a network is scored by on validation heads; lower is better.

A generator is chosen by LPIPS and never by SSIM alone, which prefers blurred images (the ioUS-to-MR benchmark, arXiv
2606.00630, shows that it misranks); a segmenter by its Dice.
"""

from __future__ import annotations

import logging

import torch

from ..cases.case import UNLABELLED
from ..evaluation import perceptual
from .data import Batch, Batches
from .trainer import Score

_BATCHES = 6
_LOG = logging.getLogger(__name__)


def perceptual_score(batches: Batches) -> Score | None:
    """LPIPS of all targets, mean over slices, also those of patches, blanked outside the fan; None without weights.

    Targets that a case lacks take no part.
    """
    distance = perceptual.load()
    if distance is None:
        _LOG.warning("no checkpoint is chosen by LPIPS: the last one counts")
        return None

    def score(network: torch.nn.Module) -> float:
        values = []
        for number in range(_BATCHES):
            batch = batches.draw(number)
            output = _predict(network, batch)[:, : batch.target.shape[1]].clamp(-1, 1)
            pair = [torch.where(batch.fan > 0, image, -1).flatten(0, -3) for image in (output, batch.target)]
            known = pair[1].isfinite().flatten(1).all(1)
            if known.any():
                values.append(float(distance(*(image[known].numpy() for image in pair)).mean()))
        return sum(values) / len(values) if values else float("nan")

    return score


def overlap_score(batches: Batches) -> Score:
    """1 minus the mean Dice of tumour and cavity over all voxels of the slices or patches whose label is known."""

    def score(network: torch.nn.Module) -> float:
        overlap, total = torch.zeros(2), torch.zeros(2)
        for number in range(_BATCHES):
            batch = batches.draw(number)
            truth = batch.target[:, 0]
            found = _predict(network, batch).argmax(1) * batch.fan[:, 0] * (truth != UNLABELLED)
            for index, label in enumerate((1, 2)):
                overlap[index] += ((found == label) & (truth == label)).sum()
                total[index] += (found == label).sum() + (truth == label).sum()
        return float(1 - (2 * overlap / total.clamp_min(1)).mean())

    return score


@torch.no_grad()
def _predict(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return network(batch.image.to(next(network.parameters()).device)).cpu()
