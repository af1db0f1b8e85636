"""What several sections of the panel do with their widgets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import qt

#: Colours of marks, seen on light and on dark backgrounds; the words beside them say the same.
GREEN = "#2b9656"
AMBER = "#c2701c"
RED = "#da5353"

#: The log keeps about this much; its oldest lines go first.
LOG_CHARACTERS = 256 * 1024


def setAvailable(widget: qt.QWidget, reason: str = "") -> None:
    """Turn a widget on, or off with the reason as its tooltip in place of what it does.

    :param reason: why it cannot be used; empty if it can.
    """
    usual = widget.property("usualToolTip")
    if usual is None:
        usual = widget.toolTip
        widget.setProperty("usualToolTip", usual)
    widget.enabled = not reason
    widget.toolTip = reason or usual


def orderFocus(widget: qt.QWidget) -> None:
    """Let the tab key go through a widget as its layouts do, in whatever order their parts were made."""
    for before, after in pairwise(_focusable(widget.layout())):
        qt.QWidget.setTabOrder(before, after)


def _focusable(layout: qt.QLayout) -> Iterator[qt.QWidget]:
    for index in range(layout.count()):
        widget, inner = layout.itemAt(index).widget(), layout.itemAt(index).layout()
        if widget is not None:
            if widget.property("focusPolicy") != qt.Qt.NoFocus:
                yield widget
            inner = widget.layout()
        if inner is not None:
            yield from _focusable(inner)


def appendToLog(textEdit: qt.QPlainTextEdit, text: str) -> None:
    """Write lines at the end of a log, and let go of its oldest ones where it has grown beyond its size."""
    textEdit.appendPlainText(text)
    whole = textEdit.plainText
    if len(whole) > LOG_CHARACTERS:
        kept = whole[-LOG_CHARACTERS:]
        textEdit.plainText = kept[kept.find("\n") + 1 :]
        textEdit.moveCursor(qt.QTextCursor.End)


def marked(text: str, color: str) -> str:
    """Return bold rich text behind a coloured mark; the text keeps the panel's own colour, which can be read."""
    return f'<span style="color:{color}">&#9632;</span> <b>{text}</b>'
