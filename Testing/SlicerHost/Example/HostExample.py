"""A small scripted module, written as for Slicer, that shows what the stand-in can run."""

import enum
from pathlib import Path
from typing import Annotated, Union

import qt
import slicer
import vtk
from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *  # noqa: F403
from slicer.util import VTKObservationMixin


class HostExample(ScriptedLoadableModule):  # noqa: F405
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)  # noqa: F405
        self.parent.title = _("Host example")
        self.parent.categories = ["Testing"]
        slicer.app.connect("startupCompleted()", self.onStartupCompleted)
        self.startups = 0

    def onStartupCompleted(self):
        self.startups += 1


class Mode(enum.Enum):
    FAST = 1
    EXACT = 2

    def label(self):
        return self.name.capitalize()


@parameterNodeWrapper
class HostExampleParameterNode:
    inputVolume: vtkMRMLScalarVolumeNode
    anyVolume: Union[vtkMRMLScalarVolumeNode, vtkMRMLLabelMapVolumeNode, None]  # noqa: UP007
    threshold: Annotated[float, WithinRange(0, 200)] = 100.0
    count: Annotated[int, WithinRange(1, 9)] = 3
    mode: Mode = Mode.EXACT
    invert: bool = True
    label: str = "none"
    folder: Path = Path("somewhere")


class HostExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # noqa: F405
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)  # noqa: F405
        VTKObservationMixin.__init__(self)
        self.clicks, self.ticks, self.cleaned, self.entered = [], 0, False, 0
        self.parameterNode = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)  # noqa: F405
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/HostExample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = HostExampleLogic()
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.timer = qt.QTimer()
        self.timer.setInterval(5)
        self.timer.connect("timeout()", self.onTimer)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.initializeParameterNode()

    def enter(self):
        self.entered += 1

    def cleanup(self):
        self.cleaned = True
        self.timer.stop()
        self.setParameterNode(None)
        self.removeObservers()

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode):
        if self.parameterNode is not None:
            self.parameterNode.disconnectGui(self.tag)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.checkCanApply)
        self.parameterNode = parameterNode
        if self.parameterNode is not None:
            self.tag = self.parameterNode.connectGui(self.ui)
            self.addObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.checkCanApply)
            self.checkCanApply()

    def checkCanApply(self, caller=None, event=None):
        self.ui.applyButton.enabled = self.parameterNode.inputVolume is not None
        self.ui.applyButton.toolTip = _("Compute") if self.ui.applyButton.enabled else _("Select a volume")

    def onApply(self, checked):
        self.clicks.append(checked)
        self.timer.start()

    def onTimer(self):
        self.ticks += 1
        self.ui.progressBar.value = self.ticks
        if self.ticks == 3:
            self.timer.stop()


class HostExampleLogic(ScriptedLoadableModuleLogic):  # noqa: F405
    def getParameterNode(self):
        return HostExampleParameterNode(super().getParameterNode())
