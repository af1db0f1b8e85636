"""What an ONNX file would have a runtime do, told from its bytes alone, before a runtime sees them.

A network of ours is one file that says all: no weights in other files, which it could name anywhere on the disk, no
operators but those that ONNX defines, no tensor larger than a file can be. The package ``onnx`` is not at hand in
3D Slicer, so the few entries that matter are read here. Numbers of fields are those of onnx.proto3 (ONNX 1.17,
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3), the encoding is that of Protocol Buffers
(https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

#: Bytes of the largest message of Protocol Buffers, and so of an ONNX file without others.
MOST_BYTES = 2**31
#: Elements of the largest tensor: 2 GiB of float32.
_MOST_ELEMENTS = 2**29
#: Graphs within nodes within graphs; a sampler's loop has two.
_DEEPEST = 16
_STANDARD = {b"", b"ai.onnx"}

# Of ModelProto, FunctionProto, GraphProto, NodeProto, AttributeProto, SparseTensorProto and TensorProto, in this order.
_GRAPH, _FUNCTION = 7, 25
_FUNCTION_NODE, _FUNCTION_DOMAIN = 7, 10
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
_DOMAIN, _ATTRIBUTE, _OPERATOR = 7, 5, 4
_TENSORS, _GRAPHS, _SPARSE_TENSORS = (5, 10), (6, 11), (22, 23)
_SPARSE_PARTS = (1, 2)
_DIMENSION, _EXTERNAL, _LOCATION = 1, 13, 14

#: A field of a message: its number, and a whole number or the bytes of a text or message.
_Field = tuple[int, int | memoryview]


def check_onnx(content: bytes) -> None:
    """Raise :class:`ValueError`, with what is wrong in words, where a file is no network that may be opened.

    Examples
    --------
    >>> check_onnx(b"PK")
    Traceback (most recent call last):
    ValueError: it is no ONNX network
    """
    model = _fields_of(content)
    functions = [list(_fields(_message(value))) for number, value in model if number == _FUNCTION]
    known = _STANDARD | {_bytes(value) for parts in functions for number, value in parts if number == _FUNCTION_DOMAIN}
    graphs = [_message(value) for number, value in model if number == _GRAPH]
    if len(graphs) != 1:
        raise ValueError("it is no ONNX network")
    _check_graph(graphs[0], known, 0)
    for parts in functions:
        for node in (_message(value) for number, value in parts if number == _FUNCTION_NODE):
            _check_node(node, known, 0)


def _fields_of(content: bytes) -> list[_Field]:
    try:
        return list(_fields(memoryview(content)))
    except ValueError as error:
        raise ValueError("it is no ONNX network") from error


def _check_graph(graph: memoryview, known: set[bytes], depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError(f"it nests graphs more than {_DEEPEST} deep")
    for number, value in _fields(graph):
        if number == _NODE:
            _check_node(_message(value), known, depth)
        elif number == _INITIALIZER:
            _check_tensor(_message(value))
        elif number == _SPARSE_INITIALIZER:
            _check_sparse(_message(value))


def _check_node(node: memoryview, known: set[bytes], depth: int) -> None:
    fields = list(_fields(node))
    entries = {number: _bytes(value) for number, value in fields if number in (_DOMAIN, _OPERATOR)}
    if entries.get(_DOMAIN, b"") not in known:
        named = (entries[_DOMAIN] + b"." + entries.get(_OPERATOR, b"?")).decode("utf-8", "replace")
        raise ValueError(f"it needs the operator {named[:80]}, which is none of ONNX")
    for attribute in (_message(value) for number, value in fields if number == _ATTRIBUTE):
        for number, value in _fields(attribute):
            if number in _GRAPHS:
                _check_graph(_message(value), known, depth + 1)
            elif number in _TENSORS:
                _check_tensor(_message(value))
            elif number in _SPARSE_TENSORS:
                _check_sparse(_message(value))


def _check_sparse(tensor: memoryview) -> None:
    dimensions: list[int] = []
    for number, value in _fields(tensor):
        if number in _SPARSE_PARTS:
            _check_tensor(_message(value))
        elif number == 3:
            dimensions += _numbers(value)
    _check_size(dimensions)


def _check_tensor(tensor: memoryview) -> None:
    dimensions: list[int] = []
    for number, value in _fields(tensor):
        if number == _EXTERNAL or (number == _LOCATION and value != 0):
            raise ValueError("it keeps weights in other files")
        if number == _DIMENSION:
            dimensions += _numbers(value)
    _check_size(dimensions)


def _check_size(dimensions: list[int]) -> None:
    if any(not 0 <= length <= _MOST_ELEMENTS for length in dimensions) or math.prod(dimensions) > _MOST_ELEMENTS:
        raise ValueError(f"it has a tensor of {' x '.join(map(str, dimensions[:8]))} numbers")


# The encoding ---------------------------------------------------------------------------------------------------------


def _fields(message: memoryview) -> Iterator[_Field]:
    """The fields of a message; nothing is copied."""
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        length, place = _varint(message, place) if kind == 2 else ({1: 8, 5: 4}.get(kind, end + 1), place)
        if length > end - place:
            raise ValueError("it ends early or is damaged")
        yield key >> 3, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A whole number of variable length, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place + shift // 7 >= len(message):
            break
        byte = message[place + shift // 7]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place + shift // 7 + 1
    raise ValueError("it ends early or is damaged")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("it is damaged")
    return value


def _bytes(value: int | memoryview) -> bytes:
    return bytes(_message(value))


def _numbers(value: int | memoryview) -> list[int]:
    """A repeated whole number: one, or many packed together."""
    if isinstance(value, int):
        return [value]
    numbers, place = [], 0
    while place < len(value):
        number, place = _varint(value, place)
        numbers.append(number)
    return numbers
