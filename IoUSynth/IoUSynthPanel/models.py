"""Models on this computer: what the module's logic does with them, and the panel's section Models."""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from .library import importLibrary
from .section import Panel, Section
from .state import State
from .widgets import GREEN, RED, marked

if TYPE_CHECKING:
    from IoUSynthLib.models.bundle import Bundle

#: Group of Slicer's settings that holds how long the last run of each model took on this computer, by its SHA-256.
_SECONDS_GROUP = "IoUSynth/Seconds"
_MIB = 2**20


class ModelsLogic:
    """What the logic of the module can do with models; free of Qt."""

    def models(self) -> list[str]:
        """Return the names of the generators that are installed and need nothing but ultrasound."""
        bundles = importLibrary("models.bundle").list_bundles()
        return [bundle.name for bundle in bundles if bundle.kind == "generator" and bundle.needs_ultrasound_alone]

    def installedModels(self) -> list[tuple[Path, Bundle | str]]:
        """Return the folder of each model with its ``Bundle``, or with what is wrong with it."""
        library = importLibrary("models.bundle")
        found = []
        for path in library.bundle_paths():
            try:
                found.append((path, library.load(path)))
            except ValueError as error:
                found.append((path, str(error)))
        return found

    def installModel(
        self, source: str | Path, replace: bool = False, accept: Callable[[Bundle], bool] | None = None
    ) -> tuple[Bundle, str]:
        """Put a model into the user's model folder; needs no network.

        :param source: .zip, .tar.gz or folder of a model.
        :param replace: whether another model of this name may be replaced or hidden.
        :param accept: asked before a model is installed whose licence may restrict its use.
        :return: the model, and what happened.
        :raises InputError: it cannot be installed; says what to do. Nothing has changed then.
        """
        return importLibrary("models.install").install(Path(source), replace, accept)

    def removeModel(self, name: str) -> None:
        """Remove a model from the user's model folder.

        :raises InputError: it is not there, or cannot be removed; says what to do.
        """
        importLibrary("models.install").remove(name)

    def userModelFolder(self) -> Path:
        """Return the folder that models are installed in; made if it is not there yet."""
        folder = importLibrary("models.bundle").user_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class ModelsSection(Section):
    """The panel's section Models, and the selector of the model that is used."""

    UI_FILE = "IoUSynthModels.ui"

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.selector = panel.ui.modelSelector
        self._models: list[tuple[Path, Bundle | str]] = []
        header = self.ui.modelsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        self.ui.modelsTable.connect("itemSelectionChanged()", self.update)
        self.ui.installFileButton.connect("clicked(bool)", self.onInstallFileButton)
        self.ui.installFolderButton.connect("clicked(bool)", self.onInstallFolderButton)
        self.ui.verifyButton.connect("clicked(bool)", self.onVerifyButton)
        self.ui.removeButton.connect("clicked(bool)", self.onRemoveButton)
        self.ui.openFolderButton.connect("clicked(bool)", self.onOpenFolderButton)
        self.selector.connect("currentIndexChanged(int)", self.onModelSelected)
        self._showMessage("")

    # --- The model that is used

    def listModels(self) -> None:
        """Fill the selector: the default first, then every installed generator."""
        try:
            names = self.panel.logic.models()
        except Exception as error:
            logging.exception("IoUSynth: the models could not be listed")
            self.panel.showMessage(_("The models could not be listed: {error}").format(error=error))
            names = []
        selected = self.panel.parameters.model
        self.selector.blockSignals(True)
        self.selector.clear()
        self.selector.addItem(_("Default"))
        for name in names:
            self.selector.addItem(name)
        if selected and selected not in names:
            self.selector.addItem(selected)  # of a saved scene, not installed here: the run will say so
        self.selector.setCurrentText(selected or _("Default"))
        self.selector.blockSignals(False)

    def onModelSelected(self, index: int) -> None:
        """Keep the selected model in the parameter node."""
        if self.panel.parameters:
            self.panel.parameters.model = self.selector.currentText if index > 0 else ""

    # --- What is shown

    def refresh(self, selected: Path | None = None) -> None:
        """List the models anew and select one of them, by its folder."""
        self._models = self.panel.logic.installedModels()
        table = self.ui.modelsTable
        table.blockSignals(True)
        table.setRowCount(len(self._models))
        names = [path.name for path, _model in self._models]
        for row, (path, model) in enumerate(self._models):
            cells = _cells(path, model)
            if path.name in names[:row]:
                cells[0] = (_("{name} (not used)").format(name=path.name), _("Another model of this name comes first"))
            for column, (text, toolTip) in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(toolTip)
                table.setItem(row, column, item)
        paths = [path for path, _model in self._models]
        if paths:
            table.selectRow(paths.index(selected) if selected in paths else 0)
        table.blockSignals(False)
        self.update()

    def update(self) -> None:
        """Follow the selection and the panel."""
        parameters = self.panel.parameters
        if parameters and self.selector.currentText != (parameters.model or _("Default")):
            self.listModels()  # a script or another panel has chosen
        idle, selected = self.panel.state is State.IDLE, self._selected()
        self.ui.installFileButton.enabled = idle
        self.ui.installFolderButton.enabled = idle
        self.ui.verifyButton.enabled = selected is not None
        removable = selected is not None and importLibrary("models.bundle").origin(selected[0]) == "installed"
        self.ui.removeButton.enabled = idle and removable
        if removable:
            self.ui.removeButton.toolTip = _("Remove the selected model from your model folder; asks first")
        else:
            self.ui.removeButton.toolTip = _("Only models in your model folder can be removed")
        self.ui.detailsLabel.text = _details(*selected) if selected else _("No model is installed.")

    def _selected(self) -> tuple[Path, Bundle | str] | None:
        row = self.ui.modelsTable.currentRow()
        return self._models[row] if 0 <= row < len(self._models) else None

    def _showMessage(self, text: str, color: str = GREEN) -> None:
        self.ui.modelsMessageLabel.text = marked(html.escape(text), color)
        self.ui.modelsMessageLabel.setVisible(bool(text))

    def rememberSeconds(self, report: dict[str, Any]) -> None:
        """Keep how long a run took on this computer."""
        measured = {
            "seconds": report["seconds"]["total"],
            "device": report["device"]["used"],
            "fan_ml": report["quality"]["fan_ml"],
        }
        qt.QSettings().setValue(f"{_SECONDS_GROUP}/{report['model']['sha256']}", json.dumps(measured))
        selected = self._selected()
        self.refresh(selected[0] if selected else None)

    # --- What the buttons do

    def onInstallFileButton(self, _checked: bool = False) -> None:
        """Install from an archive that the user chooses."""
        chosen = qt.QFileDialog.getOpenFileName(
            self.widget, _("Install a model"), "", _("Models (*.zip *.tar.gz *.tgz *.tar)")
        )
        if chosen:
            self.install(Path(chosen))

    def onInstallFolderButton(self, _checked: bool = False) -> None:
        """Install from a folder that the user chooses."""
        chosen = qt.QFileDialog.getExistingDirectory(self.widget, _("Install a model from its folder"))
        if chosen:
            self.install(Path(chosen))

    def install(self, source: Path, replace: bool = False) -> None:
        """Install a model; ask where another one has its name, or where its licence may restrict its use."""
        self._showMessage(_("Installing {source}").format(source=source.name))
        slicer.app.processEvents()  # copying and checking a large file takes seconds
        asked: list[bool] = []

        def accept(model: Bundle) -> bool:
            asked.append(acceptLicence(model))
            return asked[-1]

        try:
            model, outcome = self.panel.logic.installModel(source, replace, accept)
        except importLibrary("models.install").NameTaken as error:
            self._askToReplace(source, error)
        except ValueError as error:
            if asked == [False]:
                self._showMessage(_("Not installed, because its licence was not accepted."), RED)
            else:
                self._showMessage(str(error), RED)
        else:
            self._changed(model.path)
            self._showMessage(f"{model.title}: {outcome}")

    def _askToReplace(self, source: Path, error: Exception) -> None:
        found = str(error).rpartition("; ")[0]
        if slicer.util.confirmOkCancelDisplay(
            _("{found}.\n\nGo on all the same?").format(found=found), _("IoUSynth: replace the model?")
        ):
            self.install(source, replace=True)
        else:
            self._showMessage(_("Not installed: another model of this name is there."), RED)

    def onVerifyButton(self, _checked: bool = False) -> None:
        """Compare the files of the selected model with their checksums."""
        path, model = self._selected()
        try:
            importLibrary("models.bundle").load(path).verify()
        except ValueError as error:
            self._showMessage(str(error), RED)
        else:
            self._showMessage(_("{model}: checksums match").format(model=model.title))

    def onRemoveButton(self, _checked: bool = False) -> None:
        """Remove the selected model, if the user wants it."""
        path, _model = self._selected()
        question = _("Remove the model {name}?\n\nIts folder is deleted: {path}").format(name=path.name, path=path)
        if not slicer.util.confirmOkCancelDisplay(question, _("IoUSynth: remove the model?")):
            return
        try:
            self.panel.logic.removeModel(path.name)
        except ValueError as error:
            self._showMessage(str(error), RED)
            return
        parameters = self.panel.parameters
        if parameters and parameters.model == path.name and path.name not in self.panel.logic.models():
            parameters.model = ""
        self._changed()
        self._showMessage(_("{name}: removed").format(name=path.name))

    def onOpenFolderButton(self, _checked: bool = False) -> None:
        """Show the user's model folder in the file manager."""
        try:
            folder = self.panel.logic.userModelFolder()
        except OSError as error:
            text = _("The model folder cannot be made ({error}); check its rights.").format(error=error)
            self._showMessage(text, RED)
            return
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _changed(self, selected: Path | None = None) -> None:
        self.listModels()
        self.refresh(selected)


def acceptLicence(model: Bundle) -> bool:
    """Ask the user to take note of a licence that may restrict what the model is used for."""
    return slicer.util.confirmOkCancelDisplay(
        _(
            "The licence of {name} may restrict its use: {licence}.\n\nRead its text under Details, and make sure that "
            "it allows what you do (non-commercial licences allow research only, for instance). With OK you accept it."
        ).format(name=model.name, licence=model.licence),
        _("IoUSynth: accept the licence?"),
        detailedText=(model.path / "LICENSE").read_text(encoding="utf-8", errors="replace"),
    )


def _cells(path: Path, model: Bundle | str) -> list[tuple[str, str]]:
    """Return text and tooltip of each column."""
    if isinstance(model, str):
        return [(path.name, model), (_("damaged"), model), ("", model), ("", model), ("", model)]
    size = _("{size:.0f} MiB").format(size=max(1, model.size / _MIB))
    licence = model.licence.removeprefix("LicenseRef-")
    return [
        (model.name, model.name),
        (model.version, model.version),
        (licence if len(licence) <= 14 else f"{licence[:13]}…", model.licence),
        (size, _("On disk")),
        _expected(model),
    ]


def _expected(model: Bundle) -> tuple[str, str]:
    """Return how long a run with a model takes on this computer, as it was measured, never as it is guessed."""
    if model.kind != "generator":
        return _("in each run"), _("Outlines tumour and cavity in the runs of every other model")
    stored = qt.QSettings().value(f"{_SECONDS_GROUP}/{model.sha256}")
    if not stored:
        return _("not measured yet"), _("Check in the section Before surgery, or run it: that measures it")
    measured = json.loads(stored)
    unit = _("GPU") if measured["device"] == "cuda" else _("CPU")
    text = _("{seconds:.1f} s, {unit}").format(seconds=measured["seconds"], unit=unit)
    return text, _("The last run on this computer, on a fan of {volume:.0f} ml").format(volume=measured["fan_ml"])


def _details(path: Path, model: Bundle | str) -> str:
    """Return what else is known of a model, as rich text."""
    origins = {"installed": _("in your model folder"), "shipped": _("comes with the extension")}
    origin = importLibrary("models.bundle").origin(path)
    folder = f"{path} ({origins.get(origin, origin)})"
    if isinstance(model, str):
        return f"{marked(html.escape(model), RED)}<br/>{html.escape(folder)}"
    notStated = _("not stated")
    lines = {
        _("Citation"): model.details.get("citation", notStated),
        _("Training data"): model.details.get("training_data", notStated),
        _("Intended use"): model.details.get("intended_use", notStated),
        _("Licence"): model.licence,
        _("Folder"): folder,
    }
    return "<br/>".join(f"<b>{title}:</b> {html.escape(str(text))}" for title, text in lines.items())
