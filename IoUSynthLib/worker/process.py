"""The operating system's side of the child: its process, its private folder, its end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any, BinaryIO

from ..models.bundle import SEARCH_VARIABLE
from ..volume import InputError

_STDERR_TAIL = 4000

_CHILD_CODE = """import sys
sys.path.insert(0, sys.argv[1])
from IoUSynthLib.worker.child import serve
serve(sys.argv[2])"""


class ChildProcess:
    """The process, its private folder and its files.

    Raises
    ------
    InputError
        The process cannot be started, or no folder can be made for it.
    """

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


#: What the launcher PythonSlicer writes last when its child has crashed; it then exits with 1, whatever the signal was.
_LAUNCHER_CRASH = "exit abnormally"
#: From here on the exit codes of Windows are the exceptions that ended a process.
_WINDOWS_EXCEPTIONS = 0xC0000000


def describe_exit(code: int, details: str) -> str:
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
