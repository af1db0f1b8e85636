"""MMHVAE's objective: all images from several subsets of those that were observed (Dorent et al. 2025, eq. 8 to 19).

The posterior is a mixture: all that was observed, the ultrasound alone, and one of the sets of observed MRI, each as
probable as the others (section 4.2). All three are run in every step, and all observed images are compared with what
comes out, also those that did not go in. The released code runs every set of MRI in turn, with a step for each; here
one is drawn. It adds up what is averaged here, and starts its optimizer anew before the discriminators begin.

Discriminators see one image each. They begin with the last fifth of the training; the generators' term counts 1 % of
the steps later. To one, what was made of other images is synthetic, never what was made with the image among the
inputs. Where a batch lacks the image, true ones come from a pool of earlier slices, as the paper wants; in the released
code a discriminator then does not learn.

Differences count inside the ultrasound fan, in the mean over whole slices, which are blank outside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ...constants import OUTSIDE
from ...generators.recipe import Recipe
from ...volume import InputError
from ..data import Batch
from ..discriminators import image_discriminator
from ..distributed import World
from ..losses import WeightedLoss, fill_missing, known_targets
from ..preset import Stage
from .adversary import Adversary
from .objective import Objective, Output, Rate

#: Place of the ultrasound among the images.
_ULTRASOUND = 0
#: Share of the steps in which the weight of the divergence rises, and by which discriminators begin to learn earlier.
_RAMP, _AHEAD = 0.05, 0.01
_POOL = 32


def mixture(stage: Stage) -> Mixture:
    """The objective of a stage whose inputs are its outputs, with a discriminator for each where one is weighed."""
    recipe, adversary = stage.recipe, None
    if recipe.adversarial:
        judges = nn.ModuleList(image_discriminator(**stage.discriminator) for _ in stage.outputs)
        adversary = Adversary(judges, recipe.discriminator_rate, betas=(0.9, 0.999))
    return Mixture(recipe, adversary)


def subsets(observed: Sequence[int]) -> list[tuple[int, ...]]:
    """Components of the mixture that a step takes: all, ultrasound alone, and a random set of MRI; none twice."""
    found, mri = [tuple(observed)], [place for place in observed if place != _ULTRASOUND]
    if _ULTRASOUND in observed:
        found.append((_ULTRASOUND,))
    if mri:
        chosen = int(torch.randint(1, 1 << len(mri), ()))
        found.append(tuple(place for number, place in enumerate(mri) if chosen >> number & 1))
    return list(dict.fromkeys(found))


class Mixture(Objective):
    """The objective; validation compares what is made of the ultrasound alone.

    Parameters
    ----------
    recipe
        Weights, and how many steps there are.
    adversary
        Of a list of discriminators, one for each image; None for none.
    """

    def __init__(self, recipe: Recipe, adversary: Adversary | None) -> None:
        super().__init__(WeightedLoss(recipe.absolute))
        self.recipe, self.adversary = recipe, adversary
        self.step = 0
        self.pools = [_Pool() for _ in adversary.discriminator] if adversary else []

    def prepare(self, device: torch.device, world: World, rate: Rate) -> None:
        """Move to the device."""
        if world.size > 1:
            raise InputError("a unified network trains in one process; leave torchrun out")
        if self.adversary is not None:
            self.adversary.prepare(device, world, rate)

    def forward(self, network: nn.Module, batch: Batch) -> Output:
        """Make all images of every component: (S, B, M, H, W), the divergences (S, B), and what went in, (S, M)."""
        observed = known_targets(batch.target).flatten(1).amin(0).nonzero()[:, 0].tolist()
        chosen = subsets(observed)
        made = [network(batch.image[:, list(present)], present, 1.0) for present in chosen]
        present = torch.zeros(len(chosen), batch.target.shape[1], device=batch.image.device)
        for row, places in zip(present, chosen, strict=True):
            row[list(places)] = 1
        images, divergences = (torch.stack(part) for part in zip(*made, strict=True))
        return {"prediction": images, "divergence": divergences, "present": present}

    def terms(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """Differences, divergence and the discriminators' scores; means over the components."""
        recipe, images = self.recipe, output["prediction"]
        known = known_targets(batch.target)
        difference = (images - fill_missing(batch.target, known)).abs() * (batch.fan * known)
        pixels = images[0, 0, 0].numel()
        ramp = min(1.0, (self.step + 1) / (_RAMP * recipe.steps))
        apart = output["divergence"].mean() / (pixels * images.shape[2])
        return {
            "absolute": recipe.absolute * difference.sum() / (known.sum().clamp_min(1) * pixels * len(images)),
            "divergence": recipe.divergence * ramp * apart,
            "adversarial": self._adversarial(images, batch),
        }

    def _adversarial(self, images: torch.Tensor, batch: Batch) -> torch.Tensor:
        """How far scores are from those of true images, of all components but that of all that was observed."""
        if self.adversary is None or self.step < self.recipe.late * self.recipe.steps:
            return images.new_zeros(())
        judges = self.adversary.discriminator
        judges.requires_grad_(False)
        scores = [
            (judge(_visible(part[:, [place]], batch.fan))[-1] - 1).square().mean()
            for part in (images[1:] if len(images) > 1 else images)
            for place, judge in enumerate(judges)
        ]
        judges.requires_grad_(True)
        return self.recipe.adversarial * torch.stack(scores).sum() / (len(judges) * len(images))

    def learn(self, output: Output, batch: Batch) -> dict[str, torch.Tensor]:
        """A step of the discriminators, once they have begun; their learning rate stays as it is."""
        begun = self.step >= (self.recipe.late - _AHEAD) * self.recipe.steps
        self.step += 1
        if self.adversary is None:
            return {}
        losses = self._losses(output, batch) if begun else []
        loss = torch.stack(losses).mean() if losses else batch.image.new_zeros(())
        if losses:
            self.adversary.step(loss)
        return {"discriminator": loss.detach()}

    def _losses(self, output: Output, batch: Batch) -> list[torch.Tensor]:
        """Of each discriminator that has true and synthetic images."""
        known, found = known_targets(batch.target).flatten(1).amin(0), []
        for place, (judge, pool) in enumerate(zip(self.adversary.discriminator, self.pools, strict=True)):
            fake = [
                _visible(images[:, [place]].detach(), batch.fan)
                for images, present in zip(output["prediction"], output["present"], strict=True) if not present[place]
            ]
            if known[place]:
                pool.add(_visible(batch.target[:, [place]], batch.fan))
            if not fake or not pool.images:
                continue
            if known[place]:
                real = _visible(batch.target[:, [place]], batch.fan)
            else:
                real = pool.draw(len(batch.image)).to(batch.image.device)
            found.append((judge(real)[-1] - 1).square().mean() + judge(torch.cat(fake))[-1].square().mean())
        return found

    def generator(self, network: nn.Module, image: torch.Tensor) -> nn.Module:
        """What makes all images of the ultrasound alone, by the means of the latent variables."""
        return _OfUltrasound(network)

    def state_dict(self) -> dict[str, Any]:
        """Number of steps, discriminators and their pools."""
        pools = [torch.stack(pool.images) if pool.images else torch.zeros(0) for pool in self.pools]
        judges = {} if self.adversary is None else self.adversary.state_dict()
        return {"step": self.step, "pools": pools, "adversary": judges}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.step = state["step"]
        for pool, images in zip(self.pools, state["pools"], strict=True):
            pool.images = list(images)
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])


class _OfUltrasound(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, M, H, W), of which only the ultrasound is looked at, to all images."""
        return self.network(image[:, [_ULTRASOUND]], (_ULTRASOUND,))[0]


class _Pool:
    """Some of the true slices that were seen, on the processor."""

    def __init__(self) -> None:
        self.images: list[torch.Tensor] = []

    def add(self, images: torch.Tensor) -> None:
        """Keep (B, 1, H, W); once there are enough, each with a probability of one half in the place of another."""
        for image in images.detach().cpu():
            if len(self.images) < _POOL:
                self.images.append(image)
            elif torch.rand(()) < 0.5:
                self.images[int(torch.randint(_POOL, ()))] = image

    def draw(self, count: int) -> torch.Tensor:
        """So many of them at random, (count, 1, H, W)."""
        return torch.stack([self.images[int(place)] for place in torch.randint(len(self.images), (count,))])


def _visible(image: torch.Tensor, fan: torch.Tensor) -> torch.Tensor:
    """An image as discriminators see it: blank outside the fan."""
    return torch.where(fan > 0, image, torch.full_like(image, OUTSIDE))
