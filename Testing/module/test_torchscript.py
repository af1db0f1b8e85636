"""A model in TorchScript through the real panel: the images of ONNX, and which runtime and device ran."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("torch")

from support.panel import click, message
from support.tiny_models import generator_network, write_bundle
from support.torchscript import TinyGenerator, rewrite_as_torchscript, shipped_as_torchscript

from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.models import bundle

MODULE = os.path.join(os.path.dirname(__file__), "..", "..", "IoUSynth", "IoUSynth.py")


def images_of(panel, model):
    """Choose a model, click, and return the arrays of the result with what the panel says of it."""
    import slicer

    panel.ui.modelSelector.setCurrentText(model)
    click(panel, timeout=240)
    assert panel.ui.qualityLabel.text, message(panel)  # of a real case there are warnings
    parameters = panel.logic.getParameterNode()
    nodes = (parameters.t2wVolume, parameters.flairVolume, parameters.uncertaintyVolume)
    return [np.array(slicer.util.arrayFromVolume(node)) for node in nodes], panel.ui.qualityLabel.text


def test_a_click_with_torchscript_gives_the_images_of_onnx(tmp_path, tiny_models, monkeypatch, slicer_host, request):
    scripted = write_bundle(tmp_path / "scripted-2.5d", generator_network())
    rewrite_as_torchscript(scripted, TinyGenerator().eval())
    monkeypatch.setenv("IOUSYNTH_MODELS", os.pathsep.join([str(tiny_models), str(tmp_path)]))
    panel, _case = request.getfixturevalue("panel"), request.getfixturevalue("case")
    ours, said = images_of(panel, "scripted-2.5d")
    assert "on the CPU (TorchScript)" in said
    theirs, said = images_of(panel, "ious2mr-2.5d")
    assert "on the CPU (ONNX Runtime)" in said
    for one, other, width in zip(ours, theirs, (500, 500, 1), strict=True):  # the network's 1 is 500 of an image
        assert np.abs(one - other).max() < 1e-4 * width


@pytest.mark.long
def test_a_shipped_network_on_a_real_case(tmp_path, monkeypatch, scene, slicer_host, resect_case_4, request):
    shipped = bundle.load(bundle.DEFAULT_GENERATOR)
    shipped_as_torchscript(shipped, tmp_path / "made").rename(tmp_path / "scripted")
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tmp_path))
    slicer_host.load_module(MODULE)
    try:
        panel, add = slicer_host.open_module("IoUSynth"), request.getfixturevalue("add")
        panel.ui.inputSelector.setCurrentNode(add(read_volume(resect_case_4), "Case 4"))
        ours, said = images_of(panel, "scripted")
        assert "on the CPU (TorchScript)" in said
        theirs, _said = images_of(panel, shipped.name)
    finally:
        slicer_host.unload_module("IoUSynth")
    for one, other, width in zip(ours, theirs, (500, 500, 1), strict=True):
        assert np.abs(one - other).max() < 1e-4 * width
