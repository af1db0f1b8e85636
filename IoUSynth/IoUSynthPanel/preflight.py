"""Readiness for the operating room: what the module's logic does, and the panel's section Before surgery."""

from __future__ import annotations

import html
import logging
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

import slicer
from slicer.i18n import tr as _

from .library import importLibrary
from .logic import JobLogic
from .section import Panel, Section
from .state import State
from .widgets import AMBER, GREEN, RED, marked

if TYPE_CHECKING:
    from IoUSynthLib.doctor import Finding
    from IoUSynthLib.worker.messages import Event


class PreflightLogic(JobLogic):
    """What the logic of the module can do before surgery; free of Qt."""

    def examine(self, model: str | None = None, device: str = "auto", *, wait: bool = True) -> list[Finding]:
        """Look at packages, models, device and disk, and synthesize the sample case.

        :param model: name or folder of the model that is to be used; the default one if left out.
        :param device: "auto", "cpu" or "cuda".
        :param wait: if False, return at once; :meth:`poll` then tells each finding, and the end.
        :return: findings, each with ``subject``, ``fine`` and ``text``; all is ready if every one is fine.
        :raises RuntimeError: the examination came to no end; says why and what to do.
        """
        return self.runJob(importLibrary("mrml.jobs").ExaminationJob(device, model or None), wait=wait).findings

    def missingPackages(self) -> list[str]:
        """Return the Python packages that have to be installed, as pip wants them named; nothing is imported."""
        return importLibrary("doctor").missing_packages()

    def installPackages(self) -> None:
        """Install the missing packages into Slicer's Python, from the network. Ask the user before you call it.

        Nothing is installed while Slicer runs tests.

        :raises RuntimeError: it did not work; says why and what to do.
        """
        missing = self.missingPackages()
        if slicer.app.testingEnabled():
            logging.info(f"IoUSynth: Slicer runs tests, so that {missing} are not installed")
            return
        try:
            _pipInstall(missing)
            reason = _("pip came to its end, but they are not there") if self.missingPackages() else ""
        except (CalledProcessError, RuntimeError, OSError) as error:
            reason = str(error)
        if reason:
            raise RuntimeError(
                _(
                    "{packages} could not be installed ({reason}); see in the Python console what pip says, check the "
                    "network and its proxy, and try again."
                ).format(packages=", ".join(missing), reason=reason)
            )
        self.close()  # a child process that is under way does not know of them


def _pipInstall(requirements: list[str]) -> None:
    try:
        from slicer import packaging  # from Slicer 5.12 on: it shows progress and says when a restart is needed
    except ImportError:
        slicer.util.pip_install(requirements)
    else:
        packaging.pip_ensure(requirements, requester="IoUSynth", prompt_install=False)


class PreflightSection(Section):
    """The panel's section Before surgery."""

    UI_FILE = "IoUSynthPreflight.ui"
    ABOVE = "inputsCollapsibleButton"
    USES_SCENE = False

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.findings: list[Finding] = []
        self._asked: tuple[str, str] | None = None  # model and device of the check that is shown
        self._installing = False
        self.widget.connect("contentsCollapsed(bool)", self.onFolded)
        self.ui.checkButton.connect("clicked(bool)", self.onCheckButton)
        self.ui.installPackagesButton.connect("clicked(bool)", self.onInstallPackagesButton)
        self._showReadiness(_("Not checked yet. A check takes about as long as a run, and shows how long that is."))

    @property
    def progressUi(self) -> Any:
        """The widgets that show the progress of a check: its own."""
        return self.ui

    def update(self) -> None:
        """Follow the panel and its choices: what can be clicked, and whether the check still holds."""
        idle, running = self.panel.state is State.IDLE and not self._installing, self.running
        self.ui.progressBar.setVisible(running)
        self.ui.statusLabel.setVisible(running)
        self.ui.checkButton.text = _("Cancel") if running else _("Check")
        self.ui.checkButton.enabled = idle or (running and self.panel.state is State.RUNNING)
        if running:
            self.ui.checkButton.toolTip = _("Stop the check")
        elif idle:
            self.ui.checkButton.toolTip = _("Look at packages, models, device and disk, and synthesize the sample case")
        else:
            self.ui.checkButton.toolTip = _("Wait for the end of the run")
        self.ui.installPackagesButton.enabled = idle
        parameters = self.panel.parameters
        if self._asked and parameters and self._asked != (parameters.model, parameters.device):
            self._asked = None
            self._showReadiness(_("Model or device have been changed since; check again."), AMBER)
            self.widget.text = _("Before surgery")

    def onFolded(self, collapsed: bool) -> None:
        """Offer to install packages where some are missing; nobody has to know before the section is unfolded."""
        if not collapsed:
            self.ui.installPackagesButton.setVisible(bool(self.panel.logic.missingPackages()))
            self.update()

    # --- A check

    def onCheckButton(self, _checked: bool = False) -> None:
        """Start a check, or cancel the one that is under way."""
        if self.running:
            self.panel.cancelRun()
        else:
            self.check()

    def check(self) -> None:
        """Start a check."""
        parameters = self.panel.choices
        self.findings, self._asked = [], (parameters.model, parameters.device)
        self.ui.findingsLabel.text = ""
        self.widget.text = _("Before surgery")
        self._showReadiness("")
        self.panel.startRun(self, lambda: self.panel.logic.examine(*self._asked, wait=False))

    def receive(self, event: Event) -> None:
        """Take what has happened in the check: its progress, a finding, or its end."""
        if event.kind == "finding":
            self._add(event.result)
        elif event.kind == "progress":
            super().receive(event)
        else:
            self.panel.setState(State.IDLE)
            self._conclude(event)

    def _add(self, finding: Finding) -> None:
        """Show a finding below those before it."""
        self.findings.append(finding)
        self.ui.findingsLabel.text = findingsText(self.findings)
        if finding.report:
            self.panel.rememberSeconds(finding.report)

    def _conclude(self, event: Event) -> None:
        """Say how the check ended."""
        self.onFolded(self.widget.collapsed)
        if event.kind == "cancelled":
            self._showReadiness(_("Cancelled before all was checked."), AMBER)
            return
        if event.kind == "error":
            self._add(importLibrary("doctor").Finding(_("check"), False, event.message))
        wrong = [finding.subject for finding in self.findings if not finding.fine]
        if wrong:
            self._showReadiness(_("Not ready: {subjects}.").format(subjects=", ".join(wrong)), RED)
            self.widget.text = _("Before surgery: not ready")
        else:
            self._showReadiness(_("Ready. No network needed."), GREEN)
            self.widget.text = _("Before surgery: ready")

    def _showReadiness(self, text: str, color: str = "") -> None:
        text = html.escape(text)
        self.ui.readinessLabel.text = marked(text, color) if color else text
        self.ui.readinessLabel.setVisible(bool(text))

    # --- Packages

    def onInstallPackagesButton(self, _checked: bool = False) -> None:
        """Install what is missing, if the user wants it, and check again."""
        missing = self.panel.logic.missingPackages()
        if missing and not slicer.util.confirmOkCancelDisplay(consentText(missing), _("IoUSynth: install packages?")):
            self._showReadiness(
                _(
                    "Nothing was installed, as you wished. Without {packages} no image can be made: install them while "
                    "there is a network."
                ).format(packages=", ".join(missing)),
                AMBER,
            )
            return
        if missing and not self._installed(missing):
            return
        self.check()

    def _installed(self, missing: list[str]) -> bool:
        """Install packages and tell whether it worked."""
        self._showReadiness(_("Installing {packages}. This can take some minutes.").format(packages=", ".join(missing)))
        self._installing = True
        self.panel.updateSections()
        slicer.app.processEvents()
        try:
            self.panel.logic.installPackages()
        except RuntimeError as error:
            logging.exception("IoUSynth: packages could not be installed")
            self._showReadiness(str(error), RED)
            return False
        finally:
            self._installing = False
            self.panel.updateSections()
        return True


def consentText(requirements: list[str]) -> str:
    """Return what the user is asked before anything is installed; it names each package."""
    return _(
        "IoUSynth needs Python packages that are not installed:\n\n{packages}\n\npip downloads them from the Python "
        "Package Index into Slicer's Python, with the packages that they need in turn and that are missing (for "
        "onnxruntime: flatbuffers, packaging, protobuf). Nothing else is installed, and no network is needed "
        "afterwards.\n\nInstall them now?"
    ).format(packages="\n".join(f"- {requirement}" for requirement in requirements))


def findingsText(findings: list[Finding]) -> str:
    """Return findings as rich text: a row each, green or red."""
    rows = (
        f'<tr><td style="padding-right:6px">{_markedOutcome(finding)}</td>'
        f'<td style="padding-right:6px">{html.escape(finding.subject)}</td>'
        f"<td>{html.escape(finding.text)}</td></tr>"
        for finding in findings
    )
    return f"<table>{''.join(rows)}</table>"


def _markedOutcome(finding: Finding) -> str:
    return marked(_("OK"), GREEN) if finding.fine else marked(_("Fails"), RED)
