"""Layers as Keras computes them, each against a few lines of numpy or SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.signal import correlate

from IoUSynthLib.generators.blocks import (
    AttentionGate,
    ChannelNorm,
    DecoderBlock,
    ResidualBlock,
    convolution,
    group_norm,
    instance_norm,
    leaky,
    upsample,
)
from IoUSynthLib.generators.swin_pix2pix import _Merging, _Stage


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _draw(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def _run(layer, array):
    with torch.no_grad():
        return layer.eval()(torch.from_numpy(array)).numpy()


def _randomise(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def _same(image, kernel, bias, stride):
    """TensorFlow's definition of "same", which is Keras's: the output has ceil(n / stride) voxels."""
    pads = []
    for n, k in zip(image.shape[1:], kernel.shape[2:], strict=True):
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        pads.append((total // 2, total - total // 2))
    image = np.pad(image.astype(np.float64), [(0, 0), *pads])
    step = (slice(None, None, stride),) * (image.ndim - 1)
    channels = [sum(correlate(a, b, "valid") for a, b in zip(image, weights, strict=True)) for weights in kernel]
    return np.stack([channel[step] + offset for channel, offset in zip(channels, bias, strict=True)])


@pytest.mark.parametrize(("kernel", "stride"), [(7, 1), (3, 1), (1, 1), (4, 2), (3, 2)])
@pytest.mark.parametrize("size", [(8, 12), (6, 8, 10)])
def test_convolution_pads_as_tensorflow_does(kernel, stride, size):
    layer = _randomise(convolution(len(size), 2, 3, kernel=kernel, stride=stride, bias=True))
    weight, bias = (parameter.detach().numpy() for parameter in layer.parameters())
    image = _draw(2, *size)
    result = _run(layer, image[None])[0]
    assert np.abs(result - _same(image, weight, bias, stride)).max() < 2e-4
    assert result.shape[1:] == tuple(n // stride for n in size)


def test_a_three_wide_kernel_with_stride_two_pads_behind_only():
    layer = convolution(2, 1, 1, kernel=3, stride=2)
    with torch.no_grad():
        next(layer.parameters()).fill_(1.0)
    row = np.zeros((1, 1, 6, 6), np.float32)
    row[0, 0, 0] = [1, 2, 4, 8, 16, 32]
    assert _run(layer, row)[0, 0, 0].tolist() == [1 + 2 + 4, 4 + 8 + 16, 16 + 32]


def test_weights_start_small_and_biases_from_zero():
    layer = convolution(3, 16, 16, kernel=3, bias=True)
    assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not layer.bias.any()


def test_channel_norm_takes_each_voxel_alone():
    layer = _randomise(ChannelNorm(5))
    image = 0.02 * _draw(2, 5, 3, 4)  # so small that epsilon counts
    weight, bias = (p.detach().numpy()[:, None, None] for p in (layer.weight, layer.bias))
    expected = (image - image.mean(1, keepdims=True)) / np.sqrt(image.var(1, keepdims=True) + 1e-3) * weight + bias
    assert np.abs(_run(layer, image) - expected).max() < 1e-5


@pytest.mark.parametrize("size", [(6, 4), (4, 2, 6)])
def test_instance_norm_takes_each_channel_alone(size):
    layer = _randomise(instance_norm(len(size), 3))
    image, axes = 0.003 * _draw(2, 3, *size), tuple(range(2, 2 + len(size)))
    weight, bias = (p.detach().numpy().reshape(3, *[1] * len(size)) for p in (layer.weight, layer.bias))
    scaled = (image - image.mean(axes, keepdims=True)) / np.sqrt(image.var(axes, keepdims=True) + 1e-5)
    assert np.abs(_run(layer, image) - (scaled * weight + bias)).max() < 1e-4


@pytest.mark.parametrize(("channels", "groups"), [(36, 18), (72, 24), (144, 24), (64, 32), (12, 12)])
def test_group_norm_has_the_most_groups_that_divide(channels, groups):
    layer = _randomise(group_norm(channels))
    assert layer.num_groups == groups
    image = 0.02 * _draw(1, channels, 2, 3)
    parts = image.reshape(1, groups, -1)
    scaled = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 1e-3)
    weight, bias = (p.detach().numpy()[:, None, None] for p in (layer.weight, layer.bias))
    assert np.abs(_run(layer, image) - (scaled.reshape(image.shape) * weight + bias)).max() < 1e-5


def test_activation_and_up_sampling():
    assert _run(leaky(), np.float32([-5, 0, 3])).tolist() == [-1, 0, 3]
    image = _draw(1, 2, 3, 4, 2)
    expected = image.repeat(2, 2).repeat(2, 3).repeat(2, 4)
    assert np.array_equal(_run(upsample(), image), expected)


def test_gate_weighs_the_skip_connection():
    gate = _randomise(AttentionGate(2, 3, 4, hidden=2, bias=True))
    skip, gating = _draw(1, 3, 2, 2), _draw(1, 4, 2, 2) + 1
    a, b, c = (layer.weight.detach().numpy()[:, :, 0, 0] for layer in (gate.skip, gate.gating, gate.weight))
    hidden = np.maximum(np.einsum("oi,biyx->boyx", a, skip) + np.einsum("oi,biyx->boyx", b, gating), 0)
    logit = np.einsum("oi,biyx->boyx", c, hidden) + float(gate.weight.bias.detach())
    with torch.no_grad():
        result = gate(torch.from_numpy(skip), torch.from_numpy(gating)).numpy()
    assert np.abs(result - skip / (1 + np.exp(-logit))).max() < 1e-5


@pytest.mark.parametrize(("dimensions", "bias"), [(2, True), (3, False)])
def test_residual_block_activates_after_the_sum(dimensions, bias):
    block = ResidualBlock(dimensions, 2, 3)
    assert (block.shortcut.bias is not None) == bias
    with torch.no_grad():
        for norm in (block.norm1, block.norm2):
            norm.weight.zero_()
        block.norm2.bias.fill_(-1.0)
        block.shortcut.weight.fill_(1.0)
    image = _draw(1, 2, *[4] * dimensions)
    total = image.sum(1, keepdims=True) - 1
    expected = np.where(total > 0, total, 0.2 * total).repeat(3, 1)
    assert np.abs(_run(block, image) - expected).max() < 1e-6
    assert isinstance(ResidualBlock(dimensions, 3, 3).shortcut, torch.nn.Identity)


def test_dropout_acts_in_training_alone():
    block = DecoderBlock(2, 4, 4, skip=2, dropout=0.5)
    x, skip = torch.randn(1, 4, 4, 4), torch.randn(1, 2, 8, 8)
    with torch.no_grad():
        several = [block.train()(x, skip) for _ in range(2)]
        fixed = [block.eval()(x, skip) for _ in range(2)]
    assert not torch.equal(*several)
    assert torch.equal(*fixed)
    assert fixed[0].shape == (1, 4, 8, 8)


def test_swin_blocks_shift_without_a_mask_and_merge_row_by_row():
    stage = _Stage(6, 6).eval()
    image = torch.randn(1, 12, 12, 6, requires_grad=True)
    stage(image)[0, 0, 0].sum().backward()
    seen = image.grad.abs().sum((0, 3)) > 0
    # The shifted window of the first voxel holds rows and columns 10, 11, 0, 1, and the first block spreads each of
    # these over its own window of four.
    expected = np.zeros((12, 12), bool)
    for row, column in itertools.product((slice(0, 4), slice(8, 12)), repeat=2):
        expected[row, column] = True
    assert np.array_equal(seen.numpy(), expected)

    merging = _Merging(1)
    with torch.no_grad():
        merging.reduction.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
        four = torch.tensor([[1.0, 2.0], [4.0, 9.0]]).reshape(1, 2, 2, 1)
        result = merging(four)
    assert result.flatten().numpy() == pytest.approx((np.array([1.0, 2.0]) - 4) / np.sqrt(9.5 + 1e-5), abs=1e-5)
