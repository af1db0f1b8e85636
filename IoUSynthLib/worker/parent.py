"""Synthesis, registration and examination in a child process that stays warm, so that the host lives when it dies.

Parent and child exchange JSON lines over the child's stdin and stdout. Arrays travel through memory-mapped files in a
private temporary folder, which needs no resource tracker: that one would start another Slicer. The child's stdout and
stderr are files of that folder: a file can be read without blocking and without threads on every system, no pipe can
fill up, and Slicer does not let Python threads run while its event loop waits. The child ends, and removes the folder,
when its stdin closes, which the operating system does when the parent dies. :mod:`.child` is what it runs.

Nothing here imports Qt: call :meth:`Worker.poll` from a timer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .. import __version__
from ..doctor import Finding
from ..models.bundle import SEARCH_VARIABLE
from ..volume import InputError, Volume
from . import shared_volumes
from .child import AXES, PROTOCOL

if TYPE_CHECKING:
    from ..outputs.batch import Written
    from ..pipeline import SynthesisResult
    from ..registration.deformable import Deformation

#: Seconds that a cancelled child has to stop by itself before it is killed.
PATIENCE = 1.5

_STDERR_TAIL = 4000

_CHILD_CODE = """import sys
sys.path.insert(0, sys.argv[1])
from IoUSynthLib.worker.child import serve
serve(sys.argv[2])"""


@dataclasses.dataclass(frozen=True, eq=False)
class Registered:
    """What the child found of a registration.

    Attributes
    ----------
    matrix
        4x4, from LPS points of the ultrasound to LPS points of the MRI.
    deformation
        The displacement that comes before it, where one was asked for.
    report
        That of :func:`registration.register`.
    """

    matrix: np.ndarray
    deformation: Deformation | None
    report: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened in the child.

    Attributes
    ----------
    kind
        ``progress``, ``finding``, ``result``, ``error`` or ``cancelled``; the last three end the job.
    stage, fraction
        Of the work, for ``progress``; the fraction is overall, in [0, 1].
    result
        For ``result``, and for ``finding``: the next one of an examination.
    message
        For ``error``: one line with cause and remedy.
    details
        For ``error``: what the child wrote last, or its traceback.
    """

    kind: str
    stage: str = ""
    fraction: float = 0.0
    result: SynthesisResult | Registered | Written | Finding | list[Finding] | None = None
    message: str = ""
    details: str = ""


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
        self._child: _Child | None = None
        self._job = 0
        self._busy = False
        self._kill_at: float | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is under way, a cancelled one included until :meth:`poll` has told its end."""
        return self._busy

    def submit(
        self,
        volume: Volume,
        model: str | Path | None = None,
        device: str = "auto",
        mr_grid: Volume | None = None,
        before_resection: bool = False,
    ) -> None:
        """Start a job, and the child when there is none; the arguments are those of :func:`pipeline.synthesize`.

        Raises
        ------
        RuntimeError
            A job is under way.
        InputError
            The child cannot be started, or its folder cannot be written.
        """
        grid = None if mr_grid is None else shared_volumes.geometry(mr_grid)
        options = {"device": device, "model": _from_anywhere(model), "mr_grid": grid}
        self._start("synthesize", {"input": volume}, before_resection=before_resection, **options)

    def submit_file(
        self,
        path: Path,
        output: Path,
        staging: Path,
        model: str | Path | None,
        device: str,
        again: bool,
        before_resection: bool = False,
    ) -> None:
        """Start the work on a file; the arguments are those of :func:`batch.synthesize_file`, and its result is a
        :class:`batch.Written`.

        Raises
        ------
        RuntimeError, InputError
            As :meth:`submit`.
        """
        paths = {name: str(Path(value).resolve()) for name, value in (("output", output), ("staging", staging))}
        # Absolute, but no link followed: the child works in another folder, and a message names what was given.
        paths["path"] = os.path.abspath(path)
        options = {"device": device, "again": again, "before_resection": before_resection}
        self._start("file", {}, model=_from_anywhere(model), **options, **paths)

    def submit_registration(
        self,
        moving: Mapping[str, Volume],
        ultrasound: Volume,
        synthetic: Mapping[str, Volume],
        cavity: Volume | None = None,
        affine: bool = False,
        deformable: bool = False,
        landmarks: tuple[np.ndarray, np.ndarray] | None = None,
        initial: np.ndarray | None = None,
    ) -> None:
        """Start a registration; the arguments are those of :func:`registration.register`, and its result is a
        :class:`Registered`.

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
        self._start("examine", {}, device=device, model=_from_anywhere(model))

    def _start(self, command: str, volumes: Mapping[str, Volume], **options: Any) -> None:
        if self._busy:
            raise RuntimeError("the worker is busy: wait for its result, or cancel it")
        if self._child is None or not self._child.alive:
            self.close()
            self._child = _Child(self._python)
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
            result = None if self._kill_at else _read_result(self._child.folder, line)
            shared_volumes.remove(self._child.folder, line["volumes"])
            return [self._end(Event("cancelled") if result is None else Event("result", "finishing", 1.0, result))]
        if kind == "error" and not self._kill_at:
            return [self._end(Event("error", message=line["message"], details=line["details"]))]
        return [self._end(Event("cancelled"))] if kind in ("error", "cancelled") else []

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
        reason = _describe_exit(code, details)
        message = f"The worker ended unexpectedly ({reason}); run again, which starts a fresh worker."
        return self._end(Event("error", message=message, details=details))


def _from_anywhere(model: str | Path | None) -> str | None:
    """Return a model's name, or its absolute path: the child works in another folder."""
    if model is None:
        return None
    return str(model) if Path(model).parent == Path() else str(Path(model).resolve())


#: What the launcher PythonSlicer writes last when its child has crashed; it then exits with 1, whatever the signal was.
_LAUNCHER_CRASH = "exit abnormally"
#: From here on the exit codes of Windows are the exceptions that ended a process.
_WINDOWS_EXCEPTIONS = 0xC0000000


def _describe_exit(code: int, details: str) -> str:
    """Say how a child ended, from its exit code, or that of a launcher or shell before it, and its last words."""
    if "bad_alloc" in details:
        return "out of memory"
    if code == 1 and _LAUNCHER_CRASH in details.rpartition("\n")[2]:
        return "crashed, stopped from outside or out of memory"
    if code >= _WINDOWS_EXCEPTIONS:
        return f"crashed or out of memory: exception 0x{code:08X}"
    number = -code if code < 0 else code - 128  # as shells tell the signal of their child
    with contextlib.suppress(ValueError):
        name = signal.Signals(number).name
        return f"{name}: stopped from outside or out of memory" if name == "SIGKILL" else name
    return f"signal {number}" if code < 0 else f"exit code {code}"


class _Child:
    """The process, its private folder and its files."""

    def __init__(self, python: str) -> None:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="iousynth-"))  # readable for the user only
        except OSError as error:
            raise InputError(f"{tempfile.gettempdir()}: no temporary folder can be made there ({error})") from error
        library = str(Path(__file__).resolve().parents[2])
        try:
            with open(self.folder / "stdout", "wb") as out, open(self.folder / "stderr", "wb") as log:
                self.process = subprocess.Popen(
                    [python, "-c", _CHILD_CODE, library, str(self.folder)],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=log,
                    cwd=self.folder,  # holds no Python files that could pass for modules
                    env=_environment(),
                    **_own_group(),
                )
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise InputError(f"{python}: the worker cannot be started ({error}); check the interpreter") from error
        self._stdout: BinaryIO = open(self.folder / "stdout", "rb")  # noqa: SIM115  # read on and on, closed below
        self._rest = b""
        # Runs at the latest when the parent's interpreter ends.
        self._finalizer = weakref.finalize(self, _end_child, self.process, self._stdout, self.folder)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def send(self, command: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            self.process.stdin.flush()

    def read_lines(self) -> list[dict[str, Any]]:
        """Return the complete lines that the child has written since the last call."""
        *lines, self._rest = (self._rest + self._stdout.read()).split(b"\n")
        return [message for message in map(_parse, lines) if message is not None]

    def stderr_tail(self) -> str:
        with contextlib.suppress(OSError):
            return (self.folder / "stderr").read_bytes()[-_STDERR_TAIL:].decode(errors="replace").strip()
        return ""

    def close(self) -> None:
        self._finalizer()


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return a line of the protocol, or None for what Python's start-up files may have printed before it."""
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _environment() -> dict[str, str]:
    """Return the environment with absolute model folders: the child works in another folder."""
    folders = os.environ.get(SEARCH_VARIABLE)
    if not folders:
        return dict(os.environ)
    absolute = (str(Path(part).resolve()) for part in folders.split(os.pathsep) if part)
    return {**os.environ, SEARCH_VARIABLE: os.pathsep.join(absolute)}


def _own_group() -> dict[str, Any]:
    """Return options of Popen that let the whole tree be ended: PythonSlicer is a launcher with a child of its own."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def _end_child(process: subprocess.Popen, stdout: BinaryIO, folder: Path) -> None:
    if sys.platform == "win32":
        if process.poll() is None:
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(process.pid)],
                capture_output=True,
                check=False,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # also what a dead launcher may have left behind
    with contextlib.suppress(OSError):
        process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=2.0)
    stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


def _read_result(folder: Path, line: dict[str, Any]) -> SynthesisResult | Registered | Written | list[Finding]:
    if "findings" in line:
        return [Finding(**finding) for finding in line["findings"]]
    if "files" in line:
        from ..outputs.batch import Written

        return Written(line["report"], line["files"], line["earlier"])
    volumes = {name: shared_volumes.read(folder, entry) for name, entry in line["volumes"].items()}
    if "matrix" in line:
        return Registered(np.array(line["matrix"]), _read_deformation(line, volumes), line["report"])
    from ..pipeline import SynthesisResult

    return SynthesisResult(
        images={name: volumes[name] for name in line["images"]},
        uncertainty=volumes.get("uncertainty"),
        segmentation=volumes["segmentation"],
        valid=volumes["valid"],
        report=line["report"],
    )


def _read_deformation(line: dict[str, Any], volumes: dict[str, Volume]) -> Deformation | None:
    if "taper" not in volumes:
        return None
    from ..registration.deformable import Deformation

    field = np.stack([volumes[axis].array for axis in AXES], axis=-1)
    return Deformation(field, volumes["taper"], *line["similarity"])
