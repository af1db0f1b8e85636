"""Module ``qt`` with PySide6 underneath and PythonQt's manners, as far as a scripted module can tell.

Inside Slicer, PythonQt exposes every Qt property as an attribute (``button.text = "Go"``; ``button.text()`` fails),
takes signals by their C++ signature (``button.connect("clicked(bool)", f)``), and refuses attributes that a Qt class
does not have. The classes here do the same and raise where PythonQt raises or silently does nothing, so that code
that passes here does not owe it to PySide6. Written from Qt's and Slicer's documentation.
"""

from __future__ import annotations

import contextvars
import inspect
import types
from collections.abc import Callable
from typing import Any, ClassVar

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

_NATIVE_MODULES = (QtCore, QtGui, QtWidgets)
# Value types that PythonQt converts to the C++ type of a property; anything else is refused.
_ACCEPTED_VALUES: dict[str, tuple[type, ...]] = {
    "bool": (bool, int),
    "int": (int,),
    "uint": (int,),
    "double": (int, float),
    "float": (int, float),
    "QString": (str,),
    "QStringList": (list, tuple),
}


# Layouts ask for these all the time; as attributes they would be computed again at every level.
_METHODS = ("sizeHint", "minimumSizeHint")


class PropertyAccess:
    """A Qt property as a Python attribute; on the class it gives what the native class has under that name."""

    _being_read: ClassVar[set[tuple[int, str]]] = set()

    def __init__(self, native: type, meta_property: QtCore.QMetaProperty) -> None:
        self.native = native
        self.name = meta_property.name()
        self.type_name = meta_property.typeName()
        self.writable = meta_property.isWritable()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return getattr(self.native, self.name)
        # Where the C++ getter is virtual, PySide6 looks for a Python method of that name first, which leads back here.
        if (id(instance), self.name) in self._being_read:
            return None
        self._being_read.add((id(instance), self.name))
        try:
            return instance.property(self.name)
        finally:
            self._being_read.discard((id(instance), self.name))

    def __set__(self, instance: Any, value: Any) -> None:
        if not self.writable:
            raise AttributeError(f"Property '{self.name}' of {type(instance).__name__} is read-only")
        accepted = _ACCEPTED_VALUES.get(self.type_name)
        if accepted is not None and not isinstance(value, accepted):
            raise TypeError(
                f"Property '{self.name}' of type '{self.type_name}' does not accept an object of type "
                f"{type(value).__name__} ({value!r})"
            )
        if not instance.setProperty(self.name, value):
            raise TypeError(f"Property '{self.name}' of {type(instance).__name__} does not accept {value!r}")


class _HostType(type(QtCore.QObject)):
    """Class of the classes here: ``isinstance(x, qt.QWidget)`` holds for every widget, whichever class made it."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return type.__instancecheck__(cls.__dict__.get("_native_class", cls), instance)


def _positional_capacity(function: Callable) -> int | None:
    """How many positional arguments a callable takes; None where it takes any number."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _shortened(function: Callable) -> Callable:
    """A slot that drops the arguments the function has no room for, as PythonQt does."""
    capacity = _positional_capacity(function)
    return lambda *arguments: function(*arguments[:capacity])


def _native_signature(sender: QtCore.QObject, signature: str) -> str:
    """The signature in the sender's meta object that a C++ signature names.

    :raises ValueError: if the class has no such signal (Slicer would ignore the connection).
    """
    meta = sender.metaObject()
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    declared = getattr(type(sender), "CPP_SIGNALS", {})
    for candidate in (normalized, declared.get(normalized, "")):
        if candidate and meta.indexOfSignal(candidate) >= 0:
            return candidate
    raise ValueError(f"{type(sender).__name__} has no signal '{signature}'")


def _connect(self: QtCore.QObject, signature: str, function: Callable) -> bool:
    """Connect a signal, named by its C++ signature, to a callable."""
    if not callable(function):
        raise TypeError(f"'{function!r}' cannot be connected to '{signature}': it is not callable")
    native = _native_signature(self, signature)
    slot = _shortened(function)
    if not QtCore.QObject.connect(self, QtCore.SIGNAL(native), slot):
        raise ValueError(f"'{signature}' of {type(self).__name__} could not be connected")
    self.__dict__.setdefault("_connections", {}).setdefault((native, function), []).append(slot)
    return True


def _disconnect(self: QtCore.QObject, signature: str, function: Callable) -> bool:
    """Undo one ``connect``; False where there was none, as in Qt."""
    slots = self.__dict__.get("_connections", {}).get((_native_signature(self, signature), function), [])
    if not slots:
        return False
    return bool(QtCore.QObject.disconnect(self, QtCore.SIGNAL(_native_signature(self, signature)), slots.pop()))


class _SignalMethod:
    """``connect``/``disconnect`` of one object; PySide6 resolves these two names itself unless intercepted."""

    def __init__(self, instance: QtCore.QObject, function: Callable) -> None:
        self.instance, self.function = instance, function

    def __call__(self, signature: str, function: Callable) -> bool:
        return self.function(self.instance, signature, function)


# PySide6's loader of .ui files sets each child as an attribute of the top widget; Slicer's does not, so it is ignored.
loading_ui_file = contextvars.ContextVar("loading_ui_file", default=False)


def _set_attribute(self: QtCore.QObject, name: str, value: Any) -> None:
    """Refuse attributes that the Qt class does not have; a module's own subclass may have its own."""
    if loading_ui_file.get() and isinstance(value, QtCore.QObject) and not name.startswith("_"):
        return
    own = inspect.getattr_static(type(self), name, None)
    settable = isinstance(own, QtCore.Property) or (own is not None and hasattr(type(own), "__set__"))
    if not settable and not name.startswith("_") and getattr(type(self), "__module__", "") in ("qt", "ctk", "slicer"):
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}' that can be set")
    type(self)._native_class.__setattr__(self, name, value)


def _native_type(cls: type) -> type:
    return cls.__dict__.get("_native_class", cls)


def _find_children(self: QtCore.QObject, cls: type = QtCore.QObject, *arguments: Any) -> list:
    return [child for child in self._native_class.findChildren(self, _native_type(cls), *arguments)
            if isinstance(child, cls)]  # fmt: skip


def _find_child(self: QtCore.QObject, cls: type = QtCore.QObject, *arguments: Any) -> Any:
    return next(iter(_find_children(self, cls, *arguments)), None)


def _namespace(native: type) -> dict[str, Any]:
    """What a class here adds to the native one."""
    meta = native.staticMetaObject
    properties = [meta.property(i) for i in range(meta.propertyCount())]
    namespace: dict[str, Any] = {p.name(): PropertyAccess(native, p) for p in properties if p.name() not in _METHODS}

    def get_attribute(self: Any, name: str) -> Any:
        if name == "connect":
            return _SignalMethod(self, _connect)
        if name == "disconnect":
            return _SignalMethod(self, _disconnect)
        return native.__getattribute__(self, name)

    namespace.update(
        _native_class=native,
        __module__="qt",
        __getattribute__=get_attribute,
        __setattr__=_set_attribute,
        name=property(lambda self: self.property("objectName"), lambda self, v: self.setObjectName(v)),
        className=lambda self: self.metaObject().className(),
        findChildren=_find_children,
        findChild=_find_child,
        delete=lambda self: shiboken6.delete(self),
    )
    if hasattr(native, "exec"):
        namespace["exec_"] = lambda self, *arguments: native.__getattribute__(self, "exec")(*arguments)
    return namespace


_host_classes: dict[type, type] = {}


def host_class(native: type) -> type:
    """The class of module ``qt`` for a PySide6 class that derives from QObject; one for each."""
    if native not in _host_classes:
        _host_classes[native] = _HostType(native.__name__, (native,), _namespace(native))
    return _host_classes[native]


def declare_property(type_name: str, default: Any, changed: Callable[[Any], None] | None = None) -> QtCore.Property:
    """A Qt property that a stand-in widget stores itself (as QObject property, so .ui files and Python both see it).

    :param type_name: "bool", "int", "double", "QString" or "QStringList".
    :param changed: called with the widget after the value changed.
    """
    key = f"_property_{id(default)}_{type_name}"
    holder = {"key": key}

    def read(self: Any) -> Any:
        value = self.__dict__.get(holder["key"], default)
        return list(value) if type_name == "QStringList" else value

    def write(self: Any, value: Any) -> None:
        accepted = _ACCEPTED_VALUES.get(type_name)
        if accepted is not None and not isinstance(value, accepted):
            raise TypeError(f"A property of type '{type_name}' does not accept {value!r}")
        if read(self) != value:
            self.__dict__[holder["key"]] = tuple(value) if type_name == "QStringList" else value
            if changed is not None:
                changed(self)

    result = QtCore.Property(type_name, read, write)
    holder["key"] = f"_property_{id(result)}"
    return result


class QtModule(types.ModuleType):
    """The module object: looks a name up in PySide6 when it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        for module in _NATIVE_MODULES:
            value = None if name.startswith("_") else getattr(module, name, None)
            if value is None:
                continue
            is_object = isinstance(value, type) and issubclass(value, QtCore.QObject)
            value = host_class(value) if is_object else value
            setattr(self, name, value)
            return value
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


def _path_alone(function: Callable) -> staticmethod:
    """A dialog for files that returns the path, or the empty text, as PythonQt does; PySide6 adds the filter."""
    return staticmethod(lambda *arguments: function(*arguments)[0])


qt = QtModule("qt", __doc__)
qt.QFileDialog.getOpenFileName = _path_alone(QtWidgets.QFileDialog.getOpenFileName)
qt.QFileDialog.getSaveFileName = _path_alone(QtWidgets.QFileDialog.getSaveFileName)
qt.QVariant = lambda value=None: value
