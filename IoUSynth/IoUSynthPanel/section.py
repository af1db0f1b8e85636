"""What the sections of the panel are, and what each of them may ask of the panel."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import slicer
from slicer.i18n import tr as _

from .state import State

if TYPE_CHECKING:
    from slicer import vtkMRMLNode, vtkMRMLScalarVolumeNode

    from IoUSynth import IoUSynthLogic, IoUSynthParameterNode
    from IoUSynthLib.mrml.results import OutputNodes
    from IoUSynthLib.pipeline import Options
    from IoUSynthLib.worker.messages import Event


class Panel(Protocol):
    """The module's widget, as its sections know it: it runs one thing at a time, and says what it has to say.

    parent - The widget of Slicer that holds the panel.
    ui - The widgets of the panel, by their names.
    section - Whose run it is, or the last one was.
    parameters - The choices; None while another module is open.
    choices - The choices, whatever module is open.
    options - What is chosen for a synthesis, as it travels to the library.
    """

    parent: Any
    ui: Any
    logic: IoUSynthLogic
    state: State
    section: Section | None
    parameters: IoUSynthParameterNode | None
    choices: IoUSynthParameterNode
    options: Options

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in Resources."""

    def updateSections(self) -> None:
        """Let every section follow the panel's state and the choices."""

    def setState(self, state: State) -> None:
        """Say what the panel is doing from now on."""

    def startRun(self, section: Section, start: Callable[[], Any]) -> None:
        """Start the run of a section, and watch it; say so if it cannot start."""

    def startSynthesis(self) -> None:
        """Start a synthesis of the selected ultrasound."""

    def synthesizeWithMri(self) -> None:
        """Start a synthesis if it will read MRI beside the ultrasound."""

    def cancelRun(self) -> None:
        """Cancel the run that is under way."""

    def selectedOutputs(self) -> OutputNodes:
        """Return the selected output nodes."""

    def select(self, outputs: OutputNodes, inputVolumeNode: vtkMRMLScalarVolumeNode | None = None) -> None:
        """Select the nodes of a result, and the ultrasound that they were made from."""

    def show(
        self,
        outputs: OutputNodes,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None,
    ) -> None:
        """Lay out the views of a result, with the MRI laid over them as chosen."""

    def layMriOver(self) -> None:
        """Lay the MRI over the views as chosen."""

    def rememberSeconds(self, report: dict[str, Any]) -> None:
        """Keep how long a run took on this computer."""

    def showProgress(self, stage: str, fraction: float) -> None:
        """Show the stage and the fraction of a run."""

    def showMessage(self, text: str, warning: bool = False) -> None:
        """Show a message; an empty one takes the last away."""

    def showQuality(self, text: str) -> None:
        """Say how good a result is; the empty text takes away what was said."""

    def fail(self, message: str, details: str = "") -> None:
        """Show and log an error."""

    def log(self, text: str) -> None:
        """Write into the section Log."""


class Section:
    """A part of the panel: its widgets, what they do, and what comes of its run, if it has one.

    :param panel: the module's widget.
    """

    #: File in Resources/UI that has its widgets; empty where the panel's own file has them.
    UI_FILE = ""
    #: Widget of the panel above which those of the file are put.
    ABOVE = "logCollapsibleButton"
    #: Whether its run has lost its purpose when the scene is closed.
    USES_SCENE = True

    def __init__(self, panel: Panel) -> None:
        self.panel, self.ui = panel, panel.ui
        self._observed: list[tuple[vtkMRMLNode, int]] = []
        if self.UI_FILE:
            self.widget = slicer.util.loadUI(panel.resourcePath(f"UI/{self.UI_FILE}"))
            self.ui = slicer.util.childWidgetVariables(self.widget)
            below = getattr(panel.ui, self.ABOVE)
            layout = below.parentWidget().layout()
            layout.insertWidget(layout.indexOf(below), self.widget)

    def update(self) -> None:
        """Follow the panel's state and the choices."""

    def cleanup(self) -> None:
        """Let go of the scene, which is about to be closed, or the module to be unloaded."""
        self.unobserve()

    def observe(self, node: vtkMRMLNode, event: Any, callback: Callable[..., None]) -> None:
        """Call a function with node and event, until :meth:`unobserve` is called."""
        self._observed.append((node, node.AddObserver(event, callback)))

    def unobserve(self) -> None:
        """Observe nothing any more."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    # --- Its run

    @property
    def running(self) -> bool:
        """Whether what the panel does is the run of this section."""
        return self.panel.section is self and self.panel.state is not State.IDLE

    @property
    def progressUi(self) -> Any:
        """The widgets that show the progress of its run: those of the panel."""
        return self.panel.ui

    def onTimer(self) -> None:
        """Ask the logic what has happened in the run."""
        for event in self.panel.logic.poll():
            self.receive(event)

    def receive(self, event: Event) -> None:
        """Take what has happened in the run: its progress or its end."""
        if event.kind == "progress":
            if self.panel.state is State.RUNNING:
                self.panel.showProgress(event.stage, event.fraction)
            return
        self.panel.setState(State.IDLE)
        if event.kind == "result":
            job = self.panel.logic.runner.job
            self.logReport(job)
            self.finish(job)
        elif event.kind == "cancelled":
            self.panel.showMessage(self.cancelledText())
            self.panel.log(_("Cancelled"))
        else:
            self.panel.fail(event.message, event.details)

    def cancelledText(self) -> str:
        """Return what is said once the run was cancelled."""
        return _("Cancelled. The scene is as it was.")

    def finish(self, job: Any) -> None:
        """Say what came of the run."""

    def logReport(self, job: Any) -> None:
        """Write the report of a job into the log."""
        self.panel.log(_("Report: {report}").format(report=json.dumps(job.report, indent=1, default=str)))
