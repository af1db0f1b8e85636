"""The IoUSynth module of 3D Slicer: from an intraoperative ultrasound volume to synthetic MRI in one click."""

# ruff: noqa: PT009  the self-test runs under unittest, as Slicer's do

import html
import logging
import sys
import time
import traceback
import unittest
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import qt
import slicer
import vtk
from IoUSynthPanel.batch import BatchLogic, BatchSection
from IoUSynthPanel.export import ExportLogic, ExportSection
from IoUSynthPanel.library import importLibrary, resourcesFolder
from IoUSynthPanel.models import ModelsLogic, ModelsSection
from IoUSynthPanel.preflight import PreflightLogic, PreflightSection
from IoUSynthPanel.quality import QualityLogic, QualitySection
from IoUSynthPanel.registration import RegisterSection, RegistrationLogic
from IoUSynthPanel.rerun import RerunSection
from IoUSynthPanel.result import ResultLogic, ResultSection
from IoUSynthPanel.section import Section
from IoUSynthPanel.startup import callOnceStarted, registerSampleData, registerTerminology, restoreLayouts
from IoUSynthPanel.state import State, progressText
from IoUSynthPanel.synthesis import SynthesisLogic, SynthesisSection
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

if TYPE_CHECKING:
    from IoUSynthLib.mrml.results import OutputNodes
    from IoUSynthLib.pipeline import Options

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
    probablePlace - Whether the most probable place of a tumour is outlined where none stands out before a resection.
    mriInput - Whether a model that reads MRI is given what agrees with the ultrasound, or never any.
    model - Name of the model, empty for the default.
    device - Where the model runs.
    samples - How many samples are drawn of a model that draws; none by default.
    muteUntrusted - Whether images that are not to be trusted are muted, and under grey stripes without echo.
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
    probablePlace: bool = False
    mriInput: Annotated[str, Choice(["Automatic", "Ultrasound only"])] = "Automatic"
    model: str = ""
    device: Annotated[str, Choice(["auto", "cpu", "cuda"])] = "auto"
    samples: Annotated[int, WithinRange(0, 16)] = 0
    muteUntrusted: bool = True
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
    SynthesisLogic,
    BatchLogic,
    RegistrationLogic,
    PreflightLogic,
    ModelsLogic,
    QualityLogic,
    ResultLogic,
    ExportLogic,
    ScriptedLoadableModuleLogic,
):
    """The module without its panel; free of Qt.

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

    def getParameterNode(self) -> IoUSynthParameterNode:
        return ReleasedParameterNode(super().getParameterNode())

    @staticmethod
    def options(
        *,
        model: str | None = None,
        device: str = "auto",
        beforeResection: bool = False,
        probablePlace: bool = False,
        samples: int = 0,
        seed: int = 0,
        temperature: float | None = None,
    ) -> "Options":
        """Return what is chosen for a synthesis as one object, which travels as it is to the library.

        :param model: name or folder of a model; the default one if left out.
        :param device: "auto", "cpu" or "cuda".
        :param beforeResection: nothing has been removed yet: what looks like a cavity is outlined as tumour, and where
            no tumour stands out, a warning says so.
        :param probablePlace: its most probable place is outlined then, which is a guess.
        :param samples: how many samples are drawn of a model that draws, for research; the images are their mean.
        :param seed: of the samples: the same ones of the same seed.
        :param temperature: factor of the deviations that they are drawn with, where the model has one.
        """
        return importLibrary("pipeline").Options(
            model or None, device, before_resection=beforeResection, probable_place=probablePlace,
            samples=samples, seed=seed, temperature=temperature,
        )  # fmt: skip


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
        self.section: Section | None = None  # whose run it is, or the last one was
        self.sections: list[Section] = []
        self._parameterNode: IoUSynthParameterNode | None = None
        self._parameterNodeGuiTag: Any = None
        self._startTime = 0.0

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in Resources."""
        return str(resourcesFolder() / filename)

    def setup(self) -> None:
        """Build the panel when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/IoUSynth.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        for selector in (self.ui.t2wSelector, self.ui.flairSelector, self.ui.uncertaintySelector):
            # Only IoUSynth's own volumes may be filled again: an acquired image is never overwritten.
            selector.addAttribute("vtkMRMLScalarVolumeNode", "IoUSynth.Synthetic", "true")
        self.ui.segmentationSelector.addAttribute("vtkMRMLSegmentationNode", "IoUSynth.Synthetic", "true")
        uiWidget.setMRMLScene(slicer.mrmlScene)

        self.logic = IoUSynthLogic()
        self.synthesisSection = SynthesisSection(self)
        self.qualitySection = QualitySection(self)
        self.resultSection = ResultSection(self)
        self.registerSection = RegisterSection(self)
        self.rerunSection = RerunSection(self)
        self.preflightSection = PreflightSection(self)
        self.batchSection = BatchSection(self)
        self.exportSection = ExportSection(self)
        self.modelsSection = ModelsSection(self)
        self.sections = [
            self.synthesisSection,
            self.qualitySection,
            self.resultSection,
            self.registerSection,
            self.rerunSection,
            self.preflightSection,
            self.batchSection,
            self.exportSection,
            self.modelsSection,
        ]
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
        self.showMessage("")
        self.showQuality("")
        self.setState(State.IDLE)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """End the child process and let go of the scene, when the module is unloaded or reloaded."""
        if self.logic is None:  # the panel could not be built
            return
        self.timer.stop()
        self.logic.close()
        self.setParameterNode(None)
        self.resultSection.removeKeys()
        for section in self.sections:
            section.cleanup()
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
        for name in ("mrml.runner", "mrml.jobs"):  # now, so that neither the click nor the result has to wait for them
            importLibrary(name)

    def exit(self) -> None:
        """Let go of the parameter node when another module is opened. A run goes on."""
        self.resultSection.removeKeys()
        self.setParameterNode(None)

    def onSceneStartClose(self, caller: Any, event: Any) -> None:
        """Stop a run whose input is about to go."""
        if self.state is State.SHOWING:
            self.setState(State.IDLE)
        elif self.state is not State.IDLE and self.section.USES_SCENE:
            self.logic.cancel()
            self.setState(State.CANCELLING)
        for section in self.sections:
            section.cleanup()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller: Any, event: Any) -> None:
        """Begin anew if the module is shown."""
        self.showQuality("")
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
        self.rerunSection.follow()
        if self._parameterNode:
            self.updateSections()

    def initializeParameterNode(self) -> None:
        """Observe the parameter node, and choose volumes if none are chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        self.modelsSection.listModels()
        self.modelsSection.refresh()
        if not self._parameterNode.inputVolume:
            self._selectDefaultVolumes()
        if self.state is State.IDLE and not self.ui.qualityLabel.text:  # of a scene that was saved
            result = self._parameterNode.t2wVolume or self._parameterNode.flairVolume
            self.showQuality(importLibrary("mrml.provenance").report_of(result).get("summary", ""))

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
        if self.resultSection.followInput():
            return  # which has led here again
        self.updateSections()
        self.resultSection.showOverlays()
        self.rerunSection.follow()

    def _selectDefaultVolumes(self) -> None:
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        ultrasound, mri = importLibrary("mrml.read").guess_inputs(volumes)
        if ultrasound:
            self._parameterNode.inputVolume = ultrasound
        if ultrasound and mri and not self._parameterNode.preoperativeVolume:
            self._parameterNode.preoperativeVolume = mri

    # --- The choices

    @property
    def parameters(self) -> IoUSynthParameterNode | None:
        """The choices; None while another module is open."""
        return self._parameterNode

    @property
    def choices(self) -> IoUSynthParameterNode:
        """The choices, whatever module is open."""
        return self._parameterNode or self.logic.getParameterNode()

    @property
    def options(self) -> "Options":
        """What is chosen for a synthesis, as it travels to the library."""
        choices = self.choices
        return self.logic.options(
            model=choices.model, device=choices.device,
            beforeResection=choices.beforeResection, probablePlace=choices.probablePlace,
            samples=choices.samples if self.logic.draws(choices.model) else 0,
        )  # fmt: skip

    def selectedOutputs(self) -> "OutputNodes":
        """Return the selected output nodes."""
        choices = self.choices
        images = {"T2w": choices.t2wVolume, "FLAIR": choices.flairVolume}
        images = {name: node for name, node in images.items() if node}
        return importLibrary("mrml.results").OutputNodes(images, choices.uncertaintyVolume, choices.segmentation)

    def select(self, outputs: "OutputNodes", inputVolumeNode: vtkMRMLScalarVolumeNode | None = None) -> None:
        """Select the nodes of a result, and the ultrasound that they were made from."""
        self.resultSection.select(outputs, inputVolumeNode)

    # --- A run

    def setState(self, state: State) -> None:
        """Say what the panel is doing from now on."""
        self.state = state
        running = state is not State.IDLE
        shown = running and self.section.progressUi is self.ui
        self.ui.progressBar.setVisible(shown)
        self.ui.statusLabel.setVisible(shown)
        for section in ("inputs", "outputs", "advanced"):
            reason = _("Wait for the end of the run, or cancel it") if running else ""
            setAvailable(getattr(self.ui, f"{section}CollapsibleButton"), reason)
        if running:
            self.timer.start()
        else:
            self.timer.stop()
        self.updateSections()

    def updateSections(self) -> None:
        """Let every section follow the panel's state and the choices."""
        for section in self.sections:
            section.update()

    def startSynthesis(self) -> None:
        """Start a synthesis of the selected ultrasound."""
        self.rerunSection.onStarted(self.choices.inputVolume)
        self.synthesisSection.start()

    def synthesizeWithMri(self) -> None:
        """Start a synthesis if it will read MRI beside the ultrasound, as after a registration that agrees."""
        if self.synthesisSection.readsMri():
            self.startSynthesis()

    def startRun(self, section: Section, start: Callable[[], Any]) -> None:
        """Start the run of a section, and watch it; say so if it cannot start."""
        self.showMessage("")
        try:
            start()
        except ValueError as error:  # says what to do; nothing has been changed
            self.fail(str(error))
            if self.logic.missingPackages():
                self.preflightSection.widget.collapsed = False
            return
        except Exception as error:
            message = _("The run could not start ({error}); try again, and report this if it stays.")
            self.fail(message.format(error=error), traceback.format_exc())
            return
        self.section = section
        self._startTime = time.monotonic()
        self.setState(State.RUNNING)
        self.showProgress("starting", 0.0)

    def cancelRun(self) -> None:
        """Cancel the run that is under way."""
        if self.state is State.RUNNING:
            self.logic.cancel()
            self.setState(State.CANCELLING)
            self.section.progressUi.statusLabel.text = _("Cancelling")

    def onTimer(self) -> None:
        """Hand to the section whose run it is."""
        self.section.onTimer()

    def rememberSeconds(self, report: dict[str, Any]) -> None:
        """Keep how long a run took on this computer."""
        self.modelsSection.rememberSeconds(report)

    # --- The views

    def show(
        self,
        outputs: "OutputNodes",
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None,
    ) -> None:
        """Lay out the views of a result, with the MRI laid over them as chosen."""
        try:
            plane = self.choices.plane
            self.logic.showResult(outputs, inputVolumeNode, preoperativeVolumeNode, plane=plane)
            self.layMriOver()
            self.resultSection.onShown()
        except Exception as error:  # the images are in the scene, whatever the views do
            logging.exception("IoUSynth: the views could not be arranged")
            self.showMessage(_("The images are in the scene, but could not be shown: {error}").format(error=error))

    def layMriOver(self) -> None:
        """Lay the MRI over the views as chosen."""
        self.registerSection.onCompare()

    # --- What the panel says

    def showProgress(self, stage: str, fraction: float) -> None:
        """Show the stage and the fraction of a run."""
        ui = self.section.progressUi
        ui.progressBar.value = round(100 * fraction)
        ui.statusLabel.text = progressText(stage, fraction, time.monotonic() - self._startTime)

    def showMessage(self, text: str, warning: bool = False) -> None:
        """Show a message; an empty one takes the last away."""
        if warning and text:
            text = _("Warning: {text}").format(text=text)
        self.ui.messageLabel.text = f"<b>{html.escape(text)}</b>".replace("\n", "<br/>") if text else ""
        self.ui.messageLabel.setVisible(bool(text))

    def showQuality(self, text: str) -> None:
        """Say how good a result is; the empty text takes away what was said."""
        self.ui.qualityLabel.text = text
        self.ui.qualityLabel.setVisible(bool(text))

    def fail(self, message: str, details: str = "") -> None:
        """Show and log an error."""
        shown = _("{message} Details are in the section Log.").format(message=message) if details else message
        self.showMessage(shown)
        self.log(_("Error: {message}").format(message=message))
        if details:
            self.log(details)
        logging.error(f"IoUSynth: {message}\n{details}".rstrip())

    def log(self, text: str) -> None:
        """Write into the section Log."""
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
