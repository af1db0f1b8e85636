"""Losses on slices, all restricted to the fan."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from .data import Batch


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of (B, C, H, W) over the voxels of a (B, 1, H, W) mask."""
    return (values * mask).sum() / (mask.sum() * values.shape[1]).clamp_min(1)


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

    The error is taken as it is, without gradient, so that the error head learns to describe the images and does not
    change them (cf. Kendall and Gal 2017, where it does).
    """
    error = (prediction.detach() - batch.target).abs().mean(1, keepdim=True)
    log_error = log_error.clamp(-6, 1)
    return masked_mean(error * torch.exp(-log_error) + log_error, batch.fan)


def generator_loss(output: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    """Terms of the generator's loss; their sum is minimised.

    Parameters
    ----------
    output
        (B, T + 1, H, W): the targets and the logarithm of the error.
    batch
        The slices that it belongs to.
    """
    prediction, log_error = output[:, :-1], output[:, -1:]
    similarity = structural_similarity(prediction.clamp(-1.2, 1.2), batch.target)
    return {
        "absolute": masked_mean((prediction - batch.target).abs(), batch.fan),
        "structure": 0.25 * masked_mean(1 - similarity, batch.fan),
        "gradient": 0.5 * gradient_difference(prediction, batch.target, batch.fan),
        "error": 0.05 * error_likelihood(log_error, prediction, batch),
    }


def segmenter_loss(output: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
    """Soft Dice over the batch (tumour, cavity) and cross-entropy, for (B, 3, H, W) logits."""
    labels = batch.target[:, 0].long()
    fan = batch.fan[:, 0]
    entropy = functional.cross_entropy(output, labels, reduction="none")
    probability = output.softmax(1)[:, 1:] * batch.fan
    truth = functional.one_hot(labels, 3).permute(0, 3, 1, 2)[:, 1:] * batch.fan
    overlap = (probability * truth).sum((0, 2, 3))
    dice = (2 * overlap + 1) / (probability.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return {"dice": 1 - dice.mean(), "entropy": (entropy * fan).sum() / fan.sum().clamp_min(1)}
