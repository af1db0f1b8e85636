"""The module's life: opened, left, reloaded, unloaded, quit; and what is left of a run that does not end well."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import stat
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import SlicerHost
from SlicerHost.launcher import write_launcher
from support.panel import child, contents, finish, message, start_slow_run, synthesize
from support.worker import is_alive, posix_only

from IoUSynthLib.files.volumes import write_volume

ROOT = Path(__file__).resolve().parents[2]



@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which the child's folder is made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder














def assert_gone(process, temporary):
    """The child with all its children is dead, and so are its files, its arrays among them."""
    assert process.poll() is not None
    assert SlicerHost.process_until(lambda: not alive_members(process.pid), 5)
    assert list(temporary.iterdir()) == []


def alive_members(group):
    """Processes of a group, without those that are dead and wait for their parent to notice."""
    statuses = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            statuses.append((path.parent.name, *path.read_text().rsplit(")", 1)[1].split()[:3]))
    return [pid for pid, state, _parent, member_of in statuses if member_of == str(group) and state != "Z"]


# --- Opened, left, closed ---------------------------------------------------------------------------------------------


def test_a_panel_that_is_left_observes_its_parameter_node_no_more(slicer_version, panel):
    parameters = weakref.ref(panel.parameters)
    panel.exit()
    gc.collect()
    assert parameters() is None, "and with it went the 20 observers of its fields"
    panel.enter()
    parameters = weakref.ref(panel.parameters)
    panel.logic.getParameterNode()
    SlicerHost.reset_scene()
    gc.collect()
    assert parameters() is None


def test_a_module_that_is_loaded_after_start_up_brings_the_same(scene, slicer_host, monkeypatch):
    import slicer

    monkeypatch.syspath_prepend(ROOT / "IoUSynth")
    from IoUSynthPanel import startup

    told = []
    monkeypatch.setattr(slicer.modules, "sampleDataSources", {}, raising=False)
    monkeypatch.setattr(slicer.modules.terminologies.logic(), "LoadTerminologyFromFile", told.append, raising=False)
    monkeypatch.setattr(startup, "_layoutObservers", [])
    slicer_host.load_module(ROOT / "IoUSynth" / "IoUSynth.py")
    slicer_host.unload_module("IoUSynth")
    assert [source.sampleName for source in slicer.modules.sampleDataSources["IoUSynth"]] == ["IoUSynthSample"]
    assert [Path(file).name for file in told] == ["IoUSynth.term.json"]
    assert startup._layoutObservers
    for tag in startup._layoutObservers:
        scene.RemoveObserver(tag)


def test_opening_starts_nothing(scene, panel, temporary):
    assert panel.logic._runner is None
    assert not panel.timer.isActive()
    assert list(temporary.iterdir()) == []


def test_leaving_and_coming_back_connects_once(scene, panel, case):
    """Each visit connects panel and parameter node anew; none may be left from the visit before."""
    parameters = panel.logic.getParameterNode()
    for _visit in range(3):
        panel.exit()
        assert panel.parameters is None
        parameters.showOverlay = not parameters.showOverlay  # nobody listens, and nothing fails
        panel.enter()
        panel.enter()
        assert panel.ui.overlayCheckBox.checked == parameters.showOverlay
    calls = []
    panel.updateSections, update = lambda: calls.append(1), panel.updateSections
    parameters.showOverlay = not parameters.showOverlay
    panel.updateSections = update
    assert len(calls) == 1


@posix_only
def test_closing_the_scene_while_running_leaves_nothing_of_the_run(scene, panel, case, temporary):
    start_slow_run(panel)
    SlicerHost.reset_scene()
    finish(panel)
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert panel.parameters.inputVolume is None
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Select the intraoperative ultrasound volume first"
    panel.cleanup()
    assert list(temporary.iterdir()) == []


def test_closing_the_scene_from_another_module(scene, panel, case, add, ultrasound):
    """The panel, which is not shown then, finds the new scene when it is opened again."""
    start_slow_run(panel)
    panel.parent.exit()
    SlicerHost.reset_scene()
    finish(panel)
    assert panel.parameters is None
    later = add(ultrasound, "Next patient ioUS")
    panel.parent.enter()
    assert panel.ui.inputSelector.currentNode() is later
    panel.ui.modelSelector.setCurrentIndex(0)
    synthesize(panel)


@posix_only
def test_switching_the_module_while_running_and_cancelling_afterwards(scene, panel, case, temporary):
    before = contents(scene)
    start_slow_run(panel)
    panel.parent.exit()
    SlicerHost.process_until(lambda: False, 0.2)
    assert panel.state.name == "RUNNING"
    panel.parent.enter()
    assert panel.ui.applyButton.text == "Cancel"
    assert panel.ui.applyButton.enabled
    panel.ui.applyButton.click()
    finish(panel)
    assert contents(scene) == before


@posix_only
def test_reloading_while_running(scene, panel, case, temporary):
    """A developer's Reload ends the run and its child; the new panel works with the scene as it is."""
    import slicer

    process = start_slow_run(panel)
    before = contents(scene)
    panel.onReload()
    assert_gone(process, temporary)
    again = slicer.util.getModuleWidget("IoUSynth")
    assert again is not panel
    assert type(again) is not type(panel)
    assert not panel.timer.isActive()
    assert contents(scene) == before
    assert again.state.name == "IDLE"
    assert again.ui.inputSelector.currentNode() is case
    assert again.ui.modelSelector.currentText == "slow-2.5d"
    again.ui.modelSelector.setCurrentIndex(0)
    synthesize(again)


@posix_only
def test_unloading_while_running(scene, panel, case, temporary, slicer_host):
    before = contents(scene)
    process = start_slow_run(panel)
    slicer_host.unload_module("IoUSynth")
    assert_gone(process, temporary)
    assert contents(scene) == before
    panel.cleanup()  # Slicer may ask again at its end
    scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Late ioUS")  # nobody listens any more


def test_a_panel_that_could_not_be_built_can_be_reloaded(scene, panel, case, monkeypatch):
    import slicer

    load, broken = slicer.util.loadUI, []

    def load_none(path):
        broken.append(path)
        raise RuntimeError("the .ui file is damaged")

    monkeypatch.setattr(slicer.util, "loadUI", load_none)
    with pytest.raises(RuntimeError, match="damaged"):
        panel.onReload()
    assert broken
    monkeypatch.setattr(slicer.util, "loadUI", load)
    slicer.modules.IoUSynthWidget.onReload()
    synthesize(slicer.modules.IoUSynthWidget)


QUIT = """
import sys
sys.path[:0] = [ROOT, ROOT + "/Testing"]
import SlicerHost
SlicerHost.start([ROOT + "/IoUSynth/IoUSynth.py"])
import slicer
assert slicer.modules.sampleDataSources["IoUSynth"]
assert slicer.modules.terminologies.logic().GetNumberOfCategoriesInTerminology("IoUSynth brain ultrasound")
slicer.util.loadVolume(VOLUME)
panel = SlicerHost.open_module("IoUSynth")
panel.ui.modelSelector.setCurrentText("slow-2.5d")
panel.ui.applyButton.click()
assert SlicerHost.process_until(lambda: panel.ui.statusLabel.text.startswith("Synthesizing"), 60)
print("CHILD", panel.logic.runner._worker._child.process.pid, flush=True)
"""


@posix_only
def test_quitting_while_running(scene, tiny_models, ultrasound, temporary, tmp_path):
    """Even where nobody asks the module to clean up. It was there at start-up, and has told Slicer what it brings."""
    write_volume(tmp_path / "ioUS.nrrd", ultrasound)
    code = QUIT.replace("ROOT", repr(str(ROOT))).replace("VOLUME", repr(str(tmp_path / "ioUS.nrrd")))
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("CHILD")]
    assert lines, done.stderr[-2000:]
    process = int(lines[0].split()[1])
    end = time.monotonic() + 5.0
    while time.monotonic() < end and (is_alive(process) or list(temporary.glob("iousynth-*"))):
        time.sleep(0.05)
    assert not is_alive(process)
    assert list(temporary.glob("iousynth-*")) == []


# --- The child dies ---------------------------------------------------------------------------------------------------

DYING_PYTHON = """#!{python}
import os, pathlib, signal, sys
library, folder = sys.argv[3:]
sys.path.insert(0, library)
from IoUSynthLib.worker import child
send = child._send
def send_or_die(stream, **told):
    wanted = pathlib.Path({wanted!r}).read_text()
    if wanted and wanted in (told["event"], told.get("stage")):
        os.kill(os.getpid(), signal.SIGKILL)
    send(stream, **told)
child._send = send_or_die
child.serve(folder)
"""


@pytest.fixture
def dies_at(tmp_path, monkeypatch):
    """Return a function that has the child killed where it is about to tell of a stage; "" lets it live.

    The child's interpreter is a script around the real child, behind a launcher of the name that Slicer's has.
    """
    wanted, python = tmp_path / "dies-at", tmp_path / "python"
    wanted.write_text("")
    write_launcher(tmp_path / "bin", python)
    python.write_text(DYING_PYTHON.format(python=sys.executable, wanted=str(wanted)))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return wanted.write_text


@posix_only
def test_a_crash_at_any_stage_leaves_scene_and_panel_usable(scene, panel, case, temporary, dies_at):
    before = contents(scene)
    from IoUSynthLib.pipeline import STAGES

    for stage in ("ready", *STAGES, "result"):
        dies_at(stage)
        panel.ui.applyButton.click()
        assert panel.state.name == "RUNNING"
        finish(panel)
        assert "crashed, stopped from outside or out of memory" in message(panel), stage
        assert "run again" in message(panel)
        assert contents(scene) == before
        assert list(temporary.iterdir()) == []
        assert panel.ui.applyButton.enabled
        assert panel.ui.applyButton.text == "Synthesize MRI"
        assert panel.ui.inputsCollapsibleButton.enabled
        assert not panel.ui.progressBar.isVisibleTo(panel.parent)
        assert not panel.timer.isActive()
    dies_at("")
    synthesize(panel)


@posix_only
def test_a_crash_while_registering(scene, panel, case, add, ultrasound, dies_at):
    synthesize(panel)
    mri = ultrasound.with_array(ultrasound.array[::-1].copy())  # the ultrasound itself would be refused
    panel.ui.movingSelector.setCurrentNode(add(mri, "Preop T2w"))
    before = contents(scene)
    panel.logic.close()  # a fresh child reads what it shall do
    dies_at("searching")
    panel.ui.registerButton.click()
    finish(panel)
    assert "out of memory" in message(panel)
    assert contents(scene) == before
    assert panel.ui.registerButton.enabled
    dies_at("")
    synthesize(panel)


@posix_only
def test_a_child_that_hangs_is_killed_by_cancel(scene, panel, case, temporary):
    process = start_slow_run(panel)
    os.killpg(process.pid, signal.SIGSTOP)  # the launcher's group
    began = time.monotonic()
    panel.ui.applyButton.click()
    finish(panel, 10)
    assert time.monotonic() - began < 2.5
    assert_gone(process, temporary)
    assert "Cancelled" in message(panel)


def test_a_result_that_does_not_get_into_the_scene_leaves_no_part_of_it(scene, panel, case, monkeypatch):
    before = contents(scene)

    def fail(_node, _doubtful):
        raise MemoryError("no room for the outlines")

    with monkeypatch.context() as patch:
        patch.setattr("IoUSynthLib.mrml.write.show_as_outlines", fail)
        panel.ui.applyButton.click()
        finish(panel)
    assert "could not be added to the scene (no room for the outlines)" in message(panel)
    assert contents(scene) == before
    synthesize(panel)


# --- The choices, and two panels --------------------------------------------------------------------------------------


def test_choices_come_back_with_the_scene(scene, panel, case, add, ultrasound, tmp_path):
    import slicer

    mri = add(ultrasound, "Preop T2w")
    landmarks = [scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name) for name in ("L MRI", "L ioUS")]
    synthesize(panel)
    parameters = panel.logic.getParameterNode()
    parameters.preoperativeVolume = parameters.movingVolume = mri
    parameters.mriLandmarks, parameters.ultrasoundLandmarks = landmarks
    parameters.affine, parameters.deformable, parameters.showOverlay = True, True, False
    parameters.device, parameters.plane, parameters.model = "cpu", "Coronal", "published-2d"
    nodes = ("inputVolume", "preoperativeVolume", "t2wVolume", "flairVolume", "uncertaintyVolume", "segmentation",
             "movingVolume", "mriLandmarks", "ultrasoundLandmarks")  # fmt: skip
    values = ("affine", "deformable", "showOverlay", "device", "plane", "model")
    names = {name: getattr(parameters, name).GetName() for name in nodes}
    kept = {name: getattr(parameters, name) for name in values}
    assert slicer.util.saveScene(str(tmp_path / "case.mrb"))

    SlicerHost.reset_scene()
    assert panel.ui.modelSelector.currentText == "Default"
    slicer.util.loadScene(str(tmp_path / "case.mrb"))

    again = panel.logic.getParameterNode()
    assert {name: getattr(again, name).GetName() for name in nodes} == names
    assert {name: getattr(again, name) for name in values} == kept
    ui = panel.ui
    assert ui.inputSelector.currentNode() is again.inputVolume
    assert ui.flairSelector.currentNode() is again.flairVolume
    assert (ui.affineCheckBox.checked, ui.deformableCheckBox.checked, ui.overlayCheckBox.checked) == (True, True, False)
    texts = (ui.deviceSelector.currentText, ui.planeSelector.currentText, ui.modelSelector.currentText)
    assert texts == ("cpu", "Coronal", "published-2d")
    assert ui.showButton.enabled


def test_two_panels_side_by_side(scene, panel, case):
    """A second panel shares the choices but not the run, and can be closed without harm to the first."""
    import slicer

    other_parent = slicer.util.getModule("IoUSynth").createNewWidgetRepresentation()
    other = other_parent.self()
    other_parent.enter()
    assert other.ui.inputSelector.currentNode() is case
    panel.ui.overlayCheckBox.click()
    assert not other.ui.overlayCheckBox.checked
    start_slow_run(panel)
    assert other.ui.modelSelector.currentText == "slow-2.5d"
    assert other.state.name == "IDLE"
    other.ui.modelSelector.setCurrentIndex(0)
    synthesize(other)
    assert child(other).pid != child(panel).pid
    assert panel.state.name == "RUNNING"
    assert panel.ui.t2wSelector.currentNode() is other.logic.getParameterNode().t2wVolume
    process = child(other)
    other.cleanup()
    other_parent.delete()
    assert process.poll() is not None
    assert panel.state.name == "RUNNING"
    panel.ui.applyButton.click()
    finish(panel)
    synthesize(panel)


WITHOUT_WINDOW = """
import sys
import numpy as np
import SlicerHost
app = SlicerHost.start(main_window=False)
import slicer
SlicerHost.load_module(sys.argv[1])
logic = SlicerHost.open_module("IoUSynth").logic
volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "ioUS")
slicer.util.updateVolumeFromArray(volume, np.ones((4, 5, 6)))
from IoUSynthLib.mrml import results, views
outputs = results.OutputNodes({"T2w": volume}, None, None)
assert app.layoutManager() is None
logic.showResult(outputs, volume)
result = results.Result(volume, None, outputs, "", "")
views.show_comparison(result, result)
logic.showUncertainty(True)
views.go_to((1.0, 2.0, 3.0))
slicer.mrmlScene.StartState(slicer.vtkMRMLScene.ImportState)
slicer.mrmlScene.EndState(slicer.vtkMRMLScene.ImportState)
assert SlicerHost.take_uncaught_errors() == []
print("done")
"""


def test_without_a_main_window_there_is_nothing_to_show_in():
    """As under Slicer's --no-main-window, where scripts run in batch."""
    module = ROOT / "IoUSynth" / "IoUSynth.py"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_WINDOW, str(module)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "Testing")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.endswith("done\n"), done.stderr
