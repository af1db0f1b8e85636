"""The IoUSynth module of 3D Slicer: from an intraoperative ultrasound volume to synthetic MRI in one click."""

# ruff: noqa: PT009  the self-test runs under unittest, as Slicer's do

import html
import json
import logging
import shutil
import sys
import time
import traceback
import unittest
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import qt
import slicer
import vtk
from IoUSynthPanel.batch import BatchLogic, BatchSection
from IoUSynthPanel.export import ExportLogic, ExportSection
from IoUSynthPanel.inputs import InputLogic, InputSection
from IoUSynthPanel.library import importLibrary, resourcesFolder
from IoUSynthPanel.models import ModelsLogic, ModelsSection
from IoUSynthPanel.preflight import PreflightLogic, PreflightSection
from IoUSynthPanel.registration import RegisterSection, RegistrationLogic
from IoUSynthPanel.rerun import RerunSection
from IoUSynthPanel.result import ResultLogic, ResultSection
from IoUSynthPanel.stages import State, progressText
from IoUSynthPanel.startup import callOnceStarted, registerSampleData, registerTerminology, restoreLayouts
from IoUSynthPanel.widgets import appendToLog, orderFocus, setAvailable
from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

#
# IoUSynth
#


class IoUSynth(ScriptedLoadableModule):
    """What Slicer knows of the module before it is opened."""

    def __init__(self, parent) -> None:  # noqa: ANN001  a qSlicerScriptedLoadableModule
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("IoUSynth")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Image Synthesis")]
        self.parent.dependencies = []
        self.parent.contributors = ["IoUSynth contributors"]
        self.parent.helpText = _("""
Turns tracked intraoperative brain ultrasound into synthetic T2w and FLAIR with tumour and resection cavity outlined.
Synthetic images. Research use only, not for clinical decisions.
""")
        self.parent.acknowledgementText = _("Follows the published benchmark of ultrasound-to-MRI synthesis on ReMIND.")
        iconPath = resourcesFolder() / "Icons" / "IoUSynth.png"
        if iconPath.is_file():  # the base class looks beside this file only
            self.parent.icon = qt.QIcon(str(iconPath))
        for function in (registerSampleData, registerTerminology, restoreLayouts):
            callOnceStarted(function)

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in Resources."""
        return str(resourcesFolder() / filename)


#
# IoUSynthParameterNode
#


@parameterNodeWrapper
class IoUSynthParameterNode:
    """The choices that are saved with the scene.

    inputVolume - The intraoperative ultrasound.
    preoperativeVolume - The MRI that is shown beside the result, if there is one; some models take its grid, too.
    t2wVolume, flairVolume, uncertaintyVolume, segmentation - Outputs; made when not selected, if the model has them.
    beforeResection - Whether nothing has been removed yet, so that there is no cavity.
    model - Name of the model, empty for the default.
    device - Where the model runs.
    showOverlay - Whether tumour and resection cavity are outlined in the views.
    autoRerun - Whether a run starts by itself when the ultrasound changes.
    showUncertainty - Whether the synthetic images are tinted where the model expects to be wrong.
    uncertaintyOpacity, uncertaintyThreshold - Opacity of the tint, and the error from which on, in percent.
    plane - Plane of the ultrasound volume that is shown: the one of the probe's fan, or the nearest to a named one.
    movingVolume - The preoperative MRI that is registered.
    mriLandmarks, ultrasoundLandmarks - Corresponding points, in the same order, for the target registration error.
    affine, deformable - Whether the registration may scale and shear, and deform.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    preoperativeVolume: vtkMRMLScalarVolumeNode
    t2wVolume: vtkMRMLScalarVolumeNode
    flairVolume: vtkMRMLScalarVolumeNode
    uncertaintyVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    beforeResection: bool = False
    model: str = ""
    device: Annotated[str, Choice(["auto", "cpu", "cuda"])] = "auto"
    showOverlay: bool = True
    autoRerun: bool = False
    showUncertainty: bool = False
    uncertaintyOpacity: Annotated[float, WithinRange(0, 100)] = 50.0
    uncertaintyThreshold: Annotated[float, WithinRange(0, 50)] = 15.0
    plane: Annotated[str, Choice(["Ultrasound fan", "Axial", "Coronal", "Sagittal"])] = "Ultrasound fan"
    movingVolume: vtkMRMLScalarVolumeNode
    mriLandmarks: vtkMRMLMarkupsFiducialNode
    ultrasoundLandmarks: vtkMRMLMarkupsFiducialNode
    affine: bool = False
    deformable: bool = False


class ReleasedParameterNode(IoUSynthParameterNode):
    """A parameter node that is free once its panel is disconnected.

    Slicer 5.10 leaves an observer behind that would hold it, and with it the observer of each of its fields.
    """

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        """Observe the node until the panel is disconnected."""
        tag = super().AddObserver(event, callback, priority)
        self.__dict__.setdefault("_tags", []).append(tag)
        return tag

    def disconnectGui(self, guiTag: int) -> None:
        """Disconnect the panel, and let go of the node."""
        super().disconnectGui(guiTag)
        for tag in self.__dict__.pop("_tags", []):
            self.RemoveObserver(tag)


#
# IoUSynthLogic
#


class IoUSynthLogic(
    PreflightLogic,
    ModelsLogic,
    InputLogic,
    ResultLogic,
    RegistrationLogic,
    BatchLogic,
    ExportLogic,
    ScriptedLoadableModuleLogic,
):
    """The module without its panel; free of Qt.

    The computation runs in a child process that stays warm between runs, so that a crash there leaves Slicer alive.

    Example::

        logic = slicer.util.getModuleLogic("IoUSynth")
        job = logic.synthesize(slicer.util.getNode("Case4-US-before"))
        job.outputs.images["T2w"], job.outputs.segmentation, job.report["volumes_ml"]
        registration = logic.register(slicer.util.getNode("Preop T2w"), job.input_node, job.outputs)
        registration.transform_node, registration.report["verdict"]
        table = logic.synthesizeBatch(["/data/cohort"], "/data/results")
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._runner: Any = None

    def getParameterNode(self) -> IoUSynthParameterNode:
        return ReleasedParameterNode(super().getParameterNode())

    @property
    def runner(self) -> Any:
        """The ``mrml.run.SceneRunner`` that does the work; made when first needed."""
        if self._runner is None:
            # sys.executable, too, is PythonSlicer in Slicer, but it is empty when Slicer did not find it at its start.
            python = shutil.which("PythonSlicer") or sys.executable
            self._runner = importLibrary("mrml.run").SceneRunner(python)
        return self._runner

    def startSynthesis(
        self,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None = None,
        model: str | None = None,
        device: str = "auto",
        outputs: Any = None,
        beforeResection: bool = False,
    ) -> None:
        """Start what :meth:`synthesize` does and return at once; :meth:`poll` brings it to its end."""
        self.runner.start(inputVolumeNode, preoperativeVolumeNode, model, device, outputs, beforeResection)

    def poll(self) -> list[Any]:
        """Return what happened since the last call, as ``worker.Event``; never waits."""
        return self._runner.poll() if self._runner else []

    def cancel(self) -> None:
        """Stop the run; the scene stays as it was."""
        if self._runner:
            self._runner.cancel()

    def close(self) -> None:
        """End the child process."""
        if self._runner:
            self._runner.close()

    def synthesize(
        self,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None = None,
        model: str | None = None,
        device: str = "auto",
        outputs: Any = None,
        wait: bool = True,
        beforeResection: bool = False,
    ) -> Any:
        """Make the synthetic images of a volume.

        :param inputVolumeNode: intraoperative ultrasound; it is only read.
        :param preoperativeVolumeNode: MRI to show beside the result; published models take its axes and voxel size.
        :param model: name or folder of a model; the default one if left out.
        :param device: "auto", "cpu" or "cuda".
        :param outputs: ``outputs`` of an earlier job on the same input, to be filled again instead of new nodes, or
          removed where the model does not give them.
        :param wait: if False, return at once; :meth:`poll` then brings the run to its end.
        :param beforeResection: nothing has been removed yet: what looks like a cavity is outlined as tumour, and where
            no tumour stands out, its most probable place is, with a warning.
        :return: the job, with ``outputs`` (``images["T2w"]``, ``images["FLAIR"]`` and ``uncertainty`` if the model
          gives them, ``segmentation``) and ``report``.
        :raises InputError: the input cannot be worked on, or a package is missing; says what to do.
        :raises RuntimeError: the run failed; says why and what to do.
        """
        self.startSynthesis(inputVolumeNode, preoperativeVolumeNode, model, device, outputs, beforeResection)
        return self.runner.wait() if wait else self.runner.job

    def makeViews(self, outputs: Any, preoperative: Any = None) -> Iterator[None]:
        """Make the views for :meth:`showResult` beforehand, one a step, so that nothing has to wait for all of them."""
        return importLibrary("mrml.views").make_views(outputs.images, preoperative is not None)

    def showResult(self, outputs: Any, inputVolumeNode: Any, preoperative: Any = None, plane: str = "") -> None:
        """Lay out preoperative MRI, ultrasound and synthetic images side by side, along the ultrasound's axes.

        Slicer without a main window has no views: nothing is done there.
        """
        views = importLibrary("mrml.views")
        views.show_result(outputs, inputVolumeNode, preoperative, plane or views.FAN)


#
# IoUSynthWidget
#


class IoUSynthWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. It starts the logic, asks it from a timer how far it is, and shows what it answers."""

    POLL_MILLISECONDS = 50

    def __init__(self, parent=None) -> None:  # noqa: ANN001  a qMRMLWidget
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: IoUSynthLogic | None = None
        self.state = State.IDLE
        self.section: Any = None  # whose run it is, or the last one was; None for a synthesis
        self._parameterNode: IoUSynthParameterNode | None = None
        self._parameterNodeGuiTag: Any = None
        self._startTime = 0.0
        self._steps: Iterator[None] = iter(())  # that are left until the result is shown

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in Resources."""
        return str(resourcesFolder() / filename)

    def setup(self) -> None:
        """Build the panel when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/IoUSynth.ui"))
        self.layout.addWidget(uiWidget)
        sections = uiWidget.layout()
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        for selector in (self.ui.t2wSelector, self.ui.flairSelector, self.ui.uncertaintySelector):
            # Only IoUSynth's own volumes may be filled again: an acquired image is never overwritten.
            selector.addAttribute("vtkMRMLScalarVolumeNode", "IoUSynth.Synthetic", "true")
        self.ui.segmentationSelector.addAttribute("vtkMRMLSegmentationNode", "IoUSynth.Synthetic", "true")
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = IoUSynthLogic()
        self.inputSection = InputSection(self)
        self.resultSection = ResultSection(self)
        self.registerSection = RegisterSection(self)
        self.rerunSection = RerunSection(self)
        self.preflightSection = PreflightSection(self)
        self.modelsSection = ModelsSection(self)
        self.batchSection = BatchSection(self)
        self.exportSection = ExportSection(self)
        sections.insertWidget(0, self.preflightSection.widget)
        sections.insertWidget(sections.indexOf(self.ui.logCollapsibleButton), self.modelsSection.widget)
        orderFocus(uiWidget)  # once all sections are in their places
        self.timer = qt.QTimer()
        self.timer.setInterval(self.POLL_MILLISECONDS)
        self.timer.connect("timeout()", self.onTimer)

        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodeAdded)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self.addObserver(scene, scene.EndBatchProcessEvent, self.onNodeRemoved)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.showButton.connect("clicked(bool)", self.onShowButton)
        self.ui.planeSelector.connect("activated(int)", self.onShowButton)
        self.ui.modelSelector.connect("currentIndexChanged(int)", self.onModelSelected)
        self._showMessage("")
        self._showQuality("")
        self._setState(State.IDLE)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """End the child process and let go of the scene, when the module is unloaded or reloaded."""
        if self.logic is None:  # the panel could not be built
            return
        self.timer.stop()
        self.logic.close()
        self.setParameterNode(None)
        self.registerSection.cleanup()
        self.inputSection.cleanup()
        self.rerunSection.cleanup()
        self.resultSection.removeKeys()
        self.removeObservers()

    def onReload(self) -> None:
        """Take a changed library, too, when a developer reloads the module."""
        importLibrary("mrml.captions").let_go()  # those of the new library take over
        for name in [name for name in sys.modules if name.split(".")[0] in ("IoUSynthLib", "IoUSynthPanel")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)
        importLibrary("mrml.views").restore_layout()

    # --- The parameter node

    def enter(self) -> None:
        """Take up the parameter node when the module is opened."""
        self.initializeParameterNode()
        self.resultSection.installKeys()
        for name in ("mrml.run", "pipeline"):  # now, so that neither the click nor the result has to wait for them
            importLibrary(name)

    def exit(self) -> None:
        """Let go of the parameter node when another module is opened. A run goes on."""
        self.resultSection.removeKeys()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """Stop a run whose input is about to go."""
        if self.state is State.SHOWING:
            self._setState(State.IDLE)
        elif self.state is not State.IDLE and self.section is not self.preflightSection:
            self.logic.cancel()
            self._setState(State.CANCELLING)
        self.registerSection.cleanup()
        self.rerunSection.cleanup()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """Begin anew if the module is shown."""
        self._showQuality("")
        self.registerSection.showVerdict(None)
        self.onSceneEndImport()

    def onSceneStartImport(self, caller: Any, event: Any) -> None:
        """Let go while a scene is read: its choices arrive before the nodes that they name."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller: Any = None, event: Any = None) -> None:
        """Take up the choices of the scene if the module is shown."""
        if getattr(self.parent, "isEntered", True):  # a panel outside Slicer's own is always shown
            self.initializeParameterNode()

    def onNodeAdded(self, caller: Any, event: Any) -> None:
        """Choose an ultrasound volume that has just been loaded, if none is chosen yet."""
        if self._parameterNode and not self._parameterNode.inputVolume:
            self._selectDefaultVolumes()
        self.onNodeRemoved(caller, event)

    def onNodeRemoved(self, caller: Any, event: Any) -> None:
        """List anew what can move along with the MRI, the results, and what a new run may follow."""
        if slicer.mrmlScene.IsBatchProcessing() or slicer.mrmlScene.IsClosing():
            return
        self.rerunSection.update()
        if self._parameterNode:
            self.registerSection.update()
            self.resultSection.update()
            self.batchSection.update()

    def initializeParameterNode(self) -> None:
        """Observe the parameter node, and choose volumes if none are chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        self.listModels()
        self.modelsSection.refresh()
        if not self._parameterNode.inputVolume:
            self._selectDefaultVolumes()
        if self.state is State.IDLE and not self.ui.qualityLabel.text:  # of a scene that was saved
            result = self._parameterNode.t2wVolume or self._parameterNode.flairVolume
            self._showQuality(importLibrary("mrml.nodes").report_of(result).get("summary", ""))

    def setParameterNode(self, inputParameterNode: IoUSynthParameterNode | None) -> None:
        """Connect the panel to a parameter node, or to none."""
        event = vtk.vtkCommand.ModifiedEvent
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            # The node and not what wraps it, which Slicer would keep for good.
            self.removeObserver(self._parameterNode.parameterNode, event, self.onParametersChanged)
        self._parameterNode = inputParameterNode
        self._parameterNodeGuiTag = None
        self.resultSection.forget()
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode.parameterNode, event, self.onParametersChanged)
            self.onParametersChanged()

    def onParametersChanged(self, caller: Any = None, event: Any = None) -> None:
        """Follow the choices: what can be clicked, and whether the outlines are shown."""
        parameters = self._parameterNode
        if parameters and parameters.preoperativeVolume and not parameters.movingVolume:
            parameters.movingVolume = parameters.preoperativeVolume  # which leads here again
            return
        if parameters and self.ui.modelSelector.currentText != (parameters.model or _("Default")):
            self.listModels()  # a script or another panel has chosen
        if self.resultSection.followInput():
            return  # which has led here again
        self._checkCanApply()
        self.inputSection.update()
        self.resultSection.showOverlays()
        self.rerunSection.update()

    def _selectDefaultVolumes(self) -> None:
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        ultrasound, mri = importLibrary("mrml.nodes").guess_inputs(volumes)
        if ultrasound:
            self._parameterNode.inputVolume = ultrasound
        if ultrasound and mri and not self._parameterNode.preoperativeVolume:
            self._parameterNode.preoperativeVolume = mri

    def listModels(self) -> None:
        """Fill the model selector: the default first, then every installed generator."""
        try:
            names = self.logic.models()
        except Exception as error:
            logging.exception("IoUSynth: the models could not be listed")
            self._showMessage(_("The models could not be listed: {error}").format(error=error))
            names = []
        selected = self._parameterNode.model
        self.ui.modelSelector.blockSignals(True)
        self.ui.modelSelector.clear()
        self.ui.modelSelector.addItem(_("Default"))
        for name in names:
            self.ui.modelSelector.addItem(name)
        if selected and selected not in names:
            self.ui.modelSelector.addItem(selected)  # of a saved scene, not installed here: the run will say so
        self.ui.modelSelector.setCurrentText(selected or _("Default"))
        self.ui.modelSelector.blockSignals(False)

    def onModelSelected(self, index: int) -> None:
        """Keep the selected model in the parameter node."""
        if self._parameterNode:
            self._parameterNode.model = self.ui.modelSelector.currentText if index > 0 else ""

    # --- A run

    @property
    def parameters(self) -> IoUSynthParameterNode | None:
        """The choices; None while another module is open."""
        return self._parameterNode

    def _setState(self, state: State) -> None:
        self.state = state
        running = state is not State.IDLE
        shown = running and self.section is not self.preflightSection  # which has its own
        self.ui.progressBar.setVisible(shown)
        self.ui.statusLabel.setVisible(shown)
        for section in ("inputs", "outputs", "advanced"):
            reason = _("Wait for the end of the run, or cancel it") if running else ""
            setAvailable(getattr(self.ui, f"{section}CollapsibleButton"), reason)
        self.ui.applyButton.text = _("Cancel") if running and not self.section else _("Synthesize MRI")
        if running:
            self.timer.start()
        else:
            self.timer.stop()
        self._checkCanApply()

    def _checkCanApply(self) -> None:
        setAvailable(self.ui.applyButton, self._whyNotApply())
        if self.state is State.RUNNING and not self.section:
            self.ui.applyButton.toolTip = _("Stop; the scene stays as it was")
        setAvailable(self.ui.showButton, self._whyNotShow())
        self.updateSections()

    def updateSections(self) -> None:
        """Let every section follow the panel's state and the choices."""
        for section in (
            self.resultSection,
            self.registerSection,
            self.batchSection,
            self.exportSection,
            self.preflightSection,
            self.modelsSection,
        ):
            section.update()

    def _whyNotApply(self) -> str:
        if self.state is not State.IDLE and self.section:
            return _("Wait for the end of the run")
        if self.state is State.CANCELLING:
            return _("Stopping")
        if self.state is State.SHOWING:
            return _("The views are being laid out")
        if self.state is State.IDLE and not (self._parameterNode and self._parameterNode.inputVolume):
            return _("Select the intraoperative ultrasound volume first")
        return ""

    def _whyNotShow(self) -> str:
        parameters = self._parameterNode
        if self.state is not State.IDLE:
            return _("Wait for the end of the run")
        hasResult = parameters and parameters.inputVolume and (parameters.t2wVolume or parameters.flairVolume)
        return "" if hasResult else _("Synthesize MRI first")

    def onApplyButton(self, _checked: bool = False) -> None:
        """Start a synthesis, or cancel the one that is under way."""
        if self.state is State.IDLE:
            self.startSynthesis()
        else:
            self.cancelRun()

    def cancelRun(self) -> None:
        """Cancel the run that is under way."""
        if self.state is State.RUNNING:
            self.logic.cancel()
            self._setState(State.CANCELLING)
            self._progressUi.statusLabel.text = _("Cancelling")

    def startSynthesis(self) -> None:
        """Start a synthesis of the selected ultrasound."""
        parameters = self._parameterNode or self.logic.getParameterNode()  # another module may be open
        self._showQuality("")
        self.rerunSection.onStarted(parameters.inputVolume)
        self._log(_("Input: {name}").format(name=parameters.inputVolume.GetName()))
        self.startRun(
            lambda: self.logic.startSynthesis(
                parameters.inputVolume,
                parameters.preoperativeVolume,
                parameters.model,
                parameters.device,
                self.selectedOutputs(),
                parameters.beforeResection,
            )
        )

    def startRun(self, start: Callable[[], None], section: Any = None) -> None:
        """Start a synthesis, or the run of a section, and watch it; say so if it cannot start."""
        self._showMessage("")
        try:
            start()
        except ValueError as error:  # says what to do; nothing has been changed
            self._fail(str(error))
            if self.logic.missingPackages():
                self.preflightSection.widget.collapsed = False
            return
        except Exception as error:
            message = _("The run could not start ({error}); try again, and report this if it stays.")
            self._fail(message.format(error=error), traceback.format_exc())
            return
        self.section = section
        self._startTime = time.monotonic()
        self._setState(State.RUNNING)
        self._showProgress("starting", 0.0)

    def selectedOutputs(self) -> Any:
        """Return the selected output nodes, as ``OutputNodes``."""
        parameters = self._parameterNode or self.logic.getParameterNode()
        images = {"T2w": parameters.t2wVolume, "FLAIR": parameters.flairVolume}
        images = {name: node for name, node in images.items() if node}
        return importLibrary("mrml.nodes").OutputNodes(images, parameters.uncertaintyVolume, parameters.segmentation)

    def onTimer(self) -> None:
        """Ask the logic what happened."""
        if self.state is State.SHOWING:
            self._showOn()
            return
        for event in self.logic.poll():
            if event.kind == "progress":
                if self.state is State.RUNNING:
                    self._showProgress(event.stage, event.fraction)
                    self.batchSection.follow()
                continue
            if event.kind == "finding":
                self.preflightSection.add(event.result)
                continue
            if event.kind == "result" and self.section is None:
                self._setState(State.SHOWING)
                self._showProgress("showing", 1.0)
                self._steps = self._present(self.logic.runner.job)
                continue
            self._setState(State.IDLE)
            if self.section is self.preflightSection:
                self.preflightSection.finish(event)
            elif event.kind == "result":
                self._logReport(self.logic.runner.job)
                self.section.finish(self.logic.runner.job)
            elif event.kind == "cancelled":
                kept = self.section is self.batchSection and self.batchSection.follow()
                self._showMessage(kept or _("Cancelled. The scene is as it was."))
                self._log(_("Cancelled"))
            else:
                self._fail(event.message, event.details)

    def _logReport(self, job: Any) -> None:
        self._log(_("Report: {report}").format(report=json.dumps(job.report, indent=1, default=str)))

    def _showOn(self) -> None:
        """Do the next step of showing a result."""
        try:
            next(self._steps, None)
        except Exception:
            self._setState(State.IDLE)
            raise

    def _present(self, job: Any) -> Iterator[None]:
        """Say and show what came out, in steps between which the panel answers."""
        self._showQuality(job.report.get("summary", ""))
        self._showMessage("\n".join(job.report.get("warnings", [])), warning=True)
        self._logReport(job)
        self.modelsSection.remember(job.report)
        yield
        self.resultSection.select(job.outputs, job.input_node)
        yield
        try:
            yield from self.logic.makeViews(job.outputs, job.preoperative_node)
        except Exception:  # the layout will make them
            logging.exception("IoUSynth: the views could not be made beforehand")
        self._setState(State.IDLE)
        self.show(job.outputs, job.input_node, job.preoperative_node)

    def onShowButton(self, _argument: Any = None) -> None:
        """Bring the side-by-side views back, or turn them to another plane."""
        if self.ui.showButton.enabled:
            parameters = self._parameterNode
            self.show(self.selectedOutputs(), parameters.inputVolume, parameters.preoperativeVolume)

    def show(self, outputs: Any, inputVolumeNode: Any, preoperativeVolumeNode: Any) -> None:
        """Lay out the views, with the MRI laid over them as chosen."""
        try:
            plane = self.logic.getParameterNode().plane
            self.logic.showResult(outputs, inputVolumeNode, preoperativeVolumeNode, plane)
            self.registerSection.onCompare()
            self.resultSection.onShown()
        except Exception as error:  # the images are in the scene, whatever the views do
            logging.exception("IoUSynth: the views could not be arranged")
            self._showMessage(_("The images are in the scene, but could not be shown: {error}").format(error=error))

    # --- What the panel says

    @property
    def _progressUi(self) -> Any:
        """What shows the progress: the panel's own widgets, or those of the section Before surgery."""
        return self.preflightSection.ui if self.section is self.preflightSection else self.ui

    def _showProgress(self, stage: str, fraction: float) -> None:
        self._progressUi.progressBar.value = round(100 * fraction)
        self._progressUi.statusLabel.text = progressText(stage, fraction, time.monotonic() - self._startTime)

    def _showMessage(self, text: str, warning: bool = False) -> None:
        if warning and text:
            text = _("Warning: {text}").format(text=text)
        self.ui.messageLabel.text = f"<b>{html.escape(text)}</b>".replace("\n", "<br/>") if text else ""
        self.ui.messageLabel.setVisible(bool(text))

    def _showQuality(self, text: str) -> None:
        self.ui.qualityLabel.text = text
        self.ui.qualityLabel.setVisible(bool(text))

    def _fail(self, message: str, details: str = "") -> None:
        shown = _("{message} Details are in the section Log.").format(message=message) if details else message
        self._showMessage(shown)
        self._log(_("Error: {message}").format(message=message))
        if details:
            self._log(details)
        logging.error(f"IoUSynth: {message}\n{details}".rstrip())

    def _log(self, text: str) -> None:
        appendToLog(self.ui.logTextEdit, text)


#
# IoUSynthTest
#


class IoUSynthTest(ScriptedLoadableModuleTest):
    """Runs in Slicer: the simulated case through the logic, and what must hold of every result."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run the tests by a click on Reload and Test, which would take a test that is skipped for one that fails."""
        try:
            super().runTest()
        except unittest.SkipTest as reason:
            self.delayDisplay(f"Skipped: {reason}")

    def test_sampleCase(self) -> None:
        """The outputs lie where the input lies, follow it, and say that they are synthetic."""
        for package in IoUSynthLogic().missingPackages():
            self.skipTest(f"{package} is not installed; install it in the section Before surgery")

        def ijkToRas(node: Any) -> list[list[float]]:
            matrix = vtk.vtkMatrix4x4()
            node.GetIJKToRASMatrix(matrix)
            return slicer.util.arrayFromVTKMatrix(matrix).tolist()

        self.delayDisplay("Loading the simulated case")
        nodes = importLibrary("mrml.sample").load()
        inputVolume, transform = nodes["IoUSynth sample ioUS"], nodes["TrackerToRas"]
        before = slicer.util.arrayFromVolume(inputVolume).copy()

        self.delayDisplay("Synthesizing")
        logic = IoUSynthLogic()
        try:
            preoperative = nodes["IoUSynth sample T2w (preoperative)"]
            job = logic.synthesize(inputVolume, preoperative)
            logic.showResult(job.outputs, inputVolume, preoperative)
        finally:
            logic.close()

        self.assertTrue((slicer.util.arrayFromVolume(inputVolume) == before).all())
        self.assertEqual(inputVolume.GetParentTransformNode(), transform)
        for name in ("T2w", "FLAIR"):
            image = job.outputs.images[name]
            self.assertEqual(image.GetName(), f"{inputVolume.GetName()} {name} (synthetic)")
            self.assertEqual(image.GetAttribute("IoUSynth.Synthetic"), "true")
            self.assertEqual(image.GetParentTransformNode(), transform)
            self.assertEqual(image.GetImageData().GetDimensions(), inputVolume.GetImageData().GetDimensions())
            self.assertEqual(ijkToRas(image), ijkToRas(inputVolume))
        self.assertEqual(job.outputs.segmentation.GetSegmentation().GetNumberOfSegments(), 2)
        self.assertEqual(job.outputs.segmentation.GetParentTransformNode(), transform)
        self.delayDisplay("Test passed")
