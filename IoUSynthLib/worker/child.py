"""The child of :mod:`.parent`: works off jobs that arrive as JSON lines on stdin, and tells of them on stdout."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import shutil
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .. import __version__, parallel
from ..volume import InputError, Volume
from . import messages, shared_volumes
from .messages import PROTOCOL, Message


class _Commands:
    """Reads the parent's commands in a thread, so that a cancel arrives while the job runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.staging: str | None = None  # where the files of the latest case are written
        self.jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.cancelled: set[int] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            command = json.loads(line)
            if command["command"] == "cancel":
                self.cancelled.add(command["job"])
            else:
                self.staging = command.get("staging")
                self.jobs.put(command)
        # The parent is gone. It cannot remove the files any more, and nobody waits for a job.
        for folder in filter(None, (self.folder, self.staging)):
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def serve(folder: str) -> None:
    """Work off jobs until stdin closes: the child's main function."""
    # The protocol keeps the real stdout; what libraries print goes to the log.
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    parallel.threads()  # while there is memory for them
    commands = _Commands(Path(folder))
    protocol.write("\n")  # ends what start-up files may have printed
    _send(protocol, event="ready", protocol=PROTOCOL, version=__version__)
    while True:
        job = commands.jobs.get()
        _send(protocol, job=job["job"], **_run(job, commands, protocol))


def _send(stream: TextIO, **message: Any) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


class _Reporter:
    """Tells the parent how a job goes on, and stops the job when it was cancelled."""

    def __init__(self, job: int, commands: _Commands, protocol: TextIO) -> None:
        self._job, self._commands, self._protocol = job, commands, protocol

    def __call__(self, stage: str, fraction: float) -> None:
        """Tell the progress, as the functions that do the work want it told."""
        self.send("progress", stage=stage, fraction=fraction)

    def send(self, event: str, **message: Any) -> None:
        """Send a message that is not the job's last."""
        from ..inference import Cancelled

        if self._job in self._commands.cancelled:
            raise Cancelled
        _send(self._protocol, event=event, job=self._job, **message)


def _run(job: dict[str, Any], commands: _Commands, protocol: TextIO) -> dict[str, Any]:
    """Do a job and return its last message."""
    from ..inference import Cancelled

    progress = _Reporter(job["job"], commands, protocol)
    work, name = _WORK[job["command"]]
    try:
        volumes = {key: shared_volumes.read(commands.folder, entry) for key, entry in job["volumes"].items()}
        shared_volumes.remove(commands.folder, job["volumes"])
        message, results = work(job, volumes, progress)
        written = {key: shared_volumes.write(commands.folder, f"{key}-{job['job']}", results[key]) for key in results}
    except Cancelled:
        return {"event": "cancelled"}
    except InputError as error:
        return {"event": "error", "message": str(error), "details": ""}
    except MemoryError:
        message = "The volume needs more memory than is free; crop it to the fan, or close other programs."
        return {"event": "error", "message": message, "details": traceback.format_exc()}
    except Exception as error:  # whatever it is, the host must be told and the child must go on
        message = f"The {name} failed ({type(error).__name__}: {error}); see the details, and report this."
        return {"event": "error", "message": " ".join(message.split()), "details": traceback.format_exc()}
    return {"event": "result", "command": job["command"], "volumes": written, **message}


def _synthesize(job: dict[str, Any], volumes: dict[str, Volume], progress: _Reporter) -> Message:
    from ..pipeline import synthesize_with

    options = messages.read_options(job["options"])
    preoperative = messages.read_preoperative(job["preoperative"], volumes)
    return messages.write_synthesis(synthesize_with(volumes["input"], options, progress, preoperative=preoperative))


def _synthesize_file(job: dict[str, Any], _volumes: dict[str, Volume], progress: _Reporter) -> Message:
    from ..outputs.case import synthesize_file

    path, output, staging = (Path(job[name]) for name in ("path", "output", "staging"))
    options = messages.read_options(job["options"])
    written = synthesize_file(path, output, staging, options=options, again=job["again"], progress=progress)
    return messages.write_files(written)


def _register(job: dict[str, Any], volumes: dict[str, Volume], progress: _Reporter) -> Message:
    from ..registration import register

    def images(kind: str) -> dict[str, Volume]:
        return {key.partition("-")[2]: volume for key, volume in volumes.items() if key.startswith(f"{kind}-")}

    landmarks = job["landmarks"] and tuple(np.array(points).reshape(-1, 3) for points in job["landmarks"])
    result = register(
        images("moving"),
        volumes["ultrasound"],
        images("synthetic"),
        cavity=volumes.get("cavity"),
        affine=job["affine"],
        deformable=job["deformable"],
        landmarks=landmarks,
        initial=job["initial"] and np.array(job["initial"]),
        progress=progress,
    )
    return messages.write_registration(messages.Registered(result.matrix, result.deformation, result.report))


def _examine(job: dict[str, Any], _volumes: dict[str, Volume], progress: _Reporter) -> Message:
    from ..doctor import examine

    findings = []
    for finding in examine(job["device"], job["model"], progress):
        findings.append(finding)
        progress.send("finding", finding=dataclasses.asdict(finding))
    return messages.write_examination(findings)


#: What does a command, and what it is called when it fails.
_WORK = {
    "synthesize": (_synthesize, "synthesis"),
    "file": (_synthesize_file, "synthesis"),
    "register": (_register, "registration"),
    "examine": (_examine, "examination"),
}
