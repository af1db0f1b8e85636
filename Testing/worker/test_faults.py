"""Faults that befall a run, put in on purpose: what the user is told, and that nothing of them stays.

The table of Resources/Documentation/faults.md names these tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.worker import posix_only, wait

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
