"""The panel's verdict on the input, before a run."""

import html
from typing import Any

import qt
import vtk
from slicer import vtkMRMLTransformableNode, vtkMRMLVolumeNode
from slicer.i18n import tr as _

from .colors import AMBER, GREEN, RED, marked
from .library import importLibrary

#: Colours of the mark before the verdict.
COLORS = {"fine": GREEN, "look": AMBER, "unusable": RED}
#: How long voxels must rest before they are judged again: a live reconstruction writes them several times a second.
REST_MILLISECONDS = 500
#: Slicer's own functions tell the second when they replace voxels, or only the first.
VOXEL_EVENTS = (vtk.vtkCommand.ModifiedEvent, vtkMRMLVolumeNode.ImageDataModifiedEvent)


def voxelState(node: Any) -> tuple[str, int]:
    """Return what changes whenever another volume is chosen or its voxels are replaced."""
    image = node.GetImageData()
    return node.GetID(), image.GetMTime() if image is not None else 0


class InputLogic:
    """What the logic of the module can say of an input; free of Qt."""

    def judgeInput(self, inputVolumeNode: Any, model: str = "") -> Any:
        """Judge an ultrasound volume, as ``input_verdict.Verdict``; its voxels are not copied.

        That takes 0.1 s; the first time, the file it was loaded from is read through, too.
        """
        bundle = importLibrary("models.bundle")
        try:
            generator = bundle.load(model or bundle.DEFAULT_GENERATOR)
        except ValueError:
            generator = None  # a run will say so
        return importLibrary("mrml.nodes").judge_input(inputVolumeNode, generator)


    def inputSpacing(self, inputVolumeNode: Any) -> tuple[float, ...]:
        """Return the voxel size in mm that a volume is measured with, transforms that scale included."""
        return importLibrary("mrml.nodes").spacing_of(inputVolumeNode)


class InputSection:
    """The line below the inputs that says whether the ultrasound can be worked on.

    :param panel: the module's widget.
    """

    def __init__(self, panel: Any) -> None:
        self.panel, self.label = panel, panel.ui.inputVerdictLabel
        self._judged: tuple[Any, ...] | None = None  # state of the input, and model
        self._observed: list[tuple[Any, int]] = []
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(REST_MILLISECONDS)
        self.timer.connect("timeout()", self.judge)
        self.label.setVisible(False)

    def cleanup(self) -> None:
        """Let go of the input."""
        self.timer.stop()
        self._judged = None
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    def update(self) -> None:
        """Judge the input if another one, or another model, is chosen."""
        parameters = self.panel.parameters
        node = parameters.inputVolume if parameters else None
        if any(observed is not node for observed, _tag in self._observed):
            self.cleanup()
        if node is None:
            self.label.setVisible(False)
            return
        if not self._observed:
            self._observed = [(node, node.AddObserver(event, self.onChanged)) for event in VOXEL_EVENTS]
            moved = vtkMRMLTransformableNode.TransformModifiedEvent
            self._observed.append((node, node.AddObserver(moved, self.onMoved)))
        if node.GetImageData() is None:  # it is being loaded, or there is nothing to load
            self.timer.start()
        elif self._judged is None or self._judged[-1] != parameters.model:
            self.judge()

    def onChanged(self, _caller: Any = None, _event: Any = None) -> None:
        """Judge again once the volume rests."""
        self.timer.start()

    def onMoved(self, node: Any, _event: Any = None) -> None:
        """Judge again if a transform above the volume changes its scale; a tracker only moves it."""
        known = self._judged is not None and node.GetImageData() is not None
        if known and self.panel.logic.inputSpacing(node) not in self._judged:
            self.timer.start()

    def judge(self) -> None:
        """Say what speaks against the input, or that nothing does."""
        parameters = self.panel.parameters
        node = parameters.inputVolume if parameters else None
        if node is None:
            return
        spacing = self.panel.logic.inputSpacing(node) if node.GetImageData() is not None else ()
        state = (*voxelState(node), spacing, parameters.model)
        if state != self._judged:
            self._judged = state
            self.label.text = verdictText(self.panel.logic.judgeInput(node, parameters.model))
            self.label.setVisible(True)


def verdictText(verdict: Any) -> str:
    """Return the verdict as rich text: what it is, what was found, and what was measured."""
    words = {"fine": _("Fine."), "look": _("Look at this."), "unusable": _("Cannot be used.")}
    lines = [*verdict.findings, verdict.summary and f"{verdict.summary}."]
    said = html.escape(" ".join(line for line in lines if line))
    return f"{marked(words[verdict.level], COLORS[verdict.level])} {said}"
