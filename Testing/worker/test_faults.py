"""Faults that befall a run, put in on purpose: what the user is told, and that nothing of them stays.

The table of Resources/Documentation/faults.md names these tests.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.worker import posix_only, wait

from IoUSynthLib import synthesize
from IoUSynthLib.pipeline import STAGES
from IoUSynthLib.worker.parent import Worker

ROOT = Path(__file__).resolve().parents[2]

#: Runs in the child before anything else: what shall happen when a stage of the work begins.
PRELUDE = """
import os, signal, sys
sys.path.insert(0, {root!r})
from IoUSynthLib.worker import child
def report(self, stage, fraction, _real=child._Reporter.__call__):
    _real(self, stage, fraction)
    if stage == {stage!r} and not os.path.exists({once!r}):
        open({once!r}, "w").close()
        {fault}
child._Reporter.__call__ = report
"""

KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
CRASHED = "os.abort()"
#: No more memory than is in use, as when other programs have taken it all: the address space is counted in pages.
WITHOUT_MEMORY = (
    "import resource; pages = int(open('/proc/self/statm').read().split()[0]); "
    "size = pages * resource.getpagesize() + 4096; resource.setrlimit(resource.RLIMIT_AS, (size, size))"
)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="counts memory and handles in /proc")


@pytest.fixture
def faulty(tmp_path, tiny_models, temporary):
    """Return a function that makes a worker to whom something happens, once, at the beginning of a stage."""
    workers = []

    def make(fault: str, stage: str) -> Worker:
        code = tmp_path / "prelude.py"
        code.write_text(PRELUDE.format(root=str(ROOT), stage=stage, once=str(tmp_path / "happened"), fault=fault))
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "exec(open(\'{code}\').read())\n$2" "$3" "$4"\n')
        python.chmod(0o755)
        workers.append(Worker(python))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


@posix_only
@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_killed_at_any_stage_is_said_and_the_next_run_works(faulty, ultrasound, temporary, stage):
    worker = faulty(KILLED, stage)
    worker.submit(ultrasound)
    event = wait(worker)[-1]
    assert event.kind == "error"
    assert "ended unexpectedly (SIGKILL" in event.message
    assert list(temporary.iterdir()) == [], "neither voxels nor logs stay"
    worker.submit(ultrasound)
    assert wait(worker)[-1].kind == "result"


@posix_only
def test_a_crash_is_said_and_the_next_run_works(faulty, ultrasound):
    worker = faulty(CRASHED, "segmenting")
    worker.submit(ultrasound)
    event = wait(worker)[-1]
    assert event.kind == "error"
    assert "ended unexpectedly (SIGABRT)" in event.message
    assert "\n" not in event.message
    worker.submit(ultrasound)
    assert wait(worker)[-1].kind == "result"


@linux_only
@pytest.mark.parametrize("stage", ["preparing", "synthesizing", "finishing"])
def test_memory_that_runs_out_is_one_line_and_the_next_run_works(faulty, ultrasound, stage):
    array = np.repeat(np.repeat(ultrasound.array, 4, axis=1), 4, axis=2)  # too large for what is left in the heap
    large = type(ultrasound)(array, (0.175, 0.15, 0.65), ultrasound.origin, ultrasound.direction)
    worker = faulty(WITHOUT_MEMORY, stage)
    worker.submit(large)
    event = wait(worker)[-1]
    assert event.kind == "error"
    # A library may crash on it, which ends the worker alone.
    assert re.search("memory|ended unexpectedly", event.message)
    assert "\n" not in event.message
    worker.close()  # the limit is that of its process
    worker.submit(ultrasound)
    assert wait(worker)[-1].kind == "result"


def test_a_clock_that_jumps_changes_nothing(running, ultrasound, monkeypatch):
    """The clock on the wall is set back by a day at each look; what is waited for and reported is not taken from it."""
    began, looks = time.time(), iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: began - 86_400 * next(looks))
    running.submit(ultrasound)
    result = wait(running)[-1].result
    assert all(0 <= seconds < 60 for seconds in result.report["seconds"].values())
    own = synthesize(ultrasound)
    assert all(0 <= seconds < 60 for seconds in own.report["seconds"].values())


def test_the_worker_gives_the_very_same_voxels(running, ultrasound):
    own = synthesize(ultrasound)
    running.submit(ultrasound)
    theirs = wait(running)[-1].result
    for name, image in own.images.items():
        assert np.abs(image.array - theirs.images[name].array).max() <= 1e-4 * 500  # the network's 1 is 500
    assert np.array_equal(own.segmentation.array, theirs.segmentation.array)
    running.submit(ultrasound)
    again = wait(running)[-1].result
    for name, image in theirs.images.items():
        assert np.array_equal(image.array, again.images[name].array), "from run to run not a bit is another"


def held(process: int) -> tuple[int, int]:
    """Handles and resident KiB of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return len(list(Path(f"/proc/{process}/fd").iterdir())), pages * 4


@linux_only
@pytest.mark.parametrize("runs", [20, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_many_runs_in_a_row_take_no_more_than_a_few(running, ultrasound, temporary, runs):
    processes, before = [], []
    for number in range(runs):
        running.submit(ultrasound)
        assert wait(running)[-1].kind == "result"
        if number == 9:  # by then all is loaded, and the heap as large as it gets
            processes = ["self", running._child.process.pid]
            before = [held(process) for process in processes]
    for process, (handles, kib) in zip(processes, before, strict=True):
        now = held(process)
        assert now[0] <= handles + 2
        assert now[1] <= kib + 32 * 1024, "32 MiB, whatever the number of runs"
    assert len(list(temporary.iterdir())) <= 1
