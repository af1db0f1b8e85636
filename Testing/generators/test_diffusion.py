"""The noise schedule, its posterior and the sampler, against an independent computation of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from support.tiny_models import SHARED

torch = pytest.importorskip("torch")

from IoUSynthLib.generators import diffusion  # noqa: E402

ORACLES = SHARED / "oracles"
PLAN = diffusion.noise_schedule()


def test_posterior_coefficients_as_published():
    """Rounded values of the benchmark's schedule, T = 4."""
    np.testing.assert_allclose(PLAN.clean_weight, [1.0, 0.6657784, 0.2691909, 0.0578215], atol=1e-7)
    np.testing.assert_allclose(PLAN.noisy_weight, [0.0, 0.2015763, 0.1930008, 0.1118523], atol=1e-7)
    np.testing.assert_allclose(np.square(PLAN.deviation), [0.0, 0.4408191, 0.8842024, 0.9840607], atol=1e-7)


def test_schedule_agrees_with_the_oracle():
    file = ORACLES / "syndiff_posterior_T4.json"
    if not file.exists():
        pytest.skip("the diffusion oracle is not here")
    oracle = json.loads(file.read_text())["float32"]
    for found, expected in (
        (PLAN.signal, oracle["forward"]["a_s_cum"]),
        (PLAN.noise, oracle["forward"]["sigmas_cum"]),
        (PLAN.keep, oracle["forward"]["a_s"][1:]),
        (PLAN.spread, oracle["forward"]["sigmas"][1:]),
        (PLAN.clean_weight, oracle["posterior"]["posterior_mean_coef1"]),
        (PLAN.noisy_weight, oracle["posterior"]["posterior_mean_coef2"]),
        (np.square(PLAN.deviation), oracle["posterior"]["posterior_variance"]),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sampling_agrees_with_the_oracle():
    file = ORACLES / "syndiff_sampling_toy.npz"
    if not file.exists():
        pytest.skip("the diffusion oracle is not here")
    toy = {name: torch.from_numpy(array) for name, array in np.load(file).items()}
    trace = []

    def denoise(noisy, step):
        trace.append(noisy)
        return torch.tanh(0.5 * noisy + 0.25 * toy["source"] - 0.1 * step)

    result = diffusion.sample(denoise, toy["x_init"], toy["noise"], schedule=PLAN)
    torch.testing.assert_close(torch.stack([*trace[1:], result]), toy["trace"], atol=1e-6, rtol=0)


def test_posterior_undoes_diffusion():
    """Drawn forward and then back, x_t has the distribution that it had: mean and deviation of many draws."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.full((200_000, 1), 0.7)
    draw = [torch.randn(clean.shape, generator=generator) for _ in range(3)]
    for step in range(PLAN.steps):
        steps = torch.full((len(clean),), step)
        earlier, later = diffusion.diffuse_pair(PLAN, clean, steps, noise=(draw[0], draw[1]))
        back = diffusion.step_back(PLAN, clean, later, step=steps, noise=draw[2])
        for values in (earlier, back):
            assert math.isclose(float(values.mean()), 0.7 * PLAN.signal[step], abs_tol=0.01)
            assert math.isclose(float(values.std()), PLAN.noise[step], abs_tol=0.01)


def test_steps_may_differ_within_a_batch():
    clean, noisy, noise = torch.randn(3, 4, 1, 5, 5)
    steps = torch.tensor([3, 0, 2, 1])
    together = diffusion.step_back(PLAN, clean, noisy, step=steps, noise=noise)
    for number, step in enumerate(steps.tolist()):
        alone = diffusion.step_back(PLAN, clean[number], noisy[number], step=step, noise=noise[number])
        torch.testing.assert_close(together[number], alone)
    assert torch.equal(together[1], clean[1])


def test_sampler_is_a_map_that_does_not_depend_on_the_batch():
    class Toy(torch.nn.Module):
        def forward(self, noisy, image, step, latent):
            return torch.tanh(noisy + image[:, 1:2] * (step + latent[:, 0]).reshape(-1, 1, 1, 1))

    sampler = diffusion.Sampler(Toy(), 2, (6, 8))
    image = torch.randn(3, 3, 6, 8)
    result = sampler(image)
    assert result.shape == (3, 2, 6, 8)
    torch.testing.assert_close(sampler(image[2:]), result[2:])
    torch.testing.assert_close(diffusion.Sampler(Toy(), 2, (6, 8))(image), result)
    assert not torch.allclose(diffusion.Sampler(Toy(), 2, (6, 8), seed=1)(image), result, atol=1e-3)
