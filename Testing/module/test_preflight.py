"""The panel's section Before surgery: what it finds, what it installs and only when asked, and that it never blocks."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import time
import types
import unittest

import pytest
import SlicerHost
from support.worker import posix_only


@pytest.fixture
def section(panel, wide_bundles, monkeypatch):
    """The section, with models that are quick on the sample case."""
    monkeypatch.setenv("IOUSYNTH_MODELS", str(wide_bundles))
    return panel.preflightSection


@pytest.fixture
def without_onnxruntime(tmp_path, monkeypatch):
    """Neither this process nor the child finds the package; returns a function that brings it back."""
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["onnxruntime"] = None\n')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    find_spec, absent = importlib.util.find_spec, ["onnxruntime"]
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in absent else find_spec(name, *rest)
    )

    def bring_back():
        absent.clear()
        (tmp_path / "sitecustomize.py").write_text("")

    return bring_back


@pytest.fixture
def answers(monkeypatch):
    """What is asked of the user; each question is answered with the last element of ``answers.reply``."""
    import slicer

    asked = types.SimpleNamespace(texts=[], reply=True)

    def confirm(text, windowTitle=None, parent=None, **options):
        asked.texts.append(text)
        return asked.reply

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    monkeypatch.setattr(slicer.app, "_testing", False)
    return asked


def wait(panel, timeout=60.0):
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", timeout)


def readiness(section):
    return section.ui.readinessLabel.text


def rows(section):
    return section.ui.findingsLabel.text.split("<tr>")[1:]


def test_turns_green_while_the_panel_stays_alive(panel, section):
    node = panel.logic.getParameterNode()
    section.widget.collapsed = False
    section.ui.checkButton.click()
    assert section.ui.checkButton.text == "Cancel"
    assert not panel.ui.applyButton.enabled
    assert not panel.modelsSection.ui.installFileButton.enabled
    assert section.ui.progressBar.isVisibleTo(panel.parent)
    assert not panel.ui.progressBar.isVisibleTo(panel.parent)
    assert SlicerHost.process_until(lambda: section.ui.statusLabel.text.startswith("Dry run on the sample case"))
    assert len(rows(section)) == 8
    wait(panel)
    assert "Ready. No network needed." in readiness(section)
    assert "#2b9656" in readiness(section)
    assert len(rows(section)) == 9
    assert all("#2b9656" in row and "#da5353" not in row for row in rows(section))
    assert section.widget.text == "Before surgery: ready"
    assert not section.ui.progressBar.isVisibleTo(panel.parent)
    assert not section.ui.installPackagesButton.isVisibleTo(panel.parent)
    node.device = "cpu"  # what was checked is not what would run
    assert "check again" in readiness(section)
    assert section.widget.text == "Before surgery"


def test_cancel_keeps_what_was_found(panel, section, tiny_bundles, monkeypatch):
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tiny_bundles))
    panel.logic.getParameterNode().model = "slow-2.5d"
    section.ui.checkButton.click()
    assert SlicerHost.process_until(lambda: section.ui.progressBar.value >= 10)
    started = time.monotonic()
    section.ui.checkButton.click()
    assert section.ui.statusLabel.text == "Cancelling"
    wait(panel, 10)
    assert time.monotonic() - started < 2.5
    assert "Cancelled" in readiness(section)
    assert len(rows(section)) == 9
    assert section.ui.checkButton.text == "Check"


@posix_only
def test_a_child_that_dies_is_a_red_row(panel, section):
    section.ui.checkButton.click()
    assert SlicerHost.process_until(lambda: len(section.findings) == 8)
    os.kill(panel.logic.runner._worker._child.process.pid, signal.SIGKILL)
    wait(panel, 10)
    assert "SIGKILL" in rows(section)[-1]
    assert "#da5353" in rows(section)[-1]
    assert "Not ready: check." in readiness(section)


def test_script_gets_the_findings(panel, section, without_onnxruntime):
    findings = panel.logic.examine(device="cpu")
    assert [finding.subject for finding in findings if not finding.fine] == ["onnxruntime", "device", "dry run"]


def test_synthesize_points_here_when_a_package_is_missing(panel, case, section, without_onnxruntime):
    assert section.widget.collapsed
    panel.ui.applyButton.click()
    assert panel.state.name == "IDLE"
    assert "install it in the section Before surgery" in panel.ui.messageLabel.text
    assert not section.widget.collapsed
    assert section.ui.installPackagesButton.isVisibleTo(panel.parent)


def test_the_self_test_skips_where_a_package_is_missing(panel, without_onnxruntime, caplog):
    import slicer

    import IoUSynth

    caplog.set_level("INFO")
    slicer.selfTests["IoUSynth"](msec=0)
    assert "Skipped: onnxruntime>=1.20 is not installed" in caplog.text
    result = unittest.TestResult()
    IoUSynth.IoUSynthTest("test_sampleCase").run(result)
    assert result.wasSuccessful()
    assert ["onnxruntime" in reason for _case, reason in result.skipped] == [True]


def install_by(function, monkeypatch):
    """Let a function do what Slicer 5.10 and 5.12 install packages with."""
    import slicer

    monkeypatch.setattr(slicer.util, "pip_install", function)
    if hasattr(slicer, "packaging"):
        monkeypatch.setattr(slicer.packaging, "pip_ensure", lambda requirements, **_options: function(requirements))


def test_nothing_is_installed_when_declined(panel, section, without_onnxruntime, answers, monkeypatch):
    install_by(lambda requirements: pytest.fail("installed without consent"), monkeypatch)
    section.ui.checkButton.click()
    wait(panel)
    assert "Not ready: onnxruntime, device, dry run." in readiness(section)
    assert section.widget.text == "Before surgery: not ready"
    assert sum("#da5353" in row for row in rows(section)) == 3
    assert answers.texts == []  # a check asks for nothing
    answers.reply = False
    section.ui.installPackagesButton.click()
    assert "- onnxruntime>=1.20\n" in answers.texts[0]
    for package in ("flatbuffers", "packaging", "protobuf"):
        assert package in answers.texts[0]
    assert "Nothing was installed" in readiness(section)
    assert "onnxruntime" in readiness(section)
    assert panel.state.name == "IDLE"


@pytest.mark.parametrize("slicer_version", ["5.10"], indirect=True)
def test_installs_with_consent_and_checks_again(
    slicer_version, panel, section, without_onnxruntime, answers, monkeypatch
):
    import slicer

    installed = []

    def pip_install(requirements):  # Slicer 5.10
        assert not section.ui.installPackagesButton.enabled
        installed.extend(requirements)
        without_onnxruntime()

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    section.widget.collapsed = False
    section.ui.installPackagesButton.click()
    assert len(answers.texts) == 1
    assert installed == ["onnxruntime>=1.20"]
    assert SlicerHost.process_until(lambda: any(finding.subject == "onnxruntime" for finding in section.findings))
    assert section.findings[3].fine
    panel.cancelRun()
    wait(panel)
    assert not section.ui.installPackagesButton.isVisibleTo(panel.parent)


@pytest.mark.parametrize("slicer_version", ["5.12"], indirect=True)
def test_installs_through_slicer_packaging_where_there_is_one(
    slicer_version, panel, section, without_onnxruntime, answers, monkeypatch
):
    import slicer

    def pip_ensure(  # the parameters that Slicer 5.12 has
        requirements,
        constraints=None,
        skip_packages=None,
        prompt_install=True,
        prompt_restart=True,
        requester=None,
        skip_in_testing=True,
        show_progress=True,
    ):
        ensured.append((requirements, prompt_install, requester))
        without_onnxruntime()

    ensured = []
    monkeypatch.setattr(slicer.packaging, "pip_ensure", pip_ensure)
    monkeypatch.setattr(slicer.util, "pip_install", lambda requirements: pytest.fail("not through slicer.packaging"))
    section.ui.installPackagesButton.click()
    assert ensured == [(["onnxruntime>=1.20"], False, "IoUSynth")]
    assert section.running
    panel.cancelRun()
    wait(panel)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (subprocess.CalledProcessError(1, "pip install"), "returned non-zero exit status 1"),
        (RuntimeError("PythonSlicer executable not found"), "PythonSlicer executable not found"),
        (None, "they are not there"),
    ],
)
def test_an_installation_that_fails_is_one_line(
    slicer_version, panel, section, without_onnxruntime, answers, monkeypatch, error, reason
):
    def install(requirements):
        if error:
            raise error

    install_by(install, monkeypatch)
    section.ui.installPackagesButton.click()
    assert "onnxruntime&gt;=1.20 could not be installed" in readiness(section)
    assert reason in readiness(section)
    assert "check the network" in readiness(section)
    assert section.ui.installPackagesButton.enabled
    assert panel.state.name == "IDLE"


def test_nothing_is_installed_while_slicer_runs_tests(panel, without_onnxruntime, monkeypatch):
    install_by(lambda requirements: pytest.fail("installed in a test"), monkeypatch)
    panel.logic.installPackages()
    assert panel.logic.missingPackages() == ["onnxruntime>=1.20"]
