"""Sessions: what is opened, on which device, and what is said when it does not work."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from support.tiny_models import convolution_model, generator_network, write_bundle

from IoUSynthLib.inference import open_session, predict
from IoUSynthLib.inference import session as sessions
from IoUSynthLib.models import bundle
from IoUSynthLib.volume import InputError


@pytest.fixture
def model(tiny_models):
    return bundle.load(bundle.DEFAULT_GENERATOR)


def test_a_session_is_opened_once(model):
    assert open_session(model, "cpu") is open_session(bundle.load(model.name), "cpu")
    assert open_session(model, "cpu").device == "cpu"


def test_onnx_network_in_25d_and_3d(model, tmp_path):
    image = np.random.default_rng(0).uniform(-1, 1, (1, 9, 17, 20)).astype(np.float32)
    valid = np.ones(image.shape[1:], dtype=bool)
    result = predict(open_session(model, "cpu"), image, valid, model)
    assert np.allclose(result[:2], [-0.5 * image[0], 0.5 * image[0]], atol=1e-6)
    weights = np.zeros((3, 1, 1, 1, 1))
    weights[1] = 0.25
    network = convolution_model(weights, np.array([0.0, 0.0, -1.0]))
    plan = {"regime": "3D", "slice_axes": [], "window": [8, 8, 8]}
    volumetric = bundle.load(write_bundle(tmp_path / "volumetric", network, **plan))
    result = predict(open_session(volumetric, "cpu"), image, valid, volumetric)
    assert np.allclose(result[1], 0.25 * image[0], atol=1e-6)


def test_a_network_may_give_the_features_of_its_encoder(model, tmp_path):
    assert open_session(model, "cpu").features == ()
    telling = bundle.load(write_bundle(tmp_path / "telling", generator_network(features=True)))
    session = open_session(telling, "cpu")
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 3, 8, 16)).astype(np.float32)
    (halves,) = session.encode(batch)
    assert session.features == ("features_0",)
    assert np.allclose(halves, batch.reshape(2, 3, 4, 2, 8, 2).mean(axis=(3, 5)), atol=1e-6)
    assert np.array_equal(session.run(batch), open_session(model, "cpu").run(batch))


def test_cuda_that_is_not_there(model):
    if "CUDAExecutionProvider" in sessions.available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(InputError, match="install onnxruntime-gpu"):
        open_session(model, "cuda")
    assert open_session(model, "auto").device == "cpu"


def test_cuda_that_silently_falls_back(model, monkeypatch):
    """The provider is offered but the session does not take it: "cuda" refuses, "auto" says cpu."""
    runtime = sessions.load_runtime()

    class Fake:
        __file__ = runtime.__file__
        SessionOptions = runtime.SessionOptions

        @staticmethod
        def get_available_providers():
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        @staticmethod
        def InferenceSession(network, options, providers):
            assert providers[0][0] == "CUDAExecutionProvider"
            return runtime.InferenceSession(network, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(sessions, "_sessions", {})
    monkeypatch.setattr(sessions, "load_runtime", lambda: Fake)
    with pytest.raises(InputError, match="fell back to the CPU"):
        open_session(model, "cuda")
    fallen = open_session(model, "auto")
    assert (fallen.device, fallen.unused) == ("cpu", ("CUDAExecutionProvider",))


def test_unknown_device(model):
    with pytest.raises(InputError, match="device 'tpu': unknown"):
        open_session(model, "tpu")


def test_onnxruntime_that_is_not_installed(model, monkeypatch):
    monkeypatch.setattr(sessions, "_sessions", {})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        open_session(model)


def test_a_network_that_makes_another_shape_is_refused(model, monkeypatch):
    session = open_session(model, "cpu")
    monkeypatch.setattr(session, "_outputs", 2)
    with pytest.raises(InputError, match=r"made \(1, 3, 8, 16\) of \(1, 3, 8, 16\), not 2 images of that size"):
        session.run(np.zeros((1, 3, 8, 16), np.float32))


@pytest.mark.parametrize(
    ("said", "error", "remedy"),
    [
        ("Failed to allocate memory for requested buffer of size 123", MemoryError, "crop"),
        ("CUDA failure 2: out of memory ; GPU=0", InputError, "graphics card has too little .* choose the device cpu"),
        ("Non-zero status code returned while running Reshape node", InputError, "cannot be run .*; export it again"),
    ],
)
def test_what_a_runtime_says_while_it_runs(model, monkeypatch, said, error, remedy):
    """A simulated error: the message is the one of ONNX Runtime."""

    class Broken:
        def run(self, *_):
            raise RuntimeError(said)

    session = open_session(model, "cpu")
    monkeypatch.setattr(session, "_session", Broken())
    monkeypatch.setattr(session, "device", "cuda" if "CUDA" in said else "cpu")
    with pytest.raises(error, match=remedy):
        session.run(np.zeros((1, 3, 8, 16), np.float32))


def test_files_that_are_no_network_or_another_one(tmp_path):
    path = write_bundle(tmp_path / "text", b"not a network")
    with pytest.raises(InputError, match=r"cannot be opened \(it is no ONNX network\); export") as caught:
        open_session(bundle.load(path))
    assert "\n" not in str(caught.value)
    path = write_bundle(tmp_path / "cut", generator_network() + b"\x3a\x00")  # a second graph, which is empty
    with pytest.raises(InputError, match="it is no ONNX network"):
        open_session(bundle.load(path))
    path = write_bundle(tmp_path / "channels", generator_network(), inputs=["ioUS", "T2w"])
    with pytest.raises(InputError, match="its metadata say"):
        open_session(bundle.load(path))
