"""What several sections of the panel do with their widgets."""

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


def appendToLog(textEdit: Any, text: str) -> None:
    """Write lines at the end of a log, and let go of its oldest ones where it has grown beyond its size."""
    textEdit.appendPlainText(text)
    whole = textEdit.plainText
    if len(whole) > LOG_CHARACTERS:
        kept = whole[-LOG_CHARACTERS:]
        textEdit.plainText = kept[kept.find("\n") + 1 :]
        textEdit.moveCursor(qt.QTextCursor.End)
