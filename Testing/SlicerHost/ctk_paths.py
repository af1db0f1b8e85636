"""The CTK widgets for paths: what they accept, what they tell, and what they remember (ctkPathLineEdit.cpp)."""

from __future__ import annotations

import re
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .qt_module import declare_property, qt

_MAX_HISTORY = 5


def _accepted_text(name_filters: list[str]) -> str:
    """The regular expression of acceptable texts: any that is not empty, or those with one of the extensions."""
    extensions = [extension for text in name_filters for extension in re.findall(r"\*\.(\w+)", text)]
    return "(" + "|".join(f".*\\.{extension}?$" for extension in extensions) + ")" if extensions else ".+"


class ctkPathLineEdit(qt.QWidget):
    """A line for a path with a list of earlier ones, and a button that browses for it.

    As in CTK, ``currentPathChanged`` tells acceptable paths only; that the line was emptied is told by
    ``validInputChanged`` alone. Paths are remembered, under ``settingKey``, by ``addCurrentPathToHistory`` only.
    """

    __module__ = "ctk"
    EXPOSED = ("setCurrentPath", "browse", "comboBox", "retrieveHistory", "addCurrentPathToHistory")
    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)
    nameFilters = declare_property("QStringList", (), lambda self: self._filter())
    settingKey = declare_property("QString", "", lambda self: self.retrieveHistory())
    label = declare_property("QString", "")
    showBrowseButton = declare_property("bool", True)
    showHistoryButton = declare_property("bool", True)
    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x001, 0x002, 0x004, 0x008, 0x007
    Readable, Writable, Executable, Hidden = 0x010, 0x020, 0x040, 0x100

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._filters, self._valid = self.AllEntries, False
        self._combo_box = qt.QComboBox(self)
        self._combo_box.setEditable(True)
        self._combo_box.setInsertPolicy(QtWidgets.QComboBox.InsertPolicy.NoInsert)
        self._line = QtWidgets.QComboBox.lineEdit(self._combo_box)
        self._validator = QtGui.QRegularExpressionValidator(self)
        self._line.setValidator(self._validator)
        self._button = qt.QToolButton(self)
        self._button.setText("...")
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo_box)
        row.addWidget(self._button)
        self.setFocusProxy(self._line)
        self._filter()
        self._line.textChanged.connect(self._text_changed)
        self._button.clicked.connect(self.browse)

    def _filter(self) -> None:
        self._validator.setRegularExpression(QtCore.QRegularExpression(_accepted_text(self.nameFilters)))

    def _text_changed(self, text: str) -> None:
        before, self._valid = self._valid, self._line.hasAcceptableInput()
        if self._valid:
            self.currentPathChanged.emit(text)
        if self._valid != before:
            self.validInputChanged.emit(self._valid)

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)

    def _set_filters(self, filters: Any) -> None:
        self._filters = int(getattr(filters, "value", filters))

    def browse(self) -> None:
        dialog = QtWidgets.QFileDialog
        if not self._filters & self.Files:
            chosen = dialog.getExistingDirectory(self)
        else:
            ask = dialog.getSaveFileName if self._filters & self.Writable else dialog.getOpenFileName
            chosen = ask(self)[0]
        if chosen:
            self.setCurrentPath(chosen)

    def comboBox(self) -> Any:
        return self._combo_box

    def _setting(self) -> str:
        return f"ctkPathLineEdit/{self.settingKey or self.property('objectName')}"

    def _history(self) -> list[str]:
        stored = QtCore.QSettings().value(self._setting())
        return [stored] if isinstance(stored, str) else list(stored or [])

    def retrieveHistory(self) -> None:
        """List the paths that were remembered; the newest becomes the current one where there is none."""
        path = self._line.text()
        blocked = self.blockSignals(True)
        self._combo_box.clear()
        self._combo_box.addItems(self._history()[:_MAX_HISTORY])
        if path:
            self.setCurrentPath(path)
        self.blockSignals(blocked)
        if not path:
            self._combo_box.setCurrentIndex(0)

    def addCurrentPathToHistory(self) -> None:
        """Remember the current path. As in CTK, other entries may become the current one for a moment."""
        path = self._line.text()
        if not path:
            return
        QtCore.QSettings().setValue(self._setting(), [path, *(other for other in self._history() if other != path)])
        box = self._combo_box
        if box.findText(path) >= 0:
            box.removeItem(box.findText(path))
        while box.count >= _MAX_HISTORY:
            box.removeItem(box.count - 1)
        box.insertItem(0, path)
        box.setCurrentIndex(0)

    currentPath = QtCore.Property(str, lambda self: self._line.text(), setCurrentPath)
    filters = QtCore.Property(int, lambda self: self._filters, _set_filters)


class ctkDirectoryButton(qt.QWidget):
    """A button that shows a folder, at first the working directory, and browses for another."""

    __module__ = "ctk"
    EXPOSED = ("browse",)
    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)
    caption = declare_property("QString", "")
    text = declare_property("QString", "")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._directory = "."
        self._button = qt.QPushButton(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._button)
        self._button.clicked.connect(self.browse)

    def _set_directory(self, directory: str) -> None:
        chosen = QtCore.QDir(directory)
        if QtCore.QDir(self._directory) == chosen:
            self.directorySelected.emit(chosen.path())
            return
        self._directory = chosen.absolutePath()
        self._button.setText(self._directory)
        self.directorySelected.emit(chosen.path())
        self.directoryChanged.emit(self._directory)

    def browse(self) -> str:
        chosen = QtWidgets.QFileDialog.getExistingDirectory(self)
        if chosen:
            self._set_directory(chosen)
        return chosen

    directory = QtCore.Property(str, lambda self: self._directory, _set_directory)
