"""Waiting for a worker, and looking at its process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from IoUSynthLib.worker.messages import Event
from IoUSynthLib.worker.parent import Worker

FINAL = {"result", "error", "cancelled"}

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and shell scripts of POSIX")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked for its end does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        if sys.platform == "linux":
            return False
        listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state = listed.stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait(job: Worker, until=FINAL, seconds: float = 60.0) -> list[Event]:
    """Poll until an event of one of these kinds has come."""
    events, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        events += job.poll()
        if any(event.kind in until for event in events):
            return events
        time.sleep(0.01)
    raise AssertionError(f"no {until} within {seconds} s, but {events}")
