"""``qt.QUiLoader``: reads a .ui file into the classes of the stand-in; refuses what Slicer ignores silently."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from .qt_module import loading_ui_file, qt


class QUiLoader(QtUiTools.QUiLoader):
    """Reads .ui files. Custom widgets come from ``qt``, ``ctk`` and the qMRML stand-ins by their class name."""

    custom_widgets: dict[str, type] = {}  # noqa: RUF012  filled once by the bootstrap

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._kept: list[Any] = []

    def _keep(self, made: Any, name: str) -> Any:
        made.setObjectName(name)
        self._kept.append(made)
        return made

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        if class_name not in self.custom_widgets and not hasattr(qt, class_name):
            raise RuntimeError(f"The .ui file uses the widget class {class_name}, which the stand-in does not have")
        cls = self.custom_widgets.get(class_name) or getattr(qt, class_name)
        return self._keep(cls(parent), name)

    def createLayout(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        cls = getattr(qt, class_name)
        return self._keep(cls(parent) if isinstance(parent, QtWidgets.QWidget) else cls(), name)

    def createAction(self, parent: Any = None, name: str = "") -> Any:
        return self._keep(qt.QAction(parent), name)

    def load(self, file: QtCore.QFile, parent: Any = None) -> Any:
        """Read a file that is open; connections named in it are made afterwards.

        :raises RuntimeError: for an unknown widget class, property or connection.
        """
        root = ElementTree.fromstring(bytes(file.readAll().data()))
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        token = loading_ui_file.set(True)
        try:
            widget = super().load(buffer, parent)
        finally:
            loading_ui_file.reset(token)
        if widget is None:
            raise RuntimeError(f"The .ui file could not be read: {self.errorString()}")
        _check_properties(root, widget)
        for connection in connections if connections is not None else ():
            _make_connection(widget, connection)
        return widget


def _named(top: Any, name: str) -> Any:
    found = top if top.objectName == name else QtCore.QObject.findChild(top, QtCore.QObject, name)
    if found is None:
        raise RuntimeError(f"The .ui file names '{name}', which is not in it")
    return found


def _check_properties(root: ElementTree.Element, top: Any) -> None:
    """Refuse properties that the class does not have; Qt would add a useless dynamic property without a word."""
    for element in root.iter("widget"):
        widget = _named(top, element.get("name", ""))
        known = widget.metaObject()
        for entry in element.findall("property"):
            if entry.get("stdset") != "0" and known.indexOfProperty(entry.get("name")) < 0:
                raise RuntimeError(
                    f"{element.get('class')} '{element.get('name')}' has no property {entry.get('name')}"
                )


def _make_connection(top: Any, connection: ElementTree.Element) -> None:
    """Connect signal to slot; stand-ins have their slots as Python methods."""
    texts = [connection.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot")]
    sender, receiver = _named(top, texts[0]), _named(top, texts[2])
    slot = texts[3].split("(")[0]
    if not callable(getattr(receiver, slot, None)):
        raise RuntimeError(f"{type(receiver).__name__} '{texts[2]}' has no slot {texts[3]}")
    try:
        sender.connect(texts[1], getattr(receiver, slot))
    except ValueError as error:
        raise RuntimeError(f"The .ui file connects a signal that does not exist: {error}") from error
