"""What a TorchScript file may not do, told before PyTorch opens it."""

from __future__ import annotations

import io
import zipfile

import pytest

torch = pytest.importorskip("torch")

from support.torchscript import TinyGenerator, script  # noqa: E402

from IoUSynthLib.models.torchscript_file import check_torchscript  # noqa: E402


class WritesWhenLoaded(torch.nn.Module):
    """PyTorch runs ``__setstate__`` of this while it loads it, and so it writes a file."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return 1, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        torch.save(torch.zeros(1), "written-while-loaded")


class Saves(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        torch.save(image, "stolen")
        return image


class Maps(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + torch.from_file("/etc/passwd", False, 4)


class CallsOthers(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.relu6(image, False)


class CallsCollectives(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.ops._c10d_functional.wait_tensor(image)


def saved(module: torch.nn.Module) -> bytes:
    written = io.BytesIO()
    torch.jit.save(torch.jit.script(module), written)
    return written.getvalue()


def changed(content: bytes, change) -> bytes:
    """Pack an archive anew with other members."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = change({name: archive.read(name) for name in archive.namelist()})
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return written.getvalue()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return script(TinyGenerator().eval(), tmp_path_factory.mktemp("script") / "model.ts", encoder=("halve",))


def test_what_was_checked_computes_the_same(tiny):
    image = torch.rand(2, 3, 32, 32)
    before, after = (torch.jit.load(io.BytesIO(content))(image) for content in (tiny, check_torchscript(tiny)))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_network_with_branches_loops_and_constants_may_be_opened():
    class Scripted(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), torch.nn.Sequential(torch.nn.ReLU()))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            for _ in range(2):
                if image.shape[0] > 1:
                    image = self.layers(image) * torch.tensor([2.0])
            return torch.nn.functional.interpolate(image, scale_factor=2.0, mode="bilinear")

    module = Scripted()
    image = torch.rand(2, 3, 4, 4)
    assert torch.equal(torch.jit.load(io.BytesIO(check_torchscript(saved(module))))(image), module(image))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (WritesWhenLoaded, "calls (__setstate__|save)"),
        (Saves, "calls save"),
        (Maps, "calls from_file"),
        (CallsOthers, r"calls ops.quantized.relu6"),
        (CallsCollectives, r"calls ops._c10d_functional.wait_tensor"),
    ],
)
def test_what_is_no_arithmetic_is_refused(module, said, tmp_path, monkeypatch):
    content = saved(module())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
        check_torchscript(content)
    assert not list(tmp_path.iterdir())


def test_loading_without_the_check_would_have_written_a_file(tmp_path, monkeypatch):
    """Why the source is searched before PyTorch sees it."""
    content = saved(WritesWhenLoaded())
    monkeypatch.chdir(tmp_path)
    torch.jit.load(io.BytesIO(content))
    assert [path.name for path in tmp_path.iterdir()] == ["written-while-loaded"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('getattr(torch, "sa" "ve")(argument_1, "x")', "not name plainly"),
        ('getattr(torch, "sa\\x76e")(argument_1, "x")', "not name plainly"),
        ('getattr(torch, "save")(argument_1, "x")', "calls save"),
        ("o = ops", "calls ops"),
        ("ops . quantized.relu(argument_1)", "calls ops . quantized"),
        ("__torch__.torch.classes.quantized.Conv2dPackedParamsBase()", "calls torch.classes"),
    ],
)
def test_other_words_for_it_are_refused(tiny, line, said):
    def add(members):
        return {
            name: member.replace(b"    return", f"    {line}\n    return".encode()) if name.endswith(".py") else member
            for name, member in members.items()
        }

    with pytest.raises(ValueError, match=said):
        check_torchscript(changed(tiny, add))


def without_storage(members):
    return {name: member for name, member in members.items() if not name.endswith("data/0")}


def short_storage(members):
    return {name: member[:8] if name.endswith("data/0") else member for name, member in members.items()}


def foreign_class(members):
    return members | {
        next(name for name in members if name.endswith("/data.pkl")): b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R."
    }


def two_folders(members):
    return members | {"other/data.pkl": b""}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_storage, "damaged"),
        (short_storage, "tensors of more numbers"),
        (foreign_class, "needs os.system"),
        (two_folders, "no TorchScript network"),
        (lambda members: {}, "no TorchScript network"),
        (lambda members: dict(list(members.items())[:1]), "no TorchScript network"),
    ],
)
def test_damaged_archives_are_refused(tiny, change, said):
    with pytest.raises(ValueError, match=said):
        check_torchscript(changed(tiny, change))


def test_strides_beyond_a_storage_are_refused():
    """PyTorch itself would read what lies behind it in memory."""

    class Strided(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.arange(6.0).reshape(2, 3))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image + self.weight.sum()

    def stretch(members):
        # shape (2, 3) and strides (3, 1), each as two small numbers of a pickle
        (name,) = (name for name in members if name.endswith("/data.pkl"))
        assert b"K\x02K\x03" in members[name]
        return members | {name: members[name].replace(b"K\x02K\x03", b"K\x02K\x63")}

    content = saved(Strided())
    check_torchscript(content)
    with pytest.raises(ValueError, match="tensors of more numbers"):
        check_torchscript(changed(content, stretch))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x08\x07" * 50, b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_refused(content):
    with pytest.raises(ValueError, match="it is no TorchScript network"):
        check_torchscript(content)
