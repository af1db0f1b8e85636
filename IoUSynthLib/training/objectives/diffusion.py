"""SynDiff: adversarial diffusion, conditioned on the paired ultrasound (benchmark section 2.4.3, eq. 7 to 9).

The benchmark's trainer of the paired network was not released; this follows its text and the publications it builds on
(Xiao et al. 2022, Ozbey et al. 2023). The part of SynDiff that does not diffuse, a pair of translators for unpaired
images, is left out there and here.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from ...generators.diffusion import LATENT, Sampler, diffuse_pair, noise_schedule, step_back
from ..data import Batch
from ..discriminators import StepDiscriminator
from ..distributed import World
from ..losses import WeightedLoss, gradient_penalty, known_targets, visible
from ..preset import Stage
from .adversary import Adversary
from .objective import Loss, Objective, Output, Rate


def syndiff(stage: Stage) -> Objective:
    """SynDiff's objective."""
    recipe = stage.recipe
    discriminator = StepDiscriminator(stage.dimensions, 2 * len(stage.targets), **stage.discriminator)
    adversary = Adversary(discriminator, recipe.discriminator_rate, betas=recipe.betas)
    return AdversarialDiffusion(WeightedLoss.of(recipe), adversary, penalty=recipe.penalty, every=recipe.every)


class AdversarialDiffusion(Objective):
    """The generator estimates the clean image; a discriminator compares steps of the true and of the estimated one.

    Parameters
    ----------
    loss
        Supervised terms of the estimate.
    adversary
        Of a discriminator that maps x_t and x_{t+1} as channels, and t, to one number an image
        (:class:`..discriminators.StepDiscriminator`).
    penalty, every
        Weight gamma of R1, which is added, halved (eq. 8), to the loss of every so many steps.
    """

    def __init__(self, loss: Loss, adversary: Adversary, *, penalty: float, every: int) -> None:
        super().__init__(loss)
        self.schedule = noise_schedule()
        self.adversary = adversary
        self.penalty, self.every = penalty, every

    def prepare(self, device: torch.device, world: World, rate: Rate) -> None:
        """Move to the device and join the other processes."""
        self.adversary.prepare(device, world, rate)

    def forward(self, network: nn.Module, batch: Batch) -> Output:
        """Draw a step and its noise for every image, and estimate the clean one."""
        clean = visible(batch.target, batch)
        count = clean.shape[0]
        step = torch.randint(self.schedule.steps, (count,), device=clean.device)
        noise = torch.randn_like(clean), torch.randn_like(clean)
        earlier, noisy = diffuse_pair(self.schedule, clean, step, noise=noise)
        latent = torch.randn(count, LATENT, device=clean.device)
        return {
            "prediction": network(noisy, batch.image, step, latent),
            "step": step,
            "earlier": earlier,
            "noisy": noisy,
            "noise": torch.randn_like(clean),
        }

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Supervised terms, and that the estimate's step deceives the discriminator (eq. 9)."""
        self.adversary.discriminator.requires_grad_(False)
        score = self._score(self._estimated(output, batch), output)
        self.adversary.discriminator.requires_grad_(True)
        return {**self.loss(output["prediction"], batch), "adversarial": _mean(functional.softplus(-score), batch)}

    def learn(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """One step of the discriminator (eq. 8)."""
        due = bool(self.penalty) and self.adversary.scheduler.last_epoch % self.every == 0
        real = output["earlier"].detach().requires_grad_(due)
        true = self._score(real, output)
        fake = self._score(self._estimated(output, batch).detach(), output)
        loss = _mean(functional.softplus(-true), batch) + _mean(functional.softplus(fake), batch)
        total = loss + 0.5 * self.penalty * gradient_penalty(true, real) if due else loss
        self.adversary.step(total)
        self.adversary.scheduler.step()
        return {"discriminator": loss.detach()}

    def _estimated(self, output: Output, batch: Batch) -> torch.Tensor:
        """x_t as the posterior gives it for the estimate, blank where the true one is."""
        clean = visible(output["prediction"], batch)
        return step_back(self.schedule, clean, output["noisy"], step=output["step"], noise=output["noise"])

    def _score(self, earlier: torch.Tensor, output: Output) -> torch.Tensor:
        return self.adversary.discriminator(torch.cat([earlier, output["noisy"]], 1), output["step"])

    def generator(self, network: nn.Module, image: torch.Tensor) -> nn.Module:
        """The sampler of images of this size, round the network."""
        targets = network.targets
        return Sampler(network, targets, image.shape[2:]).to(image.device)

    def state_dict(self) -> dict[str, Any]:
        """The discriminator's."""
        return self.adversary.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.adversary.load_state_dict(state)


def _mean(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean over the images that have a target."""
    known = known_targets(batch.target).flatten(1).amax(1)
    return (values * known).sum() / known.sum().clamp_min(1)
