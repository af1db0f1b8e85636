"""Waiting for a worker."""

from __future__ import annotations

import sys
import time

import pytest

from IoUSynthLib.worker.messages import Event
from IoUSynthLib.worker.parent import Worker

FINAL = {"result", "error", "cancelled"}

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def wait(job: Worker, until=FINAL, seconds: float = 60.0) -> list[Event]:
    """Poll until an event of one of these kinds has come."""
    events, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        events += job.poll()
        if any(event.kind in until for event in events):
            return events
        time.sleep(0.01)
    raise AssertionError(f"no {until} within {seconds} s, but {events}")
