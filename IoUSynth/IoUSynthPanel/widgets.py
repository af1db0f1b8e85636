"""What several sections of the panel do with their widgets."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import qt

#: The log keeps about this much; its oldest lines go first.
LOG_CHARACTERS = 256 * 1024


def setAvailable(widget: Any, reason: str = "") -> None:
    """Turn a widget on, or off with the reason as its tooltip in place of what it does.

    :param reason: why it cannot be used; empty if it can.
    """
    usual = widget.property("usualToolTip")
    if usual is None:
        usual = widget.toolTip
        widget.setProperty("usualToolTip", usual)
    widget.enabled = not reason
    widget.toolTip = reason or usual


def orderFocus(widget: Any) -> None:
    """Let the tab key go through a widget as its layouts do, in whatever order their parts were made."""
    for before, after in pairwise(_focusable(widget.layout())):
        qt.QWidget.setTabOrder(before, after)


def _focusable(layout: Any) -> Iterator[Any]:
    for index in range(layout.count()):
        widget, inner = layout.itemAt(index).widget(), layout.itemAt(index).layout()
        if widget is not None:
            if widget.property("focusPolicy") != qt.Qt.NoFocus:
                yield widget
            inner = widget.layout()
        if inner is not None:
            yield from _focusable(inner)


def appendToLog(textEdit: Any, text: str) -> None:
    """Write lines at the end of a log, and let go of its oldest ones where it has grown beyond its size."""
    textEdit.appendPlainText(text)
    whole = textEdit.plainText
    if len(whole) > LOG_CHARACTERS:
        kept = whole[-LOG_CHARACTERS:]
        textEdit.plainText = kept[kept.find("\n") + 1 :]
        textEdit.moveCursor(qt.QTextCursor.End)
