"""What the parts of the module's logic share: one child process that does their jobs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .library import importLibrary

if TYPE_CHECKING:
    from IoUSynthLib.mrml.runner import SceneRunner
    from IoUSynthLib.pipeline import Options
    from IoUSynthLib.worker.messages import Event

#: A job, or a queue of jobs: ``IoUSynthLib.worker.jobs``.
Work = TypeVar("Work")


class JobLogic:
    """Does jobs one at a time in a child process that stays warm, so that a crash there leaves Slicer alive.

    Whatever takes ``wait`` waits for the end of its job or, where that is False, returns at once; :meth:`poll` then
    brings the job to its end.
    """

    #: From what the user chose by name to what travels to the library; the module's logic has it.
    options: Callable[..., Options]
    _runner: SceneRunner | None = None

    @property
    def runner(self) -> SceneRunner:
        """What does the jobs; made when first needed."""
        if self._runner is None:
            # sys.executable, too, is PythonSlicer in Slicer, but it is empty when Slicer did not find it at its start.
            python = shutil.which("PythonSlicer") or sys.executable
            self._runner = importLibrary("mrml.runner").SceneRunner(python)
        return self._runner

    def runJob(self, job: Work, *, wait: bool) -> Work:
        """Start a job, and return it at its end or at once.

        :raises InputError: it cannot start; says what to do.
        :raises RuntimeError: it failed or was cancelled; says why and what to do.
        """
        self.runner.start(job)
        return self.runner.wait() if wait else job

    def poll(self) -> list[Event]:
        """Return what happened since the last call; never waits."""
        return self._runner.poll() if self._runner else []

    def cancel(self) -> None:
        """Stop the job; the scene stays as it was."""
        if self._runner:
            self._runner.cancel()

    def close(self) -> None:
        """End the child process."""
        if self._runner:
            self._runner.close()
