"""Runs that start by themselves when the ultrasound changes."""

from __future__ import annotations

import numpy as np
import pytest
import SlicerHost


@pytest.fixture
def starts(panel, monkeypatch):
    """Inputs of the runs that were started; the ultrasound need rest for 0.1 s only."""
    panel.rerunSection.timer.setInterval(100)
    found, start = [], panel.logic.synthesize

    def counted(node, *rest, **options):
        found.append(node)
        return start(node, *rest, **options)

    monkeypatch.setattr(panel.logic, "synthesize", counted)
    return found


def replace(node, array):
    import slicer

    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(array))


def wait(panel, seconds=0.5):
    SlicerHost.process_until(lambda: False, seconds)
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", 60)


class Reconstruction:
    """What vtkMRMLVolumeReconstructionNode of SlicerIGT offers, on a node of Slicer's own."""

    def __init__(self, scene, volume):
        self.node, self.volume, self.live = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"), volume, False
        self.GetID, self.RemoveObserver = self.node.GetID, self.node.RemoveObserver

    def AddObserver(self, event, observer):
        assert event == 56002
        return self.node.AddObserver(event, lambda _caller, name: observer(self, name))

    def GetOutputVolumeNode(self):
        return self.volume

    def GetLiveVolumeReconstructionInProgress(self):
        return self.live

    def finish(self):
        self.node.InvokeEvent(56002)


@pytest.fixture
def reconstruction(scene, add, ultrasound, monkeypatch):
    import slicer

    made = Reconstruction(scene, add(ultrasound, "recvol_Reference"))
    by_class = slicer.util.getNodesByClass
    monkeypatch.setattr(
        slicer.util,
        "getNodesByClass",
        lambda name, *rest: [made] if name == "vtkMRMLVolumeReconstructionNode" else by_class(name, *rest),
    )
    return made


def test_is_off_by_default(panel, case, ultrasound, starts):
    replace(case, ultrasound.array[::-1])
    wait(panel)
    assert starts == []
    assert not panel.ui.rerunCheckBox.checked


def test_another_name_is_no_other_ultrasound(slicer_version, panel, case, starts):
    """The selector of 5.12 tells a renamed node as if another had been chosen."""
    panel.ui.rerunCheckBox.click()
    said = panel.ui.inputVerdictLabel.text
    case.SetName("Case 2 ioUS")
    wait(panel)
    assert panel.parameters.inputVolume is case
    assert starts == []
    assert panel.ui.inputVerdictLabel.text == said


def test_runs_once_after_many_changes(panel, case, ultrasound, starts):
    panel.ui.rerunCheckBox.click()
    wait(panel)
    assert starts == []  # choosing it starts nothing
    for shift in range(1, 6):
        replace(case, np.roll(ultrasound.array, shift, axis=2))
        SlicerHost.process_until(lambda: False, 0.03)
    wait(panel)
    assert starts == [case]
    case.SetName("Case ioUS, renamed")  # no voxel has changed
    wait(panel)
    assert starts == [case]
    panel.ui.rerunCheckBox.click()
    replace(case, ultrasound.array)
    wait(panel)
    assert starts == [case]


def test_a_change_during_a_run_is_taken_up_after_it(panel, case, ultrasound, starts):
    panel.ui.rerunCheckBox.click()
    panel.ui.applyButton.click()
    assert panel.state.name == "RUNNING"
    replace(case, ultrasound.array[:, ::-1])
    assert SlicerHost.process_until(lambda: len(starts) == 2, 60)
    wait(panel)
    assert starts == [case, case]
    assert len(panel.logic.results()) == 1


def test_a_finished_reconstruction_becomes_the_input_while_another_module_is_open(
    panel, case, reconstruction, starts, ultrasound
):
    panel.ui.rerunCheckBox.click()
    panel.exit()
    reconstruction.live = True
    for shift in range(3):  # live updates tell "finished", too
        replace(reconstruction.volume, np.roll(ultrasound.array, shift, axis=2))
        reconstruction.finish()
        wait(panel, 0.15)
    assert starts == []
    reconstruction.live = False
    reconstruction.finish()
    wait(panel)
    assert starts == [reconstruction.volume]
    parameters = panel.logic.getParameterNode()
    assert parameters.inputVolume is reconstruction.volume
    assert parameters.t2wVolume.GetName() == "recvol_Reference T2w (synthetic)"
    panel.enter()
    assert panel.ui.inputSelector.currentNode() is reconstruction.volume


def test_an_unusable_volume_is_a_message(panel, case, ultrasound, starts):
    panel.ui.rerunCheckBox.click()
    replace(case, np.zeros_like(ultrasound.array))
    wait(panel)
    assert starts == [case]
    assert "is empty" in panel.ui.messageLabel.text
    wait(panel)
    assert starts == [case]  # and is not tried again and again


def test_closing_the_scene_or_the_module_lets_go(panel, case, ultrasound, starts):
    panel.ui.rerunCheckBox.click()
    replace(case, ultrasound.array[::-1])
    SlicerHost.reset_scene()
    wait(panel)
    assert starts == []
    assert panel.rerunSection._observed == []
