"""The examination: what it finds fine, what it does not, and that it says why and what to do."""

from __future__ import annotations

import shutil
import sys

import pytest

from IoUSynthLib import doctor
from IoUSynthLib.cli import main
from IoUSynthLib.doctor import examine
from IoUSynthLib.inference import Cancelled
from IoUSynthLib.inference import session as sessions

PACKAGES = ["IoUSynth", "numpy", "SimpleITK", "onnxruntime"]
SUBJECTS = [*PACKAGES, "model ious2mr-2.5d", "model lesion-3d", "device", "disk"]


@pytest.fixture
def small_sample(ultrasound_file, monkeypatch):
    """A smaller case than the sample, for time."""
    monkeypatch.setattr(doctor, "SAMPLE", ultrasound_file)


def by_subject(**options):
    return {finding.subject: finding for finding in examine(**options)}


def wrong(findings):
    return [subject for subject, finding in findings.items() if not finding.fine]


def test_all_is_fine_and_the_dry_run_is_on_the_sample_case(wide_bundles, monkeypatch):
    monkeypatch.setenv("IOUSYNTH_MODELS", str(wide_bundles))
    told = []
    findings = by_subject(device="cpu", progress=lambda *told_of: told.append(told_of))
    assert list(findings) == [*SUBJECTS, "dry run"]
    assert wrong(findings) == []
    assert "run on the CPU" in findings["device"].text
    report = findings["dry run"].report
    assert report["input"]["size"] == [240, 122, 66]
    assert f"took {report['seconds']['total']:.1f} s on the CPU" in findings["dry run"].text
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert (told[0], told[-1]) == (("examining", 0.0), ("rehearsing", 1.0))


def test_the_chosen_model_is_examined_with_what_it_needs(tiny_models, small_sample, tmp_path, monkeypatch):
    shutil.copytree(tiny_models, tmp_path / "models")
    with open(tmp_path / "models" / "published-2d" / "models" / "model.onnx", "ab") as file:
        file.write(b"x")
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tmp_path / "models"))
    findings = by_subject(device="cpu", model="published-2d")
    assert wrong(findings) == ["model published-2d", "device", "dry run"]
    assert "checksum does not match" in findings["model published-2d"].text
    assert findings["model ious2mr-2.5d"].fine


def test_a_provider_that_is_offered_and_does_not_work_is_named_with_its_cause(tiny_models, small_sample, monkeypatch):
    runtime = sessions.load_runtime()

    class FallsBack:
        __file__, __version__ = runtime.__file__, runtime.__version__
        SessionOptions = runtime.SessionOptions

        @staticmethod
        def get_available_providers():
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

        @staticmethod
        def InferenceSession(network, options, providers):
            return runtime.InferenceSession(network, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(sessions, "_sessions", {})
    monkeypatch.setattr(sessions, "load_runtime", lambda: FallsBack)
    findings = by_subject(device="auto")
    assert wrong(findings) == ["device"]
    assert "CUDAExecutionProvider was asked for and is not in use" in findings["device"].text
    assert sessions.why_unused() in findings["device"].text
    assert "choose the device cpu" in findings["device"].text
    report = findings["dry run"].report
    assert report["device"] == {
        "requested": "auto", "used": "cpu", "runtime": "ONNX Runtime", "unused": "CUDAExecutionProvider"
    }  # fmt: skip
    assert any("CUDAExecutionProvider was asked for" in warning for warning in report["warnings"])
    assert wrong(by_subject(device="cpu")) == []
    refused = by_subject(device="cuda")
    assert wrong(refused) == ["device", "dry run"]
    assert "fell back to the CPU" in refused["device"].text


def test_a_package_that_is_missing(tiny_models, small_sample, monkeypatch):
    assert doctor.missing_packages() == []
    monkeypatch.setattr(sessions, "_sessions", {})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert doctor.missing_packages() == ["onnxruntime>=1.20"]
    findings = by_subject()
    assert wrong(findings) == ["onnxruntime", "device", "dry run"]
    assert "is not installed; press Install packages" in findings["onnxruntime"].text
    assert findings["dry run"].text == "was not tried; put onnxruntime right first"


def test_a_package_that_is_broken(tiny_models, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('DLL load failed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    findings = by_subject()
    assert wrong(findings) == ["onnxruntime", "device", "dry run"]
    assert "cannot be loaded (DLL load failed); install it again" in findings["onnxruntime"].text


def test_a_full_disk_and_a_missing_sample_case(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "SAMPLE", tmp_path / "none.nrrd")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 2**40 - 2**20, 2**20))
    findings = by_subject(device="cpu")
    assert wrong(findings) == ["disk", "dry run"]
    assert "1 MiB free; free at least 1024 MiB" in findings["disk"].text
    assert "install the extension again" in findings["dry run"].text


def test_the_dry_run_can_be_cancelled(tiny_models, small_sample):
    def progress(stage, fraction):
        if stage == "rehearsing" and fraction > 0.1:
            raise Cancelled

    found = []
    with pytest.raises(Cancelled):
        found.extend(finding.subject for finding in examine("cpu", progress=progress))
    assert found == SUBJECTS


def test_the_command_says_whether_all_is_ready(tiny_models, small_sample, monkeypatch, capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "Ready. No network needed."
    for word in ("numpy", "SimpleITK", "onnxruntime", "CPUExecutionProvider", "checksums match", "dry run"):
        assert word in out
    monkeypatch.setattr(sessions, "_sessions", {})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("not ready: onnxruntime: ")
