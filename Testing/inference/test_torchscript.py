"""TorchScript through the same seam as ONNX: the same numbers, the same words where it does not work."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from importlib import metadata

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.tiny_models import generator_network, write_bundle  # noqa: E402
from support.torchscript import TinyGenerator, rewrite_as_torchscript, shipped_as_torchscript  # noqa: E402

from IoUSynthLib import synthesize  # noqa: E402
from IoUSynthLib.inference import open_session  # noqa: E402
from IoUSynthLib.inference import session as sessions  # noqa: E402
from IoUSynthLib.inference import torchscript as scripts  # noqa: E402
from IoUSynthLib.models import bundle  # noqa: E402
from IoUSynthLib.models.install import install  # noqa: E402
from IoUSynthLib.volume import InputError  # noqa: E402


@pytest.fixture(scope="module")
def scripted_folder(tmp_path_factory):
    folder = write_bundle(tmp_path_factory.mktemp("scripted") / "scripted-2.5d", generator_network(features=True))
    return rewrite_as_torchscript(folder, TinyGenerator().eval(), encoder=("halve",))


@pytest.fixture
def scripted(scripted_folder, monkeypatch):
    monkeypatch.setattr(sessions, "_sessions", {})
    return bundle.load(scripted_folder)


def test_prediction_and_features_are_those_of_onnx(scripted, tmp_path):
    onnx = bundle.load(write_bundle(tmp_path / "onnx", generator_network(features=True)))
    ours, theirs = open_session(scripted, "cpu"), open_session(onnx, "cpu")
    batch = np.random.default_rng(0).uniform(-1, 1, (3, 3, 16, 24)).astype(np.float32)
    assert np.allclose(ours.run(batch), theirs.run(batch), atol=1e-6)
    assert ours.features == theirs.features == ("features_0",)
    assert np.allclose(ours.encode(batch)[0], theirs.encode(batch)[0], atol=1e-6)
    assert (ours.runtime, ours.device, theirs.runtime) == ("TorchScript", "cpu", "ONNX Runtime")


def test_a_run_is_the_same_and_says_which_runtime_ran(scripted, tiny_models, ultrasound):
    ours, theirs = synthesize(ultrasound, scripted.path, "cpu"), synthesize(ultrasound, device="cpu")
    for name, image in theirs.images.items():
        assert np.allclose(ours.images[name].array, image.array, atol=1e-4 * 500)  # the network's [-1, 1] is 1 to 1000
    assert np.allclose(ours.uncertainty.array, theirs.uncertainty.array, atol=1e-4)
    assert np.array_equal(ours.segmentation.array, theirs.segmentation.array)
    assert ours.report["device"] == {"requested": "cpu", "used": "cpu", "runtime": "TorchScript"}
    assert ours.report["versions"]["torch"] == metadata.version("torch")
    assert "on the CPU (TorchScript)" in ours.report["summary"]
    assert "torch" not in theirs.report["versions"]


def test_onnx_is_run_where_a_bundle_has_both(tmp_path):
    sums = {"models/model.onnx": "0" * 64, "models/model.ts": "1" * 64}
    both = bundle.load(write_bundle(tmp_path / "both", generator_network(), checksums=sums))
    assert (both.network, both.is_torchscript) == ("models/model.onnx", False)


def test_it_is_installed_like_any_other_model(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr("IoUSynthLib.models.install.user_folder", lambda: tmp_path)
    monkeypatch.setattr("IoUSynthLib.models.install.search_folders", lambda: [tmp_path])
    installed, outcome = install(scripted.path)
    assert (installed.network, outcome) == ("models/model.ts", "installed")


def test_a_file_that_was_changed_is_not_opened(scripted, tmp_path):
    shutil.copytree(scripted.path, tmp_path / "changed")
    with (tmp_path / "changed" / "models" / "model.ts").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"model\.ts: its checksum does not match"):
        open_session(bundle.load(tmp_path / "changed"))


def test_what_reaches_for_files_is_not_opened(tmp_path):
    class Saves(TinyGenerator):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            torch.save(image, "stolen")
            return self.mix(image)

    folder = write_bundle(tmp_path / "saves", generator_network())
    file = folder / "models" / "model.ts"
    torch.jit.save(torch.jit.script(Saves()), str(file))
    told = json.loads((folder / "configs" / "metadata.json").read_text())
    told["iousynth"]["checksums"] = {"models/model.ts": hashlib.sha256(file.read_bytes()).hexdigest()}
    (folder / "configs" / "metadata.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"model\.ts: cannot be opened \(it calls save.*operators of TorchScript"):
        open_session(bundle.load(folder))
    with pytest.raises(InputError, match="it calls save"):
        install(folder)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"outputs": ["T2w", "FLAIR"]}, r"has \(3, 3\) channels, its metadata say \(3, 2\)"),
        ({"inputs": ["ioUS", "T2w"]}, "PyTorch cannot open the model .*channels"),
    ],
)
def test_a_network_that_does_not_fit_its_metadata_is_refused(tmp_path, section, said):
    folder = write_bundle(tmp_path / "other", generator_network(), **section)
    rewrite_as_torchscript(folder, TinyGenerator().eval())
    with pytest.raises(InputError, match=said) as caught:
        open_session(bundle.load(folder))
    assert "\n" not in str(caught.value)


def test_torch_that_is_not_installed(scripted, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"install the extension PyTorch .* or choose a model in ONNX") as caught:
        open_session(scripted)
    assert "pip" not in str(caught.value)


def test_cuda_is_insisted_on_only_where_it_is(scripted):
    if torch.cuda.is_available():
        session = open_session(scripted, "cuda")
        image = np.ones((1, 3, 8, 8), np.float32)
        assert np.allclose(session.run(image), open_session(scripted, "cpu").run(image), atol=1e-4)
        assert (session.device, open_session(scripted, "auto").device) == ("cuda", "cuda")
        return
    with pytest.raises(InputError, match=r"device cuda: PyTorch finds no NVIDIA GPU; .* or choose cpu"):
        open_session(scripted, "cuda")
    assert open_session(scripted, "auto").device == "cpu"


@pytest.mark.parametrize(
    ("device", "raised", "error", "remedy"),
    [
        (
            "cuda",
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            InputError,
            "choose the device cpu",
        ),
        (
            "cpu",
            RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
            MemoryError,
            "crop",
        ),
        ("cpu", RuntimeError("The size of tensor a must match"), InputError, "cannot be run"),
    ],
)
def test_what_pytorch_says_while_it_runs(scripted, monkeypatch, device, raised, error, remedy):
    """A simulated error: the messages are those of PyTorch."""

    def fail(*_):
        raise raised

    session = open_session(scripted, "cpu")
    monkeypatch.setattr(scripts.ScriptedNetwork, "_call", fail)
    monkeypatch.setattr(session, "device", device)
    with pytest.raises(error, match=remedy):
        session.run(np.zeros((1, 3, 8, 16), np.float32))


def test_a_shipped_network_is_the_same_in_both(tmp_path):
    shipped = bundle.load(bundle.DEFAULT_GENERATOR)
    copy = bundle.load(shipped_as_torchscript(shipped, tmp_path))
    batch = np.random.default_rng(0).uniform(-1, 1, (2, 3, 64, 96)).astype(np.float32)
    ours, theirs = open_session(copy, "cpu"), open_session(shipped, "cpu")
    assert np.abs(ours.run(batch) - theirs.run(batch)).max() < 1e-4
    for one, other in zip(ours.encode(batch), theirs.encode(batch), strict=True):
        assert np.abs(one - other).max() < 1e-4
