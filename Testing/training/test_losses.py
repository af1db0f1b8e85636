"""Losses against independent implementations and known answers."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as reference

from IoUSynthLib.cases.case import NO_TUMOUR, UNLABELLED
from IoUSynthLib.training.data import Batch
from IoUSynthLib.training.losses import (
    error_likelihood,
    generator_loss,
    gradient_difference,
    segmenter_loss,
    structural_similarity,
)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand((2, 2, 32, 32), generator=generator) * 2 - 1
    fan = torch.zeros(2, 1, 32, 32)
    fan[:, :, 4:28, 6:30] = 1
    return Batch(torch.zeros(2, 3, 32, 32), target, fan)


def test_structural_similarity_agrees_with_scikit_image(batch):
    other = (0.7 * batch.target + 0.1).clamp(-1, 1)
    own = structural_similarity(batch.target[:1, :1], other[:1, :1])[0, 0].numpy()
    first, second = (image[0, 0].numpy().astype(np.float64) for image in (batch.target, other))
    _, full = reference(first, second, data_range=2.0, use_sample_covariance=False, full=True)
    assert own[3:-3, 3:-3] == pytest.approx(full[3:-3, 3:-3], abs=1e-4)


def test_nothing_outside_the_fan_counts(batch):
    prediction = batch.target.clone()
    output = torch.cat([prediction, torch.full_like(batch.fan, -3.0)], 1)
    spoiled = torch.where(batch.fan.bool(), output, torch.full_like(output, 0.9))
    for name in ("absolute", "error"):
        inside, with_outside = (float(generator_loss(part, batch)[name]) for part in (output, spoiled))
        assert inside == pytest.approx(with_outside, abs=1e-6)
    assert generator_loss(spoiled, batch)["absolute"] == 0


def test_gradient_difference_ignores_a_constant(batch):
    assert float(gradient_difference(batch.target + 0.3, batch.target, batch.fan)) == pytest.approx(0, abs=1e-6)
    ramp = batch.target + 0.1 * torch.arange(32.0)
    assert float(gradient_difference(ramp, batch.target, batch.fan)) == pytest.approx(0.05, abs=1e-5)


def test_error_likelihood_is_least_at_the_mean_error(batch):
    prediction = batch.target + 0.2
    values = [
        float(error_likelihood(torch.full_like(batch.fan, math.log(guess)), prediction, batch))
        for guess in (0.1, 0.2, 0.4)
    ]
    assert values[1] == min(values)


def test_error_head_does_not_change_the_images(batch):
    prediction = (batch.target + 0.2).requires_grad_()
    error_likelihood(torch.zeros_like(batch.fan, requires_grad=True), prediction, batch).backward()
    assert prediction.grad is None


def test_perfect_segmentation_costs_nothing():
    labels = torch.zeros(1, 1, 16, 16)
    labels[:, :, 4:8, 4:8], labels[:, :, 10:14, 2:9] = 1, 2
    logits = 40.0 * torch.nn.functional.one_hot(labels[:, 0].long(), 3).permute(0, 3, 1, 2)
    loss = segmenter_loss(logits, Batch(torch.zeros(1, 9, 16, 16), labels, torch.ones(1, 1, 16, 16)))
    assert float(sum(loss.values())) == pytest.approx(0, abs=1e-5)


def test_what_is_only_known_to_be_no_cavity_may_be_tumour():
    """Of 0.2 background, 0.5 tumour, 0.3 cavity: -log 0.7 for no cavity, and no part in the tumour's Dice."""
    logits = torch.tensor([0.2, 0.5, 0.3]).log().reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    labels = torch.full((1, 1, 8, 8), float(UNLABELLED))
    labels[..., :2] = 2
    loss = segmenter_loss(logits, Batch(torch.zeros(1, 3, 8, 8), labels, torch.ones(1, 1, 8, 8)))
    assert float(loss["entropy"]) == pytest.approx(-(48 * np.log(0.7) + 16 * np.log(0.3)) / 64, rel=1e-5)
    assert float(loss["dice"]) == pytest.approx(1 - (2 * 16 * 0.3 + 1) / (64 * 0.3 + 16 + 1), rel=1e-5)
    labels[..., 2:4] = 1
    loss = segmenter_loss(logits, Batch(torch.zeros(1, 3, 8, 8), labels, torch.ones(1, 1, 8, 8)))
    tumour = 1 - (2 * 16 * 0.5 + 1) / (32 * 0.5 + 16 + 1)
    cavity = 1 - (2 * 16 * 0.3 + 1) / (64 * 0.3 + 16 + 1)
    assert float(loss["dice"]) == pytest.approx((tumour + cavity) / 2, rel=1e-5)


def test_what_is_only_known_to_be_no_tumour_may_be_cavity():
    """Of 0.2 background, 0.5 tumour, 0.3 cavity: -log 0.5 for no tumour, and no part in the cavity's Dice."""
    logits = torch.tensor([0.2, 0.5, 0.3]).log().reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    labels = torch.full((1, 1, 8, 8), float(NO_TUMOUR))
    labels[..., :2], labels[..., 2:4] = 1, 2
    loss = segmenter_loss(logits, Batch(torch.zeros(1, 3, 8, 8), labels, torch.ones(1, 1, 8, 8)))
    assert float(loss["entropy"]) == pytest.approx(-(48 * np.log(0.5) + 16 * np.log(0.3)) / 64, rel=1e-5)
    tumour = 1 - (2 * 16 * 0.5 + 1) / (64 * 0.5 + 16 + 1)
    cavity = 1 - (2 * 16 * 0.3 + 1) / (32 * 0.3 + 16 + 1)
    assert float(loss["dice"]) == pytest.approx((tumour + cavity) / 2, rel=1e-5)


def test_a_class_that_the_batch_lacks_takes_no_part_in_the_dice():
    labels = torch.zeros(1, 1, 8, 8)
    labels[..., :4] = 1
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 2] = 2  # a cavity is called everywhere
    loss = segmenter_loss(logits, Batch(torch.zeros(1, 3, 8, 8), labels, torch.ones(1, 1, 8, 8)))
    tumour = float(logits.softmax(1)[0, 1, 0, 0])
    assert float(loss["dice"]) == pytest.approx(1 - (2 * 32 * tumour + 1) / (64 * tumour + 32 + 1), rel=1e-5)


def test_a_volume_costs_what_its_slices_do():
    generator = torch.Generator().manual_seed(3)
    logits, image = torch.randn((6, 3, 8, 8), generator=generator), torch.zeros(6, 1, 8, 8)
    labels = torch.randint(0, 3, (6, 1, 8, 8), generator=generator).float()
    fan = (torch.rand((6, 1, 8, 8), generator=generator) > 0.3).float()
    slices = segmenter_loss(logits, Batch(image, labels, fan))
    logits, image, labels, fan = (part.transpose(0, 1)[None] for part in (logits, image, labels, fan))
    volume = segmenter_loss(logits, Batch(image, labels, fan))
    for name, value in slices.items():
        assert float(volume[name]) == pytest.approx(float(value), rel=1e-5)


def spoiled(batch, slices, channels):
    """The batch, with NaN in whole channels of some slices."""
    target = batch.target.clone()
    target[slices, channels] = torch.nan
    return Batch(batch.image, target, batch.fan)


def test_a_missing_target_contributes_to_no_term(batch):
    output = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(1)) * 2 - 1
    missing = spoiled(batch, 1, 1)
    terms = generator_loss(output, missing)
    other = output.clone()
    other[1, 1] = 0.3  # what is predicted there does not matter
    for name, value in generator_loss(other, missing).items():
        assert torch.equal(value, terms[name]), name
    # By hand: the mean over the three channels that are there, and the error of the second slice from one channel.
    inside = (batch.fan[:, 0] > 0).numpy()
    error = (output[:, :2] - batch.target).abs().numpy()
    known = [error[0, 0][inside[0]], error[0, 1][inside[0]], error[1, 0][inside[1]]]
    assert float(terms["absolute"]) == pytest.approx(np.concatenate(known).mean(), rel=1e-5)
    mean_error = np.stack([error[0].mean(0), error[1, 0]])
    log_error = output[:, 2].numpy()
    expected = (mean_error * np.exp(-log_error) + log_error)[inside].mean()
    assert float(terms["error"]) == pytest.approx(0.05 * expected, rel=1e-4)


def test_a_missing_target_gives_no_gradient(batch):
    output = torch.rand((2, 3, 32, 32)).requires_grad_()
    sum(generator_loss(output, spoiled(batch, 1, 0)).values()).backward()
    amount = output.grad.abs().sum((2, 3))
    assert torch.isfinite(amount).all()
    assert (amount == 0).tolist() == [[False, False, False], [True, False, False]]


def test_terms_of_single_channels_are_those_of_the_slices_alone(batch):
    """With one channel missing everywhere, the loss is that of a generator of the other."""
    output = torch.rand((2, 3, 32, 32)) * 2 - 1
    with_gap = generator_loss(output, spoiled(batch, slice(None), 1))
    alone = generator_loss(output[:, [0, 2]], Batch(batch.image, batch.target[:, :1], batch.fan))
    for name, value in alone.items():
        assert float(with_gap[name]) == pytest.approx(float(value), rel=1e-5), name


def test_a_batch_without_any_target_costs_nothing(batch):
    output = torch.rand((2, 3, 32, 32)).requires_grad_()
    total = sum(generator_loss(output, spoiled(batch, slice(None), slice(None))).values())
    total.backward()
    assert float(total.detach()) == 0
    assert float(output.grad.abs().sum()) == 0


def test_slices_without_labels_do_not_count():
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(0, 3, (3, 1, 16, 16), generator=generator).float()
    logits, fan = torch.randn((3, 3, 16, 16), generator=generator), torch.ones(3, 1, 16, 16)
    image = torch.zeros(3, 9, 16, 16)
    expected = segmenter_loss(logits[:2], Batch(image[:2], labels[:2], fan[:2]))
    labels[2] = torch.nan
    for name, value in segmenter_loss(logits, Batch(image, labels, fan)).items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-5), name
