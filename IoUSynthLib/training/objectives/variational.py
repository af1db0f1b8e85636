"""A variational autoencoder: the supervised loss, and how far its latent variables are from normal ones."""

from __future__ import annotations

import torch
from torch import nn

from ..data import Batch
from ..losses import WeightedLoss, divergence
from ..preset import Stage
from .objective import Loss, Objective, Output


def vae(stage: Stage) -> Objective:
    """The objective of the T1-to-T2 study's autoencoder."""
    return Variational(WeightedLoss.of(stage.recipe), stage.recipe.divergence)


class Variational(Objective):
    """The objective of a network that gives an image, mean and log-variance for ``network(image, drawn=True)``.

    Parameters
    ----------
    loss
        The supervised terms, of the image of latent variables drawn at random; validation takes that of their mean.
    weight
        Of the divergence (:func:`..losses.divergence`).
    """

    def __init__(self, loss: Loss, weight: float) -> None:
        super().__init__(loss)
        self.weight = weight

    def forward(self, network: nn.Module, batch: Batch) -> Output:
        """Draw the latent variables of each image once."""
        prediction, mean, log_variance = network(batch.image, drawn=True)
        return {"prediction": prediction, "mean": mean, "log_variance": log_variance}

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Supervised terms, and the divergence."""
        found = self.weight * divergence(output["mean"], output["log_variance"])
        return {**super().terms(output, batch), "divergence": found}
