"""CycleGAN: there and back again (Zhu et al. 2017; benchmark section 2.4.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..data import Batch
from ..distributed import World, place
from ..losses import masked_mean, visible
from .adversary import Adversary
from .objective import Loss, Objective, Output


class Cycle(Objective):
    """CycleGAN's objective, on top of a supervised loss.

    Parameters
    ----------
    loss
        The supervised terms of the way to MRI.
    way_back
        Maps MRI (B, T, ...) to ultrasound like the batch's image.
    adversaries
        Judges of the MRI and of the ultrasound, both without condition; the generator's terms and the discriminators'
        losses are means of both, R1 with them.
    cycle, identity
        Weights of the absolute differences after a round trip, and of what a translation changes in an image that is of
        the wanted kind already; the latter only for one slice in and one target, else 0.
    """

    def __init__(
        self, loss: Loss, way_back: nn.Module, adversaries: tuple[Adversary, Adversary], cycle: float, identity: float
    ) -> None:
        super().__init__(loss)
        self.way_back = way_back
        self.adversaries = adversaries
        self.cycle, self.identity = cycle, identity

    def prepare(self, device: torch.device, world: World, rate: Callable[[int], float]) -> None:
        """Move to the device and join the other processes."""
        place(self.way_back, device)
        for adversary in self.adversaries:
            adversary.prepare(device, world, rate)

    def parameters(self) -> list[nn.Parameter]:
        """The generator of the way back."""
        return list(self.way_back.parameters())

    def forward(self, network: nn.Module, batch: Batch) -> Output:
        """Both ways, and both round trips."""
        mri = visible(batch.target, batch)
        synthetic, ultrasound = network(batch.image), self.way_back(mri)
        output = {
            "prediction": synthetic,
            "ultrasound": ultrasound,
            "ultrasound again": self.way_back(synthetic),
            "mri again": network(ultrasound),
        }
        if self.identity:
            output |= {"same mri": network(mri), "same ultrasound": self.way_back(batch.image)}
        return output

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Supervised, adversarial, cycle and identity terms."""
        terms = self.loss(output["prediction"], batch)
        found = [
            adversary.terms(image, part)["adversarial"]
            for adversary, (image, part) in zip(self.adversaries, self._judged(output, batch), strict=True)
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
            for adversary, (image, part) in zip(self.adversaries, self._judged(output, batch), strict=True)
        ]
        return {"discriminator": sum(losses) / 2}

    @staticmethod
    def _judged(output: Output, batch: Batch) -> list[tuple[torch.Tensor, Batch]]:
        """What each judge sees: synthetic MRI beside the true one, synthetic ultrasound beside the true one."""
        return [(output["prediction"], batch), (output["ultrasound"], Batch(batch.image, batch.image, batch.fan))]

    def state_dict(self) -> dict[str, Any]:
        """Way back and discriminators."""
        states = [adversary.state_dict() for adversary in self.adversaries]
        return {"way_back": self.way_back.state_dict(), "adversaries": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.way_back.load_state_dict(state["way_back"])
        for adversary, own in zip(self.adversaries, state["adversaries"], strict=True):
            adversary.load_state_dict(own)


def _differences(mri: torch.Tensor, ultrasound: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean absolute differences to the batch's MRI and to its ultrasound, inside the fan, added."""
    target = visible(batch.target, batch)
    known = batch.fan * batch.target.isfinite()
    return masked_mean((mri - target).abs(), known) + masked_mean((ultrasound - batch.image).abs(), batch.fan)
