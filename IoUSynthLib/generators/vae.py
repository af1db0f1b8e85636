"""The variational autoencoder of the T1-to-T2 study: a slice becomes 128 normal variables, and these an MRI (3.3.3).

Six convolutions halve a slice of 256 x 256 pixels to 4 x 4; mean and logarithm of the variance follow from what they
give, and six transposed ones go the way back. There are no skip connections, so that the image is blurred, but the
latent variables can be drawn and mixed: :meth:`Autoencoder.interpolated`, :meth:`Autoencoder.drawn` and
:meth:`Autoencoder.spread`. A trained model makes its image of the mean.

The study gives the first and the last width alone; with 32, 64, 128, 256, 512 and 512 there are 17,121,857 parameters
of one channel and 17,123,907 of three. It gives no weight of the divergence: here it is 1 against the sum of squared
differences over the 65,536 pixels of a slice in [-1, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from .blocks import leaky
from .family import Family, Size
from .recipe import Recipe
from .unet_pix2pix import COMMON, REDUCED, SLICES

WIDTHS = (32, 64, 128, 256, 512, 512)
LATENT = 128
#: Edge of a slice once it has been halved as often as there are widths.
_SIDE = 4
_PIXELS = 256**2


class Autoencoder(nn.Module):
    """Maps (B, inputs, H, W) to (B, outputs, H, W) in [-1, 1]; H and W are ``side`` times 2 to the number of widths.

    Parameters
    ----------
    inputs, outputs
        Numbers of channels.
    widths
        Channels of the convolutions.
    latent
        Number of latent variables.
    side
        Edge of the smallest features, in pixels.
    """

    def __init__(
        self, inputs: int, outputs: int, *, widths: Sequence[int] = WIDTHS, latent: int = LATENT, side: int = _SIDE
    ) -> None:
        super().__init__()
        self.smallest = (widths[-1], side, side)
        flat = widths[-1] * side**2
        self.encoder = nn.Sequential(*(
            layer
            for before, after in itertools.pairwise((inputs, *widths))
            for layer in (nn.Conv2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), leaky())
        ))
        self.mean, self.log_variance = nn.Linear(flat, latent), nn.Linear(flat, latent)
        self.widen = nn.Linear(latent, flat)
        self.decoder = nn.Sequential(
            *(
                layer
                for before, after in itertools.pairwise(widths[::-1])
                for layer in (nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU())
            ),
            nn.ConvTranspose2d(widths[0], outputs, 4, 2, 1),
            nn.Tanh(),
        )

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the variance of the latent variables, (B, latent) each."""
        features = self.encoder(image).flatten(1)
        return self.mean(features), self.log_variance(features)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """The MRI of latent variables (B, latent)."""
        return self.decoder(self.widen(latent).unflatten(1, self.smallest))

    def forward(
        self, image: torch.Tensor, drawn: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The MRI of the mean; or, ``drawn``, that of latent variables drawn at random, with mean and log-variance."""
        mean, log_variance = self.encode(image)
        if not drawn:
            return self.decode(mean)
        latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return self.decode(latent), mean, log_variance

    @torch.no_grad()
    def interpolated(self, first: torch.Tensor, second: torch.Tensor, count: int) -> torch.Tensor:
        """MRI along the straight line from the mean of one image (1, C, H, W) to that of another: (count, T, H, W)."""
        means = [self.encode(image)[0] for image in (first, second)]
        shares = torch.linspace(0, 1, count, device=first.device)[:, None]
        return self.decode((1 - shares) * means[0] + shares * means[1])

    @torch.no_grad()
    def drawn(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """MRI of latent variables drawn from the standard normal distribution, of no patient: (count, T, H, W)."""
        latent = torch.randn(count, self.widen.in_features, generator=generator)
        return self.decode(latent.to(self.widen.weight.device))

    @torch.no_grad()
    def spread(self, image: torch.Tensor, count: int = 32, generator: torch.Generator | None = None) -> torch.Tensor:
        """Standard deviation of MRI over ``count`` draws of the latent variables of each image: (B, T, H, W)."""
        mean, log_variance = self.encode(image)
        noise = torch.randn((count, *mean.shape), generator=generator).to(mean.device)
        return torch.stack([self.decode(mean + (0.5 * log_variance).exp() * one) for one in noise]).std(0)


def build(dimensions: int, inputs: int, outputs: int, **size: object) -> Autoencoder:
    """Make one for slices; its sizes are those of :class:`Autoencoder`."""
    return Autoencoder(inputs, outputs, **size)


FAMILY = Family(
    build=build,
    objective="training.objectives.variational:vae",
    recipes={"slices": Recipe(squared=1, divergence=1 / _PIXELS, **SLICES)},
    reduced=Size({**REDUCED.generator, "side": 3}),
    **COMMON,
)
