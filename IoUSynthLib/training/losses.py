"""Losses on slices, all restricted to the fan and to the targets that a case has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional

from .data import Batch


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, C, H, W) over the voxels of a (B, 1, H, W) or (B, C, H, W) mask or weight."""
    return (values * mask).sum() / (mask.sum() * (values.shape[1] // mask.shape[1])).clamp_min(1)


def known_targets(target: torch.Tensor) -> torch.Tensor:
    """Which channels of the slices have a target: (B, T, 1, 1) of 1, or of 0 where the channel holds NaN."""
    return target.isfinite().all(3, keepdim=True).all(2, keepdim=True).to(target.dtype)


def fill_missing(image: torch.Tensor, known: torch.Tensor, value: float = 0.0) -> torch.Tensor:
    """Replace the channels of (B, T, H, W) that are not known by a constant, without gradient and without NaN."""
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
    """Mean absolute difference of the finite differences along rows and columns."""
    total = prediction.new_zeros(())
    for axis in (2, 3):
        inside = mask.narrow(axis, 1, mask.shape[axis] - 1) * mask.narrow(axis, 0, mask.shape[axis] - 1)
        total = total + masked_mean((prediction.diff(dim=axis) - target.diff(dim=axis)).abs(), inside)
    return total / 2


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
    """Soft Dice over the batch (tumour, cavity) and cross-entropy, for (B, 3, H, W) logits.

    Slices without labels (NaN) take part in neither.
    """
    known = known_targets(batch.target)
    labels = fill_missing(batch.target, known)[:, 0].long()
    mask = batch.fan * known
    fan = mask[:, 0]
    entropy = functional.cross_entropy(output, labels, reduction="none")
    probability = output.softmax(1)[:, 1:] * mask
    truth = functional.one_hot(labels, 3).permute(0, 3, 1, 2)[:, 1:] * mask
    overlap = (probability * truth).sum((0, 2, 3))
    dice = (2 * overlap + 1) / (probability.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return {"dice": 1 - dice.mean(), "entropy": (entropy * fan).sum() / fan.sum().clamp_min(1)}


def least_squares(score: torch.Tensor, goal: float, mask: torch.Tensor) -> torch.Tensor:
    """Least-squares adversarial loss (Mao et al. 2017, eq. 2 and 9): half the mean squared distance from ``goal``.

    Parameters
    ----------
    score
        (B, 1, h, w) judgements of patches.
    goal
        1 for acquired, 0 for synthetic.
    mask
        (B, 1, H, W) of 0 and 1; every patch weighs as much as its part of the mask.
    """
    return 0.5 * masked_mean((score - goal) ** 2, functional.adaptive_avg_pool2d(mask, score.shape[2:]))


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
        weight = functional.adaptive_avg_pool2d(mask, ours.shape[2:])
        total = total + masked_mean((ours - theirs.detach()).abs(), weight)
    return total
