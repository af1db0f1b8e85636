"""How good an ultrasound is before a run: what the module's logic finds, and the line of the panel that says it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import qt
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLTransformableNode, vtkMRMLVolumeNode
from slicer.i18n import tr as _

from .library import importLibrary
from .section import Panel, Section
from .widgets import AMBER, GREEN, RED, marked

if TYPE_CHECKING:
    from IoUSynthLib.synthesis.quality import Quality

#: Colours of the mark before the verdict.
COLORS = {"fine": GREEN, "look": AMBER, "unusable": RED}
#: How long voxels must rest before they are assessed again: a live reconstruction writes them several times a second.
REST_MILLISECONDS = 500
#: Slicer's own functions tell the second when they replace voxels, or only the first.
VOXEL_EVENTS = (vtk.vtkCommand.ModifiedEvent, vtkMRMLVolumeNode.ImageDataModifiedEvent)


def voxelState(node: vtkMRMLScalarVolumeNode) -> tuple[str, int]:
    """Return what changes whenever another volume is chosen or its voxels are replaced."""
    image = node.GetImageData()
    return node.GetID(), image.GetMTime() if image is not None else 0


class QualityLogic:
    """What the logic of the module can say of an input; free of Qt."""

    def assessInput(self, inputVolumeNode: vtkMRMLScalarVolumeNode | None, model: str = "") -> Quality:
        """Assess an ultrasound volume before a run; its voxels are not copied.

        That takes 0.1 s; the first time, the file it was loaded from is read through, too.
        """
        bundle = importLibrary("models.bundle")
        try:
            generator = bundle.load(model or bundle.DEFAULT_GENERATOR)
        except ValueError:
            generator = None  # a run will say so
        return importLibrary("mrml.read").assess_input(inputVolumeNode, generator)

    def inputSpacing(self, inputVolumeNode: vtkMRMLScalarVolumeNode) -> tuple[float, ...]:
        """Return the voxel size in mm that a volume is measured with, transforms that scale included."""
        return importLibrary("mrml.read").spacing_of(inputVolumeNode)


class QualitySection(Section):
    """The line below the inputs that says whether the ultrasound can be worked on."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.label = self.ui.inputVerdictLabel
        self._assessed: tuple[Any, ...] | None = None  # state of the input, and model
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(REST_MILLISECONDS)
        self.timer.connect("timeout()", self.assess)
        self.label.setVisible(False)

    def cleanup(self) -> None:
        """Let go of the input."""
        super().cleanup()
        self.timer.stop()
        self._assessed = None

    def update(self) -> None:
        """Assess the input if another one, or another model, is chosen."""
        parameters = self.panel.parameters
        if parameters is None:  # another module is open
            return
        node = parameters.inputVolume
        if any(observed is not node for observed, _tag in self._observed):
            self.cleanup()
        if node is None:
            self.label.setVisible(False)
            return
        if not self._observed:
            for event in VOXEL_EVENTS:
                self.observe(node, event, self.onChanged)
            self.observe(node, vtkMRMLTransformableNode.TransformModifiedEvent, self.onMoved)
        if node.GetImageData() is None:  # it is being loaded, or there is nothing to load
            self.timer.start()
        elif self._assessed is None or self._assessed[-1] != parameters.model:
            self.assess()

    def onChanged(self, _caller: Any = None, _event: Any = None) -> None:
        """Assess again once the volume rests."""
        self.timer.start()

    def onMoved(self, node: vtkMRMLScalarVolumeNode, _event: Any = None) -> None:
        """Assess again if a transform above the volume changes its scale; a tracker only moves it."""
        known = self._assessed is not None and node.GetImageData() is not None
        if known and self.panel.logic.inputSpacing(node) not in self._assessed:
            self.timer.start()

    def assess(self) -> None:
        """Say what speaks against the input, or that nothing does."""
        parameters = self.panel.parameters
        node = parameters.inputVolume if parameters else None
        if node is None:
            return
        spacing = self.panel.logic.inputSpacing(node) if node.GetImageData() is not None else ()
        state = (*voxelState(node), spacing, parameters.model)
        if state != self._assessed:
            self._assessed = state
            self.label.text = qualityText(self.panel.logic.assessInput(node, parameters.model))
            self.label.setVisible(True)


def qualityText(quality: Quality) -> str:
    """Return the quality as rich text: what it is, what was found, and what was measured."""
    words = {"fine": _("Usable."), "look": _("Look at this."), "unusable": _("Cannot be used.")}
    lines = [*quality.findings, quality.summary and f"{quality.summary}."]
    text = html.escape(" ".join(line for line in lines if line))
    return f"{marked(words[quality.level], COLORS[quality.level])} {text}"
