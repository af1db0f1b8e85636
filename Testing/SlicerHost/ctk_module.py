"""Module ``ctk``: the CTK widgets that Slicer modules commonly use, rebuilt from their documented properties."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .ctk_paths import ctkDirectoryButton, ctkPathLineEdit
from .qt_module import declare_property, qt

__all__ = ["ctk", "ctkDirectoryButton", "ctkPathLineEdit"]

_HEADER_HEIGHT = 26


class ctkCollapsibleButton(qt.QAbstractButton):
    """A section with a header that folds its contents away."""

    __module__ = "ctk"
    EXPOSED = ()
    contentsCollapsed = QtCore.Signal(bool)
    flat = declare_property("bool", False)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, _HEADER_HEIGHT, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(self._fold)

    def _fold(self, expanded: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(expanded)
        self.setMaximumHeight(16777215 if expanded else _HEADER_HEIGHT)
        self.updateGeometry()
        self.contentsCollapsed.emit(not expanded)

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, lambda self: not self.isChecked(), _set_collapsed)

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        if not self.isChecked():
            self._fold(False)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < _HEADER_HEIGHT

    def sizeHint(self) -> QtCore.QSize:
        layout = QtWidgets.QWidget.layout(self)
        inside = layout.sizeHint() if layout is not None and self.isChecked() else QtCore.QSize(120, _HEADER_HEIGHT)
        header = _HEADER_HEIGHT if layout is not None and self.isChecked() else 0
        return QtCore.QSize(max(inside.width(), 120), inside.height() + header)

    minimumSizeHint = sizeHint

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), _HEADER_HEIGHT)
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        option.rect = QtCore.QRect(8, 7, 12, 12)
        style = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(style.PE_IndicatorArrowDown if self.isChecked() else style.PE_IndicatorArrowRight, option)
        painter.drawText(QtCore.QPoint(28, 18), QtWidgets.QAbstractButton.text(self))


class ctkCollapsibleGroupBox(qt.QGroupBox):
    """A group box whose check mark folds its contents away."""

    __module__ = "ctk"
    EXPOSED = ()

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.toggled.connect(self._fold)

    def _fold(self, expanded: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(expanded)

    collapsed = QtCore.Property(bool, lambda self: not self.isChecked(), lambda self, v: self.setChecked(not v))


class ctkComboBox(qt.QComboBox):
    """A combo box with a text for "nothing selected"."""

    __module__ = "ctk"
    EXPOSED = ()

    def _set_default_text(self, text: str) -> None:
        self.setPlaceholderText(text)

    defaultText = QtCore.Property(str, lambda self: self.property("placeholderText"), _set_default_text)
    forceDefault = declare_property("bool", False)


class ctkCheckBox(qt.QCheckBox):
    """A check box."""

    __module__ = "ctk"
    EXPOSED = ()


class ctkMessageBox(qt.QMessageBox):
    """A message box that may remember not to show itself again."""

    __module__ = "ctk"
    EXPOSED = ()
    dontShowAgainSettingsKey = declare_property("QString", "")


class ctkFittedTextBrowser(qt.QTextBrowser):
    """A text browser as high as its text, with a link that unfolds the rest."""

    __module__ = "ctk"
    EXPOSED = ("setCollapsibleText",)
    collapsed = declare_property("bool", True)
    collapsibleText = declare_property("QString", "", lambda self: self.setText(self.collapsibleText))

    def setCollapsibleText(self, text: str) -> None:
        self.collapsibleText = text


class _NumberWidget(qt.QWidget):
    """What ctkSliderWidget and ctkDoubleSlider have in common: one number in a range."""

    __module__ = "ctk"
    EXPOSED = ("setValue",)
    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    tracking = declare_property("bool", True)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if isinstance(a, QtWidgets.QWidget)])
        self._value, self._range, self._step = 0.0, (0.0, 100.0), 1.0
        self._slider = qt.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, 1000)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider)
        self._slider.sliderMoved.connect(self._dragged)

    def _dragged(self, position: int) -> None:
        low, high = self._range
        self.setValue(low + (high - low) * position / 1000)

    def _set_range(self, low: float, high: float) -> None:
        self._range = (low, high)
        self._show_range()
        self.setValue(self._value)

    def _show_range(self) -> None:
        """Nothing to do for a bare slider: it counts thousandths of the range."""

    def setValue(self, value: float) -> None:
        value = min(max(float(value), self._range[0]), self._range[1])
        changed, self._value = value != self._value, value
        low, high = self._range
        self._slider.setSliderPosition(round(1000 * (value - low) / (high - low)) if high > low else 0)
        self._show_value()
        if changed:
            self.valueChanged.emit(value)

    def _show_value(self) -> None:
        """Nothing to do for a bare slider."""

    def _set_minimum(self, value: float) -> None:
        self._set_range(value, max(value, self._range[1]))

    def _set_maximum(self, value: float) -> None:
        self._set_range(min(value, self._range[0]), value)

    def _set_single_step(self, value: float) -> None:
        self._step = value

    value = QtCore.Property("double", lambda self: self._value, setValue)
    minimum = QtCore.Property("double", lambda self: self._range[0], _set_minimum)
    maximum = QtCore.Property("double", lambda self: self._range[1], _set_maximum)
    singleStep = QtCore.Property("double", lambda self: self._step, _set_single_step)
    pageStep = declare_property("double", 10.0)


class ctkDoubleSlider(_NumberWidget):
    """A slider for real numbers."""

    __module__ = "ctk"
    EXPOSED = ("setValue",)


class ctkSliderWidget(_NumberWidget):
    """A slider with a spin box beside it."""

    __module__ = "ctk"
    EXPOSED = ("setValue", "setDecimals")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._spin_box = qt.QDoubleSpinBox(self)
        QtWidgets.QWidget.layout(self).addWidget(self._spin_box)
        self._show_range()
        self._spin_box.valueChanged.connect(self.setValue)

    def _show_range(self) -> None:
        self._spin_box.setRange(*self._range)

    def _show_value(self) -> None:
        self._spin_box.setValue(self._value)

    def _set_single_step(self, value: float) -> None:
        super()._set_single_step(value)
        self._spin_box.setSingleStep(value)

    def setDecimals(self, decimals: int) -> None:
        self._spin_box.setDecimals(decimals)

    def _set_suffix(self, suffix: str) -> None:
        self._spin_box.setSuffix(suffix)

    singleStep = QtCore.Property("double", lambda self: self._step, _set_single_step)
    decimals = QtCore.Property("int", lambda self: self._spin_box.property("decimals"), setDecimals)
    suffix = QtCore.Property(str, lambda self: self._spin_box.property("suffix"), _set_suffix)


ctk = types.ModuleType("ctk", __doc__)
for _class in list(globals().values()):
    if isinstance(_class, type) and _class.__name__.startswith("ctk"):
        setattr(ctk, _class.__name__, _class)
