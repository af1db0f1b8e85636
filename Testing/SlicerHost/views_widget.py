"""The middle of the main window: the views as one picture that follows the scene; the mouse wheel scrolls slices."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .photograph import draw_views

_REFRESH_MILLISECONDS = 40


class ViewsWidget(QtWidgets.QWidget):
    """Shows the slice views of the current layout."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setMinimumSize(640, 480)
        self._picture: QtGui.QImage | None = None
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REFRESH_MILLISECONDS)
        self._timer.timeout.connect(self.refresh)
        slicer.app.layoutManager().viewsModified.connect(self._schedule)

    def _schedule(self) -> None:
        if self.isVisible() and not self._timer.isActive():
            self._timer.start()

    def refresh(self) -> None:
        """Draw all views now."""
        self._timer.stop()
        slicer.app.layoutManager().resize_views(self.width(), self.height())
        self._picture = draw_views()
        self._timer.stop()  # drawing itself reports views as modified
        self.update()

    def resizeEvent(self, _event: QtGui.QResizeEvent) -> None:
        slicer.app.layoutManager().resize_views(self.width(), self.height())
        self._schedule()

    def showEvent(self, _event: QtGui.QShowEvent) -> None:
        self._timer.start()

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        if self._picture is not None:
            QtGui.QPainter(self).drawImage(0, 0, self._picture)

    def wheelEvent(self, event: QtGui.QWheelEvent) -> None:
        """Move the slice under the mouse by one step, and the linked ones with it."""
        widget = self._view_at(event.position())
        if widget is None:
            return
        logic = widget.sliceLogic()
        step = logic.GetLowestVolumeSliceSpacing()[2]
        logic.StartSliceOffsetInteraction()
        logic.SetSliceOffset(logic.GetSliceOffset() + (step if event.angleDelta().y() > 0 else -step))
        logic.EndSliceOffsetInteraction()
        event.accept()

    def _view_at(self, position: QtCore.QPointF) -> Any:
        manager = slicer.app.layoutManager()
        for cell in manager.cells():
            if QtCore.QRectF(*cell.in_pixels(self.width(), self.height())).contains(position):
                return manager.widget_of(cell)
        return None
