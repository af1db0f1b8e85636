"""Synthesis of one volume: what the module's logic does, and the panel's button with what is shown at its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _

from .library import importLibrary
from .logic import JobLogic
from .section import Panel, Section
from .state import State
from .widgets import setAvailable

if TYPE_CHECKING:
    from IoUSynthLib.models.bundle import Bundle
    from IoUSynthLib.mrml.jobs import SynthesisJob
    from IoUSynthLib.mrml.results import OutputNodes
    from IoUSynthLib.pipeline import Options
    from IoUSynthLib.worker.messages import Event


class SynthesisLogic(JobLogic):
    """What the logic of the module does with one ultrasound volume; free of Qt."""

    def synthesize(
        self,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None = None,
        *,
        mriNodes: dict[str, vtkMRMLScalarVolumeNode] | None = None,
        outputs: OutputNodes | None = None,
        wait: bool = True,
        options: Options | None = None,
        **choices: Any,
    ) -> SynthesisJob:
        """Make the synthetic images of a volume.

        :param inputVolumeNode: intraoperative ultrasound; it is only read.
        :param preoperativeVolumeNode: MRI to show beside the result; published models take its axes and voxel size.
        :param mriNodes: MRI by contrast that a model reads beside the ultrasound, as :meth:`usableMri` finds it; none
          if left out.
        :param outputs: ``outputs`` of an earlier job on the same input, to be filled again instead of new nodes, or
          removed where the model does not give them.
        :param wait: if False, return at once; :meth:`poll` then brings the run to its end.
        :param options: what is chosen, as :meth:`options` returns it; or
        :param choices: the same by name: ``model``, ``device`` and so on.
        :return: the job, with ``outputs`` (``images["T2w"]``, ``images["FLAIR"]`` and ``uncertainty`` if the model
          gives them, ``segmentation``) and ``report``.
        :raises InputError: the input cannot be worked on, or a package is missing; says what to do.
        :raises RuntimeError: the run failed; says why and what to do.
        """
        options = options or self.options(**choices)
        job = importLibrary("mrml.jobs").SynthesisJob(
            inputVolumeNode, preoperativeVolumeNode, options, outputs, mriNodes or {}
        )
        return self.runJob(job, wait=wait)

    def contrastsOf(self, model: str = "") -> tuple[str, ...]:
        """Return the contrasts of MRI that a model reads beside ultrasound: the default does, of others few."""
        generator = self._generator(model, with_mri=True)
        return generator.optional if generator else ()

    def draws(self, model: str = "") -> bool:
        """Tell whether samples can be drawn of a model; of most models they cannot."""
        generator = self._generator(model)
        return bool(generator and generator.draws)

    @staticmethod
    def _generator(model: str, *, with_mri: bool = False) -> Bundle | None:
        bundle = importLibrary("models.bundle")
        try:
            return bundle.load(model or (bundle.DEFAULT_WITH_MRI if with_mri else bundle.DEFAULT_GENERATOR))
        except ValueError:  # a run will say so
            return None

    def usableMri(
        self, inputVolumeNode: vtkMRMLScalarVolumeNode, model: str = ""
    ) -> tuple[dict[str, vtkMRMLScalarVolumeNode], str]:
        """Return MRI, by contrast, whose registration to an ultrasound agrees and that a model reads beside it.

        :return: the nodes, and where there are none the reason, one of those of ``mrml.registration.usable_mri``.
        """
        registration = importLibrary("mrml.registration")
        return registration.usable_mri(inputVolumeNode, self.contrastsOf(model))

    def makeViews(
        self, outputs: OutputNodes, preoperative: vtkMRMLScalarVolumeNode | None = None
    ) -> Iterator[None]:
        """Make the views for :meth:`showResult` beforehand, one a step, so that nothing has to wait for all of them."""
        return importLibrary("mrml.views").make_views(outputs.images, preoperative is not None)

    def showResult(
        self,
        outputs: OutputNodes,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        preoperative: vtkMRMLScalarVolumeNode | None = None,
        *,
        plane: str = "",
    ) -> None:
        """Lay out preoperative MRI, ultrasound and synthetic images side by side, along the ultrasound's axes.

        Slicer without a main window has no views: nothing is done there.
        """
        views = importLibrary("mrml.views")
        views.show_result(outputs, inputVolumeNode, preoperative, plane_name=plane or views.FAN)


class SynthesisSection(Section):
    """The button Synthesize MRI with the one that brings the views back, and what is said and shown of a result."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._steps: Iterator[None] = iter(())  # that are left until the result is shown
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.showButton.connect("clicked(bool)", self.onShowButton)
        self.ui.planeSelector.connect("activated(int)", self.onShowButton)

    # --- What can be clicked

    def update(self) -> None:
        """Follow the panel's state and the choices."""
        self.ui.applyButton.text = _("Cancel") if self.running else _("Synthesize MRI")
        setAvailable(self.ui.applyButton, self._whyNotApply())
        if self.running and self.panel.state is State.RUNNING:
            self.ui.applyButton.toolTip = _("Stop; the scene stays as it was")
        setAvailable(self.ui.showButton, self._whyNotShow())
        before = self.panel.parameters and self.panel.parameters.beforeResection
        reason = "" if before else _("Only before a resection there must be a tumour")
        setAvailable(self.ui.probablePlaceCheckBox, reason)
        draws = self.panel.parameters and self.panel.logic.draws(self.panel.parameters.model)
        reason = "" if draws else _("This model draws nothing: its samples would all be alike")
        setAvailable(self.ui.samplesSpinBox, reason)
        self._showMriInput()

    def _showMriInput(self) -> None:
        """Say which MRI a run will read, where the model reads any."""
        parameters = self.panel.parameters
        reads = bool(parameters and self.panel.logic.contrastsOf(parameters.model))
        text = self._mriInput()[1] if reads and parameters.inputVolume else ""
        for widget in (self.ui.labelMriInput, self.ui.mriInputSelector):
            widget.setVisible(reads)
        self.ui.mriInputLabel.text = text
        self.ui.mriInputLabel.setVisible(bool(text))

    def readsMri(self) -> bool:
        """Tell whether a run will be given MRI beside the ultrasound."""
        choices = self.panel.choices
        return bool(choices.inputVolume and self.panel.logic.contrastsOf(choices.model) and self._mriInput()[0])

    def _mriInput(self) -> tuple[dict[str, vtkMRMLScalarVolumeNode], str]:
        """Return the MRI that a run is given, by contrast, and what is said of it."""
        choices = self.panel.choices
        if choices.mriInput != "Automatic":
            return {}, _("Ultrasound alone, as chosen.")
        nodes, reason = self.panel.logic.usableMri(choices.inputVolume, choices.model)
        return nodes, mriText({contrast: node.GetName() for contrast, node in nodes.items()}, reason)

    def _whyNotApply(self) -> str:
        state, parameters = self.panel.state, self.panel.parameters
        if state is not State.IDLE and not self.running:
            return _("Wait for the end of the run")
        if state is State.CANCELLING:
            return _("Stopping")
        if state is State.SHOWING:
            return _("The views are being laid out")
        if state is State.IDLE and not (parameters and parameters.inputVolume):
            return _("Select the intraoperative ultrasound volume first")
        return ""

    def _whyNotShow(self) -> str:
        parameters = self.panel.parameters
        if self.panel.state is not State.IDLE:
            return _("Wait for the end of the run")
        hasResult = parameters and parameters.inputVolume and (parameters.t2wVolume or parameters.flairVolume)
        return "" if hasResult else _("Synthesize MRI first")

    def onShowButton(self, _argument: Any = None) -> None:
        """Bring the side-by-side views back, or turn them to another plane."""
        if self.ui.showButton.enabled:
            parameters = self.panel.parameters
            self.panel.show(self.panel.selectedOutputs(), parameters.inputVolume, parameters.preoperativeVolume)

    # --- A run

    def onApplyButton(self, _checked: bool = False) -> None:
        """Start a synthesis, or cancel the one that is under way."""
        if self.panel.state is State.IDLE:
            self.panel.startSynthesis()
        else:
            self.panel.cancelRun()

    def start(self) -> None:
        """Start a synthesis of the selected ultrasound."""
        choices = self.panel.choices
        self.panel.showQuality("")
        self.panel.log(_("Input: {name}").format(name=choices.inputVolume.GetName()))
        mriNodes = {}
        if self.panel.logic.contrastsOf(choices.model):
            mriNodes, said = self._mriInput()
            self.panel.log(said)
        self.panel.startRun(
            self,
            lambda: self.panel.logic.synthesize(
                choices.inputVolume,
                choices.preoperativeVolume,
                mriNodes=mriNodes,
                outputs=self.panel.selectedOutputs(),
                wait=False,
                options=self.panel.options,
            ),
        )

    def onTimer(self) -> None:
        """Ask the logic what has happened, or do the next step of showing a result."""
        if self.panel.state is not State.SHOWING:
            super().onTimer()
            return
        try:
            next(self._steps, None)
        except Exception:
            self.panel.setState(State.IDLE)
            raise

    def receive(self, event: Event) -> None:
        """Take what has happened in the run; a result is shown step by step."""
        if event.kind != "result":
            super().receive(event)
            return
        self.panel.setState(State.SHOWING)
        self.panel.showProgress("showing", 1.0)
        self._steps = self._present(self.panel.logic.runner.job)

    def _present(self, job: SynthesisJob) -> Iterator[None]:
        """Say and show what came out, in steps between which the panel answers."""
        self.panel.showQuality(job.report.get("summary", ""))
        self.panel.showMessage("\n".join(job.report.get("warnings", [])), warning=True)
        self.logReport(job)
        self.panel.rememberSeconds(job.report)
        yield
        self.panel.select(job.outputs, job.input_node)
        yield
        try:
            yield from self.panel.logic.makeViews(job.outputs, job.preoperative_node)
        except Exception:  # the layout will make them
            logging.exception("IoUSynth: the views could not be made beforehand")
        self.panel.setState(State.IDLE)
        self.panel.show(job.outputs, job.input_node, job.preoperative_node)


def mriText(names: dict[str, str], reason: str) -> str:
    """Return in one line which MRI a run reads beside the ultrasound, by contrast, or why it reads none."""
    if names:
        listed = ", ".join(f"{contrast}: {name}" for contrast, name in names.items())
        return _("With preoperative MRI, whose registration agrees ({names}).").format(names=listed)
    reasons = {
        "no MRI": _("the scene has no MRI that this model reads"),
        "not registered": _("no MRI is registered to this ultrasound; synthesize, register it, and synthesize again"),
        "not agreed": _("the registration of the MRI is doubtful"),
        "moved": _("MRI or ultrasound has moved since the registration; register again"),
    }
    return _("Ultrasound alone: {reason}.").format(reason=reasons[reason])
