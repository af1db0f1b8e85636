"""Synthetic images as DICOM series: what the module's logic does, and the panel's section Export."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _

from .library import importLibrary
from .paths import connectPath, wholePath, whyNotPath
from .section import Panel, Section
from .state import State

if TYPE_CHECKING:
    from IoUSynthLib.mrml.results import OutputNodes


class ExportLogic:
    """What the logic of the module can do about DICOM; free of Qt."""

    def exportDicom(
        self,
        outputs: OutputNodes,
        outputDirectory: str | Path,
        inputVolumeNode: vtkMRMLScalarVolumeNode | None = None,
        *,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None = None,
        reference: str | Path | None = None,
    ) -> list[Path]:
        """Write synthetic volumes as DICOM series that say they are derived, synthetic and not for diagnosis.

        :param outputs: ``outputs`` of a synthesis job.
        :param outputDirectory: whole path of a folder, which gets a folder for each series.
        :param inputVolumeNode: if it, or else the MRI, was loaded from Slicer's DICOM database, the series belong to
          its patient and study, and lie in its frame of reference.
        :param preoperativeVolumeNode: see there.
        :param reference: whole path of a DICOM file or folder whose patient and study the series belong to instead;
          they then lie in the world, in a frame of reference of their own.
        :return: the folders of the series.
        :raises InputError: there is nothing to export, or nowhere to; says what to do.
        """
        nodes = [node for node in (inputVolumeNode, preoperativeVolumeNode) if node is not None]
        file = None if reference in (None, "") else wholePath(reference)
        folder = wholePath(outputDirectory)
        return importLibrary("mrml.dicom_export").export_series(outputs, folder, nodes, reference_file=file)


class ExportSection(Section):
    """The panel's section Export."""

    UI_FILE = "IoUSynthExport.ui"

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.ui.dicomPath.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.referencePath.filters = ctk.ctkPathLineEdit.Files
        self.ui.referencePath.currentPath = ""  # the last one was another patient's; it stays in the list
        connectPath(self.ui.dicomPath, self.update)
        connectPath(self.ui.referencePath, self.update)
        self.ui.exportButton.connect("clicked(bool)", self.onExportButton)
        self.ui.exportLabel.setVisible(False)

    def update(self, _argument: Any = None) -> None:
        """Follow the choices."""
        reason = self._whyNot()
        self.ui.exportButton.enabled = not reason
        self.ui.exportButton.toolTip = reason or _("Write the images as DICOM series that are marked as synthetic")

    def _whyNot(self) -> str:
        parameters = self.panel.parameters
        if self.panel.state is not State.IDLE:
            return _("Wait for the end of the run")
        if not (parameters and (parameters.t2wVolume or parameters.flairVolume)):
            return _("Synthesize MRI first")
        folder, reference = (line.currentPath.strip() for line in (self.ui.dicomPath, self.ui.referencePath))
        if not folder:
            return _("Choose the folder for the series first")
        return whyNotPath(folder) or (whyNotPath(reference) if reference else "")

    def onExportButton(self, _checked: bool = False) -> None:
        """Write the series and say where they are, or why not."""
        parameters = self.panel.parameters
        try:
            folders = self.panel.logic.exportDicom(
                self.panel.selectedOutputs(),
                self.ui.dicomPath.currentPath,
                parameters.inputVolume,
                preoperativeVolumeNode=parameters.preoperativeVolume,
                reference=self.ui.referencePath.currentPath.strip() or None,
            )
            text = "\n".join([_("Written, marked as synthetic and not for diagnosis:"), *map(str, folders)])
            self._remember()
        except ValueError as error:  # says what to do
            text = str(error)
        except Exception as error:
            logging.exception("IoUSynth: the DICOM series could not be written")
            text = _("The series could not be written ({error}); see the application's log.").format(error=error)
        self.ui.exportLabel.text = text
        self.ui.exportLabel.setVisible(True)

    def _remember(self) -> None:
        """Offer the paths again, in this session and the next."""
        for line in (self.ui.dicomPath, self.ui.referencePath):
            line.addCurrentPathToHistory()
