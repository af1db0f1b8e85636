"""How the fields of a parameter node are stored: one codec for each type, and the rules that values must obey.

The storage is Slicer's (``Docs/developer_guide/parameter_nodes``), so a scene written here opens there: numbers, texts,
paths and enumeration names as parameters, "True" and "False" for booleans, nodes as node references, and a union under
the field's name with the index of the member type after a dot.
"""

from __future__ import annotations

import abc
import enum
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import slicer

PATH_TYPES = (pathlib.Path, pathlib.PurePath, pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath)


class Validator(abc.ABC):
    """A rule for the values of a field."""

    @abc.abstractmethod
    def validate(self, value: Any) -> None:
        """Raise ``ValueError`` or ``TypeError`` when the value breaks the rule."""


class NotNone(Validator):
    """The value must not be None."""

    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    """The value must be of a type (None passes)."""

    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type {self.classtype}, it is {value!r}")


class WithinRange(Validator):
    """The value must lie between two bounds, both included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within [{self.minimum}, {self.maximum}], it is {value}")


class Minimum(Validator):
    """The value must not be below a bound."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, it is {value}")


class Maximum(Validator):
    """The value must not be above a bound."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, it is {value}")


class Choice(Validator):
    """The value must be one of a list."""

    def __init__(self, choices: list) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value!r}, but must be one of {self.choices}")


class Exclude(Validator):
    """The value must not be one of a list."""

    def __init__(self, excludedValues: list) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Value {value!r} is excluded")


class Default:
    """Annotation for the first value of a field."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        return self._generator() if self._generator else self._value


def split_annotations(annotated: Any) -> tuple[Any, tuple]:
    """The type without its annotations, and the annotations."""
    if typing.get_origin(annotated) is Annotated:
        return annotated.__origin__, annotated.__metadata__
    return annotated, ()


def unannotated_type(annotated: Any) -> Any:
    return split_annotations(annotated)[0]


def first_annotation(annotations: typing.Iterable, kind: type) -> Any:
    return next((annotation for annotation in annotations if isinstance(annotation, kind)), None)


def is_node_type(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def node_types(kind: Any) -> tuple[str, ...]:
    """Class names of a node type or of the node types of a union.

    :raises TypeError: for any other type.
    """
    kind = unannotated_type(kind)
    members = [unannotated_type(member) for member in typing.get_args(kind)] if is_union(kind) else [kind]
    nodes = [member for member in members if member is not type(None)]
    if not nodes or not all(is_node_type(member) for member in nodes):
        raise TypeError(f"{kind} is not a node type")
    return tuple(node().GetClassName() for node in nodes)


class Codec:
    """Stores one type on a vtkMRMLScriptedModuleNode."""

    def __init__(self, encode: Callable, decode: Callable, default: Callable, rules: list[Validator]) -> None:
        self.encode, self.decode, self.default, self.rules = encode, decode, default, rules

    def validate(self, value: Any) -> None:
        for rule in self.rules:
            rule.validate(value)

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        node.SetParameter(name, self.encode(value))

    def read(self, node: Any, name: str) -> Any:
        return self.decode(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)


class NodeCodec(Codec):
    """Stores a node as a reference; an empty parameter of the same name says that the field was set."""

    def __init__(self, kind: type) -> None:
        super().__init__(str, str, lambda: None, [IsInstance(kind)])

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class UnionCodec(Codec):
    """Stores a value with the codec of the first member type that takes it."""

    def __init__(self, members: list[Any]) -> None:
        self.members = [(unannotated_type(member), codec_for(member)) for member in members]
        optional = len(members) == 2 and members[1] is type(None)
        self.default = (lambda: None) if optional else self.members[0][1].default
        self.rules = []

    def _index_for(self, value: Any) -> int:
        for index, (kind, codec) in enumerate(self.members):
            fits = (value is None) == (kind is type(None)) and isinstance(value, kind)
            if fits:
                codec.validate(value)
                return index
        raise TypeError(f"Unable to write {value!r}: none of {[kind for kind, _ in self.members]} takes it")

    def is_in(self, node: Any, name: str) -> bool:
        return any(codec.is_in(node, f"{name}.{i}") for i, (_, codec) in enumerate(self.members))

    def write(self, node: Any, name: str, value: Any) -> None:
        index = self._index_for(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self.members[index][1].write(node, f"{name}.{index}", value)

    def read(self, node: Any, name: str) -> Any:
        for index, (_, codec) in enumerate(self.members):
            if codec.is_in(node, f"{name}.{index}"):
                return codec.read(node, f"{name}.{index}")
        raise KeyError(f"No value stored under {name}")

    def remove(self, node: Any, name: str) -> None:
        for index, (_, codec) in enumerate(self.members):
            codec.remove(node, f"{name}.{index}")


def _enumeration_codec(kind: type[enum.Enum]) -> Codec:
    def decode(text: str) -> enum.Enum:
        if text not in kind.__members__:
            raise ValueError(f"Found {text!r} in the parameter node, which is not a name in {kind!r}")
        return kind[text]

    return Codec(lambda value: value.name, decode, lambda: next(iter(kind)), [IsInstance(kind)])


def _base_codec(kind: Any) -> Codec:
    if kind is bool:
        return Codec(str, lambda text: text == "True", lambda: False, [NotNone(), IsInstance(bool)])
    if kind in (int, float):
        accepted = (int, float) if kind is float else int
        return Codec(str, kind, lambda: 0, [NotNone(), IsInstance(accepted)])
    if kind is str:
        return Codec(str, str, str, [NotNone(), IsInstance(str)])
    if kind in PATH_TYPES:
        return Codec(str, kind, kind, [NotNone(), IsInstance(kind)])
    if kind is type(None):
        return Codec(lambda _: "True", lambda _: None, lambda: None, [])
    if is_node_type(kind):
        return NodeCodec(kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _enumeration_codec(kind)
    if is_union(kind):
        return UnionCodec(list(typing.get_args(kind)))
    raise TypeError(f"Unable to store a field of type {kind}; the stand-in knows no lists, dictionaries or packs")


def codec_for(annotated: Any) -> Codec:
    """The codec for a (possibly annotated) type, with its validators.

    :raises TypeError: if the type cannot be stored.
    """
    kind, annotations = split_annotations(annotated)
    codec = _base_codec(kind)
    codec.rules = codec.rules + [a for a in annotations if isinstance(a, Validator)]
    if isinstance(codec, UnionCodec) and codec.rules:
        raise TypeError("The stand-in knows no validators on a union")
    return codec
