"""CUT: a discriminator of the MRI alone, and patch-wise contrast (Park et al. 2020; benchmark section 2.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from ...constants import OUTSIDE
from ...generators.pix2pix import WIDTHS
from ..data import Batch
from ..distributed import World
from ..losses import WeightedLoss, patch_contrast, visible
from ..preset import Stage
from .adversarial import Adversarial
from .adversary import PatchAdversary
from .objective import Loss, Objective, Output, Rate

#: Channels that features are projected to, and places that are compared in an image.
PROJECTED = 128
PLACES = 256


def cut(stage: Stage) -> Objective:
    """CUT's objective; without the contrastive term where the recipe does not weigh it."""
    recipe, adversary = stage.recipe, PatchAdversary.unconditional(stage, len(stage.targets))
    if not recipe.contrast:
        return Adversarial(WeightedLoss.of(recipe), adversary)
    width = stage.size.get("width", WIDTHS[2])
    channels = [width, width, 2 * width, 8 * width]
    return Contrastive(
        WeightedLoss.of(recipe), adversary, channels=channels, contrast=recipe.contrast, identity=recipe.identity,
        generated=recipe.generated,
    )


class Contrastive(Adversarial):
    """CUT's objective.

    The paper (eq. 5), and Park et al., compare features of the ultrasound with those of the synthetic MRI. The
    benchmark's released code compares features of the ultrasound in training with those of the same ultrasound in
    evaluation. Its encoder has neither dropout nor batch statistics, so that both are the same features: what is
    learned is to tell places of one image apart. The code decides, and one pass gives query and key, but where
    ``generated`` asks for what the paper says. The code leaves the term out in 3D altogether.

    Places are drawn from the whole window, as in the code: of m places beyond the fan, which all look alike, none can
    be told from the others, so that their loss stays above log m.

    Parameters
    ----------
    loss, adversary
        The supervised terms, and a discriminator of the MRI alone.
    channels
        Channels of the feature maps that ``network(image, with_features=True)`` gives.
    contrast
        Weight of PatchNCE, mean over the feature maps.
    identity
        Weight of the same for the features of the true MRI; only for one slice in and one target, else 0.
    generated
        Whether the query is what the encoder makes of the image that was synthesized, blanked outside the fan. Where
        the encoder takes three slices, that one stands for all; of two targets each is compared.
    """

    def __init__(
        self, loss: Loss, adversary: PatchAdversary, *, channels: Sequence[int], contrast: float, identity: float = 0.0,
        generated: bool = False,
    ) -> None:
        super().__init__(loss, adversary)
        self.contrast, self.identity, self.generated = contrast, identity, generated
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTED)) for width in channels
        )

    def prepare(self, device: torch.device, world: World, rate: Rate) -> None:
        """Move to the device and join the other processes."""
        super().prepare(device, world, rate)
        self.heads.to(device)

    def parameters(self) -> list[nn.Parameter]:
        """The projections of the features."""
        return list(self.heads.parameters())

    def forward(self, network: nn.Module, batch: Batch) -> Output:
        """Synthesize, and compare features."""
        image, contrast = self._translated(network, batch.image, batch.fan)
        output = {"prediction": image, "contrast": contrast}
        if self.identity:
            _, output["identity"] = self._translated(network, visible(batch.target, batch), batch.fan)
        return output

    def _translated(
        self, network: nn.Module, image: torch.Tensor, fan: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What the network makes of an image, and the contrast of its features."""
        synthetic, keys = network(image, with_features=True)
        if not self.generated:
            return synthetic, self._contrast(keys, keys)
        shown = torch.where(fan > 0, synthetic, OUTSIDE)
        queries = [network(target.expand_as(image), with_features=True)[1] for target in shown.split(1, dim=1)]
        return synthetic, torch.stack([self._contrast(query, keys) for query in queries]).mean()

    def _contrast(self, queries: Sequence[torch.Tensor], keys: Sequence[torch.Tensor]) -> torch.Tensor:
        values = []
        for head, *layers in zip(self.heads, queries, keys, strict=True):
            places = torch.randperm(layers[0].flatten(2).shape[2], device=layers[0].device)[:PLACES]
            query, key = (_projected(head, layer, places) for layer in layers)
            values.append(patch_contrast(query, key))
        return torch.stack(values).mean()

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Supervised, adversarial and contrastive terms."""
        terms = {**super().terms(output, batch), "contrast": self.contrast * output["contrast"]}
        if self.identity:
            terms["identity"] = self.identity * output["identity"]
        return terms

    def state_dict(self) -> dict[str, Any]:
        """Discriminator and projections."""
        return {**super().state_dict(), "heads": self.heads.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.heads.load_state_dict(state["heads"])


def _projected(head: nn.Module, layer: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Features of (B, C, ...) at some places, projected to unit length, (B, places, PROJECTED)."""
    return functional.normalize(head(layer.flatten(2).transpose(1, 2)[:, places]).float(), dim=2)
