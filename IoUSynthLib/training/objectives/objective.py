"""A generator's loss, alone or beside a discriminator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..data import Batch
from ..distributed import World
from ..losses import known_targets, uncertainty_weighted
from .adversary import Adversary

Loss = Callable[[torch.Tensor, Batch], dict[str, torch.Tensor]]
#: What the networks gave for a batch, by name; "prediction" is among it.
Output = dict[str, torch.Tensor]


class Objective:
    """The supervised loss of a network that maps a batch's image to a prediction; other schemes extend it.

    Parameters
    ----------
    loss
        Terms whose sum is minimised, and which validation reports.
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def prepare(self, device: torch.device, world: World, rate: Callable[[int], float]) -> None:
        """Move to the device and join the other processes; ``rate`` is the factor of the learning rates at a step."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained with the generator, by its optimizer, and thrown away in the end."""
        return []

    def forward(self, network: torch.nn.Module, batch: Batch) -> Output:
        """Run the networks, in mixed precision if the schedule says so."""
        return {"prediction": network(batch.image)}

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Terms of the generator's loss, in full precision."""
        return self.loss(output["prediction"], batch)

    def learn(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Let the discriminators make a step, after the generator's; returns their losses."""
        return {}

    def generator(self, network: torch.nn.Module, image: torch.Tensor) -> torch.nn.Module:
        """What maps images like this one to MRI once the network is trained."""
        return network

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to go on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""

    def start_from(self, state: dict[str, Any]) -> None:
        """Take the discriminators' weights of an earlier phase, without their optimizers."""


class Adversarial(Objective):
    """A supervised loss and a discriminator: Pix2Pix, SwinPix2Pix, ResViT, SynDiff's refiner, and the U-Net.

    Parameters
    ----------
    loss
        The supervised terms; a :class:`.losses.WeightedLoss` where ``targets`` are weighed.
    adversary
        The discriminator; None to learn without one.
    targets
        Number of targets whose weights are learned (:func:`.losses.uncertainty_weighted`); 0 for equal weights.
    """

    def __init__(self, loss: Loss, adversary: Adversary | None = None, targets: int = 0) -> None:
        super().__init__(loss)
        self.adversary = adversary
        self.log_variances = torch.nn.Parameter(torch.zeros(targets)) if targets else None

    def prepare(self, device: torch.device, world: World, rate: Callable[[int], float]) -> None:
        """Move to the device and join the other processes."""
        if self.log_variances is not None:
            self.log_variances.data = self.log_variances.data.to(device)
        if self.adversary is not None:
            self.adversary.prepare(device, world, rate)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The targets' log-variances."""
        return [] if self.log_variances is None else [self.log_variances]

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Supervised terms, and the discriminator's."""
        prediction = output["prediction"]
        terms = self.loss(prediction, batch) if self.log_variances is None else self._weighed(prediction, batch)
        if self.adversary is not None:
            terms = {**terms, **self.adversary.terms(self._images(prediction, batch), batch)}
        return terms

    def _weighed(self, prediction: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        targets = range(prediction.shape[1])
        parts = [Batch(batch.image, batch.target[:, [number]], batch.fan) for number in targets]
        losses = [sum(self.loss(prediction[:, [number]], part).values()) for number, part in enumerate(parts)]
        known = torch.stack([known_targets(part.target).amax() for part in parts])
        return {"weighed": uncertainty_weighted(torch.stack(losses), self.log_variances, known)}

    def learn(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """A step of the discriminator."""
        if self.adversary is None:
            return {}
        return {"discriminator": self.adversary.learn(self._images(output["prediction"], batch), batch)}

    @staticmethod
    def _images(prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The prediction without an error channel."""
        return prediction[:, : batch.target.shape[1]]

    def state_dict(self) -> dict[str, Any]:
        """Discriminator and log-variances."""
        state = {} if self.adversary is None else {"adversary": self.adversary.state_dict()}
        return state if self.log_variances is None else {**state, "log_variances": self.log_variances.detach().cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
        if self.log_variances is not None:
            self.log_variances.data.copy_(state["log_variances"])

    def start_from(self, state: dict[str, Any]) -> None:
        """Take the discriminator's weights of an earlier phase."""
        if self.adversary is not None:
            self.adversary.discriminator.load_state_dict(state["adversary"]["discriminator"])
