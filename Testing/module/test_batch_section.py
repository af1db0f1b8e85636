"""The section Batch and its logic: files and frames, one bad file, cancel, resumption, and what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SlicerHost
from support.batch_inputs import small_ultrasound, write_inputs
from support.worker import posix_only

MODULE = Path(__file__).resolve().parents[2] / "IoUSynth" / "IoUSynth.py"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where the worker makes its folder; and no threads for a handful of voxels."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    return folder


@pytest.fixture
def section(panel, tmp_path):
    panel.batchSection.ui.outputPath.currentPath = str(tmp_path / "out")
    return panel.batchSection


def table(section):
    widget = section.ui.summaryTable
    return [
        [widget.item(row, column).text() for column in range(widget.columnCount)] for row in range(widget.rowCount)
    ]


def states(section):
    return [row[1] for row in table(section)]


def wait(panel, condition=None):
    assert SlicerHost.process_until(condition or (lambda: panel.state.name == "IDLE"), 60)


def run(panel, button):
    button.click()
    wait(panel)


def test_files_with_a_bad_one_and_started_again(panel, section, tmp_path):
    assert not section.ui.filesButton.enabled
    assert section.ui.filesButton.toolTip == "Add files or a folder first"
    assert not section.ui.summaryTable.isVisibleTo(section.widget)
    write_inputs(tmp_path / "in", 3, bad=(1,))
    section.addPaths([str(tmp_path / "in"), str(tmp_path / "missing.nrrd")])
    assert section.ui.inputsList.count == 2
    run(panel, section.ui.filesButton)
    rows = table(section)
    assert [row[:2] for row in rows] == [
        ["us-00.nrrd", "done"],
        ["us-01.nrrd", "failed"],
        ["us-02.nrrd", "done"],
        ["missing.nrrd", "failed"],
    ]
    assert float(rows[0][3]) > 0.1
    assert "us-01.nrrd: is not an image" in rows[1][5]
    assert "no such file" in rows[3][5]
    assert section.ui.summaryLabel.text.startswith("2 done, 2 failed\n")
    assert rows[1][5] in section.ui.summaryLabel.text
    assert "summary.csv" in section.ui.summaryLabel.text
    output = tmp_path / "out"
    assert {file.name for file in output.iterdir()} == {
        "summary.csv",
        *(f"us-0{n}_{kind}.nii.gz" for n in (0, 2) for kind in ("T2w", "FLAIR", "uncertainty", "segmentation")),
        *(f"us-0{n}{end}" for n in (0, 2) for end in (".png", "_report.json")),
    }
    before = {file: file.stat().st_mtime_ns for file in output.glob("us-00*")}
    run(panel, section.ui.filesButton)
    assert states(section) == ["complete before", "failed", "complete before", "failed"]
    assert {file: file.stat().st_mtime_ns for file in output.glob("us-00*")} == before
    section.ui.clearButton.click()
    section.addPaths([str(tmp_path / "in" / "us-00.nrrd")])
    section.ui.skipCheckBox.click()
    run(panel, section.ui.filesButton)
    assert states(section) == ["done"]
    section.ui.skipCheckBox.click()
    for choice in (panel.ui.beforeResectionCheckBox, panel.ui.probablePlaceCheckBox):
        choice.click()
        run(panel, section.ui.filesButton)
        assert states(section) == ["done"], "what was made for another phase, or without the guess, is made anew"
    run(panel, section.ui.filesButton)
    assert states(section) == ["complete before"]
    assert panel.ui.applyButton.text == "Synthesize MRI"


def test_no_folder_for_the_results(panel, section, tmp_path, monkeypatch):
    """Neither an emptied line nor the beginning of a path may stand for Slicer's working directory."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "in", 1)
    section.addPaths([str(tmp_path / "in")])
    assert section.ui.filesButton.enabled
    for path, reason in (("", "Choose the folder"), ("results", "results: is not a whole path"), (" ", "Choose")):
        section.ui.outputPath.currentPath = str(tmp_path / "out")
        section.ui.outputPath.currentPath = path
        assert not section.ui.filesButton.enabled
        assert reason in section.ui.filesButton.toolTip
        section.onFilesButton()
        assert panel.state.name == "IDLE"
        assert "whole path" in panel.ui.messageLabel.text
    for path in ("", " ", Path(), "results", Path("results"), "~/results"):
        with pytest.raises(ValueError, match="whole path"):
            panel.logic.synthesizeBatch([str(tmp_path / "in")], path)
    with pytest.raises(ValueError, match="whole path"):
        panel.logic.synthesizeBatch([""], str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "temporary"] == ["in"]


def test_the_folder_is_remembered_once_it_was_used(panel, section, slicer_host, tmp_path):
    write_inputs(tmp_path / "in", 1)
    section.addPaths([str(tmp_path / "in")])
    run(panel, section.ui.filesButton)
    section.ui.outputPath.currentPath = str(tmp_path / "typed")
    slicer_host.unload_module("IoUSynth")
    slicer_host.load_module(MODULE)
    again = slicer_host.open_module("IoUSynth").batchSection
    assert again.ui.outputPath.currentPath == str(tmp_path / "out")


def test_cancel_keeps_what_is_finished_and_leaves_nothing_else(panel, section, tmp_path, temporary):
    write_inputs(tmp_path / "in", 3)
    section.addPaths([str(tmp_path / "in")])
    section.ui.filesButton.click()
    assert section.ui.filesButton.text == "Cancel"
    assert not panel.ui.applyButton.enabled
    wait(panel, lambda: states(section)[:1] == ["done"])
    section.ui.filesButton.click()
    wait(panel)
    assert states(section)[0] == "done"
    assert states(section)[-1] == "cancelled"
    assert "What was finished is kept." in panel.ui.messageLabel.text
    assert not list((tmp_path / "out").glob(".*"))
    run(panel, section.ui.filesButton)
    assert states(section)[0] == "complete before"
    assert states(section)[-1] == "done"
    panel.logic.close()
    assert not list(temporary.iterdir())


@posix_only
def test_a_worker_that_dies_costs_one_file(panel, section, tmp_path):
    write_inputs(tmp_path / "in", 2)
    section.addPaths([str(tmp_path / "in")])
    section.ui.filesButton.click()
    wait(panel, lambda: panel.ui.progressBar.value > 0)
    os.kill(panel.logic.runner._worker._child.process.pid, signal.SIGKILL)
    wait(panel)
    assert states(section) == ["failed", "done"]
    assert "SIGKILL" in table(section)[0][5]
    assert not list((tmp_path / "out").glob(".*"))


def test_unloading_in_the_middle_leaves_no_process_and_no_file(
    scene, slicer_host, panel, section, tmp_path, temporary
):
    write_inputs(tmp_path / "in", 1)
    panel.ui.modelSelector.setCurrentText("slow-2.5d")
    section.addPaths([str(tmp_path / "in")])
    section.ui.filesButton.click()
    wait(panel, lambda: panel.ui.statusLabel.text.startswith("Synthesizing"))
    process = panel.logic.runner._worker._child.process
    slicer_host.unload_module("IoUSynth")
    assert process.poll() is not None
    assert not list(temporary.iterdir())
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["summary.csv"]
    assert ",cancelled," in (tmp_path / "out" / "summary.csv").read_text()


def test_from_the_console(panel, tmp_path, temporary):
    import slicer

    logic = slicer.util.getModuleLogic("IoUSynth")
    paths = write_inputs(tmp_path / "in", 2, bad=(0,))
    outcomes = logic.synthesizeBatch(paths, tmp_path / "out")
    assert [outcome.name for outcome in outcomes] == [str(path) for path in paths]
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert str(paths[0]) in outcomes[0].error
    assert [outcome.state for outcome in logic.synthesizeBatch([paths[1]], tmp_path / "out")] == ["skipped"]
    namesake = tmp_path / "more" / paths[1].name
    namesake.parent.mkdir()
    shutil.copy(paths[1], namesake)
    outcomes = logic.synthesizeBatch([paths[1], namesake], tmp_path / "both")
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    assert all((tmp_path / "both" / place / "us-01_T2w.nii.gz").is_file() for place in ("in", "more"))
    told = logic.synthesizeBatch([paths[1]], tmp_path / "out", beforeResection=True)
    assert (told[0].state, told[0].cavity_ml) == ("done", 0.0)
    with pytest.raises(ValueError, match="nothing: no such model"):
        logic.synthesizeBatch(paths, tmp_path / "out", model="nothing")
    with pytest.raises(ValueError, match="same name"):
        logic.synthesizeBatch([paths[1], paths[1].with_suffix(".mha")], tmp_path / "out")
    logic.close()
    assert not list(temporary.iterdir())


# Sequences


@pytest.fixture
def sequence(scene, panel):
    """Three volumes at 0, 0.5 and 1 s, the second of which is empty, under a tracked pose that moves with them."""
    import slicer
    import vtk

    frames = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Sweep ioUS")
    poses = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Pose")
    volume, pose = slicer.vtkMRMLScalarVolumeNode(), slicer.vtkMRMLLinearTransformNode()
    for number in range(3):
        array = small_ultrasound(number).array * (number != 1)
        slicer.util.updateVolumeFromArray(volume, array)
        volume.SetSpacing(1.0, 1.1, 1.2)
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 10.0 * number)
        pose.SetMatrixTransformToParent(matrix)
        for node, target in ((volume, frames), (pose, poses)):
            target.SetIndexName("time")
            target.SetIndexUnit("s")
            target.SetDataNodeAtValue(node, str(0.5 * number))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(frames.GetID())
    browser.AddSynchronizedSequenceNode(poses)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(frames)
    proxy.SetAndObserveTransformNodeID(browser.GetProxyNode(poses).GetID())
    panel.ui.inputSelector.setCurrentNode(proxy)
    return browser


def sequences_of(scene):
    import slicer

    return {node.GetName(): node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode")}


def test_frames_become_sequences_that_the_browser_shows(scene, panel, section, sequence):
    import slicer

    source = sequence.GetProxyNode(sequence.GetMasterSequenceNode())
    run(panel, section.ui.framesButton)
    assert states(section) == ["done", "failed", "done"]
    assert "is empty" in table(section)[1][5]
    made = sequences_of(scene)
    for kind in ("T2w", "FLAIR", "uncertainty", "segmentation"):
        result = made[f"Sweep ioUS {kind} (synthetic) sequence"]
        assert [result.GetNthIndexValue(n) for n in range(result.GetNumberOfDataNodes())] == ["0.0", "1.0"]
        assert (result.GetIndexName(), result.GetIndexUnit()) == ("time", "s")
        assert result.GetAttribute("IoUSynth.Synthetic") == "true"
        proxy = sequence.GetProxyNode(result)
        assert proxy.GetTransformNodeID() == source.GetTransformNodeID()
    images = made["Sweep ioUS T2w (synthetic) sequence"]
    proxy = sequence.GetProxyNode(images)
    assert proxy.GetName() == "Sweep ioUS T2w (synthetic)"
    seen = []
    for number in (0, 1, 2):
        sequence.SetSelectedItemNumber(number)
        seen.append(proxy.GetImageData() and slicer.util.arrayFromVolume(proxy).copy())
    assert seen[1] is None, "not the image of another moment"
    assert (seen[0] > 0).mean() > 0.2
    assert not np.array_equal(seen[0], seen[2])
    assert proxy.GetAttribute("IoUSynth.Synthetic") == "true"
    from IoUSynthLib.mrml.provenance import report_of

    report = report_of(images.GetNthDataNode(1))
    assert "Frame 3 of 3" in report["notes"][0]
    assert (report["input"]["sequence"], report["input"]["index_value"]) == ("Sweep ioUS", "1.0")
    (pose,) = report["input"]["transforms"]
    assert pose["matrix_ras"][0][3] == 20.0, "where the probe was in that frame, not where it is shown now"


def test_frames_before_a_resection(scene, panel, section, sequence):
    from IoUSynthLib.mrml.provenance import report_of

    panel.ui.beforeResectionCheckBox.click()
    panel.ui.probablePlaceCheckBox.click()
    section.ui.framesEdit.text = "1"
    run(panel, section.ui.framesButton)
    frame = sequences_of(scene)["Sweep ioUS T2w (synthetic) sequence"].GetNthDataNode(0)
    assert (report_of(frame)["before_resection"], report_of(frame)["probable_place"]) == (True, True)


def test_chosen_frames_and_a_choice_that_cannot_be(scene, panel, section, sequence):
    section.ui.framesEdit.text = "2-4"
    run(panel, section.ui.framesButton)
    assert "frames: 2-4 is not within 1-3" in panel.ui.messageLabel.text
    section.ui.framesEdit.text = "3"
    run(panel, section.ui.framesButton)
    assert table(section)[0][:2] == ["Sweep ioUS, frame 3", "done"]
    assert sequences_of(scene)["Sweep ioUS T2w (synthetic) sequence"].GetNthIndexValue(0) == "1.0"
    assert not section.ui.summaryLabel.text.count("summary.csv")


def test_a_volume_that_is_no_sequence(panel, section, case):
    assert not section.ui.framesButton.enabled
    assert "Load a sequence" in section.ui.framesButton.toolTip
    with pytest.raises(ValueError, match="Case ioUS: shows no sequence"):
        panel.logic.synthesizeSequence(case)


def test_closing_the_scene_stops_the_frames(scene, panel, section, sequence):
    panel.ui.modelSelector.setCurrentText("slow-2.5d")
    section.ui.framesButton.click()
    wait(panel, lambda: panel.ui.statusLabel.text.startswith("Synthesizing"))
    SlicerHost.reset_scene()
    wait(panel)
    assert not sequences_of(scene)
    assert scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None


def test_the_files_of_a_folder_dialog(panel, section, tmp_path, monkeypatch):
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    section.ui.addFolderButton.click()
    monkeypatch.setattr(qt.QFileDialog, "exec_", lambda _self: 1)
    monkeypatch.setattr(qt.QFileDialog, "selectedFiles", lambda _self: [str(tmp_path / "a.nrrd"), str(tmp_path)])
    section.ui.addFilesButton.click()
    assert section.paths == [str(tmp_path), str(tmp_path / "a.nrrd")]
    assert Path(section.ui.inputsList.item(1).text()).name == "a.nrrd"
