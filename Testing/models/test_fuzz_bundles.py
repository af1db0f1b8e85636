"""Archives and metadata of models that are damaged or mean harm: refused in one line, or a model that is whole."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import damaged, examples, read_or_refuse
from support.tiny_models import generator_network, write_bundle, write_refined

from IoUSynthLib.models import bundle
from IoUSynthLib.models import install as installing
from IoUSynthLib.models.install import install

pytest.importorskip("onnx")


@contextlib.contextmanager
def user() -> Iterator[Path]:
    """A folder that holds the user's model folder, "home", and may hold nothing else at the end but what is given."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name) / "home"
        with contextlib.ExitStack() as stack:
            for module in (bundle, installing):
                stack.enter_context(mock.patch.object(module, "user_folder", return_value=home))
            yield Path(name)


def contents(model: Path) -> dict[str, bytes]:
    return {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, bytes]:
    """The files of a model."""
    return contents(write_bundle(tmp_path_factory.mktemp("sound") / "tiny", generator_network()))


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"tiny/{name}", content)
    return stream.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"tiny/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


PACKERS = {".zip": zipped, ".tar": tarred, ".tar.gz": lambda files: gzip.compress(tarred(files), mtime=0)}


def check_installation(place: Path, source: Path, sound: dict[str, bytes]) -> None:
    """Install; at the end there is either nothing or the whole model, and nothing elsewhere."""
    found = read_or_refuse(lambda: install(source), source)
    home = place / "home"
    assert {path for path in place.iterdir() if path != home} == {source}
    left = list(home.iterdir()) if home.exists() else []
    assert len(left) == (found is not None), left
    if found is not None:
        found[0].verify()
        assert {name: content for name, content in contents(left[0]).items() if name in sound} == sound


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_damaged_archive_is_refused_or_whole(suffix, sound):
    packed = PACKERS[suffix](sound)

    @examples(20, 0.5)
    @given(damaged(packed))
    def run(content: bytes) -> None:
        with user() as place:
            source = place / f"tiny{suffix}"
            source.write_bytes(content)
            check_installation(place, source, sound)

    run()


NAMES = st.lists(
    st.sampled_from(
        ["..", ".", "", "tiny", "configs", "metadata.json", "evil", "C:", "\\", "..\\..", "nul", "CON.txt", "a.", " ",
         "~", "\x00", "\n", "é", "x" * 250, "-", "models", "model.onnx", "__MACOSX", "LICENSE", "%2e%2e", "\u202e"]
    ), min_size=1, max_size=5,
).map("/".join)  # fmt: skip
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, b"S", b"Z"]
)
ENTRIES = st.lists(st.tuples(NAMES, KINDS, NAMES, st.booleans()), min_size=1, max_size=3)


@examples(30, 0.5)
@given(ENTRIES)
def test_entries_of_a_tar_lead_nowhere_else(sound, entries):
    with user() as place:
        source = place / "tiny.tar.gz"
        with tarfile.open(source, "w:gz", format=tarfile.GNU_FORMAT) as archive:
            for name, kind, target, absolute in entries:
                entry = tarfile.TarInfo(("/" if absolute else "") + name)
                entry.type, entry.linkname = kind, target
                entry.size = 1 if kind == tarfile.REGTYPE else 0
                archive.addfile(entry, io.BytesIO(b"x"))
            for name, content in sound.items():
                entry = tarfile.TarInfo(f"tiny/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        check_installation(place, source, sound)


@examples(30, 0.5)
@given(ENTRIES)
def test_entries_of_a_zip_lead_nowhere_else(sound, entries):
    with user() as place:
        source = place / "tiny.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name, kind, target, absolute in entries:
                info = zipfile.ZipInfo("x")
                info.filename = ("/" if absolute else "") + name
                mode = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO, tarfile.DIRTYPE: stat.S_IFDIR}
                info.external_attr = (mode.get(kind, 0) | 0o777) << 16
                archive.writestr(info, target.encode())
            for name, content in sound.items():
                archive.writestr(f"tiny/{name}", content)
        check_installation(place, source, sound)


def sparse_file(size: int) -> bytes:
    """A tar with one file of GNU's sparse kind: all hole, of any length, in 512 bytes."""
    entry = tarfile.TarInfo("tiny/configs/metadata.json")
    entry.type = tarfile.GNUTYPE_SPARSE
    head = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    head[483:495] = f"{size:011o}\0".encode()  # the length with its holes
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return bytes(head) + bytes(1024)


def long_entry(kind: bytes, size: int) -> bytes:
    """A tar whose first entry is of the library's own, a name or a header, and of any length."""
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = kind, size
    return entry.tobuf(tarfile.GNU_FORMAT) + bytes(2**20)


BOMBS = {
    "a hole": (".tar.gz", lambda: gzip.compress(sparse_file(2**32))),
    "a name without end": (".tar.gz", lambda: gzip.compress(long_entry(tarfile.GNUTYPE_LONGNAME, 2**36))),
    "a header without end": (".tar.gz", lambda: gzip.compress(long_entry(tarfile.XHDTYPE, 2**36))),
    "a negative length": (".tar.gz", lambda: gzip.compress(long_entry(tarfile.XHDTYPE, -1))),
    "more than a model": (".tar.gz", lambda: gzip.compress(long_entry(tarfile.REGTYPE, installing.MOST_BYTES + 1))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_not_unpacked(name, sound):
    suffix, make = BOMBS[name]
    with user() as place:
        source = place / f"tiny{suffix}"
        source.write_bytes(make())
        assert len(source.read_bytes()) < 10_000
        check_installation(place, source, sound)
        assert list((place / "home").iterdir()) == []


def test_a_zip_that_says_less_than_it_holds_is_refused(sound):
    with user() as place:
        source = place / "tiny.zip"
        content = bytearray(zipped({**sound, "docs/zeros": bytes(2**20)}))
        place_of_size = content.rindex(b"PK\x01\x02") + 24  # the last entry of the table of contents
        content[place_of_size : place_of_size + 4] = (10).to_bytes(4, "little")
        source.write_bytes(content)
        check_installation(place, source, sound)
        assert list((place / "home").iterdir()) == []


# Metadata -------------------------------------------------------------------------------------------------------------

VALUES = st.sampled_from(
    [None, True, False, 0, 1, -1, 3, 8, 1e-9, 0.5, 1e308, 1e999, float("nan"), -(10**30), 10**30, "", "T2w", "ioUS",
     "0", "..", "a/b", "3D", "2.5D", "segmenter", "patient", "reflect", [], {}, [[]], [0], [1, 1], [1, 1, 1], [8, 8, 8],
     ["T2w"], {"a": []}, {"tumour": {"confidence": [0.1], "dice": [0.5]}}, [1e999] * 3, [10**9] * 3, [10**9] * 2]
)  # fmt: skip


def places(tree: object, above: tuple = ()) -> Iterator[tuple]:
    """All places of a tree of JSON."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (*above, key)
        yield from places(value, (*above, key))


@st.composite
def changed(draw: st.DrawFn, tree: dict) -> dict:
    """Metadata with one to three entries that are others, or missing."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(list(places(tree))))
        part = tree
        for key in above:
            part = part[key]
        if draw(st.booleans()) or draw(st.booleans()):
            part[last] = copy.deepcopy(draw(VALUES))
        else:
            del part[last]
        if not tree:
            break
    return tree


def whole(model: bundle.Bundle) -> None:
    """Nothing that is asked of a model may fail once it has loaded."""
    for name in dir(type(model)):
        if isinstance(getattr(type(model), name), property):
            getattr(model, name)
    json.dumps([model.describe(), model.describe_plan()])
    assert all(0 < value < float("inf") for value in model.spacing)


@pytest.mark.parametrize("kind", ["plain", "refined", "segmenter"])
def test_other_metadata_are_refused_or_sound(kind, tmp_path):
    if kind == "refined":
        path = write_refined(tmp_path / "tiny", ("T2w", "FLAIR"))
    else:
        outputs = ["background", "tumour", "cavity"]
        dice = {"tumour": {"confidence": [0.5, 0.9], "dice": [0.2, 0.8]}}
        section = {"kind": "segmenter", "outputs": outputs, "class_weights": [1.0, 2.0, 1.5], "expected_dice": dice}
        section["expected_dice_measured_on"] = "cases"
        path = write_bundle(tmp_path / "tiny", b"", **(section if kind == "segmenter" else {"fusion_scale": 4.0}))
    file = path / bundle.METADATA
    tree = json.loads(file.read_text())

    @examples(60)
    @given(changed(tree))
    def run(other: dict) -> None:
        file.write_text(json.dumps(other))
        model = read_or_refuse(lambda: bundle.load(path), file)
        if model is not None:
            whole(model)

    run()


def test_damaged_metadata_are_refused_or_sound(tmp_path):
    path = write_bundle(tmp_path / "tiny", b"")
    file = path / bundle.METADATA
    sound = file.read_bytes()

    @examples(40)
    @given(damaged(sound))
    def run(content: bytes) -> None:
        file.write_bytes(content)
        model = read_or_refuse(lambda: bundle.load(path), file)
        if model is not None:
            whole(model)

    run()


def test_metadata_nested_without_end_are_refused(tmp_path):
    path = write_bundle(tmp_path / "tiny", b"")
    (path / bundle.METADATA).write_text("[" * 100_000)
    assert read_or_refuse(lambda: bundle.load(path), path / bundle.METADATA) is None
