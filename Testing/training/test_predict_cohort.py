"""Synthetic MRI of cases, by ONNX Runtime and by torch."""

import numpy as np
import pytest

pytest.importorskip("onnx")

import torch
from support.tiny_models import convolution_model, write_bundle

from IoUSynthLib.cases.case import Case
from IoUSynthLib.models.bundle import load
from IoUSynthLib.training.predictions import NetworkSession, predict_case
from IoUSynthLib.volume import Volume


def test_torch_predicts_what_the_network_does_as_onnx(tmp_path):
    """Of one convolution, without an exporter, which compares what it writes with torch by itself."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 3, 3, padding=1)
    weights, bias = (value.detach().numpy() for value in network.parameters())
    bundle = load(write_bundle(tmp_path / "tiny", convolution_model(weights, bias), size_multiple=16))
    ultrasound = np.random.default_rng(0).uniform(1, 255, (20, 24, 36)).astype(np.float32)
    ultrasound[:3] = 0
    fan = ultrasound > 0
    case = Case({"ioUS": Volume(ultrasound)}, Volume(np.zeros_like(fan)), Volume(fan), {})
    exported = predict_case(bundle, case, device="cpu")
    in_torch = predict_case(bundle, case, device="cpu", session=NetworkSession(network, "cpu"))
    assert list(in_torch) == ["T2w", "FLAIR"]
    for name, image in exported.items():
        assert np.allclose(in_torch[name], image, atol=1e-5)
        assert np.ptp(image[fan]) > 1e-3
        assert not image[~fan].any()
