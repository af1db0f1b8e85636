"""Registration in the same child process: results, progress, cancel, error lines, and synthesis after it."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from support import phantom
from support.worker import posix_only, wait

from IoUSynthLib.registration import register, workflow
from IoUSynthLib.registration.deformable import Deformation
from IoUSynthLib.volume import Volume
from IoUSynthLib.worker import child, messages, shared_volumes


@pytest.fixture(scope="module")
def head():
    images = phantom.head()
    ultrasound, synthetic, _ = phantom.field_of_view(images)
    return phantom.displaced(images, phantom.displacement(4.0, 6.0)), ultrasound, synthetic


def points(number):
    return np.random.default_rng(0).normal(0, 30, (number, 3))


def test_the_child_gives_what_the_library_gives(running, head, temporary):
    moving, ultrasound, synthetic = head
    moving = {"T2w": moving["T2w"]}
    options = {"affine": True, "landmarks": (points(4), points(4) + 1), "initial": phantom.displacement(1.0, 1.0)}
    running.submit_registration(moving, ultrasound, synthetic, **options)
    events = wait(running, seconds=300.0)
    expected = register(moving, ultrasound, synthetic, **options)
    result = events[-1].result
    assert [event.kind for event in events] == ["progress"] * (len(events) - 1) + ["result"]
    stages = [stage for stage in workflow.STAGES if stage != "deforming"]
    assert list(dict.fromkeys(event.stage for event in events if event.stage)) == stages
    assert np.allclose(result.matrix, expected.matrix, atol=1e-6)
    assert result.deformation is None
    assert result.report["verdict"] == expected.report["verdict"] == "agrees"
    assert result.report["TRE"] == expected.report["TRE"]
    assert {path.name for path in next(temporary.iterdir()).iterdir()} == {"stdout", "stderr"}


@posix_only
def test_cancel_and_kill_leave_the_worker_usable(running, head, ultrasound):
    def searching():
        running.submit_registration(*head)
        while not any(event.stage == "searching" for event in wait(running, {"progress"})):
            pass

    searching()
    started = time.monotonic()
    running.cancel()
    assert [event.kind for event in wait(running, seconds=3.0) if event.kind != "progress"] == ["cancelled"]
    assert time.monotonic() - started < 2.5
    searching()
    os.kill(running._child.process.pid, signal.SIGKILL)
    event = wait(running, seconds=5.0)[-1]
    assert event.kind == "error"
    assert "SIGKILL" in event.message
    running.submit(ultrasound)
    assert list(wait(running)[-1].result.images) == ["T2w", "FLAIR"]


def test_bad_input_is_an_error_in_one_line(running, head):
    moving, ultrasound, synthetic = head
    mri = moving["T2w"]
    far = Volume(mri.array, mri.spacing, (900.0, 900.0, 900.0), mri.direction)
    running.submit_registration({"T2w": far}, ultrasound, synthetic)
    event = wait(running, seconds=120.0)[-1]
    assert (event.kind, event.details) == ("error", "")
    assert "overlap" in event.message
    for pair, cause in (((points(1), points(1)), "at least 3"), ((points(4), points(5)), "but 5 of the ultrasound")):
        running.submit_registration(moving, ultrasound, synthetic, landmarks=pair)
        assert cause in wait(running)[-1].message
    running.submit_registration(moving, ultrasound.with_array(np.zeros_like(ultrasound.array)), synthetic)
    assert "empty" in wait(running)[-1].message


def test_a_displacement_field_goes_through(head, tmp_path, monkeypatch):
    """Without a child: what one side writes is what the other reads."""
    _, ultrasound, _ = head
    field = np.random.default_rng(1).normal(0, 1, (*ultrasound.array.shape, 3)).astype(np.float32)
    found = workflow.RegistrationResult(
        None, np.eye(4), Deformation(field, ultrasound, 0.3, 0.5), None, {}, {"verdict": "agrees"}
    )
    monkeypatch.setattr("IoUSynthLib.registration.register", lambda *arguments, **options: found)
    job = {"affine": False, "deformable": True, "landmarks": None, "initial": None}
    message, volumes = child._register(job, {"ultrasound": ultrasound}, lambda stage, fraction: None)
    entries = {name: shared_volumes.write(tmp_path, name, volumes[name]) for name in volumes}
    read = {name: shared_volumes.read(tmp_path, entry) for name, entry in entries.items()}
    result = messages.read_result({"command": "register", **message}, read)
    assert np.array_equal(result.deformation.field, field)
    assert result.deformation.grid.same_grid(ultrasound, 0.0)
    assert (result.deformation.before, result.deformation.after) == (0.3, 0.5)
