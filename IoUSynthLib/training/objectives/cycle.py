"""CycleGAN: cycle consistency, beside the supervised loss (Zhu et al. 2017; benchmark section 2.4.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..data import Batch
from ..discriminators import batch_discriminator
from ..distributed import World, to_device
from ..losses import WeightedLoss, masked_mean, visible
from ..preset import Stage
from .adversary import PatchAdversary
from .objective import Loss, Objective, Output, Rate


def cyclegan(stage: Stage) -> Objective:
    """CycleGAN's objective: the inverse generator is one of the same kind and width."""
    adversaries = tuple(PatchAdversary.unconditional(stage, channels) for channels in _both_ways(stage))
    return _cycle(stage, adversaries)


def unet_cyclegan(stage: Stage) -> Objective:
    """That of the T1-to-T2 study: discriminators with batch normalisation, and nothing is compared with true MRI."""
    adversaries = tuple(
        PatchAdversary.of(stage.recipe, batch_discriminator(stage.dimensions, channels, **stage.discriminator), [])
        for channels in _both_ways(stage)
    )
    return _cycle(stage, adversaries)


def _both_ways(stage: Stage) -> tuple[int, int]:
    """Channels of the MRI, and of the input."""
    return len(stage.targets), stage.channels


def _cycle(stage: Stage, adversaries: tuple[PatchAdversary, PatchAdversary]) -> Cycle:
    recipe = stage.recipe
    inverse = stage.traits.build(stage.dimensions, *_both_ways(stage), **stage.size)
    loss = WeightedLoss(1.0) if recipe.unpaired else WeightedLoss.of(recipe)
    return Cycle(
        loss, inverse, adversaries, cycle=recipe.cycle, identity=recipe.identity, supervised=not recipe.unpaired
    )


class Cycle(Objective):
    """CycleGAN's objective, on top of a supervised loss.

    Parameters
    ----------
    loss
        The supervised terms of the generator.
    inverse
        Maps MRI (B, T, ...) to ultrasound like the batch's image.
    adversaries
        Discriminators of the MRI and of the ultrasound, both without condition; the generator's terms and the
        discriminators' losses are means of both, R1 with them.
    cycle, identity
        Weights of the absolute differences after a round trip, and of what a translation changes in an image that is of
        the wanted kind already; the latter only for one slice in and one target, else 0.
    supervised
        Whether the supervised terms are learned from. Of unpaired batches they are not: validation, whose batches are
        pairs, reports them alone.

    Images in the middle of a round trip are blanked outside the fan, and where the case has no such target, as true
    ones are. There no other term looks, and the networks would hide the way back in what nobody sees (Chu et al. 2017).
    The released code knows no fan.
    """

    def __init__(
        self, loss: Loss, inverse: nn.Module, adversaries: tuple[PatchAdversary, PatchAdversary], *, cycle: float,
        identity: float, supervised: bool = True,
    ) -> None:
        super().__init__(loss)
        self.inverse = inverse
        self.adversaries = adversaries
        self.cycle, self.identity, self.supervised = cycle, identity, supervised

    def prepare(self, device: torch.device, world: World, rate: Rate) -> None:
        """Move to the device and join the other processes."""
        to_device(self.inverse, device)
        for adversary in self.adversaries:
            adversary.prepare(device, world, rate)

    def parameters(self) -> list[nn.Parameter]:
        """The inverse generator."""
        return list(self.inverse.parameters())

    def forward(self, network: nn.Module, batch: Batch) -> Output:
        """Both ways, and both round trips."""
        mri = visible(batch.target, batch)
        synthetic, ultrasound = network(batch.image), self.inverse(mri)
        output = {
            "prediction": synthetic,
            "ultrasound": ultrasound,
            "ultrasound again": self.inverse(visible(synthetic, batch)),
            "mri again": network(visible(ultrasound, _of_ultrasound(batch))),
        }
        if self.identity:
            output |= {"same mri": network(mri), "same ultrasound": self.inverse(batch.image)}
        return output

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Supervised, adversarial, cycle and identity terms."""
        terms = self.loss(output["prediction"], batch) if self.supervised else {}
        found = [
            adversary.terms(image, part)["adversarial"]
            for adversary, (image, part) in zip(self.adversaries, self._discriminated(output, batch), strict=True)
        ]
        terms |= {
            "adversarial": sum(found) / 2,
            "cycle": self.cycle * _differences(output["mri again"], output["ultrasound again"], batch),
        }
        if self.identity:
            terms["identity"] = self.identity * _differences(output["same mri"], output["same ultrasound"], batch)
        return terms

    def learn(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """A step of both discriminators, each with an optimizer of its own."""
        losses = [
            adversary.learn(image, part)
            for adversary, (image, part) in zip(self.adversaries, self._discriminated(output, batch), strict=True)
        ]
        return {"discriminator": sum(losses) / 2}

    @staticmethod
    def _discriminated(output: Output, batch: Batch) -> list[tuple[torch.Tensor, Batch]]:
        """What each discriminator sees: synthetic MRI beside the true one, synthetic ultrasound beside the true one."""
        return [(output["prediction"], batch), (output["ultrasound"], _of_ultrasound(batch))]

    def state_dict(self) -> dict[str, Any]:
        """Inverse generator and discriminators."""
        states = [adversary.state_dict() for adversary in self.adversaries]
        return {"inverse": self.inverse.state_dict(), "adversaries": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.inverse.load_state_dict(state["inverse"])
        for adversary, own in zip(self.adversaries, state["adversaries"], strict=True):
            adversary.load_state_dict(own)


def _of_ultrasound(batch: Batch) -> Batch:
    """The batch as one whose target is the ultrasound."""
    return Batch(batch.image, batch.image, batch.fan)


def _differences(mri: torch.Tensor, ultrasound: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean absolute differences to the batch's MRI and to its ultrasound, inside the fan, added."""
    target = visible(batch.target, batch)
    known = batch.fan * batch.target.isfinite()
    return masked_mean((mri - target).abs(), known) + masked_mean((ultrasound - batch.image).abs(), batch.fan)
