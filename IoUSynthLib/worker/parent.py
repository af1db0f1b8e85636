"""Synthesis, registration and examination in a child process that stays warm, so that the host lives when it dies.

Parent and child exchange JSON lines (:mod:`.messages`) over the child's stdin and stdout. Arrays travel through
memory-mapped files in a private temporary folder, which needs no resource tracker: that one would start another Slicer.
The child's stdout and stderr are files of that folder: a file can be read without blocking and without threads on every
system, no pipe can fill up, and Slicer does not let Python threads run while its event loop waits. The child ends, and
removes the folder, when its stdin closes, which the operating system does when the parent dies (:mod:`.process`).
:mod:`.child` is what it runs.

Nothing here imports Qt: call :meth:`Worker.poll` from a timer.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..doctor import Finding
from ..pipeline import Options
from ..synthesis.preoperative import Preoperative
from ..volume import InputError, Volume
from . import messages, shared_volumes
from .messages import PROTOCOL, Event
from .process import ChildProcess, describe_exit

#: Seconds that a cancelled child has to stop by itself before it is killed.
PATIENCE = 1.5


class Worker:
    """A child process that runs :func:`pipeline.synthesize`, :func:`registration.register` and :func:`doctor.examine`,
    one job at a time.

    Parameters
    ----------
    python
        Interpreter of the child; the default is this one. In Slicer, pass ``PythonSlicer``.
    """

    def __init__(self, python: str | Path | None = None) -> None:
        self._python = str(python or sys.executable)
        self._child: ChildProcess | None = None
        self._job = 0
        self._busy = False
        self._kill_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is under way, a cancelled one included until :meth:`poll` has told its end."""
        return self._busy

    def submit(
        self, volume: Volume, options: Options | None = None, *, preoperative: Preoperative | None = None
    ) -> None:
        """Start a job, and the child when there is none; the arguments are those of :func:`pipeline.synthesize_with`.

        Raises
        ------
        RuntimeError
            A job is under way.
        InputError
            The child cannot be started, or its folder cannot be written.
        """
        entry, volumes = messages.write_preoperative(preoperative)
        self._start(
            "synthesize", {"input": volume, **volumes}, options=messages.write_options(options or Options()), **entry
        )

    def submit_file(
        self, path: Path, output: Path, staging: Path, *, options: Options | None = None, again: bool = False
    ) -> None:
        """Start the work on a file; the arguments are those of :func:`outputs.case.synthesize_file`, and its result is
        an :class:`outputs.case.Written`.

        Raises
        ------
        RuntimeError, InputError
            As :meth:`submit`.
        """
        paths = {name: str(Path(value).resolve()) for name, value in (("output", output), ("staging", staging))}
        # Absolute, but no link followed: the child works in another folder, and a message names what was given.
        paths["path"] = os.path.abspath(path)
        self._start("file", {}, options=messages.write_options(options or Options()), again=again, **paths)

    def submit_registration(
        self,
        moving: Mapping[str, Volume],
        ultrasound: Volume,
        synthetic: Mapping[str, Volume],
        *,
        cavity: Volume | None = None,
        affine: bool = False,
        deformable: bool = False,
        landmarks: tuple[np.ndarray, np.ndarray] | None = None,
        initial: np.ndarray | None = None,
    ) -> None:
        """Start a registration; the arguments are those of :func:`registration.register`, and its result is a
        :class:`messages.Registered`.

        Raises
        ------
        RuntimeError, InputError
            As :meth:`submit`.
        """
        volumes = {"ultrasound": ultrasound} | ({} if cavity is None else {"cavity": cavity})
        volumes |= {f"{kind}-{name}": volume for kind, images in (("moving", moving), ("synthetic", synthetic))
                    for name, volume in images.items()}  # fmt: skip
        self._start(
            "register",
            volumes,
            affine=affine,
            deformable=deformable,
            landmarks=None if landmarks is None else [points.tolist() for points in landmarks],
            initial=None if initial is None else initial.tolist(),
        )

    def submit_examination(self, device: str = "auto", model: str | Path | None = None) -> None:
        """Start an examination; the arguments are those of :func:`doctor.examine`. Each :class:`doctor.Finding` comes
        as an event, and its result is the list of all.

        Raises
        ------
        RuntimeError, InputError
            As :meth:`submit`.
        """
        self._start("examine", {}, device=device, model=messages.write_model(model))

    def _start(self, command: str, volumes: Mapping[str, Volume], **options: Any) -> None:
        if self._busy:
            raise RuntimeError("the worker is busy: wait for its result, or cancel it")
        if self._child is None or not self._child.alive:
            self.close()
            self._child = ChildProcess(self._python)
        self._job += 1
        folder = self._child.folder
        try:
            files = {
                name: shared_volumes.write(folder, f"{name}-{self._job}", volume) for name, volume in volumes.items()
            }
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error}); free space in this folder") from error
        self._busy, self._kill_at = True, None
        # A child that died meanwhile is noticed by the next poll.
        self._child.send({"command": command, "job": self._job, "volumes": files, **options})

    def poll(self) -> list[Event]:
        """Return what has happened since the last call; never blocks. Also enforces the deadline of a cancel."""
        if self._child is None:
            return []
        alive = self._child.alive  # asked before reading, so that the last words of a child are not missed
        events: list[Event] = []
        for line in self._child.read_lines():
            events.extend(self._translate(line))
        if self._busy and not alive:
            events.append(self._died())
        elif self._busy and self._kill_at is not None and time.monotonic() > self._kill_at:
            self._discard_child()
            events.append(self._end(Event("cancelled")))
        return events

    def cancel(self) -> None:
        """Ask the child to stop; a :meth:`poll` after 1.5 s kills it if it has not. Returns at once."""
        if self._busy and self._kill_at is None and self._child is not None:
            self._kill_at = time.monotonic() + PATIENCE
            self._child.send({"command": "cancel", "job": self._job})

    def close(self) -> None:
        """Kill the child with all its children and remove its files. The next :meth:`submit` starts a fresh one."""
        self._discard_child()
        self._busy, self._kill_at = False, None

    def _discard_child(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None

    def _end(self, event: Event) -> Event:
        self._busy, self._kill_at = False, None
        return event

    def _translate(self, line: dict[str, Any]) -> list[Event]:
        kind = line.get("event")
        if kind == "ready":
            return self._check_version(line)
        if not self._busy or line.get("job") != self._job:
            return []
        if kind == "progress":
            return [] if self._kill_at else [Event("progress", line["stage"], line["fraction"])]
        if kind == "finding":
            return [] if self._kill_at else [Event("finding", result=Finding(**line["finding"]))]
        if kind == "result":
            result = None if self._kill_at else self._read_result(line)
            shared_volumes.remove(self._child.folder, line["volumes"])
            return [self._end(Event("cancelled") if result is None else Event("result", "finishing", 1.0, result))]
        if kind == "error" and not self._kill_at:
            return [self._end(Event("error", message=line["message"], details=line["details"]))]
        return [self._end(Event("cancelled"))] if kind in ("error", "cancelled") else []

    def _read_result(self, line: dict[str, Any]) -> messages.Result:
        folder = self._child.folder
        return messages.read_result(
            line, {name: shared_volumes.read(folder, entry) for name, entry in line["volumes"].items()}
        )

    def _check_version(self, line: dict[str, Any]) -> list[Event]:
        found = (line.get("protocol"), line.get("version"))
        if found == (PROTOCOL, __version__):
            return []
        self._discard_child()
        message = f"The worker runs another version of IoUSynth ({found[1]}, not {__version__}); restart the program."
        return [self._end(Event("error", message=message))] if self._busy else []

    def _died(self) -> Event:
        code, details = self._child.process.returncode, self._child.stderr_tail()
        cancelled = self._kill_at is not None
        self._discard_child()
        if cancelled:
            return self._end(Event("cancelled"))
        reason = describe_exit(code, details)
        message = f"The worker ended unexpectedly ({reason}); run again, which starts a fresh worker."
        return self._end(Event("error", message=message, details=details))
