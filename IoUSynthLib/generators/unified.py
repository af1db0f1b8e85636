"""What generators share that take any of several images and give all of them: Gaussians, and images that are missing.

Such a network is called with the images that are there, (B, P, H, W) in [-1, 1], and with their places among all M;
it returns all images, (B, M, H, W), and how far each posterior is from its prior, (B,).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

#: Places of the images that are there, in the order of their channels, or (M,) of 1 and 0 beside all M channels, what
#: is missing being anything at all.
Present = Sequence[int] | torch.Tensor


class Gaussian(NamedTuple):
    """Independent normal distributions by their means and the logarithms of their standard deviations."""

    mean: torch.Tensor
    log_deviation: torch.Tensor


def product(prior: Gaussian, experts: Sequence[Gaussian], weights: Sequence[torch.Tensor | float]) -> Gaussian:
    """The normalised product of normal densities (MMHVAE, eq. 14), with precisions 1 / sigma squared.

    Parameters
    ----------
    prior
        Always a factor; alone, it is the product.
    experts, weights
        Further factors, and 1 or 0 for each: whether it is one.
    """
    precision = torch.exp(-2 * prior.log_deviation)
    mean = precision * prior.mean
    for expert, weight in zip(experts, weights, strict=True):
        own = weight * torch.exp(-2 * expert.log_deviation)
        precision, mean = precision + own, mean + own * expert.mean
    return Gaussian(mean / precision, -0.5 * torch.log(precision))


def divergence(posterior: Gaussian, prior: Gaussian) -> torch.Tensor:
    """Kullback-Leibler divergence of each component, in closed form: of the shape of the means."""
    apart = (posterior.mean - prior.mean) * torch.exp(-prior.log_deviation)
    wider = posterior.log_deviation - prior.log_deviation
    return 0.5 * (torch.exp(2 * wider) + apart**2 - 1) - wider


def zero_imputed(image: torch.Tensor, present: Present, images: int) -> torch.Tensor:
    """All M images, (B, M, ...), with zeros for those that are missing."""
    if isinstance(present, torch.Tensor):
        return torch.where(present.reshape(1, -1, *[1] * (image.ndim - 2)) > 0, image, torch.zeros_like(image))
    whole = image.new_zeros(image.shape[0], images, *image.shape[2:])
    for channel, place in enumerate(present):
        whole[:, place] = image[:, channel]
    return whole


class ZeroImputed(nn.Module):
    """A network of M channels to M channels that sees zeros for what is missing, as unified ResViT does (MMHVAE, 4.3).

    Parameters
    ----------
    network
        It.
    images
        M.
    """

    #: Shapes of latent variables, of which there are none.
    latents: Sequence[tuple[int, ...]] = ()

    def __init__(self, network: nn.Module, images: int) -> None:
        super().__init__()
        self.network, self.images = network, images

    def forward(
        self, image: torch.Tensor, present: Present | None = None, temperature: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All images, whatever the temperature; there is no prior to diverge from."""
        present = range(self.images) if present is None else present
        return self.network(zero_imputed(image, present, self.images)), image.new_zeros(image.shape[0])
