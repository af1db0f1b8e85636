"""A network of any subset as ONNX: it runs through the pipeline, and takes temperature, noise and subset beside."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

import onnxruntime  # noqa: E402
from support.finished_runs import write_run  # noqa: E402
from support.toy_presets import toy_unified  # noqa: E402

from IoUSynthLib.cases.case import Case  # noqa: E402
from IoUSynthLib.inference import open_session  # noqa: E402
from IoUSynthLib.models.bundle import NETWORK_FILE, load  # noqa: E402
from IoUSynthLib.synthesis.grid import FieldOfView, network_grid  # noqa: E402
from IoUSynthLib.synthesis.spread import Sampling, deviation, draw  # noqa: E402
from IoUSynthLib.training.predictions import NetworkSession, predict_case  # noqa: E402
from IoUSynthLib.training.release import export_run  # noqa: E402
from IoUSynthLib.training.run_folder import FinishedRun  # noqa: E402
from IoUSynthLib.training.unified_export import FromSubset, export_unified  # noqa: E402
from IoUSynthLib.volume import Volume  # noqa: E402


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The bundle of a run of toy size, and its network."""
    folder = tmp_path_factory.mktemp("unified")
    with pytest.MonkeyPatch.context() as patch:
        write_run(patch, folder / "run", "mmhvae", small=toy_unified)
        assert export_run(folder / "run", folder / "own", torchscript=False) < 1e-4
        finished = FinishedRun.read(folder / "run")
    return load(folder / "own"), finished.network(finished.preset.last)


def test_the_bundle_says_what_the_pipeline_gives_it(released):
    bundle, _ = released
    assert (bundle.inputs, bundle.outputs, bundle.window) == (("ioUS",), ("T2w", "FLAIR"), (32, 32))
    assert bundle.details["white_matter"] == {"T2w": 0.25, "FLAIR": 0.4}
    assert bundle.draws
    assert bundle.temperature == 0.7


def test_it_runs_through_the_pipeline(released):
    """As the network does in torch, of the ultrasound alone."""
    bundle, network = released
    ultrasound = np.random.default_rng(0).uniform(1, 255, (20, 24, 36)).astype(np.float32)
    ultrasound[:3] = 0
    fan = ultrasound > 0
    case = Case({"ioUS": Volume(ultrasound)}, Volume(np.zeros_like(fan)), Volume(fan), {})
    exported = predict_case(bundle, case, device="cpu")
    in_torch = predict_case(bundle, case, session=NetworkSession(FromSubset(network, (0,), (1, 3)), "cpu"))
    assert list(exported) == ["T2w", "FLAIR"]
    for name, image in exported.items():
        assert np.allclose(in_torch[name], image, atol=1e-4)
        assert np.ptp(image[fan]) > 1e-3


def test_samples_at_a_temperature(released):
    bundle, _ = released
    inner = onnxruntime.InferenceSession(str(bundle.path / NETWORK_FILE), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).uniform(-1, 1, (2, 1, 32, 32)).astype(np.float32)
    noise = [np.random.default_rng(seed).standard_normal((1, 16 + 1024 + 2048)) for seed in (1, 2)]

    def made(temperature, number):
        feed = {"temperature": np.array(temperature, np.float32), "noise": noise[number].astype(np.float32)}
        return inner.run(None, {"image": image, **feed})[0]

    mean = open_session(bundle, "cpu").run(image)
    assert np.allclose(made(0, 0), mean, atol=1e-5)
    assert np.array_equal(made(0.7, 0), made(0.7, 0))
    assert np.abs(made(0.7, 0) - made(0.7, 1)).max() > 1e-3


def test_samples_through_the_pipelines_grid(released):
    """Alike at temperature 0, where they are the image that it makes anyway; else as their seed says."""
    bundle, _ = released
    ultrasound = np.random.default_rng(0).uniform(1, 255, (12, 24, 30)).astype(np.float32)
    ultrasound[:3] = 0
    grid = network_grid(FieldOfView.of(Volume(ultrasound, (0.8,) * 3)), bundle)

    def drawn(temperature, seed=0):
        return draw(bundle, grid, Sampling(2, seed, temperature), device="cpu")

    cold, warm, again, other = drawn(0.0), drawn(0.7), drawn(0.7), drawn(0.7, seed=1)
    assert not deviation(cold.samples).any()
    assert np.allclose(cold.images["T2w"], draw(bundle, grid, None, device="cpu").images["T2w"], atol=1e-5)
    assert deviation(warm.samples)[grid.valid].mean() > 1e-4
    assert np.array_equal(warm.images["T2w"], again.images["T2w"])
    assert np.abs(warm.images["T2w"] - other.images["T2w"]).max() > 1e-3


@pytest.mark.long
def test_one_file_for_any_subset(released, tmp_path):
    """By default of the ultrasound alone; what is missing may be anything."""
    _, network = released
    path = tmp_path / "any.onnx"
    assert export_unified(network, path, images=4, outputs=range(4), window=(32, 32)) < 1e-4
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["image"]
    image = torch.rand((2, 4, 32, 32), generator=torch.Generator().manual_seed(1)) * 2 - 1
    for subset in (subset for count in range(5) for subset in itertools.combinations(range(4), count)):
        present = np.zeros(4, np.float32)
        present[list(subset)] = 1
        filled = np.where(present.reshape(1, 4, 1, 1) > 0, image.numpy(), np.float32(np.nan))
        (found,) = session.run(None, {"image": filled, "present": present})
        with torch.no_grad():
            expected = network(image[:, list(subset)], subset)[0]
        assert np.allclose(found, expected.numpy(), atol=1e-4), subset
    assert np.allclose(session.run(None, {"image": image.numpy()})[0], _of_ultrasound(network, image), atol=1e-4)


@torch.no_grad()
def _of_ultrasound(network, image):
    return network(image[:, :1], (0,))[0].numpy()
