"""Module ``qt`` with PySide6 underneath and PythonQt's manners, as far as a scripted module can tell.

Inside Slicer, PythonQt exposes every Qt property as an attribute (``button.text = "Go"``; ``button.text()`` fails),
takes signals by their C++ signature (``button.connect("clicked(bool)", f)``), and refuses attributes that a Qt class
does not have. The classes here do the same and raise where PythonQt raises or silently does nothing, so that code
that passes here does not owe it to PySide6. Written from Qt's and Slicer's documentation.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, ClassVar

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from . import version
from .not_wrapped import NOT_WRAPPED

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


class _NotWrapped:
    """A method that PythonQt does not have."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        raise AttributeError(f"PythonQt has no '{self.name}' for '{(owner or type(instance)).__name__}'")


#: Where the classes here say that they come from; classes of a module are derived from them.
_OWN_MODULES = ("qt", "ctk", "slicer")


class _HostType(type(QtCore.QObject)):
    """Class of the classes here. PythonQt gives every class the same base: ``isinstance(x, qt.QWidget)`` holds for
    what is a QWidget and nothing more, or of a Python class derived from it (createNewPythonQtClassWrapper).

    A class that rebuilds one of C++ names in ``EXPOSED`` the slots and invokables of that one which it has; PythonQt
    lets nothing else be called, so that nothing else may be public.
    """

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        if "EXPOSED" in namespace:
            public = {key for key, value in namespace.items() if inspect.isfunction(value) and not key.startswith("_")}
            wrong = {key for key in public - set(cls.EXPOSED) if not hasattr(cls._native_class, key)}
            if wrong:
                raise TypeError(f"{name} has {sorted(wrong)}, which PythonQt would not expose")

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls.__module__ not in _OWN_MODULES:
            return type.__instancecheck__(cls, instance)
        return cls is next((kind for kind in type(instance).__mro__ if kind.__module__ in _OWN_MODULES), None)


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
        too_new = _is_too_new(sender, candidate.partition("(")[0])
        if candidate and not too_new and meta.indexOfSignal(candidate) >= 0:
            return candidate
    raise ValueError(f"{type(sender).__name__} has no signal '{signature}'")


def _is_too_new(instance: QtCore.QObject, name: str) -> bool:
    """Whether a class has a signal in later versions of Slicer only."""
    since = _later_names(type(instance)).get(name)
    return since is not None and not version.at_least(*since)


@functools.cache
def _later_names(kind: type) -> dict[str, tuple[int, ...]]:
    """What a class has in later versions only, with the version; kept, for every access of an attribute asks."""
    return getattr(kind, "SINCE", {})


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


def _inherits(instance: QtCore.QObject, kind: type | str) -> bool:
    """Whether an object is of a class, given itself or by its C++ name, or of one derived from it."""
    if isinstance(kind, str):
        return kind in (cls.__name__ for cls in type(instance).__mro__)
    return type.__instancecheck__(kind.__dict__.get("_native_class", kind), instance)


def _find_children(self: QtCore.QObject, kind: type | str, name: str | None = None) -> list:
    """As PythonQtStdDecorators: below an object of another name nothing is looked for."""
    found = []
    for child in self._native_class.children(self):
        if name is None or child.property("objectName") == name:
            found += [child] if _inherits(child, kind) else []
            found += _find_children(child, kind, name) if hasattr(child, "_native_class") else []
    return found


def _find_child(self: QtCore.QObject, kind: type | str, name: str | None = None) -> Any:
    """As PythonQtStdDecorators: the nearest one, also below objects of other names."""
    children = [child for child in self._native_class.children(self) if hasattr(child, "_native_class")]
    near = [child for child in children if (name is None or child.property("objectName") == name)]
    found = next((child for child in near if _inherits(child, kind)), None)
    return found or next((found for child in children if (found := _find_child(child, kind, name))), None)


def _namespace(native: type) -> dict[str, Any]:
    """What a class here adds to the native one."""
    meta = native.staticMetaObject
    properties = [meta.property(i) for i in range(meta.propertyCount())]
    absent = [name for kind in native.__mro__ for name in NOT_WRAPPED.get(kind.__name__, ())]
    namespace: dict[str, Any] = {name: _NotWrapped(name) for name in absent}
    namespace |= {p.name(): PropertyAccess(native, p) for p in properties if p.name() not in _METHODS}

    def get_attribute(self: Any, name: str) -> Any:
        if name == "connect":
            return _SignalMethod(self, _connect)
        if name == "disconnect":
            return _SignalMethod(self, _disconnect)
        if _is_too_new(self, name):
            raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}' in this version of Slicer")
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
