"""Synthesis and registration of nodes of the scene: from the nodes, through the child process, to new nodes; and the
examination before them, which needs no nodes.

Free of Qt: a timer of the panel or a loop of a script calls :meth:`SceneRunner.poll`.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..input_checks import check_ultrasound
from ..models.bundle import DEFAULT_GENERATOR, load
from ..outputs.batch import Batch
from ..volume import InputError, Volume
from ..worker.parent import Event, Worker
from . import nodes
from .transforms import parents, snapshot

if TYPE_CHECKING:
    import slicer

    from ..doctor import Finding
    from ..pipeline import SynthesisResult
    from .registration import RegistrationJob

_POLL_SECONDS = 0.02


@dataclass
class Job:
    """One synthesis, from the click to its nodes.

    Attributes
    ----------
    outputs
        Before the end: the nodes to fill again. After it: the nodes of the result.
    grid
        The input's grid when its voxels were read.
    source
        What the report says of the nodes, as they were then.
    report
        The report of the result, empty before the end.
    """

    input_node: slicer.vtkMRMLScalarVolumeNode
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None
    outputs: nodes.OutputNodes | None
    grid: nodes.Grid
    source: dict[str, Any]
    cancelled: bool = False
    report: dict[str, Any] = field(default_factory=dict)

    def problem(self) -> str:
        """Say what has changed in the scene so that the result cannot be used, or return the empty text."""
        if self.input_node.GetScene() is None:
            return "The input volume was removed while the images were made; select a volume and start again."
        return ""

    def add(self, result: SynthesisResult) -> None:
        """Put the result into the scene; nothing is added if that fails on the way."""
        if self.preoperative_node is not None and self.preoperative_node.GetScene() is None:
            self.preoperative_node = None
        result.report["input"] |= self.source
        self.outputs = nodes.add_result(result, self.input_node, self.preoperative_node, self.outputs, self.grid)
        self.report = result.report


@dataclass
class Examination:
    """One examination of the machine.

    Attributes
    ----------
    findings
        All of them, empty before the end.
    """

    cancelled: bool = False
    findings: list[Finding] = field(default_factory=list)

    def problem(self) -> str:
        """Return the empty text: no node takes part."""
        return ""

    def add(self, result: list[Finding]) -> None:
        """Keep the result; the scene stays as it is."""
        self.findings = result


class SceneRunner:
    """Runs one job at a time in a child process that stays warm between jobs.

    Parameters
    ----------
    python
        Interpreter for the child process.
    """

    def __init__(self, python: str) -> None:
        self.job: Job | RegistrationJob | Examination | Batch | None = None
        self._begun: list[Event] = []  # what the start of a batch has to say, for the next poll
        self._python = python
        self._worker: Worker | None = None

    @property
    def busy(self) -> bool:
        """Whether a job is under way or is still being cancelled."""
        return self._worker is not None and self._worker.busy

    def start(
        self,
        input_node: slicer.vtkMRMLScalarVolumeNode | None,
        preoperative_node: slicer.vtkMRMLScalarVolumeNode | None = None,
        model: str | None = None,
        device: str = "auto",
        outputs: nodes.OutputNodes | None = None,
        before_resection: bool = False,
    ) -> None:
        """Start a job and return at once.

        Raises
        ------
        InputError
            The input cannot be worked on, another job is running, or a package is missing.
        """
        self._check_ready("onnxruntime")
        nodes.check_measurable(input_node)
        volume = check_ultrasound(nodes.volume_from_node(input_node), f'volume "{input_node.GetName()}"')
        if preoperative_node is input_node:
            preoperative_node = None
        mr_grid, notes = patient_grid_of(input_node, preoperative_node, model)
        source = describe_source(input_node, preoperative_node)
        self.job = Job(input_node, preoperative_node, outputs, nodes.Grid.of(input_node), source)
        volume = replace(volume, notes=(*volume.notes, *notes))
        self._made_worker().submit(volume, model or None, device, mr_grid, before_resection)

    def start_registration(self, job: RegistrationJob) -> None:
        """Start a registration and return at once.

        Raises
        ------
        InputError
            The nodes cannot be used, another job is running, or a package is missing.
        """
        self._check_ready("SimpleITK")
        arguments = job.prepare()
        self.job = job
        self._made_worker().submit_registration(**arguments)

    def start_examination(self, device: str = "auto", model: str | None = None) -> None:
        """Start :func:`doctor.examine` in a fresh child process, free of what earlier runs opened; return at once.

        Raises
        ------
        InputError
            Another job is running, or the child cannot be started.
        """
        self._check_free()
        self.close()
        self.job = Examination()
        self._made_worker().submit_examination(device, model or None)

    def poll(self) -> list[Event]:
        """Return what happened since the last call; never waits.

        With the event "result" the nodes are in the scene and in ``job``.
        """
        if self._worker is None:
            return []
        events, self._begun = self._begun, []
        if not isinstance(self.job, Batch):
            return [self._receive(event) for event in self._worker.poll()]
        for event in self._worker.poll():
            events += self.job.receive(event, self._worker)
        return events

    def cancel(self) -> None:
        """Stop the job; the scene stays as it was."""
        if self.job is not None:
            self.job.cancelled = True
        if self._worker is not None:
            self._worker.cancel()

    def close(self) -> None:
        """End the child process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if isinstance(self.job, Batch):
            self.job.stop()  # after the child, which may still be writing
        self.job, self._begun = None, []

    def wait(self) -> Job | RegistrationJob | Examination | Batch:
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

    def start_batch(self, batch: Batch) -> None:
        """Start the work on many inputs and return at once; :meth:`poll` gives the progress of the whole.

        Raises
        ------
        InputError
            Another job is running, or a package is missing.
        """
        self._check_ready("onnxruntime")
        self.job = batch
        self._begun = batch.start(self._made_worker())

    def _check_free(self) -> None:
        if self.busy:
            raise InputError("A run is already under way; cancel it or wait for its end.")

    def _check_ready(self, package: str) -> None:
        self._check_free()
        importlib.invalidate_caches()  # it may have been installed a moment ago
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"The package {package} is not installed; install it in the section Before surgery, or run "
                f'slicer.util.pip_install("{package}") in the Python console, then try again.'
            )

    def _made_worker(self) -> Worker:
        if self._worker is None:
            self._worker = Worker(python=self._python)
        return self._worker

    def _receive(self, event: Event) -> Event:
        """Bring a result into the scene; pass anything else on."""
        job = self.job
        if event.kind != "result":
            return event
        if job is None or job.cancelled:
            return Event(kind="cancelled")
        if job.problem():
            return _error(job.problem())
        try:
            job.add(event.result)
        except Exception as error:
            logging.exception("IoUSynth: the result could not be added to the scene")
            return _error(f"The result could not be added to the scene ({error}); the scene is as it was. Start again.")
        return event


def describe_source(
    input_node: slicer.vtkMRMLScalarVolumeNode,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None,
    chain: Iterable[slicer.vtkMRMLTransformNode] | None = None,
) -> dict[str, Any]:
    """Return what a report says of the nodes a result is made of, as they are now.

    ``chain`` are the transforms above the input, the nearest first; by default those that are there.
    """
    return {
        "node": input_node.GetName(),
        "node_id": input_node.GetID(),
        "transforms": snapshot(parents(input_node) if chain is None else chain),
        "preoperative": preoperative_node.GetName() if preoperative_node is not None else None,
        "preoperative_id": preoperative_node.GetID() if preoperative_node is not None else None,
    }


def patient_grid_of(
    input_node: slicer.vtkMRMLScalarVolumeNode,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None,
    model: str | None,
) -> tuple[Volume | None, tuple[str, ...]]:
    """Return the patient's grid, and notes about it, for a model that wants it."""
    try:
        bundle = load(model or DEFAULT_GENERATOR)
    except InputError:
        return None, ()  # the child will say so
    if bundle.frame != "patient":
        return None, ()
    from .patient import patient_grid

    return patient_grid(input_node, preoperative_node, bundle.spacing)


def _error(message: str) -> Event:
    return Event(kind="error", message=message)
