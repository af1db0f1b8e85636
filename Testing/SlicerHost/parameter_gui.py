"""Which widget can show which type of field, and how: the pairs that Slicer's ``connectGui`` knows.

Like there, the class of the widget must match exactly, and a pair that Slicer would refuse is refused here.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from typing import Any

from . import parameter_types as fields
from .ctk_module import ctk
from .mrml_widgets import qMRMLNodeComboBox, qMRMLSliderWidget
from .qt_module import qt


class Decimals:
    """Annotation: decimals that a spin box or slider shows."""

    def __init__(self, value: int) -> None:
        self.value = value


class SingleStep:
    """Annotation: step of a spin box or slider."""

    def __init__(self, value: float) -> None:
        self.value = value


class Connector:
    """One widget bound to one field."""

    def __init__(self, widget: Any, signal: str | None, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self.widget, self.signal, self.read, self.write = widget, signal, read, write
        self._slot: Callable | None = None

    def connect(self, changed: Callable[[], None]) -> None:
        if self.signal is not None:
            self._slot = lambda *_: changed()
            getattr(self.widget, self.signal).connect(self._slot)

    def disconnect(self) -> None:
        if self._slot is not None:
            getattr(self.widget, self.signal).disconnect(self._slot)
            self._slot = None


def _property_connector(widget: Any, signal: str | None, name: str, kind: Callable = lambda value: value) -> Connector:
    """A connector that reads and writes one property, only where it differs (so that a text cursor stays)."""

    def write(value: Any) -> None:
        if getattr(widget, name) != value:
            setattr(widget, name, value)

    return Connector(widget, signal, lambda: kind(getattr(widget, name)), write)


def _limits(annotations: tuple) -> tuple[float | None, float | None]:
    within = fields.first_annotation(annotations, fields.WithinRange)
    low = within or fields.first_annotation(annotations, fields.Minimum)
    high = within or fields.first_annotation(annotations, fields.Maximum)
    return (None if low is None else low.minimum), (None if high is None else high.maximum)


def _decorate(widget: Any, kind: Any, annotations: tuple) -> None:
    decimals = fields.first_annotation(annotations, Decimals)
    if type(widget) in _REAL_NUMBERS and type(widget) is not ctk.ctkDoubleSlider and (kind is int or decimals):
        widget.decimals = 0 if kind is int else decimals.value
    step = fields.first_annotation(annotations, SingleStep)
    if step is not None:
        widget.singleStep = step.value


def _number(widget: Any, kind: Any, annotations: tuple) -> Connector:
    low, high = _limits(annotations)
    if type(widget) in _BOUNDED and (low is None or high is None):
        raise RuntimeError(f"A {type(widget).__name__} needs a field with a lower and an upper bound")
    _decorate(widget, kind, annotations)
    unbounded = 2**31 - 1 if kind is int else float("inf")
    if not isinstance(widget, qt.QSlider | qt.QSpinBox):
        unbounded = float("inf")
    widget.minimum = -unbounded if low is None else low
    widget.maximum = unbounded if high is None else high
    return _property_connector(widget, "valueChanged", "value", kind)


def _choices(widget: Any, labelled: list[tuple[str, Any]]) -> Connector:
    widget.clear()
    for label, _value in labelled:
        widget.addItem(label)

    def write(value: Any) -> None:
        for index, (_label, choice) in enumerate(labelled):
            if choice == value:
                widget.currentIndex = index
                return
        raise ValueError(f"{value!r} is not among the choices {[choice for _, choice in labelled]}")

    return Connector(widget, "currentIndexChanged", lambda: labelled[widget.currentIndex][1], write)


def _combo_box(widget: Any, kind: Any, annotations: tuple) -> Connector:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda member: member.name)
        return _choices(widget, [(label(member), member) for member in kind])
    choice = fields.first_annotation(annotations, fields.Choice)
    if choice is None:
        raise RuntimeError("A combo box shows an enumeration, or a field annotated with Choice")
    return _choices(widget, [(str(value), value) for value in choice.choices])


def _checkable(widget: Any, _kind: Any, _annotations: tuple) -> Connector:
    if not widget.checkable:
        logging.warning(f"Making {widget.name} checkable to show a bool")
        widget.checkable = True
    return _property_connector(widget, "toggled", "checked")


def _check_box(widget: Any, _kind: Any, _annotations: tuple) -> Connector:
    return _property_connector(widget, "stateChanged", "checked")


def _node(widget: Any, kind: Any, _annotations: tuple) -> Connector:
    widget.nodeTypes = fields.node_types(kind)
    return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)


def _path(widget: Any, kind: Any, _annotations: tuple) -> Connector:
    signal, name = (
        ("directoryChanged", "directory")
        if type(widget) is ctk.ctkDirectoryButton
        else ("currentPathChanged", "currentPath")
    )
    return Connector(
        widget, signal, lambda: kind(getattr(widget, name)), lambda value: setattr(widget, name, str(value))
    )


def _text_edit(widget: Any, _kind: Any, _annotations: tuple) -> Connector:
    return Connector(widget, "textChanged", widget.toPlainText, widget.setPlainText)


_INTEGERS = (qt.QSlider, qt.QSpinBox)
_BOUNDED = (qt.QSlider, ctk.ctkSliderWidget, qMRMLSliderWidget)
_REAL_NUMBERS = (
    qt.QDoubleSpinBox,
    ctk.ctkSliderWidget,
    qMRMLSliderWidget,
    ctk.ctkDoubleSlider,
)


def _is_combo_content(kind: Any) -> bool:
    return kind in (int, float, str, bool) or (isinstance(kind, type) and issubclass(kind, enum.Enum))


def _is_node_field(kind: Any) -> bool:
    try:
        return bool(fields.node_types(kind))
    except TypeError:
        return False


_RULES: list[tuple[tuple[type, ...], Callable[[Any], bool], Callable[..., Connector]]] = [
    ((qt.QCheckBox, ctk.ctkCheckBox), lambda k: k is bool, _check_box),
    ((qt.QPushButton,), lambda k: k is bool, _checkable),
    (_INTEGERS, lambda k: k is int, _number),
    (_REAL_NUMBERS, lambda k: k in (int, float), _number),
    ((qt.QComboBox, ctk.ctkComboBox), _is_combo_content, _combo_box),
    ((qt.QLineEdit,), lambda k: k is str, lambda w, *_: _property_connector(w, "textChanged", "text")),
    ((qt.QLabel,), lambda k: k is str, lambda w, *_: _property_connector(w, None, "text")),
    ((qt.QTextEdit,), lambda k: k is str, _text_edit),
    ((ctk.ctkPathLineEdit, ctk.ctkDirectoryButton), lambda k: k in fields.PATH_TYPES, _path),
    ((qMRMLNodeComboBox,), _is_node_field, _node),
]


def connector_for(widget: Any, annotated: Any) -> Connector:
    """The connector of a widget and a field's type.

    :raises RuntimeError: if Slicer has none for the two.
    """
    kind, annotations = fields.split_annotations(annotated)
    for classes, accepts, make in _RULES:
        if type(widget) in classes and accepts(kind):
            return make(widget, kind, annotations)
    raise RuntimeError(f"Unable to connect a field of type {annotated} to a {type(widget).__name__}")
