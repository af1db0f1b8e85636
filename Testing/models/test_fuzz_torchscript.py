"""Archives of TorchScript that are damaged or mean harm: refused in one line, or a network that can be run."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from support.fuzzing import damaged, examples, read_or_refuse  # noqa: E402
from support.tiny_models import generator_network, write_bundle  # noqa: E402
from support.torchscript import TinyGenerator, rewrite_as_torchscript  # noqa: E402

from IoUSynthLib.inference.torchscript import ScriptedNetwork, open_torchscript  # noqa: E402
from IoUSynthLib.models.bundle import METADATA, TORCHSCRIPT_FILE, load  # noqa: E402

pytest.importorskip("onnx")

#: Memory that a network whose numbers are others may ask for: PyTorch is refused more, and says so.
_ROOM = 2**30
NAMES = st.sampled_from(
    ["../evil", "/evil", "network/../../evil", "network/code/evil.py", "network/code/../evil.py", "network/data.pkl",
     "network/extra/evil", "other/data.pkl", "network/data/99", "network/constants/../../evil", "C:\\evil", "network/",
     "network/data/" + "9" * 300, "network/version"]
)  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model whose network is TorchScript."""
    return rewrite_as_torchscript(write_bundle(tmp_path / "tiny", generator_network()), TinyGenerator().eval())


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    """Refuse memory without end where the system counts it."""
    if sys.platform != "linux":
        yield
        return
    import resource

    usual = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, usual[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, usual)


def opened(model: Path, content: bytes) -> ScriptedNetwork | None:
    """Open a network of which nobody knows that it was changed; there is one, or one line, and no other file."""
    (model / TORCHSCRIPT_FILE).write_bytes(content)
    metadata = json.loads((model / METADATA).read_text())
    metadata["iousynth"]["checksums"][TORCHSCRIPT_FILE] = hashlib.sha256(content).hexdigest()
    (model / METADATA).write_text(json.dumps(metadata))
    before = sorted(model.parent.rglob("*"))
    network = read_or_refuse(lambda: open_torchscript(load(model), "cpu"), model)
    assert sorted(model.parent.rglob("*")) == before
    return network


def members_of(model: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(model / TORCHSCRIPT_FILE) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: list[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, member in members:
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, member)
    return stream.getvalue()


def test_a_damaged_archive_is_refused_or_runs(tiny):
    sound = (tiny / TORCHSCRIPT_FILE).read_bytes()
    assert opened(tiny, sound) is not None

    @examples(20, 0.4)
    @given(damaged(sound))
    def run(content: bytes) -> None:
        opened(tiny, content)

    run()


@pytest.mark.parametrize("kind", ["data.pkl", "constants.pkl", ".py", "/data/0", "version"])
def test_a_damaged_member_in_an_archive_that_is_whole_is_refused_or_runs(tiny, kind):
    """Past the checksums of the archive, which most damage does not pass."""
    members = members_of(tiny)
    (name, *_others) = [name for name in members if name.endswith(kind)]

    @examples(20, 0.1)
    @given(damaged(members[name]))
    def run(content: bytes) -> None:
        opened(tiny, packed(list((members | {name: content}).items())))

    run()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_lead_elsewhere_are_left_out_or_refused(tiny):
    members = members_of(tiny)
    folder = next(iter(members)).partition("/")[0]

    @examples(20, 0.1)
    @given(st.lists(st.tuples(NAMES, st.binary(max_size=40)), min_size=1, max_size=3), st.booleans())
    def run(others: list[tuple[str, bytes]], first: bool) -> None:
        others = [(name.replace("network", folder), content) for name, content in others]
        opened(tiny, packed([*others, *members.items()] if first else [*members.items(), *others]))

    run()
