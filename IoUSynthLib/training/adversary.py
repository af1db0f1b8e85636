"""The adversarial part of training: a discriminator, its optimizer, and what it demands of the generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .data import Batch
from .distributed import World
from .losses import feature_matching, fill_missing, known_targets, least_squares

#: Channels of the input that the discriminator sees beside the MRI: the three slices of the ultrasound.
CONDITION = 3
_OUTSIDE = -1.0


class Adversary:
    """Judges a generator's images patch by patch and learns to tell them from the true ones.

    Both are seen together with the ultrasound and blanked outside the fan, as are targets that the case lacks; a patch
    weighs as much as its part of the fan, and a slice without any target not at all.

    Parameters
    ----------
    discriminator
        Maps (B, 3 + T, H, W), the ultrasound's slices and the targets, to a list of layers of which the last is the
        judgement, as :func:`.discriminator.patch_discriminator` does. It works in full precision.
    rate
        Peak of its learning rate, which follows the generator's schedule.
    adversarial, matching
        Weights of the two terms. The defaults keep the proportions to the absolute error of Isola et al. 2017 (1 to
        100) and to each other of Wang et al. 2018 (1 to 10).
    """

    def __init__(
        self, discriminator: torch.nn.Module, rate: float = 2e-4, adversarial: float = 0.01, matching: float = 0.1
    ) -> None:
        self.discriminator = discriminator
        self.parallel = discriminator
        self.optimizer = torch.optim.Adam(discriminator.parameters(), rate, betas=(0.5, 0.999))
        self.adversarial, self.matching = adversarial, matching

    def prepare(self, device: torch.device, world: World, rate: Callable[[int], float]) -> None:
        """Move to the device and join the other processes.

        Parameters
        ----------
        device, world
            Where and with whom the generator trains.
        rate
            Factor of the learning rate at a step.
        """
        self.discriminator.to(device, memory_format=torch.channels_last)
        self.parallel = world.parallel(self.discriminator, device)
        self.rates = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate)

    def terms(self, prediction: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Terms of the generator's loss, for a prediction (B, T, H, W); the discriminator gets no gradient."""
        fake, real, mask = _pairs(prediction, batch)
        # In evaluation mode spectral normalisation makes no step of its own, so both images meet the same network.
        self.discriminator.eval()
        self.discriminator.requires_grad_(False)
        with torch.no_grad():
            goal = self.discriminator(real)
        layers = self.discriminator(fake)
        self.discriminator.requires_grad_(True)
        return {
            "adversarial": self.adversarial * least_squares(layers[-1], 1.0, mask),
            "matching": self.matching * feature_matching(layers[:-1], goal[:-1], mask),
        }

    def learn(self, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """One step of the discriminator; returns its loss, 0.25 where it cannot tell the images apart."""
        self.discriminator.train()
        fake, real, mask = _pairs(prediction.detach(), batch)
        scores = self.parallel(torch.cat([fake, real]))[-1].chunk(2)
        loss = least_squares(scores[0], 0.0, mask) + least_squares(scores[1], 1.0, mask)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.rates.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and learning rate."""
        return {name: getattr(self, name).state_dict() for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        for name in _STATE:
            getattr(self, name).load_state_dict(state[name])


_STATE = ("discriminator", "optimizer", "rates")


def _pairs(prediction: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ultrasound with synthetic and with true MRI, (B, 3 + T, H, W), and where they count, (B, 1, H, W)."""
    known = known_targets(batch.target)
    fake, real = (
        torch.cat([
            batch.image[:, :CONDITION],
            torch.where(batch.fan > 0, fill_missing(image, known, _OUTSIDE), torch.full_like(image, _OUTSIDE)),
        ], 1)
        for image in (prediction, batch.target)
    )
    return fake, real, batch.fan * known.amax(1, keepdim=True)
