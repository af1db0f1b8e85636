"""What a network learns for: the supervised loss, which the other schemes extend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..data import Batch
from ..distributed import World

Loss = Callable[[torch.Tensor, Batch], dict[str, torch.Tensor]]
#: Factor of a learning rate at a step, for its peak (:meth:`..recipe.Schedule.factor`).
Rate = Callable[[int, float], float]
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

    def prepare(self, device: torch.device, world: World, rate: Rate) -> None:
        """Move to the device and join the other processes; ``rate`` is the factor of the learning rates."""

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
