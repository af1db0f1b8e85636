"""Registration of the preoperative MRI: what the module's logic does, and the panel's section Register."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import qt
from slicer import vtkMRMLMarkupsNode, vtkMRMLScalarVolumeNode, vtkMRMLTransformableNode, vtkMRMLTransformNode
from slicer.i18n import tr as _

from .library import importLibrary
from .logic import JobLogic
from .section import Panel, Section
from .state import State
from .widgets import AMBER, GREEN, RED, marked, setAvailable

if TYPE_CHECKING:
    from IoUSynth import IoUSynthParameterNode
    from IoUSynthLib.mrml.jobs import RegistrationJob
    from IoUSynthLib.mrml.results import OutputNodes

#: Colours of the mark before the verdict.
VERDICT_COLORS = {"agrees": GREEN, "doubtful": AMBER, "failed": RED}


class RegistrationLogic(JobLogic):
    """What the logic of the module can do about registration; free of Qt."""

    def register(
        self,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        outputs: OutputNodes,
        *,
        carriedNodes: Sequence[vtkMRMLTransformableNode] | None = None,
        affine: bool = False,
        deformable: bool = False,
        landmarkNodes: tuple[vtkMRMLMarkupsNode, vtkMRMLMarkupsNode] | None = None,
        wait: bool = True,
    ) -> RegistrationJob:
        """Bring a preoperative MRI to where the brain is in the ultrasound, by a new transform above it.

        :param preoperativeVolumeNode: the MRI that moves.
        :param inputVolumeNode: the ultrasound; it is only read.
        :param outputs: ``outputs`` of the synthesis job of this ultrasound.
        :param carriedNodes: what moves along, some of :meth:`companions`; all of them if left out.
        :param affine: allow scale and shear, at most 6 %.
        :param deformable: find a displacement field, too. For research.
        :param landmarkNodes: point lists of the MRI and of the ultrasound, in the same order, for the error at targets.
        :param wait: if False, return at once; :meth:`poll` then brings the run to its end.
        :return: the job, with ``report`` (its ``verdict`` is "agrees", "doubtful" or "failed") and ``transform_node``,
          which is None if the registration failed: then nothing has moved.
        :raises InputError: the nodes cannot be registered; says what to do.
        :raises RuntimeError: the run failed; says why and what to do.
        """
        if carriedNodes is None:
            carriedNodes = self.companions(preoperativeVolumeNode, inputVolumeNode)
        job = importLibrary("mrml.jobs").RegistrationJob(
            preoperativeVolumeNode,
            inputVolumeNode,
            outputs.images,
            carried_nodes=carriedNodes,
            segmentation_node=outputs.segmentation,
            affine=affine,
            deformable=deformable,
            landmark_nodes=landmarkNodes,
        )
        return self.runJob(job, wait=wait)

    def companions(
        self, preoperativeVolumeNode: vtkMRMLScalarVolumeNode, inputVolumeNode: vtkMRMLScalarVolumeNode | None = None
    ) -> list[vtkMRMLTransformableNode]:
        """Return what can move along with an MRI: other MRI, models, segmentations, markups under its transform."""
        return importLibrary("mrml.registration").companions(preoperativeVolumeNode, inputVolumeNode)

    def registrationOf(self, preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None) -> vtkMRMLTransformNode | None:
        """Return the transform of the newest registration of an MRI, or None."""
        return importLibrary("mrml.registration").latest(preoperativeVolumeNode)

    def undoRegistration(self, preoperativeVolumeNode: vtkMRMLScalarVolumeNode) -> None:
        """Take the newest registration of an MRI out of the scene; everything lies again where it lay."""
        importLibrary("mrml.registration").undo(self.registrationOf(preoperativeVolumeNode))

    def compare(
        self,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None,
        inputVolumeNode: vtkMRMLScalarVolumeNode | None,
        opacity: float,
        *,
        checkerboard: bool = False,
    ) -> None:
        """Lay the MRI over the views of ultrasound and synthetic MRI, faded, or in the squares of a checkerboard."""
        layers = importLibrary("mrml.layers")
        if checkerboard and preoperativeVolumeNode and inputVolumeNode:
            layers.show_checkerboard(preoperativeVolumeNode, inputVolumeNode)
        else:
            layers.fade_mri(preoperativeVolumeNode, opacity)


class RegisterSection(Section):
    """The panel's section Register."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._left: set[str] = set()  # identifiers of what shall not move along
        self._listed: list[tuple[str, str]] = []  # identifiers and names, as the list shows them
        self.ui.registerButton.connect("clicked(bool)", self.onRegisterButton)
        self.ui.undoButton.connect("clicked(bool)", self.onUndoButton)
        self.ui.carriedList.connect("itemChanged(QListWidgetItem*)", self.onCarriedChanged)
        self.ui.fadeSlider.connect("valueChanged(double)", self.onCompare)
        self.ui.checkerboardCheckBox.connect("toggled(bool)", self.onCompare)
        self.showVerdict(None)

    # --- What can be clicked

    def update(self) -> None:
        """Follow the scene and the choices."""
        parameters = self.panel.parameters
        idle = self.panel.state is State.IDLE
        self._listCompanions()
        setAvailable(self.ui.registerForm, "" if idle else _("Wait for the end of the run"))
        self.ui.registerButton.text = _("Cancel") if self.running else _("Register MRI")
        setAvailable(self.ui.registerButton, self._whyNotRegister(parameters))
        if not idle and self.ui.registerButton.enabled:
            self.ui.registerButton.toolTip = _("Stop; the scene stays as it was")
        moving = parameters.movingVolume if parameters else None
        setAvailable(self.ui.undoButton, self._whyNotUndo(moving, idle))
        self._updateComparison(parameters)

    def _updateComparison(self, parameters: IoUSynthParameterNode | None) -> None:
        reason = ""
        if not (parameters and parameters.movingVolume and parameters.inputVolume):
            reason = _("Select the ultrasound and the MRI to compare first")
        setAvailable(self.ui.checkerboardCheckBox, reason)
        if not reason and self.ui.checkerboardCheckBox.checked:
            reason = _("Turn the checkerboard off first")
        setAvailable(self.ui.fadeSlider, reason)

    def _whyNotUndo(self, moving: vtkMRMLScalarVolumeNode | None, idle: bool) -> str:
        if not idle:
            return _("Wait for the end of the run")
        return "" if self.panel.logic.registrationOf(moving) is not None else _("This MRI has not been registered")

    def _whyNotRegister(self, parameters: IoUSynthParameterNode | None) -> str:
        if self.panel.state is not State.IDLE:
            return "" if self.running and self.panel.state is State.RUNNING else _("Wait for the end of the run")
        if not (parameters and parameters.movingVolume):
            return _("Select the preoperative MRI first")
        if not (parameters.inputVolume and (parameters.t2wVolume or parameters.flairVolume)):
            return _("Synthesize MRI first: the synthetic images are what the MRI is registered to")
        if bool(parameters.mriLandmarks) != bool(parameters.ultrasoundLandmarks):
            return _("Select the landmarks of both MRI and ultrasound, or of neither")
        return ""

    def _carried(self) -> list[vtkMRMLTransformableNode]:
        """Return the nodes under the MRI's transform that can move along."""
        parameters = self.panel.parameters
        if not (parameters and parameters.movingVolume):
            return []
        found = self.panel.logic.companions(parameters.movingVolume, parameters.inputVolume)
        return [node for node in found if node is not parameters.ultrasoundLandmarks]

    def _listCompanions(self) -> None:
        listed = [(node.GetID(), node.GetName()) for node in self._carried()]
        if listed == self._listed:
            return
        self._listed = listed
        self.ui.carriedList.blockSignals(True)
        self.ui.carriedList.clear()
        for index, (identifier, name) in enumerate(listed):
            self.ui.carriedList.addItem(name)
            checked = qt.Qt.Unchecked if identifier in self._left else qt.Qt.Checked
            self.ui.carriedList.item(index).setCheckState(checked)
        self.ui.carriedList.blockSignals(False)

    def onCarriedChanged(self, _item: Any = None) -> None:
        """Remember what shall not move along."""
        for index, (identifier, _name) in enumerate(self._listed):
            checked = self.ui.carriedList.item(index).checkState() == qt.Qt.Checked
            (self._left.discard if checked else self._left.add)(identifier)

    # --- A run

    def onRegisterButton(self, _checked: bool = False) -> None:
        """Start a registration, or cancel the one that is under way."""
        if self.panel.state is not State.IDLE:
            self.panel.cancelRun()
            return
        parameters = self.panel.parameters
        landmarks = (parameters.mriLandmarks, parameters.ultrasoundLandmarks)
        carried = [node for node in self._carried() if node.GetID() not in self._left]
        self.showVerdict(None)
        self.panel.startRun(
            self,
            lambda: self.panel.logic.register(
                parameters.movingVolume,
                parameters.inputVolume,
                self.panel.selectedOutputs(),
                carriedNodes=carried,
                affine=parameters.affine,
                deformable=parameters.deformable,
                landmarkNodes=landmarks if all(landmarks) else None,
                wait=False,
            ),
        )

    def finish(self, job: RegistrationJob) -> None:
        """Say what came out, and show it."""
        self.showVerdict(job.report)
        self.update()
        if job.transform_node is not None:
            outputs = importLibrary("mrml.results").OutputNodes(job.synthetic_nodes, None, job.segmentation_node)
            self.panel.show(outputs, job.ultrasound_node, job.mri_node)
            self.panel.synthesizeWithMri()

    def onUndoButton(self, _checked: bool = False) -> None:
        """Put everything back where it lay."""
        self.panel.logic.undoRegistration(self.panel.parameters.movingVolume)
        self.showVerdict(None)
        self.update()
        self.onCompare()

    def showVerdict(self, report: dict[str, Any] | None) -> None:
        """Say in plain words and a colour whether the registration can be believed."""
        self.ui.verdictLabel.text = verdictText(report) if report else ""
        self.ui.verdictLabel.setVisible(bool(report))

    # --- The comparison

    def onCompare(self, _argument: Any = None) -> None:
        """Fade the MRI in, or show it in the squares of a checkerboard."""
        parameters, checkerboard = self.panel.parameters, self.ui.checkerboardCheckBox.checked
        if not parameters:
            return
        self._updateComparison(parameters)
        self.unobserve()
        moving, fixed = parameters.movingVolume, parameters.inputVolume
        self.panel.logic.compare(moving, fixed, self.ui.fadeSlider.value / 100, checkerboard=checkerboard)
        if checkerboard and moving and fixed:  # it shows where the MRI lay when it was made
            for node in (moving, fixed):
                self.observe(node, vtkMRMLTransformableNode.TransformModifiedEvent, self.onMoved)

    def onMoved(self, _caller: Any = None, _event: Any = None) -> None:
        """Take the checkerboard away when MRI or ultrasound has moved."""
        self.ui.checkerboardCheckBox.checked = False


def verdictText(report: dict[str, Any]) -> str:
    """Return the verdict as rich text: what it is, how far the answers are apart, and what speaks against it."""
    words = {
        "agrees": _("Agrees."),
        "doubtful": _("Doubtful: look before you trust it."),
        "failed": _("Failed: the MRI was left where it was."),
    }
    found = _("Two independent answers are {apart:.1f} mm apart; the MRI {moved} {distance:.1f} mm.").format(
        apart=report["answers_apart_mm"],
        distance=report["moved_mm"],
        moved=_("would have moved") if report["verdict"] == "failed" else _("moved"),
    )
    lines = [found, *report["warnings"]]
    if "TRE" in report:
        before, after = (report["TRE"][key]["mean_mm"] for key in ("before", "after"))
        lines.append(
            _("Target registration error of {count} landmarks: {before:.1f} mm before, {after:.1f} mm after.").format(
                count=report["TRE"]["landmarks"], before=before, after=after
            )
        )
    verdict = report["verdict"]
    return f"{marked(words[verdict], VERDICT_COLORS[verdict])} {html.escape(' '.join(lines))}"
