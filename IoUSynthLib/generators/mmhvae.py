"""MMHVAE: a hierarchical variational auto-encoder that takes any of several images and gives all (Dorent et al. 2025).

A U-Net on slices (arXiv 2410.19378; https://github.com/ReubenDo/MMHVAE) with an encoder and a decoder of its own for
each image, and between them seven latent variables that all share, from a vector to one of 8 channels at full size.
At every level each image that is there is an expert, a normal density; the posterior is the product of these and of
the prior, which the levels above have made (eq. 12 to 14). Without any image it is the prior.

Where text and released code differ:

* The product has precisions 1 / sigma squared, as eq. 14 needs. The code weighs by 1 / sigma and takes 1 / sum for the
  deviation, which is no product of densities: N(0, 1) and N(2, 1/2) give a mean of 1.33 and a deviation of 0.33 there,
  1.6 and 0.45 here. Its samples vary too little.
* Image decoders have six residual blocks, as the code, and its 13,774,770 parameters for four images, have; the text
  has five.
* Without latent variables at some levels (Table II), features take the way that the code's MVAE has for them: no
  encoder reaches those levels. That of one latent variable is the code's MVAE itself.
* "Concatenation with zeros" (Table III) has one encoder of all images, and its posterior is the product of one expert
  and the prior; "average" has neither priors nor deviations. The text says no more than this, the code has neither.

What differs here on purpose: the divergence is that of the densities, not of one sample, and outputs are not blanked
where an input is blank, because all that counts lies in the ultrasound fan, and is blanked by it elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from .family import Family, Size
from .unified import Gaussian, Present, divergence, product, zero_imputed

#: How images that are there become one: the product of experts, or the two that the paper compares it with (Table III).
FUSIONS = ("product", "zeros", "average")
#: Factor of the deviations at inference: the text has lost its value, the released ``inference.py`` has this one.
TEMPERATURE = 0.7
#: Means and log-deviations stay within this.
_LIMIT = 10.0
_SLOPE = 0.2


class MMHVAE(nn.Module):
    """The network; 13,774,770 parameters for four images.

    Parameters
    ----------
    images
        M.
    width, widest
        Channels at full size; each level has twice as many, up to ``widest``.
    levels
        Number of levels; sizes halve between them, and the last is a vector.
    window
        Edge of the slices in pixels, the only one that it takes.
    expansion
        Hidden channels of a decoder's block, in multiples of its own.
    blocks
        Residual blocks of an image's decoder.
    latents
        Levels, from 1 at full size, that have a latent variable; the last has one anyhow. All by default.
    fusion
        One of :data:`FUSIONS`.

    Raises
    ------
    ValueError
        The fusion or a level is unknown, or the window cannot be halved so often.
    """

    def __init__(
        self,
        images: int,
        *,
        width: int = 16,
        widest: int = 128,
        levels: int = 7,
        window: int = 192,
        expansion: int = 6,
        blocks: int = 6,
        latents: Sequence[int] | None = None,
        fusion: str = "product",
    ) -> None:
        super().__init__()
        _check(levels, window, latents=latents, fusion=fusion)
        self.images, self.fusion = images, fusion
        widths = [min(width << level, widest) for level in range(levels)]
        self.size = (widths[-1], *[window >> (levels - 1)] * 2)
        flat, self.top = self.size[0] * self.size[1] ** 2, 2 * widths[-1]
        together = fusion == "zeros"
        self.encoders = nn.ModuleList(
            _Encoder(images if together else 1, widths) for _ in range(1 if together else images)
        )
        self.down = weight_norm(nn.Linear(flat, self.top * self._parts))
        self.up = weight_norm(nn.Linear(self.top, flat))
        chosen = range(1, levels) if latents is None else latents
        inner = [widths[-1], *(count // 2 for count in widths[-2:0:-1])]
        self.levels = nn.ModuleList(
            _Level(before, count, expansion=expansion, parts=self._parts if level in chosen else 0)
            for level, before, count in zip(range(levels - 1, 0, -1), inner, widths[-2::-1], strict=True)
        )
        self.heads = nn.ModuleList(_head(widths[0] // 2, blocks) for _ in range(images))

    @property
    def _parts(self) -> int:
        """What an expert says: mean and deviation, or the mean alone."""
        return 1 if self.fusion == "average" else 2

    @property
    def latents(self) -> list[tuple[int, ...]]:
        """Shapes of the latent variables that are drawn, from the coarsest on."""
        if self.fusion == "average":
            return []
        sizes = [(level, self.size[1] << number) for number, level in enumerate(self.levels, start=1)]
        drawn = [(level.prior.out_channels // 2, size, size) for level, size in sizes if level.parts]
        return [(self.top,), *drawn]

    def forward(
        self,
        image: torch.Tensor,
        present: Present | None = None,
        temperature: torch.Tensor | float = 0.0,
        noise: Sequence[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All images from those that are there.

        Parameters
        ----------
        image
            (B, P, H, W) in [-1, 1], of the window's size.
        present
            Which of all they are; all M of them, in order, by default.
        temperature
            Factor of the deviations: 0 follows the means.
        noise
            Standard normal numbers for the latent variables, from the coarsest on, (B, C, h, w) as they are or with
            one for all of a batch; drawn where there are none and the temperature is not 0.

        Returns
        -------
        tuple of torch.Tensor
            (B, M, H, W) in [-1, 1], and the divergence of posteriors from priors, summed over each slice, (B,).
        """
        present = range(self.images) if present is None else present
        if self.fusion == "average":
            temperature, noise = 0.0, None
        found, weights = self._encode(image, present)
        drawn = iter(noise) if noise is not None else itertools.repeat(None)
        zeros = image.new_zeros(image.shape[0], self.top)
        prior = Gaussian(zeros, zeros)
        experts = [_gaussian(self.down(bottom.flatten(1)), self._parts) for *_, bottom in found]
        posterior = self._fused(prior, experts, weights)
        total = self._apart(posterior, prior)
        latent = self.up(_drawn(posterior, temperature, next(drawn))).reshape(-1, *self.size)
        for number, level in enumerate(self.levels):
            features = level.above(latent)
            if not level.parts:
                latent = level.expert(features)
                continue
            prior = level.prior_of(features)
            skips = [expert[-2 - number] for expert in found]
            posterior = self._fused(prior, [level.expert_of(features, skip) for skip in skips], weights)
            total = total + self._apart(posterior, prior)
            latent = _drawn(posterior, temperature, next(drawn))
        return torch.cat([head(latent) for head in self.heads], 1), total

    def _encode(
        self, image: torch.Tensor, present: Present
    ) -> tuple[list[list[torch.Tensor]], list[torch.Tensor | float]]:
        """Features of every expert at every level, and whether it counts."""
        if self.fusion == "zeros":
            return [self.encoders[0](zero_imputed(image, present, self.images))], [1.0]
        if isinstance(present, torch.Tensor):
            image = zero_imputed(image, present, self.images)  # 0 times NaN would not be 0
            places, weights = range(self.images), list(present.unbind())
        else:
            places, weights = present, [1.0] * len(present)
        return [self.encoders[place](image[:, [channel]]) for channel, place in enumerate(places)], weights

    def _fused(
        self, prior: Gaussian, experts: Sequence[Gaussian], weights: Sequence[torch.Tensor | float]
    ) -> Gaussian:
        if self.fusion != "average":
            return product(prior, experts, weights)
        mean = sum((weight * expert.mean for expert, weight in zip(experts, weights, strict=True)), prior.mean)
        return Gaussian(mean / max(sum(weights), 1) if experts else mean, prior.log_deviation)

    def _apart(self, posterior: Gaussian, prior: Gaussian) -> torch.Tensor:
        """Divergence of each slice; none where there are no deviations."""
        if self.fusion == "average":
            return posterior.mean.new_zeros(len(posterior.mean))
        return divergence(posterior, prior).flatten(1).sum(1)


def _check(levels: int, window: int, *, latents: Sequence[int] | None, fusion: str) -> None:
    if fusion not in FUSIONS:
        raise ValueError(f"unknown fusion {fusion!r}; choose from {', '.join(FUSIONS)}")
    if latents is not None and not set(latents) <= set(range(1, levels + 1)):
        raise ValueError(f"latents must be among levels 1 to {levels}, not {', '.join(map(str, latents))}")
    # Instance normalisation needs more than one pixel.
    if window % (1 << (levels - 1)) or window >> (levels - 1) < 2:
        raise ValueError(f"the window must be a multiple of {1 << (levels - 1)}, twice it at least, not {window}")


def _gaussian(parameters: torch.Tensor, parts: int) -> Gaussian:
    """Mean and log-deviation, softly clamped, along the channels."""
    mean, *deviation = (_LIMIT * torch.tanh(parameters / _LIMIT)).chunk(parts, 1)
    return Gaussian(mean, deviation[0] if deviation else torch.zeros_like(mean))


def _drawn(gaussian: Gaussian, temperature: torch.Tensor | float, noise: torch.Tensor | None) -> torch.Tensor:
    if noise is None:
        if not isinstance(temperature, torch.Tensor) and temperature == 0:
            return gaussian.mean
        noise = torch.randn_like(gaussian.mean)
    return gaussian.mean + temperature * (torch.exp(gaussian.log_deviation) * noise)


def _normalised(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.InstanceNorm2d(channels), nn.SiLU())


class _Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): weighs channels by what all of them are in the mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 16, 4)
        self.weights = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weights(x.mean((2, 3)))[..., None, None]


class _Residual(nn.Module):
    """Layers beside the identity."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.path = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.path(x)


class _Encoder(nn.Module):
    """Features at all levels, from full size on."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(inputs, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            _Residual(
                _normalised(count), nn.Conv2d(count, count, 3, padding=1), _normalised(count),
                nn.Conv2d(count, count, 3, padding=1), _Squeeze(count),
            )
            for count in widths
        )  # fmt: skip
        self.halve = nn.ModuleList(
            nn.Conv2d(count, after, 3, stride=2, padding=1) for count, after in itertools.pairwise(widths)
        )

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        x, found = self.stem(image), []
        for block, halve in itertools.zip_longest(self.blocks, self.halve):
            found.append(block(x))
            x = halve(found[-1]) if halve is not None else x
        return found


class _Level(nn.Module):
    """A level of the decoder: features of what is above, their prior, and what an image says beside it.

    Parameters
    ----------
    before
        Channels of the latent variable above.
    count
        Channels of the features here; the latent variable has half as many.
    expansion
        As of :class:`MMHVAE`.
    parts
        2 where the latent variable has means and deviations, 1 for means alone, 0 where there is none.
    """

    def __init__(self, before: int, count: int, *, expansion: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        hidden = expansion * count
        self.raise_to = nn.Conv2d(before, count, 3, padding=1, bias=False)
        self.block = _Residual(
            nn.InstanceNorm2d(count), nn.Conv2d(count, hidden, 3, padding=1), _normalised(hidden),
            nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden), _normalised(hidden), _Squeeze(hidden),
            nn.Conv2d(hidden, count, 1),
        )  # fmt: skip
        self.prior = weight_norm(nn.Conv2d(count, count, 1, bias=False)) if parts == 2 else None
        seen = 2 * count if parts else count
        self.expert = nn.Sequential(
            _normalised(seen), nn.Conv2d(seen, count, 3, padding=1), _normalised(count),
            nn.Conv2d(count, count, 3, padding=1), _Squeeze(count),
            weight_norm(nn.Conv2d(count, max(parts, 1) * count // 2, 1, bias=False)),
        )  # fmt: skip

    def above(self, latent: torch.Tensor) -> torch.Tensor:
        """Features at this level."""
        return self.block(self.raise_to(F.interpolate(latent, scale_factor=2, mode="bilinear")))

    def prior_of(self, features: torch.Tensor) -> Gaussian:
        """p(z | z above)."""
        if self.prior is not None:
            return _gaussian(self.prior(features), 2)
        zeros = features.new_zeros(features.shape[0], features.shape[1] // 2, *features.shape[2:])
        return Gaussian(zeros, zeros)

    def expert_of(self, features: torch.Tensor, skip: torch.Tensor) -> Gaussian:
        """What an image adds to the prior."""
        return _gaussian(self.expert(torch.cat([features, skip], 1)), self.parts)


def _head(channels: int, blocks: int) -> nn.Sequential:
    """An image's decoder at full size: (B, channels, H, W) to (B, 1, H, W) in [-1, 1]."""

    def layer(outputs: int, kernel: int) -> nn.Module:
        return nn.Conv2d(channels, outputs, kernel, padding=kernel // 2, padding_mode="reflect")

    residual = (
        _Residual(
            layer(channels, 3), nn.InstanceNorm2d(channels), nn.ReLU(), layer(channels, 3), nn.InstanceNorm2d(channels)
        )
        for _ in range(blocks)
    )
    last = (layer(channels, 7), nn.InstanceNorm2d(channels), nn.LeakyReLU(_SLOPE), layer(1, 7), nn.Tanh())
    return nn.Sequential(*residual, *last)


def build(dimensions: int, inputs: int, outputs: int, **size: object) -> MMHVAE:
    """Make the network of slices; sizes are those of :class:`MMHVAE`.

    Raises
    ------
    ValueError
        Of volumes, or where what may come in is not what comes out.
    """
    if dimensions != 2 or inputs != outputs:
        raise ValueError(f"MMHVAE maps slices of images to all of them, not {inputs} to {outputs} in {dimensions}D")
    return MMHVAE(outputs, **size)


FAMILY = Family(
    build=build,
    regimes=("2D",),
    unified=True,
    citation="Dorent et al., Unified cross-modal image synthesis with hierarchical mixture of product-of-experts, "
    "IEEE Transactions on Pattern Analysis and Machine Intelligence, 2025.",
    reduced=Size({"width": 8, "widest": 32, "expansion": 2, "blocks": 1}),
)
