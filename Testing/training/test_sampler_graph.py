"""A diffusion sampler as ONNX computes what the sampler computes, and holds its network once."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from support.machine_names import machine_names  # noqa: E402
from support.tiny_models import write_bundle  # noqa: E402

from IoUSynthLib.generators.diffusion import LATENT, Sampler  # noqa: E402
from IoUSynthLib.models.bundle import load  # noqa: E402
from IoUSynthLib.synthesis.generate import generate  # noqa: E402
from IoUSynthLib.synthesis.grid import FieldOfView, network_grid  # noqa: E402
from IoUSynthLib.synthesis.spread import Sampling, deviation, draw  # noqa: E402
from IoUSynthLib.training.export import export_onnx  # noqa: E402
from IoUSynthLib.volume import Volume  # noqa: E402


class Toy(torch.nn.Module):
    """Uses everything that a diffusion network is given, and has weights."""

    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(5, 2, 3, padding=1)
        self.style = torch.nn.Linear(LATENT + 1, 2)

    def forward(self, noisy, image, step, latent):
        style = self.style(torch.cat([latent, step[:, None].float()], dim=1))[:, :, None, None]
        return torch.tanh(self.convolution(torch.cat([noisy, image], dim=1)) + style)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_graph_is_the_sampler(tmp_path, steps):
    torch.manual_seed(0)
    sampler = Sampler(Toy(), 2, (8, 16), steps=steps)
    assert export_onnx(sampler, 3, tmp_path / "model.onnx", size=(8, 16)) < 1e-5  # on another batch than traced
    assert machine_names(tmp_path) == []
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model)
    (function,) = model.functions
    assert [node.op_type for node in model.graph.node].count(function.name) == steps
    weights = {parameter.numel() for parameter in sampler.network.parameters()}
    stored = [tensor for tensor in model.graph.initializer if not tensor.name.startswith("sampler.")]
    assert weights <= {int(torch.tensor(tuple(tensor.dims)).prod()) for tensor in stored}
    assert len({tensor.name for tensor in stored}) == len(stored)


def test_other_noise_makes_another_sample(tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    sampler, other = (Sampler(Toy(), 2, (8, 16), seed=seed) for seed in (42, 7))
    other.network.load_state_dict(sampler.network.state_dict())
    export_onnx(sampler, 3, tmp_path / "model.onnx", size=(8, 16))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == ["image"], "nobody has to know of the noise"
    image = torch.randn(2, 3, 8, 16)
    made = {
        name: session.run(None, {"image": image.numpy(), **given})[0]
        for name, given in (("own", {}), ("other", {"noise": other.numbers.numpy()}))
    }
    with torch.no_grad():
        assert abs(made["own"] - sampler(image).numpy()).max() < 1e-5
        assert abs(made["other"] - other(image).numpy()).max() < 1e-5
    assert abs(made["other"] - made["own"]).max() > 0.01
    _check_samples(write_bundle(
        tmp_path / "toy", (tmp_path / "model.onnx").read_bytes(), outputs=["T2w", "FLAIR"], window=[8, 16],
        padding="window", slice_axes=[0], draws=True,
    ))  # fmt: skip


def _check_samples(folder):
    """As a bundle it draws what its seed says, and by itself what its file does."""
    ultrasound = Volume(np.random.default_rng(0).uniform(1, 255, (4, 16, 20)).astype(np.float32), (0.8,) * 3)
    ultrasound.array[:, :2] = 0
    bundle = load(folder)
    grid = network_grid(FieldOfView.of(ultrasound), bundle)
    first, again, other = (draw(bundle, grid, Sampling(2, seed, None), device="cpu") for seed in (1, 1, 2))
    plain = draw(bundle, grid, None, device="cpu")
    for name in ("T2w", "FLAIR"):
        assert np.array_equal(first.images[name], again.images[name])
        assert np.abs(first.images[name] - other.images[name]).max() > 0.01
        assert np.abs(first.samples[0][name] - first.samples[1][name]).max() > 0.01
        assert np.array_equal(plain.images[name], generate(bundle, grid, device="cpu").images[name])
    assert deviation(first.samples)[grid.valid].mean() > 0.01
