"""What the library's inference is compared with: slices and patches return to their place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from support.slicewise import RefinedSlices, assemble, predict_slices, predict_windows, slices, starts


@pytest.fixture
def volume():
    return torch.arange(2 * 1 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 1, 3, 4, 5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_come_back_in_place(volume, axis):
    images = slices(volume, axis)
    assert images.shape == (2 * volume.shape[axis + 2], 1, *(n for k, n in enumerate((3, 4, 5)) if k != axis))
    assert torch.equal(images[1, 0], volume[0, 0].select(axis, 1))
    assert torch.equal(assemble(images, axis, batch=2), volume)


def test_neighbours_repeat_at_the_edges(volume):
    images = slices(volume, 2, context=1)
    assert images.shape == (10, 3, 3, 4)
    for number, expected in ((0, (0, 0, 1)), (2, (1, 2, 3)), (4, (3, 4, 4))):
        assert torch.equal(images[number], volume[0, 0, ..., expected].movedim(-1, 0))
    both = slices(torch.cat([volume, -volume], dim=1), 2, context=1)
    assert torch.equal(both[2], torch.cat([images[2], -images[2]]))


def test_windows_cover_a_length():
    assert starts(192, 192, 96) == [0]
    assert starts(100, 192, 96) == [0]
    assert starts(300, 192, 96) == [0, 96, 108]
    assert starts(384, 192, 96) == [0, 96, 192]


def test_overlapping_windows_weigh_the_same():
    numbers = iter(range(1, 100))
    image = torch.zeros(1, 1, 6, 4)
    result = predict_windows(lambda x: torch.full_like(x, float(next(numbers))), image, (4, 4), (2, 2))
    assert result[0, 0, :, 0].tolist() == [1, 1, 1.5, 1.5, 2, 2]


@pytest.mark.parametrize("reflect", [False, True])
def test_padding_behind_what_is_smaller_than_the_window(reflect):
    seen = []
    image = torch.tensor([[1.0, 2.0, 3.0]]).reshape(1, 1, 1, 3)
    result = predict_windows(lambda x: seen.append(x) or 2 * x, image, (2, 7), (1, 3), reflect)
    assert torch.equal(result, 2 * image)
    row = [1, 2, 3, 2, 1, 2, 3] if reflect else [1, 2, 3, -1, -1, -1, -1]
    assert seen[0][0, 0].tolist() == [row, row if reflect else [-1.0] * 7]


def test_triplanar_prediction_is_the_mean_over_the_axes(volume):
    def network(images):
        return images - images.mean((2, 3), keepdim=True)

    image = volume / 100
    result = predict_slices(network, image[:1], (0, 1, 2), (8, 8))
    padded = []
    for axis in range(3):
        stack = image[0, 0].movedim(axis, 0)
        total = (stack.sum((1, 2)) - (64 - stack[0].numel())) / 64
        padded.append((stack - total[:, None, None]).movedim(0, axis))
    assert torch.allclose(result[0, 0], sum(padded) / 3, atol=1e-6)
    single = predict_slices(lambda x: x[:, 1:2], volume, (1,), (8, 8), context=1)
    assert torch.equal(single, volume)


def test_refined_slices_run_both_stages():
    network = RefinedSlices(nn.Hardtanh(-0.5, 2.0), nn.Hardtanh(-1.0, 0.75), window=(8, 8), patch=(4, 4, 4))
    image = torch.linspace(-2, 2, 6 * 5 * 3).reshape(1, 1, 6, 5, 3)
    expected = np.minimum(np.clip(image.numpy(), -0.5, 1.0), 0.75)
    assert np.allclose(network(image).numpy(), expected)
