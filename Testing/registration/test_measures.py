"""LC2, local correlation and MIND-SSC against known answers, loops that follow the definition, and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from support.lc2 import lc2, lc2_torch

from IoUSynthLib.registration.lc2 import LC2, RIDGE, gradient_magnitude
from IoUSynthLib.registration.similarity import PAIRS, box_sum, local_ncc, mind_distance, mind_ssc, standardise

SHAPE = (11, 12, 13)


@pytest.fixture
def images() -> np.ndarray:
    rng = np.random.default_rng(5)
    smooth = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    for axis in (1, 2, 3):
        smooth += np.roll(smooth, 1, axis)
    return smooth


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.ones(SHAPE, dtype=bool)
    mask[:, :, 10:] = False
    mask[0, 0] = False
    return mask


def patches(mask: np.ndarray, radius: int):
    """Voxels of every patch with more than half of its voxels in the mask."""
    for centre in np.ndindex(*SHAPE):
        box = tuple(slice(max(0, c - radius), c + radius + 1) for c in centre)
        inside = np.zeros(SHAPE, dtype=bool)
        inside[box] = mask[box]
        if inside.sum() > (2 * radius + 1) ** 3 / 2:
            yield inside


@pytest.mark.parametrize("radius", [1, 3, 8])
def test_box_sum_is_the_sum_over_the_cube(images: np.ndarray, radius: int) -> None:
    summed = box_sum(images, radius)
    for centre in ((0, 0, 0), (5, 6, 7), (10, 11, 12), (2, 9, 0)):
        box = tuple(slice(max(0, c - radius), c + radius + 1) for c in centre)
        expected = images[(slice(None), *box)].sum((1, 2, 3))
        np.testing.assert_allclose(summed[(slice(None), *centre)], expected, atol=1e-3)


def test_lc2_is_the_explained_variance_of_least_squares_fits(images: np.ndarray, mask: np.ndarray) -> None:
    u = standardise(images[0], mask)
    channels = np.stack([standardise(image, mask) for image in images[1:]])
    total = weights = 0.0
    for inside in patches(mask, 2):
        design = np.stack([*channels[:, inside], np.ones(inside.sum())], axis=1).astype(np.float64)
        target = u[inside].astype(np.float64)
        residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
        total += target.std() * (1 - residual.var() / target.var())
        weights += target.std()
    assert LC2(images[0], mask, radius=2).evaluate(channels).value == pytest.approx(total / weights, abs=3 * RIDGE)


def test_a_linear_combination_with_the_gradient_is_explained_wholly(images: np.ndarray, mask: np.ndarray) -> None:
    spacing = (0.7, 0.9, 1.1)
    ultrasound = 3.0 - 2.0 * images[0] + 0.5 * gradient_magnitude(images[0], spacing)
    assert lc2(ultrasound, images[0], mask, spacing) > 0.99
    assert lc2(ultrasound, images[1], mask, spacing) < 0.5
    both = lc2(ultrasound, images[:2], mask, spacing)
    assert both > 0.99


def test_what_lies_outside_the_mask_does_not_count(images: np.ndarray, mask: np.ndarray) -> None:
    channels = np.stack([standardise(image, mask) for image in images[1:]])
    before = LC2(images[0], mask).evaluate(channels).value
    images[0][~mask] = 1e3
    channels[:, ~mask] = np.nan
    fit = LC2(images[0], mask).evaluate(channels)
    assert fit.value == pytest.approx(before, abs=1e-5)
    assert fit.covered == 1.0


def test_positive_coefficients_refuse_an_inverted_copy(images: np.ndarray, mask: np.ndarray) -> None:
    inverted = -standardise(images[0], mask)[None]
    assert LC2(images[0], mask).evaluate(inverted).value > 0.99
    assert LC2(images[0], mask, positive=True).evaluate(inverted).value == 0.0


def test_flat_images_give_nothing(mask: np.ndarray) -> None:
    assert LC2(np.ones(SHAPE), mask).evaluate(np.ones((1, *SHAPE), np.float32)).value == 0.0


@pytest.mark.parametrize("number", [1, 2, 3])
def test_numpy_and_torch_agree_in_value_and_gradient(images: np.ndarray, mask: np.ndarray, number: int) -> None:
    torch = pytest.importorskip("torch")
    channels = np.stack([standardise(image, mask) for image in [images[1], images[2], images[1] * images[2]][:number]])
    fit = LC2(images[0], mask, radius=2).evaluate(channels, derivatives=True)
    tensor = torch.tensor(channels, dtype=torch.float64, requires_grad=True)
    fixed = torch.tensor(standardise(images[0], mask), dtype=torch.float64)
    value = lc2_torch(fixed, tensor, torch.tensor(mask), 2)
    value.backward()
    assert fit.value == pytest.approx(value.item(), abs=1e-5)
    scale = float(tensor.grad.abs().max())
    np.testing.assert_allclose(fit.gradient, tensor.grad.numpy(), atol=2e-3 * scale)


def test_torch_gives_the_derivative_by_the_fixed_image_too(images: np.ndarray, mask: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    fixed = torch.tensor(images[0][:8, :8, :8], dtype=torch.float64, requires_grad=True)
    channels = torch.tensor(images[1:, :8, :8, :8], dtype=torch.float64)
    inside = torch.tensor(mask[:8, :8, :8])
    value = lc2_torch(fixed, channels, inside, 2)
    value.backward()
    moved = fixed.detach().clone()
    moved[3, 4, 5] += 1e-4
    difference = (lc2_torch(moved, channels, inside, 2) - value).item() / 1e-4
    assert fixed.grad[3, 4, 5].item() == pytest.approx(difference, rel=0.01)


def test_local_ncc_is_the_mean_correlation_of_patches(images: np.ndarray, mask: np.ndarray) -> None:
    values = [np.corrcoef(images[0][inside], images[1][inside])[0, 1] for inside in patches(mask, 2)]
    assert local_ncc(images[0], images[1], mask, radius=2) == pytest.approx(np.mean(values), abs=1e-4)
    assert local_ncc(images[0], 7 - 2 * images[0], mask, radius=2) == pytest.approx(-1, abs=1e-4)


def test_mind_ssc_has_twelve_pairs_and_ignores_contrast(images: np.ndarray) -> None:
    assert len(PAIRS) == 12
    descriptor = mind_ssc(images[0])
    assert descriptor.shape == (12, *SHAPE)
    assert descriptor.max() == 1.0
    assert descriptor.min() > 0
    np.testing.assert_allclose(mind_ssc(5 - 3 * images[0]), descriptor, atol=1e-3)


def test_mind_ssc_of_a_voxel_follows_the_definition(images: np.ndarray) -> None:
    image, (z, y, x), reach = images[0].astype(np.float64), (5, 5, 6), 2
    steps = [(0, 0, -reach), (0, 0, reach), (0, -reach, 0), (0, reach, 0), (-reach, 0, 0), (reach, 0, 0)]

    def patch(step: tuple[int, int, int]) -> np.ndarray:
        c = (z + step[0], y + step[1], x + step[2])
        return image[c[0] - 1 : c[0] + 2, c[1] - 1 : c[1] + 2, c[2] - 1 : c[2] + 2]

    distance = np.array([((patch(steps[a]) - patch(steps[b])) ** 2).sum() for a, b in PAIRS])
    distance -= distance.min()
    np.testing.assert_allclose(mind_ssc(images[0])[:, z, y, x], np.exp(-distance / distance.mean()), rtol=1e-3)


def test_mind_distance_grows_with_a_shift(images: np.ndarray, mask: np.ndarray) -> None:
    near, far = (mind_distance(images[0], np.roll(images[0], shift, 2), mask) for shift in (0, 3))
    assert near == 0.0
    assert far > 0.01
