"""Samples in the panel: where they can be chosen, what is said of them, and what the views show."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SlicerHost
from support.tiny_models import drawing_network, write_bundle


@pytest.fixture
def loaded(scene, tiny_models, tmp_path, monkeypatch, panel, case):
    """A case, and beside the tiny models one that draws."""
    write_bundle(
        tmp_path / "models" / "vae", drawing_network(), outputs=["T2w", "FLAIR"], draws=True, temperature=0.5
    )
    monkeypatch.setenv("IOUSYNTH_MODELS", f"{tmp_path / 'models'}:{tiny_models}")
    panel.modelsSection.listModels()
    return case


def synthesize(panel):
    panel.ui.applyButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 60)


def layers():
    from IoUSynthLib.mrml.layers import stacked
    from IoUSynthLib.mrml.views import compared_views

    return {layer.GetAttribute("IoUSynth.Output") for view in compared_views() for layer in stacked(view)}


def outputs(scene):
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return {node.GetAttribute("IoUSynth.Output"): node for node in nodes if node.GetAttribute("IoUSynth.Output")}


def test_samples_can_be_chosen_only_of_a_model_that_draws(panel, loaded):
    box = panel.ui.samplesSpinBox
    assert not box.enabled
    assert box.toolTip == "This model draws nothing: its samples would all be alike"
    panel.ui.modelSelector.setCurrentText("vae")
    assert box.enabled
    assert (box.minimum, box.maximum, box.value) == (0, 16, 0)
    box.value = 6
    assert panel.options.samples == 6
    panel.ui.modelSelector.setCurrentText("ious2mr-2.5d")
    assert panel.options.samples == 0, "what was chosen of another model is not asked of this one"


def test_what_samples_differ_in_is_said_and_shown(scene, panel, loaded):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.pipeline import synthesize as run

    label, selector = panel.ui.spreadLabel, panel.ui.spreadSelector
    panel.ui.modelSelector.setCurrentText("vae")
    panel.ui.samplesSpinBox.value = 3
    synthesize(panel)
    expected = run(volume_from_node(loaded), "vae", samples=3)
    assert label.isVisibleTo(panel.parent)
    apart = expected.report["spread"]["mean_deviation"]
    assert label.text == f"Tumour in 3 of 3 samples, which differ by {apart:.1%} of the range."
    assert [selector.itemText(index) for index in range(3)] == ["Nothing", "Standard deviation", "Tumour in how many"]
    import slicer

    made = outputs(scene)
    for kind, volume in (("spread", expected.spread.deviation), ("frequency", expected.spread.frequency)):
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(made[kind]), volume.array)
        assert made[kind].GetHideFromEditors()
        assert made[kind].GetAttribute("IoUSynth.Synthetic") == "true"
    said = json.loads(made["T2w"].GetAttribute("IoUSynth.Samples"))
    assert said == {"samples": 3, "seed": 0, "temperature": 0.5}
    assert not {"spread", "frequency"} & layers()
    for index, shown in ((1, {"spread"}), (2, {"frequency"}), (0, set())):
        selector.setCurrentIndex(index)
        selector.activated.emit(index)
        assert {"spread", "frequency"} & layers() == shown
    before = scene.GetNumberOfNodes()
    synthesize(panel)
    assert scene.GetNumberOfNodes() == before, "a second run fills the same nodes"
    panel.ui.samplesSpinBox.value = 0
    synthesize(panel)
    assert not {"spread", "frequency"} & set(outputs(scene)), "nothing of another run is left"
    assert not label.isVisibleTo(panel.parent)
    assert not selector.isVisibleTo(panel.parent)
