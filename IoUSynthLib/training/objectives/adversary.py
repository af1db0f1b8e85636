"""A discriminator, its optimizer, and what it demands of the generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ...generators.recipe import Recipe
from ..data import Batch
from ..discriminators import gan_discriminator
from ..distributed import World, to_device
from ..losses import SCORES, feature_matching, gradient_penalty, known_targets, visible
from ..preset import Stage
from .objective import Rate


class Adversary:
    """A discriminator with its optimizer, Adam, and its learning rate, which follows the generator's to its floor.

    Parameters
    ----------
    discriminator
        The network; it works in full precision.
    rate
        Peak of its learning rate.
    betas
        Of its optimizer.
    clip
        Largest norm of the gradient.
    """

    def __init__(
        self, discriminator: torch.nn.Module, rate: float, *, betas: tuple[float, float], clip: float = float("inf")
    ) -> None:
        self.discriminator = discriminator
        self.world = World()
        self.optimizer = torch.optim.Adam(discriminator.parameters(), rate, betas=betas)
        self.peak = rate
        self.clip = clip

    def prepare(self, device: torch.device, world: World, rate: Rate) -> None:
        """Move to the device and join the other processes.

        Parameters
        ----------
        device, world
            Where and with whom the generator trains.
        rate
            Factor of the learning rate at a step, for its peak.
        """
        self.world = world
        to_device(self.discriminator, device)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: rate(step, self.peak))

    def step(self, loss: torch.Tensor) -> None:
        """Go down the gradient of a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        # DistributedDataParallel cannot differentiate a gradient, as R1 does; so gradients are averaged here.
        self.world.average_gradients(self.discriminator.parameters())
        torch.nn.utils.clip_grad_norm_(self.discriminator.parameters(), self.clip)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and learning rate."""
        return {name: getattr(self, name).state_dict() for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        for name in _STATE:
            getattr(self, name).load_state_dict(state[name])


_STATE = ("discriminator", "optimizer", "scheduler")


class PatchAdversary(Adversary):
    """Scores a generator's images patch by patch and learns to tell them from the true ones.

    Images are blanked outside the fan, as are targets that the case lacks; a patch weighs as much as its part of the
    fan, and a slice without any target not at all. A slice with one of two targets weighs as much as one with both, as
    in ResViT's released code, which counts the known targets in the absolute difference alone.

    Parameters
    ----------
    discriminator
        Maps (B, condition + T, ...), channels of the ultrasound and the targets, to a list of layers of which the last
        holds the scores, or to a list of such lists, one a scale (:mod:`..discriminators`).
    rate, betas, clip
        As of :class:`Adversary`.
    adversarial, matching
        Weights of the two terms: the loss of the scores, mean over the scales, and feature matching, summed over all
        layers. The defaults keep the proportions to the absolute error of Isola et al. 2017 (1 to 100) and to each
        other of Wang et al. 2018 (1 to 10).
    condition
        Channels of the ultrasound that it sees; none where it sees the MRI alone.
    penalty, every
        Weight of R1 (:func:`.losses.gradient_penalty`), which makes a step of its own every so many steps; 0 for none.
        As in the benchmark's released code it is not multiplied by the interval.
    scores
        The loss of the scores, one of :data:`..losses.SCORES`.

    Synthetic and true images go through a discriminator with batch normalisation one after the other, each normalised
    by itself, as Isola et al. do: in one batch their statistics would mix.
    """

    def __init__(
        self,
        discriminator: torch.nn.Module,
        rate: float = 2e-4,
        *,
        condition: Sequence[int],
        adversarial: float = 0.01,
        matching: float = 0.1,
        betas: tuple[float, float] = (0.5, 0.999),
        penalty: float = 0.0,
        every: int = 16,
        clip: float = float("inf"),
        scores: str = "least squares",
    ) -> None:
        super().__init__(discriminator, rate, betas=betas, clip=clip)
        self.score_loss = SCORES[scores]
        self.apart = any(isinstance(part, _BatchNorm) for part in discriminator.modules())
        self.adversarial, self.matching = adversarial, matching
        self.condition = list(condition)
        self.penalty, self.every = penalty, every

    @classmethod
    def of(cls, recipe: Recipe, discriminator: torch.nn.Module, condition: Sequence[int]) -> PatchAdversary:
        """With the figures of a recipe, whose weight of feature matching is for the mean over the layers.

        Features are matched of a :class:`..discriminators.MultiScale` alone.
        """
        layers = sum(len(scale.layers) - 1 for scale in discriminator.scales) if recipe.matching else 1
        return cls(
            discriminator, recipe.discriminator_rate, condition=condition, adversarial=recipe.adversarial,
            matching=recipe.matching / layers, betas=recipe.betas, penalty=recipe.penalty, every=recipe.every,
            clip=recipe.clip, scores=recipe.scores,
        )

    @classmethod
    def unconditional(cls, stage: Stage, channels: int) -> PatchAdversary:
        """One of the benchmark's that sees so many channels of one kind of image alone."""
        discriminator = gan_discriminator(stage.dimensions, channels, conditional=False, **stage.discriminator)
        return cls.of(stage.recipe, discriminator, [])

    def terms(self, prediction: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Terms of the generator's loss, for a prediction (B, T, ...); the discriminator gets no gradient."""
        fake, real, mask = self._pairs(prediction, batch)
        # In evaluation mode spectral normalisation makes no step of its own, so both images meet the same network.
        self.discriminator.train(self.apart)
        self.discriminator.requires_grad_(False)
        scales = _scales(self.discriminator(fake))
        terms = {"adversarial": self.adversarial * _mean(self.score_loss(layers[-1], 1.0, mask) for layers in scales)}
        if self.matching:
            with torch.no_grad():
                goals = _scales(self.discriminator(real))
            matching = [
                feature_matching(layers[:-1], goal[:-1], mask) for layers, goal in zip(scales, goals, strict=True)
            ]
            terms["matching"] = self.matching * torch.stack(matching).sum()
        self.discriminator.requires_grad_(True)
        return terms

    def learn(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """One step of the discriminator; returns its loss.

        Where it cannot tell the images apart, that is 0.25 of least squares and 2 log 2 of cross-entropy.
        """
        self.discriminator.train()
        fake, real, mask = self._pairs(prediction.detach(), batch)
        losses = []
        for scores in self._scores(fake, real):
            losses.append(self.score_loss(scores[0], 0.0, mask) + self.score_loss(scores[1], 1.0, mask))
        loss = _mean(losses)
        self.step(loss)
        self.scheduler.step()
        if self.penalty and self.scheduler.last_epoch % self.every == 0:
            self.step(self.penalty * self._gradient_penalty(batch))
        return loss.detach()

    def _scores(self, fake: torch.Tensor, real: torch.Tensor) -> list[Sequence[torch.Tensor]]:
        """Scores of synthetic and of true images, one pair a scale."""
        if self.apart:
            found = [_scales(self.discriminator(image)) for image in (fake, real)]
            return [(one[-1], other[-1]) for one, other in zip(*found, strict=True)]
        return [layers[-1].chunk(2) for layers in _scales(self.discriminator(torch.cat([fake, real])))]

    def _gradient_penalty(self, batch: Batch) -> torch.Tensor:
        """R1 at the true MRI, of the sum of all scales' scores."""
        real = visible(batch.target, batch).requires_grad_()
        scales = _scales(self.discriminator(torch.cat([batch.image[:, self.condition], real], 1)))
        return gradient_penalty(torch.cat([layers[-1].flatten() for layers in scales]), real)

    def _pairs(self, prediction: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Ultrasound with synthetic and with true MRI, (B, condition + T, ...), and where they count, (B, 1, ...)."""
        fake, real = (
            torch.cat([batch.image[:, self.condition], visible(image, batch)], 1)
            for image in (prediction, batch.target)
        )
        return fake, real, batch.fan * known_targets(batch.target).amax(1, keepdim=True)


def _scales(layers: list) -> list[list[torch.Tensor]]:
    """What a discriminator gave, as a list of scales."""
    return [layers] if isinstance(layers[0], torch.Tensor) else layers


def _mean(values: object) -> torch.Tensor:
    return torch.stack(list(values)).mean()
