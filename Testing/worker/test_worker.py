"""A real child process: results, progress, cancel, kill, crash, close, and the death of the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from SlicerHost.launcher import write_launcher
from support.worker import FINAL, is_alive, posix_only, wait

from IoUSynthLib import pipeline
from IoUSynthLib.pipeline import Options
from IoUSynthLib.volume import InputError, Volume
from IoUSynthLib.worker import parent
from IoUSynthLib.worker.parent import Worker
from IoUSynthLib.worker.process import describe_exit

ROOT = Path(__file__).resolve().parents[2]
#: It takes minutes.
SLOW = Options("slow-2.5d")


def test_the_child_gives_what_the_pipeline_gives(running, ultrasound):
    running.submit(ultrasound)
    events = wait(running)
    expected = pipeline.synthesize(ultrasound)
    result = events[-1].result
    assert [event.kind for event in events] == ["progress"] * (len(events) - 1) + ["result"]
    assert list(dict.fromkeys(event.stage for event in events)) == list(pipeline.STAGES)
    assert events[-1].fraction == 1.0
    pairs = [(result.uncertainty, expected.uncertainty), (result.segmentation, expected.segmentation)]
    pairs += [(result.valid, expected.valid), *((result.images[n], expected.images[n]) for n in ("T2w", "FLAIR"))]
    for got, wanted in pairs:
        assert np.array_equal(got.array, wanted.array)
        assert got.array.dtype == wanted.array.dtype
        assert got.same_grid(ultrasound, 0.0)
    assert result.report["model"] == expected.report["model"]
    assert not running.busy


def test_a_model_without_an_estimate_of_its_error_on_the_grid_of_an_mri(running, ultrasound, temporary):
    mri = Volume(np.zeros((1, 1, 1)), (1.2, 1.1, 1.7), (4.0, 5.0, 6.0), ultrasound.direction)
    running.submit(ultrasound, Options("published-2d", mr_grid=mri))
    result = wait(running)[-1].result
    expected = pipeline.synthesize(ultrasound, "published-2d", mr_grid=mri)
    assert result.uncertainty is None
    assert list(result.images) == ["T2w"]
    assert np.array_equal(result.images["T2w"].array, expected.images["T2w"].array)
    assert result.report["grid"] == expected.report["grid"]
    assert {path.name for path in next(temporary.iterdir()).iterdir()} == {"stdout", "stderr"}


def test_the_child_stays_warm_and_keeps_no_arrays(running, ultrasound, temporary):
    running.submit(ultrasound)
    wait(running)
    pid = running._child.process.pid
    running.submit(ultrasound)
    assert wait(running)[-1].kind == "result"
    assert running._child.process.pid == pid
    assert {path.name for path in next(temporary.iterdir()).iterdir()} == {"stdout", "stderr"}


def test_bad_input_is_an_error_in_one_line_and_the_child_lives(running, ultrasound):
    running.submit(ultrasound.with_array(np.zeros_like(ultrasound.array)))
    event = wait(running)[-1]
    assert (event.kind, event.details) == ("error", "")
    assert event.message.startswith("input volume: is empty")
    pid = running._child.process.pid
    running.submit(ultrasound, Options("nothing"))
    assert "no such model" in wait(running)[-1].message
    running.submit(Volume(np.zeros((0, 3, 3), dtype=np.float32)))
    assert "no voxels" in wait(running)[-1].message
    running.submit(ultrasound)
    assert wait(running)[-1].kind == "result"
    assert running._child.process.pid == pid


def test_an_examination_gives_its_findings_one_by_one(temporary, wide_bundles, monkeypatch):
    monkeypatch.setenv("IOUSYNTH_MODELS", str(wide_bundles))
    job = Worker()
    job.submit_examination("cpu")
    events = wait(job)
    job.close()
    findings = [event.result for event in events if event.kind == "finding"]
    assert events[-1].result == findings
    assert [finding.subject for finding in findings if not finding.fine] == []
    assert findings[-1].report["seconds"]["total"] > 0
    assert {event.stage for event in events if event.kind == "progress"} == {"examining", "rehearsing"}


def test_relative_model_folders(tiny_bundles, temporary, ultrasound, monkeypatch):
    """The child works in another folder than its parent."""
    monkeypatch.chdir(tiny_bundles.parent)
    monkeypatch.setenv("IOUSYNTH_MODELS", tiny_bundles.name)
    job = Worker()
    for model in (None, Path(tiny_bundles.name) / "ious2mr-2.5d"):
        job.submit(ultrasound, Options(model))
        assert wait(job)[-1].result.report["model"]["version"] == "0.0.1"
    job.close()


def test_one_job_at_a_time(running, ultrasound):
    running.submit(ultrasound, SLOW)
    with pytest.raises(RuntimeError, match="busy"):
        running.submit(ultrasound)


def test_cancel_is_quick(running, ultrasound):
    running.submit(ultrasound, SLOW)
    wait(running, {"progress"})
    started = time.monotonic()
    running.cancel()
    assert time.monotonic() - started < 0.1
    events = wait(running, seconds=2.0)
    assert time.monotonic() - started < 2.0
    assert [event.kind for event in events if event.kind in FINAL] == ["cancelled"]
    assert not running.busy
    running.submit(ultrasound)
    assert wait(running)[-1].kind == "result"


@posix_only
def test_cancel_kills_a_child_that_does_not_listen(running, ultrasound, temporary):
    running.submit(ultrasound, SLOW)
    wait(running, {"progress"})
    pid = running._child.process.pid
    os.kill(pid, signal.SIGSTOP)
    running.cancel()
    assert wait(running, seconds=2.0)[-1].kind == "cancelled"
    assert not is_alive(pid)
    assert list(temporary.iterdir()) == []


@posix_only
def test_a_killed_child_is_an_error_and_the_next_run_works(running, ultrasound):
    running.submit(ultrasound, SLOW)
    wait(running, {"progress"})
    os.kill(running._child.process.pid, signal.SIGKILL)
    event = wait(running, seconds=5.0)[-1]
    assert event.kind == "error"
    assert "SIGKILL" in event.message
    assert "starts a fresh worker" in event.message
    assert not running.busy
    running.submit(ultrasound)
    assert wait(running)[-1].kind == "result"


@posix_only
@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ("kill -KILL $$", "crashed, stopped from outside or out of memory"),
        ("kill -SEGV $$", "crashed, stopped from outside or out of memory"),
        ("exit 1", "exit code 1"),
        ("exit 7", "exit code 7"),
        ("echo the launcher may exit abnormally >&2; echo no numpy >&2; exit 1", "exit code 1"),
        ("echo \"terminate called after throwing 'std::bad_alloc'\" >&2; kill -ABRT $$", "out of memory"),
    ],
)
def test_how_a_child_of_the_launcher_has_ended(temporary, tmp_path, ultrasound, shell, said):
    """PythonSlicer turns any crash of its child into exit code 1 and a line at the end of stderr."""
    child = tmp_path / "python"
    child.write_text(f"#!/bin/sh\n{shell}\n")
    child.chmod(0o755)
    job = Worker(write_launcher(tmp_path / "bin", child))
    job.submit(ultrasound)
    event = wait(job)[-1]
    assert event.kind == "error"
    assert f"ended unexpectedly ({said}); run again" in event.message


@pytest.mark.parametrize(
    ("code", "details", "said"),
    [
        (137, "", "SIGKILL: stopped from outside or out of memory"),  # through a shell
        (-9, "", "SIGKILL: stopped from outside or out of memory"),
        (-11, "", "SIGSEGV"),
        (-99, "", "signal 99"),
        (0, "", "exit code 0"),
        (0xC0000005, "", "crashed or out of memory: exception 0xC0000005"),  # of Windows
    ],
)
def test_what_an_exit_code_means(code, details, said):
    assert describe_exit(code, details) == said


@posix_only
def test_a_child_killed_between_jobs_is_replaced(running, ultrasound):
    running.submit(ultrasound)
    wait(running)
    os.kill(running._child.process.pid, signal.SIGKILL)
    running._child.process.wait()
    assert running.poll() == []
    running.submit(ultrasound)
    assert wait(running)[-1].kind == "result"


def test_close_leaves_nothing(running, ultrasound, temporary):
    running.submit(ultrasound, SLOW)
    wait(running, {"progress"})
    process = running._child.process
    running.close()
    assert process.returncode is not None
    assert list(temporary.iterdir()) == []
    assert (running.busy, running.poll()) == (False, [])
    running.close()


@posix_only
def test_a_launcher_is_killed_with_its_child(tiny_models, temporary, tmp_path, ultrasound):
    """PythonSlicer is a launcher: the process that works is its child."""
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n')
    launcher.chmod(0o755)
    job = Worker(launcher)
    job.submit(ultrasound, SLOW)
    wait(job, {"progress"})
    group = job._child.process.pid
    members = [int(p.name) for p in Path("/proc").glob("[0-9]*") if group_of(int(p.name)) == group]
    assert len(members) == 2
    job.close()
    time.sleep(0.1)
    assert not any(is_alive(pid) for pid in members)


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_an_interpreter_that_is_not_there(temporary, ultrasound):
    job = Worker("/nowhere/python")
    with pytest.raises(InputError, match="cannot be started"):
        job.submit(ultrasound)
    assert list(temporary.iterdir()) == []
    assert not job.busy


@posix_only
def test_a_child_that_fails_at_once_says_why(temporary, tmp_path, ultrasound):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no numpy here >&2\nexit 7\n")
    broken.chmod(0o755)
    job = Worker(broken)
    job.submit(ultrasound)
    event = wait(job)[-1]
    assert (event.kind, event.details) == ("error", "no numpy here")
    assert "exit code 7" in event.message
    assert list(temporary.iterdir()) == []


def test_another_version_is_refused(running, ultrasound, monkeypatch):
    monkeypatch.setattr(parent, "__version__", "0.0.0")
    running.submit(ultrasound)
    event = wait(running)[-1]
    assert event.kind == "error"
    assert "another version" in event.message


def test_prints_of_libraries_do_not_break_the_protocol(running, ultrasound, tmp_path, monkeypatch):
    """sitecustomize stands for a library that prints while it is imported or works."""
    noisy = (
        "import os, sys, threading, time\n"
        "os.write(1, b'noise'); print('{broken', end='', flush=True)\n"
        "def chatter():\n"
        "    while True:\n"
        "        os.write(1, b'noise'); print('{broken', flush=True); time.sleep(0.002)\n"
        "threading.Timer(0.1, chatter).start()\n"
    )
    (tmp_path / "sitecustomize.py").write_text(noisy)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    running.submit(ultrasound)
    assert wait(running)[-1].kind == "result"


@posix_only
@pytest.mark.parametrize("files", [False, True])
def test_the_child_ends_with_its_parent(tiny_models, temporary, tmp_path, ultrasound_file, files):
    """Nor does it leave the half-written files of a batch."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, time, tempfile, numpy as np\n"
        f"sys.path.insert(0, {str(ROOT)!r}); tempfile.tempdir = {str(temporary)!r}\n"
        "from IoUSynthLib.worker.parent import Worker\nfrom IoUSynthLib.volume import Volume\n"
        "from IoUSynthLib.pipeline import Options\n"
        "job = Worker()\n"
        "array = np.random.default_rng(0).random((40, 40, 40)).astype('float32'); array[:5] = 0\n"
        + (
            "from pathlib import Path\nfrom IoUSynthLib.worker.jobs import FileJob\n"
            f"file, output = Path({str(ultrasound_file)!r}), Path({str(tmp_path / 'out')!r})\n"
            "FileJob(file, output, Options('slow-2.5d')).start(job)\n"
            if files
            else "job.submit(Volume(array), Options('slow-2.5d'))\n"
        )
        + "while not job.poll(): time.sleep(0.01)\n"
        "print(job._child.process.pid, flush=True)\ntime.sleep(60)\n"
    )
    host = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        child = int(host.stdout.readline())
        assert is_alive(child)
    finally:
        host.kill()
        host.communicate()
    end = time.monotonic() + 10
    while (is_alive(child) or list(temporary.iterdir())) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(child)
    assert list(temporary.iterdir()) == []
    assert not files or list((tmp_path / "out").iterdir()) == []


def test_parent_side_needs_no_heavy_package():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport IoUSynthLib.worker.parent\n"
        "assert not {'onnxruntime', 'SimpleITK', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
