"""A supervised loss beside a discriminator: Pix2Pix, SwinPix2Pix, ResViT, SynDiff's refiner, and the shipped U-Net."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..data import Batch
from ..discriminators import (
    DenseDiscriminator,
    MultiScale,
    batch_discriminator,
    gan_discriminator,
    patch_discriminator,
    refiner_discriminator,
    resvit_discriminator,
)
from ..distributed import World
from ..losses import WeightedLoss, generator_loss, known_targets, uncertainty_weighted
from ..preset import Stage
from .adversary import PatchAdversary
from .objective import Loss, Objective, Output, Rate

#: Channels that the U-Net's discriminator sees beside the MRI: the three slices of the ultrasound.
_NEIGHBOURS = (0, 1, 2)


def supervised(stage: Stage) -> Objective:
    """Learn from the true MRI alone."""
    return Objective(WeightedLoss.of(stage.recipe))


def unet(stage: Stage) -> Objective:
    """The U-Net that ships: its own supervised loss, and a discriminator where the recipe weighs one."""
    recipe = stage.recipe
    if not recipe.adversarial:
        return Objective(generator_loss)
    discriminator = patch_discriminator(len(_NEIGHBOURS) + len(stage.targets))
    return Adversarial(
        generator_loss,
        PatchAdversary(
            discriminator, recipe.discriminator_rate, adversarial=recipe.adversarial, matching=recipe.matching,
            condition=_NEIGHBOURS,
        ),
    )


def pix2pix(stage: Stage) -> Objective:
    """The discriminator sees the middle slice beside the MRI."""
    recipe, count = stage.recipe, len(stage.targets)
    discriminator = gan_discriminator(stage.dimensions, 1 + count, conditional=True, **stage.discriminator)
    adversary = PatchAdversary.of(recipe, discriminator, [stage.channels // 2])
    return Adversarial(WeightedLoss.of(recipe), adversary, count if recipe.weighed else 0)


def resvit(stage: Stage) -> Objective:
    """The discriminator sees all slices that the generator sees."""
    return _conditional(stage, resvit_discriminator)


def unet_pix2pix(stage: Stage) -> Objective:
    """The discriminator of the T1-to-T2 study sees the input beside the MRI."""
    return _conditional(stage, batch_discriminator)


def brainvoxgen(stage: Stage) -> Objective:
    """The discriminator sees a whole block of ultrasound and MRI."""
    channels = stage.channels + len(stage.targets)
    discriminator = DenseDiscriminator(channels, stage.recipe.window, **stage.discriminator)
    return Adversarial(
        WeightedLoss.of(stage.recipe), PatchAdversary.of(stage.recipe, discriminator, range(stage.channels))
    )


def _conditional(stage: Stage, build: Callable[..., MultiScale]) -> Adversarial:
    """A discriminator of all that the generator sees, and of the MRI."""
    discriminator = build(stage.dimensions, stage.channels + len(stage.targets), **stage.discriminator)
    return Adversarial(
        WeightedLoss.of(stage.recipe), PatchAdversary.of(stage.recipe, discriminator, range(stage.channels))
    )


def syndiff_refiner(stage: Stage) -> Objective:
    """The discriminator sees the ultrasound, which comes behind the images of the first stage."""
    count = len(stage.targets)
    discriminator = refiner_discriminator(count, **stage.size)
    return Adversarial(WeightedLoss.of(stage.recipe), PatchAdversary.of(stage.recipe, discriminator, [count]))


class Adversarial(Objective):
    """A supervised loss and a discriminator.

    Parameters
    ----------
    loss
        The supervised terms; a :class:`.losses.WeightedLoss` where ``targets`` are weighed.
    adversary
        The discriminator.
    targets
        Number of targets whose weights are learned (:func:`.losses.uncertainty_weighted`); 0 for equal weights.
    """

    def __init__(self, loss: Loss, adversary: PatchAdversary, targets: int = 0) -> None:
        super().__init__(loss)
        self.adversary = adversary
        self.log_variances = torch.nn.Parameter(torch.zeros(targets)) if targets else None

    def prepare(self, device: torch.device, world: World, rate: Rate) -> None:
        """Move to the device and join the other processes."""
        if self.log_variances is not None:
            self.log_variances.data = self.log_variances.data.to(device)
        self.adversary.prepare(device, world, rate)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The targets' log-variances."""
        return [] if self.log_variances is None else [self.log_variances]

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Supervised terms, and the discriminator's."""
        prediction = output["prediction"]
        terms = self.loss(prediction, batch) if self.log_variances is None else self._weighed(prediction, batch)
        return {**terms, **self.adversary.terms(self._images(prediction, batch), batch)}

    def _weighed(self, prediction: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        targets = range(prediction.shape[1])
        parts = [Batch(batch.image, batch.target[:, [number]], batch.fan) for number in targets]
        losses = [sum(self.loss(prediction[:, [number]], part).values()) for number, part in enumerate(parts)]
        known = torch.stack([known_targets(part.target).amax() for part in parts])
        return {"weighed": uncertainty_weighted(torch.stack(losses), self.log_variances, known)}

    def learn(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """A step of the discriminator."""
        return {"discriminator": self.adversary.learn(self._images(output["prediction"], batch), batch)}

    @staticmethod
    def _images(prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The prediction without an error channel."""
        return prediction[:, : batch.target.shape[1]]

    def state_dict(self) -> dict[str, Any]:
        """Discriminator and log-variances."""
        state = {"adversary": self.adversary.state_dict()}
        return state if self.log_variances is None else {**state, "log_variances": self.log_variances.detach().cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.adversary.load_state_dict(state["adversary"])
        if self.log_variances is not None:
            self.log_variances.data.copy_(state["log_variances"])

    def start_from(self, state: dict[str, Any]) -> None:
        """Take the discriminator's weights of an earlier phase."""
        self.adversary.discriminator.load_state_dict(state["adversary"]["discriminator"])
