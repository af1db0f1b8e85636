"""Many files, and the frames of a sequence: what the module's logic does, and the panel's section Batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _

from .library import importLibrary
from .paths import connectPath, wholePath, whyNotPath
from .stages import State

#: Errors that are written out below the table, which has them all.
ERRORS_SHOWN = 3


class BatchLogic:
    """What the logic of the module can do about many inputs; free of Qt. It needs ``runner``."""

    def startBatch(
        self,
        paths: Sequence[str | Path],
        outputDirectory: str | Path,
        model: str | None = None,
        device: str = "auto",
        again: bool = False,
        beforeResection: bool = False,
    ) -> None:
        """Start what :meth:`synthesizeBatch` does and return at once; :meth:`poll` brings it to its end."""
        batch, pipeline = importLibrary("outputs.batch"), importLibrary("pipeline")
        output = wholePath(outputDirectory)
        inputs = batch.find_inputs([path if Path(path).name else wholePath(path) for path in paths])
        folders = batch.output_folders(inputs, output)
        pipeline.load_models(model or None)  # a wrong name fails here once, not for each input
        options = (model or None, device, again, beforeResection)
        items = [batch.FileItem(path, folder, *options) for path, folder in zip(inputs, folders, strict=True)]
        self.runner.start_batch(batch.Batch(items, output / batch.SUMMARY))

    def synthesizeBatch(
        self,
        paths: Sequence[str | Path],
        outputDirectory: str | Path,
        model: str | None = None,
        device: str = "auto",
        again: bool = False,
        wait: bool = True,
        beforeResection: bool = False,
    ) -> list[Any]:
        """Make the synthetic images of files, without the scene.

        One bad file does not stop the others. What an earlier call has finished with the same input and model is
        skipped, so that the same call goes on after an interruption.

        :param paths: ultrasound volumes as NRRD, NIfTI, MetaImage, DICOM folders, or folders of these.
        :param outputDirectory: whole path of the folder for the files that ``python -m IoUSynthLib synthesize`` writes,
            and summary.csv; inputs of the same name get the folders in it that they lie in.
        :param model: name or folder of a model; the default one if left out.
        :param device: "auto", "cpu" or "cuda".
        :param again: make what is complete anew, too.
        :param wait: if False, return at once; :meth:`poll` then brings the batch to its end.
        :param beforeResection: nothing had been removed in any of them: what looks like a cavity is outlined as tumour,
            and where no tumour stands out, its most probable place is, with a warning.
        :return: the table: for each file ``name``, ``state`` ("done", "skipped", "failed"), ``seconds``, ``tumour_ml``,
          ``cavity_ml``, ``tumour_expected_dice``, ``cavity_expected_dice`` and ``error``.
        :raises InputError: nothing can be started; says what to do.
        :raises RuntimeError: the batch was cancelled.
        """
        self.startBatch(paths, outputDirectory, model, device, again, beforeResection)
        return (self.runner.wait() if wait else self.runner.job).outcomes

    def startSequence(
        self,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        frames: Sequence[int] | None = None,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None = None,
        model: str | None = None,
        device: str = "auto",
        beforeResection: bool = False,
    ) -> None:
        """Start what :meth:`synthesizeSequence` does and return at once; :meth:`poll` brings it to its end."""
        sequences = importLibrary("mrml.sequences")
        self.runner.start_batch(
            sequences.sequence_batch(inputVolumeNode, frames, preoperativeVolumeNode, model, device, beforeResection)
        )

    def synthesizeSequence(
        self,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        frames: Sequence[int] | None = None,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None = None,
        model: str | None = None,
        device: str = "auto",
        wait: bool = True,
        beforeResection: bool = False,
    ) -> list[Any]:
        """Make the synthetic images of frames of a sequence, as new sequences that the same browser shows.

        :param inputVolumeNode: the ultrasound volume that a sequence browser drives; it is only read.
        :param frames: numbers of frames, from 0; all if left out.
        :param preoperativeVolumeNode: MRI whose axes and voxel size published models take.
        :param wait: if False, return at once; :meth:`poll` then brings the batch to its end.
        :param beforeResection: nothing had been removed in any frame.
        :return: the table, as :meth:`synthesizeBatch` returns it.
        :raises InputError: the node shows no sequence, or a frame is not there.
        :raises RuntimeError: the batch was cancelled.
        """
        self.startSequence(inputVolumeNode, frames, preoperativeVolumeNode, model, device, beforeResection)
        return (self.runner.wait() if wait else self.runner.job).outcomes

    def sequenceLength(self, inputVolumeNode: vtkMRMLScalarVolumeNode | None) -> int:
        """Return the number of frames of the sequence that a volume shows; 0 for any other volume."""
        found = importLibrary("mrml.sequences").sequence_of(inputVolumeNode)
        return found[1].GetNumberOfDataNodes() if found else 0


class BatchSection:
    """The panel's section Batch.

    :param panel: the module's widget, which runs one thing at a time and says what it has to say.
    """

    def __init__(self, panel: Any) -> None:
        self.panel = panel
        self.widget = slicer.util.loadUI(panel.resourcePath("UI/IoUSynthBatch.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        below = panel.ui.logCollapsibleButton
        below.parentWidget().layout().insertWidget(below.parentWidget().layout().indexOf(below), self.widget)
        self.paths: list[str] = []
        self._shown: list[tuple[str, ...]] = []
        self._started: Any = None  # the button of the run
        self.ui.outputPath.filters = ctk.ctkPathLineEdit.Dirs
        self.ui.addFilesButton.connect("clicked(bool)", self.onAddFiles)
        self.ui.addFolderButton.connect("clicked(bool)", self.onAddFolder)
        self.ui.clearButton.connect("clicked(bool)", self.onClear)
        connectPath(self.ui.outputPath, self.update)
        self.ui.filesButton.connect("clicked(bool)", self.onFilesButton)
        self.ui.framesButton.connect("clicked(bool)", self.onFramesButton)
        self._showTable([], "")

    # --- What can be clicked

    def update(self, _argument: Any = None) -> None:
        """Follow the choices."""
        idle = self.panel.state is State.IDLE
        for widget in (self.ui.filesForm, self.ui.framesEdit):
            widget.enabled = idle
        self._updateButton(self.ui.filesButton, _("Synthesize files"), self._whyNotFiles())
        self._updateButton(self.ui.framesButton, _("Synthesize frames"), self._whyNotFrames())

    def _whyNotFiles(self) -> str:
        if not self.paths:
            return _("Add files or a folder first")
        path = self.ui.outputPath.currentPath.strip()
        return whyNotPath(path) if path else _("Choose the folder for the results first")

    def _whyNotFrames(self) -> str:
        # Whether the browser drives just this volume can change without a word: the start says so.
        browser = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
        if browser and self.panel.parameters and self.panel.parameters.inputVolume:
            return ""
        return _("Load a sequence of ultrasound volumes and select the volume in which it is shown first")

    def _updateButton(self, button: Any, text: str, reason: str) -> None:
        """Show a button as what it does now; its tooltip says why it does nothing."""
        own = self.panel.section is self and self._started is button
        if self.panel.state is State.IDLE:
            button.text, button.enabled = text, not reason
            button.toolTip = reason or _("Make the images of all of them; one that is bad does not stop the rest")
            return
        button.text = _("Cancel") if own else text
        button.enabled = own and self.panel.state is State.RUNNING
        stop = _("Stop; what is finished is kept, and the same choice goes on from there")
        button.toolTip = stop if button.enabled else _("Wait for the end of the run")

    def onAddFiles(self, _checked: bool = False) -> None:
        """Ask for ultrasound volumes."""
        dialog = qt.QFileDialog(self.widget, _("Ultrasound volumes"))
        dialog.setFileMode(qt.QFileDialog.ExistingFiles)
        dialog.setNameFilter(_("Volumes") + " (*.nrrd *.nhdr *.nii *.nii.gz *.mha *.mhd *.dcm)")
        if dialog.exec_():
            self.addPaths(dialog.selectedFiles())

    def onAddFolder(self, _checked: bool = False) -> None:
        """Ask for a folder of volumes or DICOM series."""
        folder = qt.QFileDialog.getExistingDirectory(self.widget, _("Folder of volumes or DICOM series"))
        self.addPaths([folder] if folder else [])

    def addPaths(self, paths: Sequence[str]) -> None:
        """Add files and folders to the list."""
        new = [str(path) for path in paths if str(path) not in self.paths]
        self.paths += new
        for path in new:
            self.ui.inputsList.addItem(path)
        self.update()

    def onClear(self, _checked: bool = False) -> None:
        """Empty the list."""
        self.paths = []
        self.ui.inputsList.clear()
        self.update()

    # --- A run

    def onFilesButton(self, _checked: bool = False) -> None:
        """Start the batch of files, or cancel it."""
        parameters, again = self.panel.parameters, not self.ui.skipCheckBox.checked
        output, idle = self.ui.outputPath.currentPath, self.panel.state is State.IDLE
        choices = (parameters.model, parameters.device, again, parameters.beforeResection)
        self._run(self.ui.filesButton, lambda: self.panel.logic.startBatch(self.paths, output, *choices))
        if idle and self.panel.state is not State.IDLE:
            self.ui.outputPath.addCurrentPathToHistory()

    def onFramesButton(self, _checked: bool = False) -> None:
        """Start the frames of the sequence, or cancel them."""
        parameters, text = self.panel.parameters, self.ui.framesEdit.text

        def start() -> None:
            node, logic = parameters.inputVolume, self.panel.logic
            count = logic.sequenceLength(node)
            frames = importLibrary("mrml.sequences").frame_numbers(text, count) if count else None
            choices = (parameters.model, parameters.device, parameters.beforeResection)
            logic.startSequence(node, frames, parameters.preoperativeVolume, *choices)

        self._run(self.ui.framesButton, start)

    def _run(self, button: Any, start: Any) -> None:
        if self.panel.state is not State.IDLE:
            self.panel.cancelRun()
            return
        self._started = button
        self._showTable([], "")
        self.panel.startRun(start, section=self)
        self.follow()

    def follow(self) -> str:
        """Show how far the batch is; return what to say when it was cancelled."""
        job = self.panel.logic.runner.job
        if self.panel.section is not self or not hasattr(job, "outcomes"):
            return ""
        summary = importLibrary("outputs.batch").count_states(job.outcomes)
        self._showTable([rowTexts(outcome) for outcome in job.outcomes], summary)
        return _("Cancelled: {summary}. What was finished is kept.").format(summary=summary)

    def finish(self, job: Any) -> None:
        """Say what came out."""
        self.follow()
        lines = [self.ui.summaryLabel.text]
        errors = [outcome.error for outcome in job.outcomes if outcome.state == "failed"]
        lines += errors[:ERRORS_SHOWN]
        if len(errors) > ERRORS_SHOWN:
            lines.append(_("{count} more have no result; the table says why.").format(count=len(errors) - ERRORS_SHOWN))
        if job.summary is not None:
            lines.append(_("The table is in {file}").format(file=job.summary))
        self.ui.summaryLabel.text = "\n".join(lines)

    def _showTable(self, rows: list[tuple[str, ...]], summary: str) -> None:
        """Fill the table, where it changed."""
        table = self.ui.summaryTable
        if len(rows) != len(self._shown):
            table.setRowCount(len(rows))
            self._shown = [("",) * table.columnCount for _row in rows]
        for number, (row, shown) in enumerate(zip(rows, self._shown)):  # noqa: B905  they are equally long
            for column, text in enumerate(row):
                if text != shown[column] or table.item(number, column) is None:
                    item = qt.QTableWidgetItem(text)
                    item.setToolTip(text)
                    table.setItem(number, column, item)
        self._shown = rows
        self.ui.summaryLabel.text = summary
        for widget in (table, self.ui.summaryLabel):
            widget.setVisible(bool(rows))


def rowTexts(outcome: Any) -> tuple[str, ...]:
    """Return a row of the table as the panel shows it."""
    states = {
        "waiting": _("waiting"),
        "running": _("running"),
        "done": _("done"),
        "skipped": _("complete before"),
        "failed": _("failed"),
        "cancelled": _("cancelled"),
    }
    numbers = [(outcome.seconds, "{:.1f}"), (outcome.tumour_ml, "{:.1f}"), (outcome.cavity_ml, "{:.1f}")]
    texts = ["" if value is None else form.format(value) for value, form in numbers]
    return (Path(outcome.name).name, states[outcome.state], *texts, outcome.error)
