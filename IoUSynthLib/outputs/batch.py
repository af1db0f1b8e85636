"""Many inputs, one after the other; one that is bad does not stop the rest.

The command line, the Python console of Slicer and the module's panel all make a file's images by
:func:`synthesize_file`. The command line calls it itself; Slicer lets its child process do so and follows it through a
:class:`Batch`, which never waits.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..files.dicom import is_dicom, is_directory_file
from ..files.integrity import file_sha256, replace_file
from ..files.names import is_volume, role_of
from ..files.paths import case_name
from ..files.volumes import read_volume
from ..input_checks import check_ultrasound
from ..volume import InputError, Volume
from .case_files import (
    KINDS,
    Staging,
    check_acquired,
    check_length,
    is_synthetic,
    output_names,
    remove_stale,
    write_outputs,
)

if TYPE_CHECKING:
    from ..progress import Progress
    from ..worker.parent import Event, Worker

#: The table that a batch leaves in its output folder.
SUMMARY = "summary.csv"

#: States of an input: not begun; under way; made now; complete from an earlier run; no result; not begun when the
#: batch was cancelled.
STATES = ("waiting", "running", "done", "skipped", "failed", "cancelled")


@dataclass
class Outcome:
    """What became of one input: a row of the summary.

    Attributes
    ----------
    name
        The path as it was given, or a frame of a sequence.
    state
        One of :data:`STATES`.
    seconds
        That the run took, of an earlier run where the state is ``skipped``.
    tumour_ml, cavity_ml
        Volumes in millilitres.
    tumour_expected_dice, cavity_expected_dice
        How far to trust the outlines, 0 to 1; None where there is none.
    error
        Cause and remedy in one line, where the state is ``failed``.
    """

    name: str
    state: str = "waiting"
    seconds: float | None = None
    tumour_ml: float | None = None
    cavity_ml: float | None = None
    tumour_expected_dice: float | None = None
    cavity_expected_dice: float | None = None
    error: str = ""

    def succeed(self, report: dict[str, Any], state: str = "done") -> None:
        """Take time and volumes out of a report."""
        self.state, self.seconds = state, report["seconds"]["total"]
        self.tumour_ml, self.cavity_ml = (round(report["volumes_ml"][label], 2) for label in ("tumour", "cavity"))
        expected = report.get("expected_dice", {})  # reports of versions up to 0.3.2 have none
        self.tumour_expected_dice, self.cavity_expected_dice = expected.get("tumour"), expected.get("cavity")

    def fail(self, error: object) -> None:
        """Say why there is no result."""
        self.state, self.error = "failed", " ".join(str(error).split())


_COLUMNS = ("state", "seconds", "tumour_ml", "cavity_ml", "tumour_expected_dice", "cavity_expected_dice", "error")


def write_summary(file: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the table as CSV, whole or not at all.

    Raises
    ------
    InputError
        It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            replace_file(file) as partial,
            open(partial, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(["file", *_COLUMNS])
            writer.writerows([o.name, *(getattr(o, column) for column in _COLUMNS)] for o in outcomes)
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}); close it in other programs") from error


def count_states(outcomes: Sequence[Outcome]) -> str:
    """Say how many inputs are in which state, for example "17 done, 3 failed"."""
    counts = Counter(outcome.state for outcome in outcomes)
    return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])


# Inputs ---------------------------------------------------------------------------------------------------------------


def find_inputs(paths: Sequence[str | Path]) -> list[Path]:
    """Replace each folder by the volumes and DICOM series in it; everything else stays as it was given.

    Of the volumes in one folder, those named as ultrasound are taken where there are such, else all. Synthetic images
    are left out, and subfolders are looked into where the folder itself holds no volume. A folder in which nothing is
    found stays, too: reading it says what is wrong.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        found += (_inside(path) or [path]) if path.is_dir() else [path]
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> list[Path]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    volumes = [path for path in entries if is_volume(path) and not _is_result(path)]
    if volumes:
        named = [path for path in volumes if role_of(path) == "ultrasound"]
        return named or [path for path in volumes if role_of(path) != "labels"] or volumes
    if any(path.is_file() and is_dicom(path) and not is_directory_file(path) for path in entries):
        return [folder]
    return [path for entry in entries if entry.is_dir() for path in _inside(entry)]


def _is_result(file: Path) -> bool:
    return file.name.endswith(tuple(f"_{kind}.nii.gz" for kind in KINDS)) and is_synthetic(file)


def output_folders(inputs: Sequence[Path], output: Path) -> list[Path]:
    """Return the folder for the results of each input.

    That is ``output``. Where inputs have the same name, as in a folder a patient, it is the folder of the input's own
    place in the one that holds all of them: ``cohort/P1/ioUS.nrrd`` goes to ``output/P1``.

    Raises
    ------
    InputError
        Results would overwrite each other or an input.
    """
    folders = [output for _ in inputs]
    if len({case_name(path) for path in inputs}) < len(inputs):
        parents = [os.path.dirname(os.path.abspath(path)) for path in inputs]
        with contextlib.suppress(ValueError):  # on several drives
            folders = [output / os.path.relpath(parent, os.path.commonpath(parents)) for parent in parents]
    _check_names(inputs, folders)
    return folders


def _check_names(inputs: Sequence[Path], folders: Sequence[Path]) -> None:
    written: dict[Path, Path] = {}
    for path, folder in zip(inputs, folders, strict=True):
        for name in output_names(case_name(path)):
            target = (folder / name).resolve()
            if target in written and written[target] != path:
                raise InputError(f"{path}: has the same name as {written[target]}; use one output folder for each")
            written[target] = path
    for path in inputs:
        if path.resolve() in written:
            raise InputError(f"{path}: would be overwritten by a result; choose another output folder")


# One file -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """The files of a case.

    Attributes
    ----------
    report
        What ``CASE_report.json`` holds.
    files
        Their names.
    earlier
        Whether they are of an earlier run, so that nothing was done.
    """

    report: dict[str, Any]
    files: list[str]
    earlier: bool = False


def synthesize_file(
    path: Path,
    output: Path,
    staging: Path,
    model: str | None = None,
    device: str = "auto",
    again: bool = False,
    preoperative: Volume | None = None,
    mr_grid: Volume | None = None,
    progress: Progress | None = None,
    before_resection: bool = False,
) -> Written:
    """Make the images of a file, unless they are there already.

    Parameters
    ----------
    path
        Ultrasound volume, or folder with one DICOM series.
    output
        Where the files will be; what is complete there is not made again, unless ``again``. Complete means: all files
        that the report names are there, and it was made of the same input, with the same models and for the same phase
        of the surgery.
    staging
        Where the files are written: the ``folder`` of a :class:`outputs.Staging` of ``output``.
    model, device, mr_grid, progress, before_resection
        As in :func:`pipeline.synthesize`.
    preoperative
        MRI to show in the picture.

    Raises
    ------
    InputError
        The file, the model or the device cannot be used; names the file.
    """
    from ..pipeline import load_models, synthesize

    progress = progress or (lambda _stage, _fraction: None)
    progress("reading", 0.0)
    started = time.perf_counter()
    check_length(path, output_names(case_name(path)))
    check_acquired(path)
    given = {"file": path.name, "file_sha256": _sha256(path), **_describe_mri(preoperative, mr_grid)}
    if not again:
        made_with = {**load_models(model).describe(), "before_resection": before_resection}
        report = _complete(output, case_name(path), given, made_with)
        if report is not None:
            return Written(report, report["files"], earlier=True)
    volume = read_volume(path)
    volume = check_ultrasound(volume, str(path))
    mri = [warning for image in (preoperative, mr_grid) if image is not None for warning in image.warnings]
    volume = replace(volume, warnings=(*volume.warnings, *dict.fromkeys(f"Preoperative MRI: {text}" for text in mri)))
    reading = round(time.perf_counter() - started, 3)
    try:
        result = synthesize(volume, model, device, progress, mr_grid, before_resection)
    except InputError as error:
        raise InputError(str(error).replace("input volume", str(path), 1)) from error
    if any(image is not None and not _covers(image, result.valid) for image in (preoperative, mr_grid)):
        result.report["warnings"].append("The preoperative MRI does not cover the ultrasound: another patient?")
    result.report["input"] = {**given, **result.report["input"]}
    seconds = result.report["seconds"]
    result.report["seconds"] = {"reading": reading, **seconds, "total": round(reading + seconds["total"], 3)}
    return Written(result.report, write_outputs(staging, case_name(path), volume, result, preoperative))


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder in the order of their names."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    try:
        return file_sha256(*files)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def _describe_mri(preoperative: Volume | None, mr_grid: Volume | None) -> dict[str, Any]:
    """Return what else went into a result, for the report: voxels and place of the MRI, of a grid the place alone."""
    from ..synthesis.report import voxels_sha256

    described: dict[str, Any] = {"preoperative_sha256": None, "preoperative_grid": None, "mri_grid": None}
    for name, mri in (("preoperative_grid", preoperative), ("mri_grid", mr_grid)):
        if mri is not None:
            described[name] = {"size": list(mri.size), "ijk_to_lps": mri.ijk_to_lps.tolist()}
    if preoperative is not None:
        described["preoperative_sha256"] = voxels_sha256(preoperative)
    return described


def _complete(output: Path, case: str, given: dict[str, Any], made_with: dict[str, Any]) -> dict[str, Any] | None:
    """Return the report of an earlier run if it made the same, and all of it is there."""
    try:
        report = json.loads((output / f"{case}_report.json").read_text(encoding="utf-8"))
        described = {key: report["input"].get(key) for key in given}
        there = all((output / name).stat().st_size > 0 for name in report["files"])
        same = described == given and {key: report[key] for key in made_with} == made_with
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or of another program
        return None
    return report if there and same else None


def _covers(mri: Volume, valid: Volume) -> bool:
    """Tell whether the middle of the ultrasound fan lies inside the MRI's grid."""
    import numpy as np

    middle = np.argwhere(valid.array).mean(axis=0)[::-1]
    place = np.linalg.inv(mri.ijk_to_lps) @ valid.ijk_to_lps @ [*middle, 1.0]
    return bool((place[:3] >= 0).all() and (place[:3] <= np.array(mri.size) - 1).all())


# In a child process ---------------------------------------------------------------------------------------------------


class Item(Protocol):
    """One input of a :class:`Batch`."""

    outcome: Outcome

    def start(self, worker: Worker) -> None:
        """Give the input to the worker; raises what says why it cannot be used."""

    def finish(self, result: Any) -> None:
        """Take what the worker made of it, and say so in ``outcome``."""

    def abort(self) -> None:
        """Leave nothing behind: there will be no result."""


class FileItem:
    """A file whose images are written into a folder; the arguments are those of :func:`synthesize_file`."""

    def __init__(
        self,
        path: Path,
        output: Path,
        model: str | None = None,
        device: str = "auto",
        again: bool = False,
        before_resection: bool = False,
    ) -> None:
        self.outcome = Outcome(str(path))
        self._path, self._output, self._options = path, output, (model, device, again, before_resection)
        self._staging: Staging | None = None

    def start(self, worker: Worker) -> None:
        self._staging = Staging(self._output)
        worker.submit_file(self._path, self._output, self._staging.folder, *self._options)

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
class Batch:
    """Gives inputs to a worker one after the other.

    Attributes
    ----------
    items
        The inputs.
    summary
        File for the table, brought up to date after each input; None for no file.
    conclude
        Called once, when no more inputs will be worked on, also when that is because of a cancel.
    current
        Number of the input that is under way.
    cancelled
        Set it together with cancelling the worker.
    """

    items: Sequence[Item]
    summary: Path | None = None
    conclude: Callable[[], None] = lambda: None
    current: int = field(default=-1, init=False)
    cancelled: bool = field(default=False, init=False)

    @property
    def outcomes(self) -> list[Outcome]:
        """The rows of the table."""
        return [item.outcome for item in self.items]

    @property
    def report(self) -> dict[str, Any]:
        """The table and its totals, for a log."""
        return {"summary": count_states(self.outcomes), "table": [vars(outcome) for outcome in self.outcomes]}

    def start(self, worker: Worker) -> list[Event]:
        """Give the next input to the worker that can be given to it; the event "result" where none is left."""
        from ..worker.parent import Event

        while self.current + 1 < len(self.items):
            self.current += 1
            item = self.items[self.current]
            try:
                item.start(worker)
            except (ValueError, OSError) as error:
                self._end(item, lambda item=item, error=error: item.outcome.fail(error))
                continue
            item.outcome.state = "running"
            return [Event("progress", "starting", self.current / len(self.items))]
        self.conclude()
        return [Event("result", fraction=1.0)]

    def receive(self, event: Event, worker: Worker) -> list[Event]:
        """Take an event of the worker, start the next input if it was the end of one, and say what that means for the
        whole."""
        from ..worker.parent import Event

        item = self.items[self.current]
        if event.kind == "progress":
            return [Event("progress", event.stage, (self.current + event.fraction) / len(self.items))]
        if self.cancelled or event.kind == "cancelled":
            self.stop()
            return [Event("cancelled")]
        if event.kind == "result":
            self._end(item, lambda: item.finish(event.result))
        else:
            self._end(item, lambda: item.outcome.fail(event.message))
        return self.start(worker)

    def stop(self) -> None:
        """End it, if it has not ended: what has no result yet will have none."""
        left = [item for item in self.items if item.outcome.state in ("waiting", "running")]
        if not left:
            return
        self.cancelled = True
        for item in left:
            item.abort()
            item.outcome.state = "cancelled"
        self._write()
        self.conclude()

    def _end(self, item: Item, say: Callable[[], None]) -> None:
        try:
            say()
        except Exception as error:  # whatever it is, the others go on
            item.outcome.fail(error if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        if item.outcome.state == "failed":
            item.abort()
        self._write()

    def _write(self) -> None:
        if self.summary is not None:
            try:
                write_summary(self.summary, self.outcomes)
            except InputError as error:  # the images matter more than their table
                logging.error("IoUSynth: %s", error)
