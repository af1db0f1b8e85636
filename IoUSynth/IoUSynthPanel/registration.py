"""Registration of the preoperative MRI: what the module's logic does, and the panel's section Register."""

import html
from collections.abc import Sequence
from typing import Any

import qt
import slicer
from slicer import vtkMRMLMarkupsNode, vtkMRMLScalarVolumeNode, vtkMRMLTransformableNode
from slicer.i18n import tr as _

from .library import importLibrary
from .stages import State

#: Colours of the verdict, readable on light and on dark panels; the words say the same.
VERDICT_COLORS = {"agrees": "#2e9e5b", "doubtful": "#d9822b", "failed": "#d64545"}


class RegistrationLogic:
    """What the logic of the module can do about registration; free of Qt. It needs ``runner``."""

    def startRegistration(
        self,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        outputs: Any,
        carriedNodes: Sequence[vtkMRMLTransformableNode] | None = None,
        affine: bool = False,
        deformable: bool = False,
        landmarkNodes: tuple[vtkMRMLMarkupsNode, vtkMRMLMarkupsNode] | None = None,
    ) -> None:
        """Start what :meth:`register` does and return at once; :meth:`poll` brings it to its end."""
        if carriedNodes is None:
            carriedNodes = self.companions(preoperativeVolumeNode, inputVolumeNode)
        job = importLibrary("mrml.registration").RegistrationJob(
            preoperativeVolumeNode,
            inputVolumeNode,
            outputs.images,
            carriedNodes,
            outputs.segmentation,
            affine,
            deformable,
            landmarkNodes,
        )
        self.runner.start_registration(job)

    def register(
        self,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        outputs: Any,
        carriedNodes: Sequence[vtkMRMLTransformableNode] | None = None,
        affine: bool = False,
        deformable: bool = False,
        landmarkNodes: tuple[vtkMRMLMarkupsNode, vtkMRMLMarkupsNode] | None = None,
        wait: bool = True,
    ) -> Any:
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
        self.startRegistration(
            preoperativeVolumeNode, inputVolumeNode, outputs, carriedNodes, affine, deformable, landmarkNodes
        )
        return self.runner.wait() if wait else self.runner.job

    def companions(
        self, preoperativeVolumeNode: vtkMRMLScalarVolumeNode, inputVolumeNode: vtkMRMLScalarVolumeNode | None = None
    ) -> list[vtkMRMLTransformableNode]:
        """Return what can move along with an MRI: other MRI, models, segmentations, markups under its transform."""
        return importLibrary("mrml.registration").companions(preoperativeVolumeNode, inputVolumeNode)

    def registrationOf(self, preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None) -> Any:
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
        checkerboard: bool = False,
    ) -> None:
        """Lay the MRI over the views of ultrasound and synthetic MRI, faded, or in the squares of a checkerboard."""
        views = importLibrary("mrml.compare")
        if checkerboard and preoperativeVolumeNode and inputVolumeNode:
            views.checkerboard(preoperativeVolumeNode, inputVolumeNode)
        else:
            views.fade(preoperativeVolumeNode, opacity)


class RegisterSection:
    """The panel's section Register.

    :param panel: the module's widget, which runs one thing at a time and says what it has to say.
    """

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui = panel, panel.ui
        self._left: set[str] = set()  # identifiers of what shall not move along
        self._listed: list[tuple[str, str]] = []  # identifiers and names, as the list shows them
        self._observed: list[tuple[Any, int]] = []
        self.ui.registerButton.connect("clicked(bool)", self.onRegisterButton)
        self.ui.undoButton.connect("clicked(bool)", self.onUndoButton)
        self.ui.carriedList.connect("itemChanged(QListWidgetItem*)", self.onCarriedChanged)
        self.ui.fadeSlider.connect("valueChanged(double)", self.onCompare)
        self.ui.checkerboardCheckBox.connect("toggled(bool)", self.onCompare)
        self.showVerdict(None)

    def cleanup(self) -> None:
        """Let go of the scene."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    # --- What can be clicked

    def update(self) -> None:
        """Follow the scene and the choices."""
        parameters = self.panel.parameters
        registering, idle = self.panel.section is self, self.panel.state is State.IDLE
        self._listCompanions()
        for widget in (self.ui.registerForm, self.ui.undoButton):
            widget.enabled = idle
        self.ui.registerButton.text = _("Cancel") if registering and not idle else _("Register MRI")
        enabled, toolTip = self._canRegister(parameters, registering, idle)
        self.ui.registerButton.enabled = enabled
        self.ui.registerButton.toolTip = toolTip
        moving = parameters.movingVolume if parameters else None
        self.ui.undoButton.enabled = idle and self.panel.logic.registrationOf(moving) is not None
        comparable = bool(moving and parameters.inputVolume)
        self.ui.checkerboardCheckBox.enabled = comparable
        self.ui.fadeSlider.enabled = comparable and not self.ui.checkerboardCheckBox.checked

    def _canRegister(self, parameters: Any, registering: bool, idle: bool) -> tuple[bool, str]:
        if not idle:
            if registering and self.panel.state is State.RUNNING:
                return True, _("Stop; the scene stays as it was")
            return False, _("Wait for the end of the run")
        if not (parameters and parameters.movingVolume):
            return False, _("Select the preoperative MRI first")
        if not (parameters.inputVolume and (parameters.t2wVolume or parameters.flairVolume)):
            return False, _("Synthesize MRI first: the synthetic images are what the MRI is registered to")
        if bool(parameters.mriLandmarks) != bool(parameters.ultrasoundLandmarks):
            return False, _("Select the landmarks of both MRI and ultrasound, or of neither")
        return True, _("Move the MRI to where the brain is in the ultrasound, by a new transform above it")

    def _carried(self) -> list[Any]:
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
            lambda: self.panel.logic.startRegistration(
                parameters.movingVolume,
                parameters.inputVolume,
                self.panel.selectedOutputs(),
                carried,
                parameters.affine,
                parameters.deformable,
                landmarks if all(landmarks) else None,
            ),
            section=self,
        )

    def finish(self, job: Any) -> None:
        """Say what came out, and show it."""
        self.showVerdict(job.report)
        self.update()
        if job.transform_node is not None:
            outputs = importLibrary("mrml.nodes").OutputNodes(job.synthetic_nodes, None, job.segmentation_node)
            self.panel.show(outputs, job.ultrasound_node, job.mri_node)

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
        self.ui.fadeSlider.enabled = self.ui.checkerboardCheckBox.enabled and not checkerboard
        self.cleanup()
        moving, fixed = parameters.movingVolume, parameters.inputVolume
        self.panel.logic.compare(moving, fixed, self.ui.fadeSlider.value / 100, checkerboard)
        if checkerboard and moving and fixed:  # it shows where the MRI lay when it was made
            event = slicer.vtkMRMLTransformableNode.TransformModifiedEvent
            self._observed = [(node, node.AddObserver(event, self.onMoved)) for node in (moving, fixed)]

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
    color = VERDICT_COLORS[report["verdict"]]
    return f'<b style="color:{color}">{words[report["verdict"]]}</b> {html.escape(" ".join(lines))}'
