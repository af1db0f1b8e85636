"""SynDiff's networks against the published counts, keys and shapes, and their resampling against known values."""

from __future__ import annotations

import json

import pytest
from support.tiny_models import SHARED

torch = pytest.importorskip("torch")

from IoUSynthLib.generators import build, diffusion, syndiff  # noqa: E402

VARIANTS = {
    "2D_T2 (num_channels=2)": ("2D", ("T2w",), 12_089_442),
    "2.5D_T2 (4)": ("2.5D", ("T2w",), 12_091_172),
    "2D_T2_FLAIR (3)": ("2D", ("T2w", "FLAIR"), 12_090_307),
    "2.5D_T2_FLAIR (5)": ("2.5D", ("T2w", "FLAIR"), 12_092_037),
    "3D_T2 (2 in, 1 out)": ("3D", ("T2w",), 5_421_921),
    "3D_T2_FLAIR (3 in, 2 out, inferred)": ("3D", ("T2w", "FLAIR"), 5_423_218),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_keys_and_shapes_as_published(name):
    regime, targets, count = VARIANTS[name]
    with torch.device("meta"):
        network = build("syndiff", regime, targets)
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    file = SHARED / "oracles" / "syndiff_state_dict_shapes.json"
    if file.exists():
        found = {key: list(value.shape) for key, value in network.state_dict().items()}
        assert found == json.loads(file.read_text())[name]


def test_stage_one_of_refinement_is_the_2d_network():
    with torch.device("meta"):
        shapes = [
            {key: value.shape for key, value in build("syndiff", regime, ("T2w",)).state_dict().items()}
            for regime in ("2D", "2D+3D-refine")
        ]
    assert shapes[0] == shapes[1]


def test_fir_resampling_has_the_known_values():
    """By hand from the kernel 1-3-3-1; zeros beyond the border darken it."""
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    expected = torch.tensor([[2.734375, 3.9375], [7.546875, 8.75]])
    torch.testing.assert_close(syndiff.Halve()(image)[0, 0], expected)
    impulse = torch.zeros(1, 1, 4, 4)
    impulse[0, 0, 1, 1] = 1.0
    doubled = syndiff._Double()(impulse)[0, 0]
    taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
    torch.testing.assert_close(doubled[1:5, 1:5], torch.outer(taps, taps))
    assert float(doubled.sum()) == pytest.approx(4.0)
    there_and_back = syndiff.Halve()(syndiff._Double()(torch.ones(1, 2, 8, 8)))[0, 1]
    assert float(there_and_back[4, 4]) == pytest.approx(1.0)
    assert float(there_and_back[4, 0]) == pytest.approx(0.78125)
    assert float(there_and_back[0, 0]) == pytest.approx(0.6104, abs=1e-4)


def test_step_embedding_begins_with_sines():
    embedding = syndiff.step_embedding(torch.tensor([0, 3]), 8)
    assert embedding[0].tolist() == [0.0] * 4 + [1.0] * 4
    assert float(embedding[1, 0]) == pytest.approx(0.14112, abs=1e-5)  # sin 3
    assert float(embedding[1, 7]) == pytest.approx(1.0, abs=1e-6)  # cos 0.0003


def test_adaptive_norm_scales_what_is_normalised():
    norm = syndiff._AdaptiveNorm(8)
    torch.nn.init.zeros_(norm.style.weight)
    with torch.no_grad():
        norm.style.bias.copy_(torch.tensor([2.0] * 8 + [0.5] * 8))
        result = norm(torch.randn(2, 8, 16, 16) * 5 + 3, torch.randn(2, 256))
    assert float(result.mean()) == pytest.approx(0.5, abs=1e-4)
    assert float(result.std()) == pytest.approx(2.0, abs=1e-2)


SMALL = {"filters": 4, "multipliers": (1, 2, 2), "attention_level": 1}


@pytest.mark.parametrize(
    ("regime", "targets", "size"),
    [("2D", ("T2w",), (16, 8)), ("2.5D", ("T2w", "FLAIR"), (16, 16)), ("3D", ("T2w",), (16, 8, 12))],
)
def test_every_input_matters(regime, targets, size):
    """Noise, ultrasound, step and latent all reach the output, and every parameter gets a gradient."""
    torch.manual_seed(0)
    network = build("syndiff", regime, targets, **SMALL)
    for parameter in network.parameters():
        if not parameter.any():  # blocks begin as the identity
            torch.nn.init.normal_(parameter, std=0.3)
    noisy, image = torch.randn(1, len(targets), *size), torch.randn(1, 3 if regime == "2.5D" else 1, *size)
    step, latent = torch.tensor([1]), torch.randn(1, diffusion.LATENT)
    result = network(noisy, image, step, latent)
    assert result.shape == noisy.shape
    changed = (
        network(-noisy, image, step, latent),
        network(noisy, -image, step, latent),
        network(noisy, image, step + 2, latent),
        network(noisy, image, step, -latent),
    )
    for other in changed:
        assert float((other - result).detach().abs().max()) > 1e-3
    result.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_sampling_gives_an_image():
    sampler = diffusion.Sampler(build("syndiff", "2.5D", ("T2w", "FLAIR"), **SMALL).eval(), 2, (16, 32))
    with torch.no_grad():
        result = sampler(torch.randn(2, 3, 16, 32))
    assert result.shape == (2, 2, 16, 32)
    assert bool(result.isfinite().all())
    assert float(result.abs().max()) <= 1.0
