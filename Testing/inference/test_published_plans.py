"""The ways in which published weights cut, pad, stretch and blend, against what their authors' code computes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from inference.test_sliding_window import EVERYWHERE, IDENTITY, IMAGE, PLAN, PLANS, Network
from support.tiny_models import SHARED

from IoUSynthLib.inference import predict
from IoUSynthLib.inference.sliding_window import blending_weight
from IoUSynthLib.preprocessing import stretch

FIXTURES = SHARED / "oracles" / "resvit_fixtures"
RESVIT_SLICES = {"stretch": True, "padding": "window"}
RESVIT_VOLUMES = {"blending": "hanning", "padding": "centre"}


def fixture(name):
    file = FIXTURES / "inference" / name
    if not file.exists():
        pytest.skip("the inference fixtures are not here")
    return np.load(file)


def test_stretching_is_that_of_the_released_code():
    arrays = fixture("resize.npz")
    image = arrays["slice_in"]
    np.testing.assert_allclose(stretch(image, (64, 64)), arrays["slice_64"], atol=1e-5)
    np.testing.assert_allclose(stretch(image, (256, 256)), arrays["slice_256"], atol=1e-5)
    np.testing.assert_allclose(stretch(arrays["slice_64"], image.shape), arrays["back_from_64"], atol=1e-5)


def test_stretching_equals_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    image = np.random.default_rng(0).normal(size=(2, 7, 30)).astype(np.float32)
    for shape in ((11, 16), (7, 64), (3, 30)):
        factors = (1, *(wanted / found for wanted, found in zip(shape, image.shape[1:], strict=True)))
        np.testing.assert_allclose(stretch(image, shape), ndimage.zoom(image, factors, order=1), atol=1e-5)
    assert np.array_equal(stretch(image[:, :1], (4, 30)), np.repeat(image[:, :1], 4, axis=1))


@pytest.mark.parametrize("target", ["t2", "t2_flair"])
@pytest.mark.parametrize("regime", ["2D", "2.5D"])
def test_slice_pipeline_of_the_released_code(regime, target):
    """Every slice stretched to a square, predicted, and stretched back; arrays of the fixture are [x, y, z].

    A slice without ultrasound is constant: instance normalisation divides its rounding errors by each other, so that no
    two processors give the same. Such slices are not valid in the pipeline either, and are passed over.
    """
    torch = pytest.importorskip("torch")
    from IoUSynthLib.published.axes import ReversedAxes
    from IoUSynthLib.published.resvit import load_resvit

    arrays = fixture(f"volume_{regime.lower()}_{target}_size64.npz")
    targets = ("T2w", "FLAIR")[: len(arrays["out_CHWD"])]
    file = FIXTURES / f"ResViT-{regime.lower()}-{target}" / "p2_best.pth"
    network = ReversedAxes(load_resvit(file, regime, targets))

    def run(batch):
        with torch.no_grad():
            return network(torch.from_numpy(batch)).numpy()

    plan = replace(PLANS[regime], slice_axes=(0,), window=(64, 64), outputs=targets, details=RESVIT_SLICES)
    images = arrays["us_norm"].T[None]
    empty = regime == "2D" and images[0].std(axis=(1, 2)) == 0
    valid = np.broadcast_to(~np.reshape(empty, (-1, 1, 1)), images.shape[1:])
    assert valid.any(axis=(1, 2)).sum() == (5 if regime == "2D" else 7)
    found, expected = predict(Network(run), images, valid, plan), arrays["out_CHWD"].transpose(0, 3, 2, 1)
    np.testing.assert_allclose(found[:, valid], expected[:, valid], atol=1e-3)


def test_slices_are_stretched_whole():
    plan = replace(PLAN, window=(64, 48), details=RESVIT_SLICES)
    network = Network(IDENTITY["2D"])
    smooth = np.linspace(-1, 1, IMAGE[0].size, dtype=np.float32).reshape(IMAGE.shape)
    result = predict(network, smooth, EVERYWHERE, plan)
    assert network.shapes == {(1, 64, 48)}
    assert network.windows == sum(IMAGE.shape[1:])
    assert np.allclose(result, smooth, atol=2e-3)


def test_window_weight_of_the_released_code():
    window = fixture("sliding3d_t2_ps32_ov8.npz")["window"]
    vector = blending_weight("hanning", 32)
    np.testing.assert_allclose(vector[:, None, None] * vector[:, None] * vector, window, atol=1e-6)


def test_volume_windows_of_the_released_code():
    """Centred padding up to the window, steps of three quarters, and a sum that is at least 1e-6."""
    image = np.random.default_rng(1).uniform(-1, 1, (1, 44, 30, 70)).astype(np.float32)
    plan = replace(PLANS["3D"], window=(32, 32, 32), size_multiple=4, details=RESVIT_VOLUMES)

    def network(batch):  # depends on the place within the window
        ramp = np.arange(batch.shape[-1], dtype=np.float32)
        return batch * 0.5 + 0.01 * ramp + 0.02 * ramp[:, None]

    found = predict(Network(network), image, np.ones(image.shape[1:], dtype=bool), plan)
    padded = np.pad(image[0], ((0, 0), (1, 1), (0, 0)), constant_values=-1.0)
    vector = np.maximum(np.hanning(32), 1e-3)
    weight = vector[:, None, None] * vector[:, None] * vector
    weight /= weight.max()
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for start in itertools.product((0, 12), (0,), (0, 24, 38)):
        part = tuple(slice(first, first + 32) for first in start)
        total[part] += weight * network(padded[part][None, None])[0, 0]
        weights[part] += weight
    expected = (total / np.maximum(weights, 1e-6))[:, 1:-1]
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_uniform_windows_are_averaged():
    """As the GAN families are run: padded behind to the window, steps of half a window, a plain average."""
    details = {"blending": "uniform", "padding": "window"}
    plan = replace(PLAN, slice_axes=(0,), window=(16, 16), overlap=0.5, details=details)
    image = np.zeros((1, 2, 10, 24), dtype=np.float32)
    network = Network(lambda batch: np.broadcast_to(np.arange(16, dtype=np.float32), batch.shape))
    result = predict(network, image, np.ones(image.shape[1:], dtype=bool), plan)[0, 1, 3]
    assert network.shapes == {(1, 16, 16)}
    assert np.allclose(result, [*range(8), *(np.arange(8) * 2 + 8) / 2, *range(8, 16)])


def test_mirrored_padding():
    seen = []
    plan = replace(PLANS["3D"], window=(24, 32, 40), details={"padding": "reflect"})
    predict(Network(lambda batch: (seen.append(batch[0, 0]), batch)[1]), IMAGE, EVERYWHERE, plan)
    assert seen[0].shape == (24, 32, 40)
    assert np.array_equal(seen[0], np.pad(IMAGE[0], ((0, 3), (0, 6), (0, 5)), mode="reflect"))
