"""The sliding-window loop by known answers: identity networks come back unchanged in every regime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from IoUSynthLib.inference import Cancelled, fuse, predict, predict_passes, sample_windows
from IoUSynthLib.inference.sliding_window import blending_weight, hann, tile
from IoUSynthLib.models.bundle import Bundle

PLAN = Bundle(
    path=Path("plan"),
    version="0",
    kind="generator",
    regime="2D",
    spacing=(1.0, 1.0, 1.0),
    slice_axes=(0, 1, 2),
    window=(16, 16),
    overlap=0.25,
    size_multiple=8,
    inputs=("ioUS",),
    outputs=("T2w",),
    checksums={},
    details={},
)
PLANS = {
    "2D": PLAN,
    "2.5D": replace(PLAN, regime="2.5D"),
    "3D": replace(PLAN, regime="3D", slice_axes=(), window=(16, 16, 16)),
}


class Network:
    """Stands for a session: computes with NumPy and counts windows."""

    device = "cpu"

    def __init__(self, function):
        self.function, self.windows, self.shapes = function, 0, set()

    def run(self, batch):
        self.windows += len(batch)
        self.shapes.add(batch.shape[1:])
        assert batch.dtype == np.float32
        return self.function(batch)


IDENTITY = {"2D": lambda b: b, "2.5D": lambda b: b[:, 1:2], "3D": lambda b: b}
IMAGE = np.random.default_rng(0).uniform(-1, 1, (1, 21, 26, 35)).astype(np.float32)
EVERYWHERE = np.ones(IMAGE.shape[1:], dtype=bool)


@pytest.mark.parametrize("regime", PLANS)
def test_identity_comes_back(regime):
    result = predict(Network(IDENTITY[regime]), IMAGE, EVERYWHERE, PLANS[regime])
    assert result.shape == IMAGE.shape
    assert np.allclose(result, IMAGE, atol=1e-6)


@pytest.mark.parametrize("regime", PLANS)
def test_skipping_changes_no_valid_voxel(regime):
    valid = np.zeros_like(EVERYWHERE)
    valid[4:9, 3:12, 5:9] = True
    network = Network(IDENTITY[regime])
    result = predict(network, IMAGE, valid, PLANS[regime])
    assert np.allclose(result[0][valid], IMAGE[0][valid], atol=1e-6)
    assert not result[0][~valid].any()
    everything = Network(IDENTITY[regime])
    predict(everything, IMAGE, EVERYWHERE, PLANS[regime])
    assert network.windows < everything.windows / 2


def test_neighbours_of_a_slice_and_repeated_edges():
    plan = replace(PLAN, regime="2.5D", slice_axes=(0,))
    below, above = (predict(Network(lambda b, c=c: b[:, c : c + 1]), IMAGE, EVERYWHERE, plan)[0] for c in (0, 2))
    assert np.allclose(below[1:], IMAGE[0, :-1], atol=1e-6)
    assert np.allclose(below[0], IMAGE[0, 0], atol=1e-6)
    assert np.allclose(above[:-1], IMAGE[0, 1:], atol=1e-6)
    assert np.allclose(above[-1], IMAGE[0, -1], atol=1e-6)


def test_channels_of_several_inputs_stay_together():
    """2.5D channels: for each input in order its slices k-1, k, k+1."""
    plan = replace(PLAN, regime="2.5D", slice_axes=(0,), inputs=("ioUS", "T2w"))
    images = np.concatenate([IMAGE, IMAGE + 10])
    result = predict(Network(lambda b: b[:, 4:5]), images, EVERYWHERE, plan)
    assert np.allclose(result, IMAGE + 10, atol=1e-5)


def ramp(batch):
    """The row of the window, so that the prediction depends on the slice axis."""
    return np.broadcast_to(np.arange(batch.shape[2], dtype=np.float32)[:, None], batch.shape)


def test_axes_are_averaged():
    plan = replace(PLAN, window=(64, 64))
    image = np.zeros((1, 8, 16, 24), dtype=np.float32)
    result = predict(Network(ramp), image, np.ones(image.shape[1:], dtype=bool), plan)[0]
    z, y, _ = np.indices(result.shape)
    assert np.allclose(result, (y + z + z) / 3, atol=1e-5)


def test_passes_are_those_along_the_axes_and_their_mean_is_the_prediction():
    plan = replace(PLAN, window=(64, 64))
    passes = list(predict_passes(Network(ramp), IMAGE, EVERYWHERE, plan))
    z, y, _ = np.indices(IMAGE.shape[1:])
    for found, expected in zip(passes, (y, z, z), strict=True):
        assert np.allclose(found[0], expected, atol=1e-4)
    assert np.array_equal(predict(Network(ramp), IMAGE, EVERYWHERE, plan), sum(passes) / np.float32(3))


def test_the_prediction_is_fused_as_the_bundle_says_and_stays_in_the_fan():
    plan, valid = replace(PLAN, window=(64, 64), details={"fusion_scale": 4}), EVERYWHERE.copy()
    valid[:, 10] = False
    passes = list(predict_passes(Network(ramp), IMAGE, valid, plan))
    found = predict(Network(ramp), IMAGE, valid, plan)
    assert np.array_equal(found, fuse(passes, (0, 1, 2), 4) * valid)
    assert not found[:, :, 10].any()
    assert not np.allclose(found, sum(passes) / 3, atol=0.1)


def test_a_window_as_large_as_the_slice_is_one_window():
    plan = replace(PLAN, window=(64, 64), slice_axes=(0,))
    network = Network(IDENTITY["2D"])
    predict(network, IMAGE, EVERYWHERE, plan)
    assert network.windows == IMAGE.shape[1]
    assert network.shapes == {(1, 32, 40)}, "padded to the next multiple, not to the window"


def test_tiles_cover_everything_with_the_overlap():
    tiling = tile((100,), replace(PLAN, window=(32,)))
    assert tiling.padded == (104,)
    assert tiling.starts == ((0, 24, 48, 72),)
    tiling = tile((37,), replace(PLAN, window=(32,)))
    assert tiling.starts == ((0, 8),)


def test_padding_is_the_outside():
    seen = []
    plan = replace(PLAN, slice_axes=(0,), window=(64, 64))
    predict(Network(lambda b: (seen.append(b), b)[1]), IMAGE, EVERYWHERE, plan)
    assert (seen[0][:, :, 26:] == -1).all()


def test_hann_is_symmetric_and_positive():
    weight = hann(16)
    assert np.allclose(weight, weight[::-1])
    assert weight.min() >= 1e-3
    assert weight.argmax() in (7, 8)


def test_gaussian_windows_are_monais_and_sum_to_one():
    """Deviation of an eighth of the window, and what overlapping windows give of a constant is the constant."""
    weight = blending_weight("gaussian", 96)
    assert np.allclose(weight, weight[::-1])
    assert np.isclose(weight[0], max(np.exp(-((47.5 / 12) ** 2) / 2), 1e-3))
    assert np.isclose(weight[47], np.exp(-((0.5 / 12) ** 2) / 2))
    plan = replace(PLAN, slice_axes=(0,), window=(32, 32), overlap=0.625, details={"blending": "gaussian"})
    image = np.full((1, 2, 70, 50), 0.3, dtype=np.float32)
    found = predict(Network(IDENTITY["2D"]), image, np.ones(image.shape[1:], bool), plan)
    assert np.allclose(found, 0.3, atol=1e-6)


def test_blending_hides_seams():
    """Windows that disagree by a constant are blended smoothly: no step of the full difference."""
    counter = iter(range(10**6))
    plan = replace(PLAN, slice_axes=(0,), window=(32, 32), overlap=0.5)
    image = np.zeros((1, 1, 32, 64), dtype=np.float32)
    network = Network(lambda b: np.stack([np.full(b.shape[1:], float(next(counter)), np.float32) for _ in b]))
    result = predict(network, image, np.ones((1, 32, 64), dtype=bool), plan)[0, 0, 16]
    assert (result[0], result[-1]) == pytest.approx((0.0, 2.0), abs=0.02)
    assert np.abs(np.diff(result)).max() < 0.15


def test_progress_and_cancel():
    calls = []
    predict(Network(IDENTITY["2D"]), IMAGE, EVERYWHERE, PLAN, progress=calls.append)
    assert calls == sorted(calls)
    assert calls[-1] == pytest.approx(1.0)

    def stop(fraction):
        raise Cancelled

    network = Network(IDENTITY["2D"])
    with pytest.raises(Cancelled):
        predict(network, IMAGE, EVERYWHERE, replace(PLAN, slice_axes=(0,)), progress=stop)
    assert network.windows <= 512


def test_activation_before_blending():
    result = predict(Network(IDENTITY["2D"]), IMAGE, EVERYWHERE, PLAN, activation=np.exp)
    assert np.allclose(result, np.exp(IMAGE), atol=1e-5)


@pytest.mark.parametrize(("regime", "channels"), [("2D", 1), ("2.5D", 3), ("3D", 1)])
def test_a_sample_is_the_same_every_time_and_what_a_prediction_sees(regime, channels):
    """Two slices along each axis, the fullest window of each; of a volume, its fullest window."""
    valid = np.zeros_like(EVERYWHERE)
    valid[3:18, 2:20, 12:30] = True
    seen = []
    predict(Network(lambda batch: seen.extend(batch) or IDENTITY[regime](batch)), IMAGE, valid, PLANS[regime])
    sample = list(sample_windows(IMAGE, valid, PLANS[regime], count=2))
    assert len(sample) == (1 if regime == "3D" else 6)
    for image, inside in sample:
        assert image.shape == (1, channels, *inside.shape)
        assert any(np.array_equal(image[0], window) for window in seen)
        assert inside.mean() > 0.5
    again = sample_windows(IMAGE, valid, PLANS[regime], count=2)
    assert all(np.array_equal(image, other) for (image, _), (other, _) in zip(sample, again, strict=True))
    assert not list(sample_windows(IMAGE, np.zeros_like(valid), PLANS[regime], count=2))
