"""Losses on slices and patches, all restricted to the fan and to the targets that a case has.

Images are (B, C, H, W) or (B, C, D, H, W) in [-1, 1], masks (B, 1, ...) or (B, C, ...) of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from ..cases.case import NO_TUMOUR, UNLABELLED
from ..constants import LABELS, OUTSIDE
from ..generators.recipe import Recipe
from .data import Batch


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, C, ...) over the voxels of a (B, 1, ...) or (B, C, ...) mask or weight."""
    return (values * mask).sum() / (mask.sum() * (values.shape[1] // mask.shape[1])).clamp_min(1)


def known_targets(target: torch.Tensor) -> torch.Tensor:
    """Which channels have a target: (B, T, 1, 1) or (B, T, 1, 1, 1) of 1, or of 0 where the channel holds NaN."""
    known = target.isfinite().flatten(2).all(2)
    return known.reshape(*known.shape, *[1] * (target.ndim - 2)).to(target.dtype)


def fill_missing(image: torch.Tensor, known: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """Replace the channels of (B, T, ...) that are not known by a constant, without gradient and without NaN."""
    return torch.where(known > 0, image, torch.full_like(image, value))


def structural_similarity(prediction: torch.Tensor, target: torch.Tensor, window: int = 7) -> torch.Tensor:
    """SSIM map (Wang et al. 2004) with a uniform window, for images in [-1, 1]; same shape as the images."""

    def mean(image: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(image, window, 1, window // 2, count_include_pad=False)

    constants = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    mean_p, mean_t = mean(prediction), mean(target)
    variance_p = mean(prediction**2) - mean_p**2
    variance_t = mean(target**2) - mean_t**2
    covariance = mean(prediction * target) - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + constants[0]) / (mean_p**2 + mean_t**2 + constants[0])
    structure = (2 * covariance + constants[1]) / (variance_p + variance_t + constants[1])
    return luminance * structure


def gradient_difference(prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the finite differences along all spatial axes."""
    total = prediction.new_zeros(())
    axes = range(2, prediction.ndim)
    for axis in axes:
        inside = mask.narrow(axis, 1, mask.shape[axis] - 1) * mask.narrow(axis, 0, mask.shape[axis] - 1)
        total = total + masked_mean((prediction.diff(dim=axis) - target.diff(dim=axis)).abs(), inside)
    return total / len(axes)


def error_likelihood(log_error: torch.Tensor, prediction: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood of the absolute error under an exponential law with mean exp(log_error).

    The error is the mean over the targets that the slice has. It is taken as it is, without gradient, so that the
    error head learns to describe the images and does not change them (cf. Kendall and Gal 2017, where it does).
    """
    known = known_targets(batch.target)
    count = known.sum(1, keepdim=True)
    error = fill_missing((prediction.detach() - batch.target).abs(), known).sum(1, keepdim=True) / count.clamp_min(1)
    log_error = log_error.clamp(-6, 1)
    return masked_mean(error * torch.exp(-log_error) + log_error, batch.fan * (count > 0))


def generator_loss(output: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    """Terms of the generator's loss; their sum is minimised.

    Parameters
    ----------
    output
        (B, T + 1, H, W): the targets and the logarithm of the error.
    batch
        The slices that it belongs to. A channel of a slice whose target holds NaN is missing in that case and takes
        part in no term.
    """
    log_error = output[:, -1:]
    known = known_targets(batch.target)
    prediction, target = fill_missing(output[:, :-1], known), fill_missing(batch.target, known)
    mask = batch.fan * known
    similarity = structural_similarity(prediction.clamp(-1.2, 1.2), target)
    return {
        "absolute": masked_mean((prediction - target).abs(), mask),
        "structure": 0.25 * masked_mean(1 - similarity, mask),
        "gradient": 0.5 * gradient_difference(prediction, target, mask),
        "error": 0.05 * error_likelihood(log_error, prediction, batch),
    }


def segmenter_loss(output: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    """Soft Dice over the batch (tumour, cavity) and cross-entropy, for (B, 3, ...) logits.

    A class that the batch lacks takes no part in the Dice, slices without labels (NaN) in neither. Where all that is
    known of a voxel is that it is no cavity (``UNLABELLED``) or no tumour (``NO_TUMOUR``), the entropy is that of this
    structure against the rest, and the Dice of the other one leaves the voxel out.
    """
    known = known_targets(batch.target)
    labels = fill_missing(batch.target, known)[:, 0].long().clamp_min(0)  # a padded voxel, outside the fan, has none
    unsure = {"cavity": labels == UNLABELLED, "tumour": labels == NO_TUMOUR}
    labels = labels.masked_fill(unsure["cavity"] | unsure["tumour"], 0)
    mask = batch.fan * known
    fan = mask[:, 0]
    entropy = functional.cross_entropy(output, labels, reduction="none")
    for structure, where in unsure.items():
        others = [label for label in LABELS.values() if label != LABELS[structure]]
        entropy = torch.where(where, output.logsumexp(1) - output[:, others].logsumexp(1), entropy)
    mask = torch.cat([mask * ~unsure["cavity"][:, None], mask * ~unsure["tumour"][:, None]], 1)
    probability = output.softmax(1)[:, 1:] * mask
    truth = functional.one_hot(labels, 3).movedim(-1, 1)[:, 1:] * mask
    parts = (probability * truth, probability, truth)
    overlap, found, true = (part.transpose(0, 1).flatten(1).sum(1) for part in parts)
    missed = 1 - (2 * overlap + 1) / (found + true + 1)
    present = true > 0
    dice = (missed * present).sum() / present.sum().clamp_min(1)
    return {"dice": dice, "entropy": (entropy * fan).sum() / fan.sum().clamp_min(1)}


def least_squares(score: torch.Tensor, goal: float, mask: torch.Tensor) -> torch.Tensor:
    """Least-squares adversarial loss (Mao et al. 2017, eq. 2 and 9): half the mean squared distance from ``goal``.

    Parameters
    ----------
    score
        (B, 1, h, w), scores of patches.
    goal
        1 for acquired, 0 for synthetic.
    mask
        (B, 1, H, W) of 0 and 1; every patch weighs as much as its part of the mask.
    """
    return 0.5 * masked_mean((score - goal) ** 2, shrink(mask, score))


def cross_entropy(score: torch.Tensor, goal: float, mask: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of scores that are logits (Goodfellow et al. 2014, eq. 1); log 2 where they are 0.

    The parameters are those of :func:`least_squares`.
    """
    logits = functional.binary_cross_entropy_with_logits(score, torch.full_like(score, goal), reduction="none")
    return masked_mean(logits, shrink(mask, score))


#: By the names that :class:`..generators.recipe.Recipe` gives them.
SCORES = {"least squares": least_squares, "cross entropy": cross_entropy}


def relativistic(leading: torch.Tensor, other: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Relativistic average loss (Jolicoeur-Martineau 2018), voxel by voxel (3D-mDAUNet, eq. 1 and 5); log 2 at chance.

    Half of ``softplus(-(leading - E[other])) + softplus(other - E[leading])``, E being the mean over batch and voxels.
    The discriminator learns with the acquired image leading, the generator with the synthetic one, and gradients flow
    through both terms to whatever has one.

    Parameters
    ----------
    leading, other
        Logits (B, 1, ...).
    mask
        (B, 1, ...) of the same size: where they count.
    """
    ahead = functional.softplus(masked_mean(other, mask) - leading)
    behind = functional.softplus(other - masked_mean(leading, mask))
    return 0.5 * masked_mean(ahead + behind, mask)


def divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Divergence of normal distributions from the standard one (Kingma and Welling 2014, appendix B).

    ``0.5 * sum(mean^2 + variance - log variance - 1)`` over the latent variables (B, n), mean over the batch.
    """
    return divergences(mean, log_variance).sum(1).mean()


def divergences(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """The same of each of the latent variables, (B, n)."""
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1)


def feature_matching(
    fake: Sequence[torch.Tensor], real: Sequence[torch.Tensor], mask: torch.Tensor
) -> torch.Tensor:
    """Feature matching (Wang et al. 2018, section 3.2): mean absolute difference of a discriminator's layers, summed.

    Parameters
    ----------
    fake, real
        Layers of (B, C, h, w) for the synthetic and the true images; no gradient flows to the latter.
    mask
        (B, 1, H, W) of 0 and 1, brought to the size of every layer.
    """
    total = mask.new_zeros(())
    for ours, theirs in zip(fake, real, strict=True):
        total = total + masked_mean((ours - theirs.detach()).abs(), shrink(mask, ours))
    return total


def shrink(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Share of the mask (B, 1, ...) in each cell of a coarser image of the same extent."""
    pool = functional.adaptive_avg_pool3d if mask.ndim == 5 else functional.adaptive_avg_pool2d
    return pool(mask, like.shape[2:])


def gaussian_similarity(prediction: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean SSIM (Wang et al. 2004) of images brought to [0, 1], as TensorFlow computes it, which the benchmark used.

    The window is Gaussian, 11 pixels wide with deviation 1.5, and lies wholly in the image; its middle must be in the
    mask. Volumes are compared slice by slice along their first axis, the axial one, as in the benchmark.

    Parameters
    ----------
    prediction, target
        (B, C, H, W) or (B, C, D, H, W) in [-1, 1], at least 11 pixels high and wide.
    mask
        (B, 1, ...) or (B, C, ...).
    """
    if prediction.ndim == 5:
        prediction, target, mask = (image.transpose(1, 2).flatten(0, 1) for image in (prediction, target, mask))
    place = torch.arange(_SIMILARITY_WINDOW, device=target.device, dtype=target.dtype) - _SIMILARITY_WINDOW // 2
    weight = torch.exp(-(place**2) / (2 * _SIMILARITY_DEVIATION**2))
    kernel = torch.outer(weight, weight)
    kernel = (kernel / kernel.sum())[None, None]

    def mean(image: torch.Tensor) -> torch.Tensor:
        return functional.conv2d(image.flatten(0, 1)[:, None], kernel).reshape(*image.shape[:2], *inner)

    inner = [length - _SIMILARITY_WINDOW + 1 for length in prediction.shape[2:]]
    first, second = (prediction + 1) / 2, (target + 1) / 2
    mean_p, mean_t = mean(first), mean(second)
    variance = mean(first**2 + second**2) - mean_p**2 - mean_t**2
    covariance = mean(first * second) - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + 0.01**2) / (mean_p**2 + mean_t**2 + 0.01**2)
    half = _SIMILARITY_WINDOW // 2
    middle = mask[..., half : half + inner[0], half : half + inner[1]]
    return masked_mean(luminance * (2 * covariance + 0.03**2) / (variance + 0.03**2), middle)


_SIMILARITY_WINDOW = 11
_SIMILARITY_DEVIATION = 1.5


@dataclass(frozen=True)
class WeightedLoss:
    """The supervised part of a generator's loss (benchmark, eq. 4): weighted terms that compare with the true MRI.

    Attributes
    ----------
    absolute
        Weight of the mean absolute difference, over the channels that are known (benchmark, section 2.4.2).
    structure
        Weight of 1 - SSIM, by :func:`gaussian_similarity`.
    gradient
        Weight of :func:`gradient_difference`.
    every
        Every so many slices of a volume are compared by SSIM.
    squared
        Weight of the mean squared difference.
    """

    absolute: float
    structure: float = 0.0
    gradient: float = 0.0
    every: int = 1
    squared: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> WeightedLoss:
        """With the weights of a recipe."""
        return cls(recipe.absolute, recipe.structure, recipe.gradient, recipe.similarity_every, recipe.squared)

    def __call__(self, prediction: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        """Return the weighted terms for a prediction like ``batch.target``; missing targets take part in none."""
        known = known_targets(batch.target)
        mask = batch.fan * known
        inside = mask.expand_as(prediction) > 0
        prediction, target = (torch.where(inside, image, OUTSIDE) for image in (prediction, batch.target))
        terms = {}
        if self.absolute:
            terms["absolute"] = self.absolute * masked_mean((prediction - target).abs(), mask)
        if self.squared:
            terms["squared"] = self.squared * masked_mean((prediction - target) ** 2, mask)
        if self.structure:
            slices = (slice(None), slice(None), slice(None, None, self.every if mask.ndim == 5 else 1))
            similarity = gaussian_similarity(prediction[slices], target[slices], mask[slices])
            terms["structure"] = self.structure * (1 - similarity)
        if self.gradient:
            terms["gradient"] = self.gradient * gradient_difference(prediction, target, mask)
        return terms


def visible(image: torch.Tensor, batch: Batch) -> torch.Tensor:
    """MRI as discriminators see it: blank outside the fan and where the case has no such target."""
    known = known_targets(batch.target)
    return torch.where((batch.fan * known).expand_as(image) > 0, image, torch.full_like(image, OUTSIDE))


def uncertainty_weighted(losses: torch.Tensor, log_variances: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Losses of several targets, each weighted by how well it can be known (Kendall, Gal and Cipolla 2018).

    ``sum(exp(-v) L + v)`` with v = log sigma^2, as the benchmark's released code has it; its eq. 6 halves both parts,
    which has the same minimum.

    Parameters
    ----------
    losses, log_variances
        (T,) each.
    known
        (T,): 0 for a target that the whole batch lacks and that must not pull at its variance.
    """
    return ((torch.exp(-log_variances) * losses + log_variances) * known).sum()


def gradient_penalty(scores: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """R1 (Mescheder et al. 2018, eq. 9, without the factor): mean over the batch of the squared gradient.

    Parameters
    ----------
    scores
        All scores of true images, of any shape; their sum is differentiated.
    image
        (B, ...) true images that the scores were computed from, with ``requires_grad``.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), image, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def patch_contrast(query: torch.Tensor, key: torch.Tensor, temperature: float = 0.07) -> torch.Tensor:
    """PatchNCE (Park et al. 2020, eq. 4; benchmark, eq. 5): find each place's own feature among those of an image.

    Parameters
    ----------
    query, key
        (B, N, C) of unit length, row n of both from the same place; no gradient flows to the key.
    temperature
        Divides the similarities.
    """
    logits = query @ key.detach().transpose(1, 2) / temperature
    goal = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[0], -1)
    return functional.cross_entropy(logits.flatten(0, 1), goal.flatten())
