"""Module ``slicer.parameterNodeWrapper``: typed fields on a vtkMRMLScriptedModuleNode, bound to widgets both ways."""

from __future__ import annotations

import logging
import types
import typing
import weakref
from collections.abc import Callable
from typing import Any

import slicer
import vtk

from . import parameter_gui as gui
from . import parameter_types as fields
from . import version
from .qt_module import qt

WIDGET_PROPERTY = "SlicerParameterName"
_RESERVED = ("allParameters", "default", "isCached", "dataType", "getValue", "setValue", "connectGui",
             "connectParametersToGui", "disconnectGui", "StartModify", "EndModify", "AddObserver", "RemoveObserver",
             "Modified")  # fmt: skip


class _Field:
    """What the class says about one field."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.name, self.data_type = name, annotated
        self.codec = fields.codec_for(annotated)
        annotations = fields.split_annotations(annotated)[1]
        declared = fields.first_annotation(annotations, fields.Default)
        self.default = declared or fields.Default(generator=self.codec.default)
        if hasattr(owner, name):
            self.default = fields.Default(getattr(owner, name))
        known = (fields.Validator, fields.Default, gui.Decimals, gui.SingleStep)
        unused = [a for a in annotations if not isinstance(a, known)]
        if unused:
            logging.warning(f"Unused annotations of {name}: {unused}")


class _BoundField:
    """A field on one node; its value is read again whenever the node is modified, as in Slicer."""

    def __init__(self, field: _Field, node: Any, prefix: str) -> None:
        self.field, self.node, self.key = field, node, prefix + field.name
        if not field.codec.is_in(node, self.key):
            field.codec.write(node, self.key, field.default.value)
        self.value = field.codec.read(node, self.key)
        reference = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: _reread(reference()))

    def __del__(self) -> None:
        if hasattr(self, "_tag"):
            self.node.RemoveObserver(self._tag)

    def write(self, value: Any) -> None:
        # Nobody is told before the new value can be read.
        with slicer.util.NodeModify(self.node):
            self.field.codec.write(self.node, self.key, value)
            self.value = self.field.codec.read(self.node, self.key)


def _reread(bound: _BoundField | None) -> None:
    """What is gone from the node, as when the scene is closed, is there again with its default."""
    if bound is None:
        return
    if not bound.field.codec.is_in(bound.node, bound.key):
        bound.field.codec.write(bound.node, bound.key, bound.field.default.value)
    bound.value = bound.field.codec.read(bound.node, bound.key)


class ParameterNodeWrapper:
    """What the decorator adds to a class; the object wraps one vtkMRMLScriptedModuleNode."""

    allParameters: dict[str, _Field] = {}  # noqa: RUF012  each wrapped class has its own
    _is_parameter_node_wrapper = True

    def __init__(self, parameterNode: Any, prefix: str | None = None) -> None:
        if parameterNode is None:
            raise AssertionError("A parameter node wrapper needs a node")
        state = {
            "parameterNode": parameterNode,
            "_bound": {n: _BoundField(f, parameterNode, prefix or "") for n, f in self.allParameters.items()},
            "_connections": {},
            "_next_tag": 0,
            "_updating": False,
        }
        self.__dict__.update(state)

    def __setattr__(self, name: str, value: Any) -> None:
        # Slicer lets a mistyped field pass as an ordinary attribute; tests had better not.
        if not name.startswith("_") and name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no field '{name}'")
        object.__setattr__(self, name, value)

    @classmethod
    def _check(cls, name: str) -> None:
        if name not in cls.allParameters:
            raise ValueError(f"Cannot find a parameter named '{name}' among {list(cls.allParameters)}")

    def getValue(self, name: str) -> Any:
        self._check(name)
        return self._bound[name].value

    def setValue(self, name: str, value: Any) -> None:
        self._check(name)
        self._bound[name].write(value)

    def default(self, name: str) -> Any:
        self._check(name)
        return self.allParameters[name].default

    def isCached(self, name: str) -> bool:
        self._check(name)
        return True

    @classmethod
    def dataType(cls, name: str) -> Any:
        cls._check(name)
        return cls.allParameters[name].data_type

    def connectGui(self, ui: Any) -> int:
        """Bind every widget that names a field in its property SlicerParameterName; returns the tag to undo it."""
        is_widget = getattr(ui, "isWidgetType", lambda: False)()
        widgets = ui.findChildren(qt.QWidget) if is_widget else list(vars(ui).values())
        named = {widget.property(WIDGET_PROPERTY): widget for widget in widgets if widget.property(WIDGET_PROPERTY)}
        return self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind fields to widgets; returns the tag to undo it."""
        for name in mapping:
            self._check(name)
        connectors = {name: gui.connector_for(widget, self.dataType(name)) for name, widget in mapping.items()}
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(self._writer(name, connector))
        tag, self.__dict__["_next_tag"] = self._next_tag, self._next_tag + 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        self._connections[tag] = (connectors, observer)
        return tag

    def _writer(self, name: str, connector: gui.Connector) -> Callable[[], None]:
        def changed() -> None:
            if not self._updating:
                self.setValue(name, connector.read())

        return changed

    def _show(self) -> None:
        """Bring every bound widget up to date."""
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors, _ in list(self._connections.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag: int) -> None:
        connectors, observer = self._connections.pop(tag, ({}, None))
        for connector in connectors.values():
            connector.disconnect()
        if observer is not None and version.at_least(5, 12):  # before, it stayed, and kept this object alive
            self.RemoveObserver(observer)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> int:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _field_property(name: str) -> property:
    return property(lambda self: self.getValue(name), lambda self, value: self.setValue(name, value))


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Class decorator; used with and without parentheses.

    :raises ValueError: if a field has a name that the wrapper needs itself.
    """
    if classtype is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(classtype, include_extras=True)
    taken = [name for name in _RESERVED if name in hints or name in vars(classtype)]
    if taken:
        raise ValueError(f"Cannot use the reserved names {taken} in a parameterNodeWrapper")
    declared = {name: _Field(classtype, name, hint) for name, hint in hints.items()}
    own = {k: v for k, v in vars(classtype).items() if k not in ("__dict__", "__weakref__", "__init__")}
    own.update({name: _field_property(name) for name in declared}, allParameters=declared)
    return type(classtype.__name__, (ParameterNodeWrapper, *classtype.__bases__), own)


def isParameterNodeWrapper(classOrObject: Any) -> bool:
    return getattr(classOrObject, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """The widget below another that names a field; None where there is none."""
    children = widget.findChildren(qt.QWidget)
    return next((child for child in children if child.property(WIDGET_PROPERTY) == parameter), None)


def make_module() -> types.ModuleType:
    """The module object for ``slicer.parameterNodeWrapper``."""
    module = types.ModuleType("slicer.parameterNodeWrapper", __doc__)
    for source in (fields.Validator, fields.NotNone, fields.IsInstance, fields.WithinRange, fields.Minimum,
                   fields.Maximum, fields.Choice, fields.Exclude, fields.Default, gui.Decimals, gui.SingleStep,
                   parameterNodeWrapper, isParameterNodeWrapper, findChildWidgetForParameter):  # fmt: skip
        setattr(module, source.__name__, source)
    module.SlicerParameterNamePropertyName = WIDGET_PROPERTY
    module.unannotatedType = fields.unannotated_type
    module.splitAnnotations = fields.split_annotations
    module.findFirstAnnotation = fields.first_annotation
    module.getNodeTypes = fields.node_types
    return module
