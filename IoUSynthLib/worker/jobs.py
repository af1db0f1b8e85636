"""What a host gives to the child process: one job, or many of them one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..files.paths import case_name
from ..outputs.case import Written
from ..outputs.case_files import Staging, remove_stale
from ..outputs.summary import Outcome, count_states, write_summary
from ..pipeline import Options
from ..volume import InputError
from .messages import Event
from .parent import Worker


class Job(Protocol):
    """One piece of work, from the nodes or the file that it is done on to those that come of it.

    Attributes
    ----------
    package
        What must be installed for it; empty for nothing.
    """

    package: str = "onnxruntime"

    def start(self, worker: Worker) -> None:
        """Read what the work is done on, and give it to the worker.

        Raises
        ------
        InputError
            It cannot be worked on, or the worker cannot be started.
        """

    def check(self) -> None:
        """Raise :class:`InputError` where the result can be of no use any more: what it belongs to has gone."""

    def finish(self, result: Any) -> None:
        """Put the result where it belongs; where that fails, nothing of it stays."""

    def abort(self) -> None:
        """Leave nothing behind: there will be no result."""


class QueuedJob(Job, Protocol):
    """A job of a :class:`Queue`; says in ``outcome`` what became of it."""

    outcome: Outcome


class FileJob(QueuedJob):
    """A file whose images are written into a folder; the arguments are those of :func:`case.synthesize_file`."""

    def __init__(self, path: Path, output: Path, options: Options | None = None, *, again: bool = False) -> None:
        self.outcome = Outcome(str(path))
        self._path, self._output, self._options, self._again = path, output, options, again
        self._staging: Staging | None = None

    def start(self, worker: Worker) -> None:
        self._staging = Staging(self._output)
        worker.submit_file(self._path, self._output, self._staging.folder, options=self._options, again=self._again)

    def finish(self, result: Written) -> None:
        try:
            if not result.earlier:
                self._staging.keep()
                remove_stale(self._output, case_name(self._path), result.files)
        finally:
            self.abort()
        self.outcome.succeed(result.report, "skipped" if result.earlier else "done")

    def abort(self) -> None:
        if self._staging is not None:
            self._staging.discard()
            self._staging = None


@dataclass
class Queue:
    """Gives jobs to a worker one after the other, and never waits; one that is bad does not stop the rest.

    Attributes
    ----------
    jobs
        What is to be done.
    summary
        File for the table, brought up to date after each job; None for no file.
    conclude
        Called once, when no more jobs will be done, also when that is because of a cancel.
    current
        Number of the job that is under way.
    """

    jobs: Sequence[QueuedJob]
    summary: Path | None = None
    conclude: Callable[[], None] = lambda: None
    current: int = field(default=-1, init=False)
    package = "onnxruntime"

    @property
    def outcomes(self) -> list[Outcome]:
        """The rows of the table."""
        return [job.outcome for job in self.jobs]

    @property
    def report(self) -> dict[str, Any]:
        """The table and its totals, for a log."""
        return {"summary": count_states(self.outcomes), "table": [vars(outcome) for outcome in self.outcomes]}

    def start(self, worker: Worker) -> list[Event]:
        """Start the next job that can be started; the event "result" where none is left."""
        while self.current + 1 < len(self.jobs):
            self.current += 1
            job = self.jobs[self.current]
            try:
                job.start(worker)
            except (ValueError, OSError) as error:
                self._fail(job, error)
                continue
            job.outcome.state = "running"
            return [Event("progress", "starting", self.current / len(self.jobs))]
        self.conclude()
        return [Event("result", fraction=1.0)]

    def receive(self, event: Event, worker: Worker) -> list[Event]:
        """Take an event of the worker, start the next job if it was the end of one, and say what that means for the
        whole."""
        job = self.jobs[self.current]
        if event.kind == "progress":
            return [Event("progress", event.stage, (self.current + event.fraction) / len(self.jobs))]
        if event.kind == "cancelled":
            self.stop()
            return [event]
        if event.kind == "result":
            self._finish(job, event.result)
        else:
            self._fail(job, event.message)
        return self.start(worker)

    def stop(self) -> None:
        """End it, if it has not ended: what has no result yet will have none."""
        left = [job for job in self.jobs if job.outcome.state in ("waiting", "running")]
        if not left:
            return
        for job in left:
            job.abort()
            job.outcome.state = "cancelled"
        self._write()
        self.conclude()

    def _finish(self, job: QueuedJob, result: Any) -> None:
        try:
            job.check()
            job.finish(result)
        except Exception as error:  # whatever it is, the others go on
            self._fail(job, error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        else:
            self._write()

    def _fail(self, job: QueuedJob, error: object) -> None:
        job.outcome.fail(error)
        job.abort()
        self._write()

    def _write(self) -> None:
        if self.summary is not None:
            try:
                write_summary(self.summary, self.outcomes)
            except InputError as error:  # the images matter more than their table
                logging.error("IoUSynth: %s", error)
