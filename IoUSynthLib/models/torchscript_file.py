"""What a TorchScript file would have PyTorch do, told from its bytes alone, before PyTorch sees them.

An archive of TorchScript holds source in a language of its own and tensors in pickles, both read by PyTorch's own C++
code: no Python of it is ever run. Its language can do more than a network needs, though: write a file (``aten::save``),
map one into memory (``aten::from_file``), call operators of other libraries, and run a method while it is loaded
(``__setstate__``). And PyTorch takes the sizes of tensors on trust (https://github.com/pytorch/pytorch/blob/main/SECURITY.md:
models are programs). So the source is searched for whatever is neither arithmetic (the operators of ``aten`` and
``prim``) nor its own classes, every tensor is compared with the bytes that are there, and what was checked is packed
anew: PyTorch opens that archive and not the file.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

#: Bytes of what an archive holds, at most: as of an ONNX file.
MOST_BYTES = 2**31
_MOST_MEMBERS = 100_000
#: What PyTorch needs of an archive, within its one folder; remarks for debugging and examples of inputs it does not.
_NEEDED = re.compile(r"(code/[\w./-]+\.py|(data|constants)(\.pkl|/\d+)|version|byteorder|\.data/serialization_id)")
#: Names in the source, wherever they stand, that reach a file or another computer, or are called while it is loaded.
_REACHING = re.compile(r"\b(save|from_file|rpc_sync|rpc_async|rpc_remote|__setstate__)\b|\btorch\s*\.\s*classes\b")
#: The operators of a namespace, of which only two are arithmetic; ``torch.name`` is another way to say ``aten``.
_OPERATORS = re.compile(r"(?<![\w.])ops\b(?!\.(aten|prim)\.)\s*(\.\s*\w+){0,2}")
#: A name that is put together from parts could be any of the above.
_ASKED, _ASKED_PLAINLY = re.compile(r"\bgetattr\b"), re.compile(r"\bgetattr\([^\"'\\#]*, \"[^\"'\\]*\"\)")
#: Bytes of an element of each kind of storage.
_ELEMENT = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip


def check_torchscript(content: bytes) -> bytes:
    """Return an archive with what was checked and nothing else, for PyTorch to open.

    Raises
    ------
    ValueError
        The file is no TorchScript network, is damaged, or would have PyTorch do what no network needs; what is wrong,
        in words.

    Examples
    --------
    >>> check_torchscript(b"PK")
    Traceback (most recent call last):
    ValueError: it is no TorchScript network
    """
    members = _members(content)
    for name, member in members.items():
        if name.endswith(".py"):
            _check_source(member)
    for name in ("data", "constants"):
        _check_tensors(members, name)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, member in members.items():
            archive.writestr(f"network/{name}", member)
    return packed.getvalue()


def _members(content: bytes) -> dict[str, bytes]:
    """The needed files of an archive, without the name of the folder that they lie in."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > _MOST_MEMBERS or sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise ValueError("it holds more than a network can")
            if not entries:
                raise ValueError("it is no TorchScript network")
            folders, paths = zip(*(entry.filename.partition("/")[::2] for entry in entries), strict=True)
            if len(set(folders)) != 1 or len(set(paths)) != len(paths):
                raise ValueError("it is no TorchScript network")
            wanted = [(path, entry) for path, entry in zip(paths, entries, strict=True) if _NEEDED.fullmatch(path)]
            members = {path: archive.read(entry) for path, entry in wanted}
    # zipfile raises NotImplementedError for a compression that it does not know, RuntimeError for a password.
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError("it is no TorchScript network") from error
    if not {"data.pkl", "constants.pkl", "version"} <= members.keys():
        raise ValueError("it is no TorchScript network")
    return members


def _check_source(source: bytes) -> None:
    text = source.decode("utf-8", "replace")
    found = _REACHING.search(text) or _OPERATORS.search(text)
    if found:
        raise ValueError(f"it calls {' '.join(found[0].split())[:80]}, which no network needs")
    if len(_ASKED.findall(text)) != len(_ASKED_PLAINLY.findall(text)):
        raise ValueError("it calls what it does not name plainly, which no network needs")


# Tensors --------------------------------------------------------------------------------------------------------------


def _check_tensors(members: dict[str, bytes], name: str) -> None:
    try:
        _Reader(members, name).load()
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        raise ValueError("it is damaged") from error


class _Inert:
    """Stands for an object of the archive, and does nothing."""

    def __init__(self, *_parts: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    """Reads a pickle of tensors without making any of it: nothing that it names is imported or called."""

    def __init__(self, members: dict[str, bytes], name: str) -> None:
        super().__init__(io.BytesIO(members[f"{name}.pkl"]))
        self._members, self._name = members, name

    def find_class(self, module: str, name: str) -> Callable[..., Any] | str:
        """Return what stands for a name: of a class of the archive, a storage, a tensor or a list."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _check_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _ELEMENT:
            return name
        own = module == "__torch__" or module.startswith("__torch__.")
        if module == "torch.jit._pickle" or (own and not f"{module}.{name}".startswith("__torch__.torch.classes")):
            return _Inert
        raise ValueError(f"it needs {module}.{name}"[:100] + ", which no network needs")

    def persistent_load(self, pid: Any) -> tuple[int, int]:
        """Return number and size of the elements of a storage, all of which are there."""
        _kind, storage, key, _place, count = pid
        size = _ELEMENT[storage]
        if not 0 <= count <= len(self._members[f"{self._name}/{int(key)}"]) // size:
            raise ValueError("it has tensors of more numbers than are there")
        return count, size


def _check_tensor(
    storage: tuple[int, int], offset: int, shape: Sequence[int], strides: Sequence[int], *_others: Any
) -> _Inert:
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or (math.prod(shape) and last >= storage[0]):
        raise ValueError("it has tensors of more numbers than are there")
    return _Inert()
