"""3D-mDAUNet: differences at every size, in features of slices, and a relativistic discriminator of every voxel.

After the equations of Ha et al. (section 3.3). Where their program does otherwise, the equations decide: there the
generator's adversarial term passes no gradient through the scores of its own images, and the discriminator's only
through one of its two terms. What they leave open is chosen as follows: all sizes weigh the same; smaller targets are
every second voxel, as in the program; E is the mean over batch and voxels of a size. As everywhere in this library only
the fan counts, or the brain, and images are blank outside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as functional
from torch import nn

from ..data import Batch
from ..discriminators import PlainDiscriminator, VoxelDiscriminator
from ..distributed import World, to_device
from ..losses import WeightedLoss, known_targets, masked_mean, relativistic, visible
from ..perception import find_features, perception
from ..preset import Stage
from .adversary import Adversary
from .objective import Objective, Output, Rate

_SIZES = 4


def mdaunet(stage: Stage) -> Objective:
    """The objective of 3D-mDAUNet or of one of its variants."""
    recipe, count = stage.recipe, len(stage.targets)
    choices = dict(stage.discriminator)
    if choices.pop("voxelwise", True):
        images = _SIZES if stage.size.get("many_out", True) else 1
        discriminator = VoxelDiscriminator(count, images=images, **choices)
    else:
        discriminator = PlainDiscriminator(count, **choices)
    return Relativistic(
        Adversary(discriminator, recipe.discriminator_rate, betas=recipe.betas),
        absolute=recipe.absolute, perceptual=recipe.perception, adversarial=recipe.adversarial,
        features=find_features(recipe.features) if recipe.perception else None,
        average=recipe.scores == "relativistic",
    )  # fmt: skip


class Relativistic(Objective):
    """The objective of a network that gives ``network(image, with_levels=True)`` at several sizes.

    Parameters
    ----------
    adversary
        Of a discriminator that maps a list of images in [0, 1], one a size, to a list of logits.
    absolute, perceptual, adversarial
        Weights of equation 2, for images in [0, 1].
    features
        Maps slices to features; may be None without ``perceptual``.
    average
        Whether scores are relativistic; else each is weighed by itself, by binary cross-entropy.
    """

    def __init__(
        self, adversary: Adversary, *, absolute: float, perceptual: float, adversarial: float,
        features: nn.Module | None, average: bool = True,
    ) -> None:
        super().__init__(WeightedLoss(absolute / 2))  # of images in [-1, 1]
        self.adversary, self.features, self.average = adversary, features, average
        self.absolute, self.perceptual, self.adversarial = absolute, perceptual, adversarial

    def prepare(self, device: torch.device, world: World, rate: Rate) -> None:
        """Move to the device and join the other processes."""
        self.adversary.prepare(device, world, rate)
        if self.features is not None:
            to_device(self.features, device)

    def forward(self, network: nn.Module, batch: Batch) -> Output:
        """The images at all sizes, in the scale of [0, 1]."""
        prediction, levels = network(batch.image, with_levels=True)
        return {"prediction": prediction, **{f"level {number}": image for number, image in enumerate(levels)}}

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Terms of the generator's loss; the discriminator gets no gradient."""
        fake, real, masks = _pyramids(output, batch)
        pairs = list(zip(fake, real, masks, strict=True))
        terms = {"absolute": self.absolute * sum(masked_mean((a - b).abs(), mask) for a, b, mask in pairs)}
        if self.perceptual:
            terms["perception"] = self.perceptual * perception(self.features, fake[0], real[0])
        discriminator = self.adversary.discriminator.eval().requires_grad_(False)
        terms["adversarial"] = self.adversarial * self._judged(discriminator(fake), discriminator(real), masks)
        discriminator.requires_grad_(True)
        return terms

    def learn(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """One step of the discriminator; its loss is log 2 where it cannot tell the images apart."""
        fake, real, masks = _pyramids(output, batch)
        discriminator = self.adversary.discriminator.train()
        synthetic, true = discriminator([image.detach() for image in fake]), discriminator(real)
        loss = self._judged(true, synthetic, masks)
        if not self.average:
            wrong = [functional.softplus(score) for score in synthetic]
            loss = 0.5 * (loss + _over_sizes(wrong, masks))
        self.adversary.step(loss)
        self.adversary.scheduler.step()
        return {"discriminator": loss.detach()}

    def _judged(
        self, leading: Sequence[torch.Tensor], other: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Equations 1 and 5, mean over the sizes; or the cross-entropy of scores that should be of true images."""
        if not self.average:
            return _over_sizes([functional.softplus(-score) for score in leading], masks)
        sizes = zip(leading, other, masks, strict=False)
        return torch.stack([relativistic(*pair, _like(mask, pair[0])) for *pair, mask in sizes]).mean()

    def state_dict(self) -> dict[str, Any]:
        """The discriminator's."""
        return self.adversary.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.adversary.load_state_dict(state)


def _over_sizes(values: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([masked_mean(one, _like(mask, one)) for one, mask in zip(values, masks, strict=False)]).mean()


def _like(mask: torch.Tensor, score: torch.Tensor) -> torch.Tensor:
    """The mask, or for one score an image whether it counts at all."""
    return mask if mask.shape[2:] == score.shape[2:] else mask.amax((2, 3, 4), keepdim=True)


def _pyramids(
    output: Output, batch: Batch
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    """Synthetic and true images in [0, 1], blank where they do not count, and masks, by size."""
    fake, real, masks = [], [], []
    part = Batch(batch.image, batch.target, batch.fan)
    for number in range(len(output) - 1):
        known = known_targets(part.target)
        masks.append(part.fan * known.amax(1, keepdim=True))
        image = output[f"level {number}"]
        fake.append(torch.where((part.fan * known).expand_as(image) > 0, image, torch.zeros_like(image)))
        real.append((visible(part.target, part) + 1) / 2)
        part = Batch(part.image, part.target[..., ::2, ::2, ::2], part.fan[..., ::2, ::2, ::2])
    return fake, real, masks
