"""Many files, and the frames of a sequence: what the module's logic does, and the panel's section Batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _

from .library import importLibrary
from .logic import JobLogic
from .paths import connectPath, wholePath, whyNotPath
from .section import Panel, Section
from .state import State

if TYPE_CHECKING:
    from IoUSynthLib.outputs.summary import Outcome
    from IoUSynthLib.pipeline import Options
    from IoUSynthLib.worker.jobs import Queue
    from IoUSynthLib.worker.messages import Event

#: Errors that are written out below the table, which has them all.
ERRORS_SHOWN = 3


class BatchLogic(JobLogic):
    """What the logic of the module can do about many inputs; free of Qt."""

    def synthesizeBatch(
        self,
        paths: Sequence[str | Path],
        outputDirectory: str | Path,
        *,
        again: bool = False,
        wait: bool = True,
        options: Options | None = None,
        **choices: Any,
    ) -> list[Outcome]:
        """Make the synthetic images of files, without the scene.

        One bad file does not stop the others. What an earlier call has finished with the same input and model is
        skipped, so that the same call goes on after an interruption.

        :param paths: ultrasound volumes as NRRD, NIfTI, MetaImage, DICOM folders, or folders of these.
        :param outputDirectory: whole path of the folder for the files that ``python -m IoUSynthLib synthesize`` writes,
            and summary.csv; inputs of the same name get the folders in it that they lie in.
        :param again: make what is complete anew, too.
        :param wait: if False, return at once; :meth:`poll` then brings the batch to its end.
        :param options: what is chosen, as :meth:`options` returns it for all files; or
        :param choices: the same by name: ``model``, ``device`` and so on.
        :return: the table: for each file ``name``, ``state`` ("done", "skipped", "failed"), ``seconds``, ``tumour_ml``,
          ``cavity_ml``, ``tumour_expected_dice``, ``cavity_expected_dice`` and ``error``.
        :raises InputError: nothing can be started; says what to do.
        :raises RuntimeError: the batch was cancelled.
        """
        batch, jobs = importLibrary("outputs.batch"), importLibrary("worker.jobs")
        output, options = wholePath(outputDirectory), options or self.options(**choices)
        inputs = batch.find_inputs([path if Path(path).name else wholePath(path) for path in paths])
        folders = batch.output_folders(inputs, output)
        importLibrary("pipeline").load_models(options.model)  # a wrong name fails here once, not for each input
        files = zip(inputs, folders, strict=True)
        queue = jobs.Queue(
            [jobs.FileJob(path, folder, options, again=again) for path, folder in files],
            output / importLibrary("outputs.summary").SUMMARY,
        )
        return self.runJob(queue, wait=wait).outcomes

    def synthesizeSequence(
        self,
        inputVolumeNode: vtkMRMLScalarVolumeNode,
        frames: Sequence[int] | None = None,
        preoperativeVolumeNode: vtkMRMLScalarVolumeNode | None = None,
        *,
        wait: bool = True,
        options: Options | None = None,
        **choices: Any,
    ) -> list[Outcome]:
        """Make the synthetic images of frames of a sequence, as new sequences that the same browser shows.

        :param inputVolumeNode: the ultrasound volume that a sequence browser drives; it is only read.
        :param frames: numbers of frames, from 0; all if left out.
        :param preoperativeVolumeNode: MRI whose axes and voxel size published models take.
        :param wait: if False, return at once; :meth:`poll` then brings the batch to its end.
        :param options: what is chosen, as :meth:`options` returns it for all frames; or
        :param choices: the same by name: ``model``, ``device`` and so on.
        :return: the table, as :meth:`synthesizeBatch` returns it.
        :raises InputError: the node shows no sequence, or a frame is not there.
        :raises RuntimeError: the batch was cancelled.
        """
        options = options or self.options(**choices)
        queue = importLibrary("mrml.jobs").sequence_queue(
            inputVolumeNode, frames, preoperativeVolumeNode, options=options
        )
        return self.runJob(queue, wait=wait).outcomes

    def sequenceLength(self, inputVolumeNode: vtkMRMLScalarVolumeNode | None) -> int:
        """Return the number of frames of the sequence that a volume shows; 0 for any other volume."""
        found = importLibrary("mrml.sequences").sequence_of(inputVolumeNode)
        return found[1].GetNumberOfDataNodes() if found else 0


class BatchSection(Section):
    """The panel's section Batch."""

    UI_FILE = "IoUSynthBatch.ui"

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.paths: list[str] = []
        self._shown: list[tuple[str, ...]] = []
        self._started: qt.QPushButton | None = None  # the button of the run
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

    def _updateButton(self, button: qt.QPushButton, text: str, reason: str) -> None:
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
        again, output = not self.ui.skipCheckBox.checked, self.ui.outputPath.currentPath
        idle = self.panel.state is State.IDLE
        self._startOrCancel(
            self.ui.filesButton,
            lambda: self.panel.logic.synthesizeBatch(
                self.paths, output, again=again, wait=False, options=self.panel.options
            ),
        )
        if idle and self.panel.state is not State.IDLE:
            self.ui.outputPath.addCurrentPathToHistory()

    def onFramesButton(self, _checked: bool = False) -> None:
        """Start the frames of the sequence, or cancel them."""
        parameters, text = self.panel.parameters, self.ui.framesEdit.text

        def start() -> None:
            node, logic = parameters.inputVolume, self.panel.logic
            count = logic.sequenceLength(node)
            frames = importLibrary("mrml.sequences").frame_numbers(text, count) if count else None
            logic.synthesizeSequence(
                node, frames, parameters.preoperativeVolume, wait=False, options=self.panel.options
            )

        self._startOrCancel(self.ui.framesButton, start)

    def _startOrCancel(self, button: qt.QPushButton, start: Callable[[], Any]) -> None:
        if self.panel.state is not State.IDLE:
            self.panel.cancelRun()
            return
        self._started = button
        self._showTable([], "")
        self.panel.startRun(self, start)
        self._follow()

    def receive(self, event: Event) -> None:
        """Take what has happened in the run, and show how far the batch is."""
        super().receive(event)
        if event.kind == "progress" and self.panel.state is State.RUNNING:
            self._follow()

    def _follow(self) -> str:
        """Show how far the batch is; return that in words."""
        job = self.panel.logic.runner.job
        if self.panel.section is not self or not hasattr(job, "outcomes"):
            return ""
        summary = importLibrary("outputs.summary").count_states(job.outcomes)
        self._showTable([rowTexts(outcome) for outcome in job.outcomes], summary)
        return summary

    def cancelledText(self) -> str:
        """Return what is said once the run was cancelled: how far it had come."""
        summary = self._follow()
        if not summary:
            return super().cancelledText()
        return _("Cancelled: {summary}. What was finished is kept.").format(summary=summary)

    def finish(self, job: Queue) -> None:
        """Say what came out."""
        self._follow()
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


def rowTexts(outcome: Outcome) -> tuple[str, ...]:
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
