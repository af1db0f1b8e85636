"""The jobs of the scene in the child process: one at a time, from the nodes to the new nodes.

Free of Qt: a timer of the panel or a loop of a script calls :meth:`SceneRunner.poll`.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import time
from typing import Any

from ..volume import InputError
from ..worker.jobs import Job, Queue
from ..worker.messages import Event
from ..worker.parent import Worker

_POLL_SECONDS = 0.02


class SceneRunner:
    """Runs one job, or one queue of jobs, at a time in a child process that stays warm between them.

    Parameters
    ----------
    python
        Interpreter for the child process.
    """

    def __init__(self, python: str) -> None:
        self.job: Job | Queue | None = None
        self._begun: list[Event] = []  # what the start of a queue has to say, for the next poll
        self._cancelled = False
        self._python = python
        self._worker: Worker | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is under way or is still being cancelled."""
        return self._worker is not None and self._worker.busy

    def start(self, job: Job | Queue) -> None:
        """Start a job, or many, and return at once; :meth:`poll` brings it to its end.

        Raises
        ------
        InputError
            What it works on cannot be used, another job is running, or a package is missing.
        """
        if self.busy:
            raise InputError("A run is already under way; cancel it or wait for its end.")
        _check_installed(job.package)
        if self._worker is None:
            self._worker = Worker(python=self._python)
        self._begun = job.start(self._worker) or []
        self.job, self._cancelled = job, False

    def poll(self) -> list[Event]:
        """Return what happened since the last call; never waits.

        With the event "result" the nodes are in the scene and in ``job``.
        """
        if self._worker is None:
            return []
        events, self._begun = self._begun, []
        for event in self._worker.poll():
            events += self._receive(event)
        return events

    def cancel(self) -> None:
        """Stop the job; the scene stays as it was."""
        self._cancelled = True
        if self._worker is not None:
            self._worker.cancel()

    def close(self) -> None:
        """End the child process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if isinstance(self.job, Queue):
            self.job.stop()  # after the child, which may still be writing
        self.job, self._begun = None, []

    def wait(self) -> Job | Queue:
        """Wait for the job's end.

        Raises
        ------
        RuntimeError
            It failed or was cancelled; says why and what to do.
        """
        try:
            while True:
                for event in self.poll():
                    if event.kind == "result":
                        return self.job
                    if event.kind not in ("progress", "finding"):
                        raise RuntimeError(event.message or "The run was cancelled.")
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            self.cancel()
            while self.busy:  # for 1.5 s at most
                self.poll()
                time.sleep(_POLL_SECONDS)
            raise

    def _receive(self, event: Event) -> list[Event]:
        """Let the job go on with what has happened, and say what that means for it."""
        if self._cancelled and event.kind in ("result", "error"):
            event = Event("cancelled")
        if isinstance(self.job, Queue):
            return self.job.receive(event, self._worker)
        return [_finish(self.job, event.result) if event.kind == "result" else event]


def _check_installed(package: str) -> None:
    importlib.invalidate_caches()  # it may have been installed a moment ago
    if package and importlib.util.find_spec(package) is None:
        raise InputError(
            f"The package {package} is not installed; install it in the section Before surgery, or run "
            f'slicer.util.pip_install("{package}") in the Python console, then try again.'
        )


def _finish(job: Job, result: Any) -> Event:
    """Bring a result into the scene."""
    try:
        job.check()
    except InputError as error:
        return Event("error", message=str(error))
    try:
        job.finish(result)
    except Exception as error:
        logging.exception("IoUSynth: the result could not be added to the scene")
        return Event(
            "error",
            message=f"The result could not be added to the scene ({error}); the scene is as it was. Start again.",
        )
    return Event("result", "finishing", 1.0, result)
