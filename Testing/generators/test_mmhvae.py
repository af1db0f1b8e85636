"""MMHVAE: its parts by number, its product of experts by closed form, and what does not count."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.distributions import Normal, kl_divergence  # noqa: E402

from IoUSynthLib.generators import build  # noqa: E402
from IoUSynthLib.generators.mmhvae import FUSIONS, MMHVAE  # noqa: E402
from IoUSynthLib.generators.unified import Gaussian, ZeroImputed, divergence, product  # noqa: E402

IMAGES = ("ioUS", "T2w", "ceT1", "FLAIR")
SUBSETS = [subset for count in range(1, 5) for subset in itertools.combinations(range(4), count)]
SMALL = {"width": 4, "widest": 8, "levels": 4, "window": 32, "blocks": 1, "expansion": 2}


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return MMHVAE(4, **SMALL).eval()


@pytest.fixture(scope="module")
def image():
    return torch.rand((2, 4, 32, 32), generator=torch.Generator().manual_seed(1)) * 2 - 1


def synthesize(network, image, present=None, *arguments):
    with torch.no_grad():
        return network(image, present, *arguments)


def gaussian(mean, deviation):
    return Gaussian(torch.tensor(mean), torch.tensor(deviation).log())


# Gaussians ------------------------------------------------------------------------------------------------------------


def test_a_product_by_hand():
    """N(0, 1) and N(2, 1/2): precisions 1 and 4, so mean 8 / 5 and deviation 1 / sqrt 5."""
    found = product(gaussian(0.0, 1.0), [gaussian(2.0, 0.5)], [1.0])
    assert float(found.mean) == pytest.approx(1.6)
    assert float(found.log_deviation.exp()) == pytest.approx(5**-0.5)


@pytest.mark.parametrize("subset", [(), *SUBSETS])
def test_every_subset_is_the_product_of_its_densities(subset):
    """By multiplying densities on a grid and integrating."""
    grid = np.linspace(-20, 20, 40001)
    values = [(0.3, 1.0), (1.5, 0.7), (-0.8, 1.3), (2.0, 0.5), (0.1, 2.0)]
    density = np.ones_like(grid)
    for mean, deviation in (values[0], *(values[place + 1] for place in subset)):
        density = density * np.exp(-0.5 * ((grid - mean) / deviation) ** 2)
    density /= density.sum()
    mean = (grid * density).sum()
    weights = [float(place in subset) for place in range(4)]
    found = product(gaussian(*values[0]), [gaussian(*value) for value in values[1:]], weights)
    assert float(found.mean) == pytest.approx(mean, abs=1e-5)
    assert float(found.log_deviation.exp()) == pytest.approx(((grid - mean) ** 2 @ density) ** 0.5, rel=1e-4)


def test_experts_that_know_nothing_and_everything():
    prior, sure = gaussian(0.3, 1.0), Gaussian(torch.tensor(-2.0), torch.tensor(-10.0))
    vague = Gaussian(torch.tensor(5.0), torch.tensor(10.0))
    assert float(product(prior, [vague], [1.0]).mean) == pytest.approx(0.3, abs=1e-7)
    assert float(product(prior, [vague, sure], [1.0, 1.0]).mean) == pytest.approx(-2.0, abs=1e-6)


def test_divergence_agrees_with_torch_and_with_samples():
    generator = torch.Generator().manual_seed(0)
    first, second = (
        Gaussian(torch.randn(50, generator=generator), torch.randn(50, generator=generator) / 2) for _ in range(2)
    )
    found = divergence(first, second)
    normal = [Normal(part.mean, part.log_deviation.exp()) for part in (first, second)]
    assert torch.allclose(found, kl_divergence(*normal), rtol=1e-4, atol=1e-5)
    assert not divergence(first, first).any()
    drawn = first.mean + first.log_deviation.exp() * torch.randn((20_000, 50), generator=generator)
    ratio = normal[0].log_prob(drawn) - normal[1].log_prob(drawn)
    assert float(ratio.mean(0).sum()) == pytest.approx(float(found.sum()), rel=0.01)


# The network ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    return build("mmhvae", "2D", IMAGES)


def test_parameters_by_module(published):
    """As in the released code."""
    encoders, levels = published.encoders, published.levels
    assert count(*(encoder.stem for encoder in encoders)) == 4 * 160
    assert count(*(encoder.blocks for encoder in encoders)) == 4 * 1_287_420
    assert count(*(encoder.halve for encoder in encoders)) == 4 * 539_744
    assert (count(published.down), count(published.up)) == (590_848, 297_216)
    assert count(*(level.block for level in levels)) == 3_601_066
    assert count(*(level.raise_to for level in levels)) == 343_296
    assert count(*(level.expert for level in levels)) == 1_535_844
    assert count(*(level.prior for level in levels)) == 55_024
    assert count(*published.heads) == 4 * 10_545
    assert count(published) == 13_774_770


@pytest.mark.long
@pytest.mark.parametrize(("present", "expected"), [(range(4), 12.65e9), ((0,), 6.54e9)])
def test_multiplications(published, present, expected):
    """The paper prints 13 G; convolutions and linear layers, counted as they run."""
    total = []

    def add(module, inputs, output):
        kernel = module.weight[0].numel()
        total.append(kernel * output[0].numel())

    hooks = [
        module.register_forward_hook(add)
        for module in published.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    synthesize(published.eval(), torch.zeros(1, len(present), 192, 192), present)
    for hook in hooks:
        hook.remove()
    assert sum(total) == pytest.approx(expected, rel=0.01)


def test_seven_latent_variables_from_a_vector_to_full_size(published):
    assert published.top == 256
    assert published.size == (128, 3, 3)
    assert [level.prior.out_channels // 2 for level in published.levels] == [64, 64, 64, 32, 16, 8]


def test_order_of_the_images_does_not_matter(network, image):
    first, apart = synthesize(network, image[:, [0, 2, 3]], (0, 2, 3))
    other, same = synthesize(network, image[:, [3, 0, 2]], (3, 0, 2))
    assert torch.allclose(first, other, atol=1e-5)
    assert torch.allclose(apart, same, rtol=1e-4)


@pytest.mark.parametrize("subset", SUBSETS)
def test_what_is_missing_may_be_anything(network, image, subset):
    """As places of the images that are there, and as a vector beside all of them."""
    expected = synthesize(network, image[:, list(subset)], subset)
    present = torch.zeros(4)
    present[list(subset)] = 1
    for anything in (0.0, 7.0, torch.nan):
        other = torch.full_like(image, anything)
        other[:, list(subset)] = image[:, list(subset)]
        found = synthesize(network, other, present)
        assert torch.allclose(found[0], expected[0], atol=1e-5)
        assert torch.allclose(found[1], expected[1], rtol=1e-4)


def test_every_image_counts(network, image):
    results = [synthesize(network, image[:, list(subset)], subset)[0] for subset in SUBSETS]
    for first, second in itertools.combinations(results, 2):
        assert not torch.allclose(first, second, atol=1e-5)


def test_without_any_image_there_is_the_prior(network, image):
    found, apart = synthesize(network, image[:, :0], ())
    assert found.shape == image.shape
    assert apart.tolist() == pytest.approx([0.0, 0.0], abs=1e-3)
    assert torch.equal(found[0], found[1])
    vector = synthesize(network, image, torch.zeros(4))
    assert torch.allclose(vector[0], found, atol=1e-6)
    assert torch.allclose(vector[1], apart, atol=1e-3)


def test_temperature(network, image):
    """0 follows the means; noise that is given decides; more temperature, more spread.

    An untrained network spreads fully at low temperatures: its means are small beside its deviations.
    """
    ultrasound = image[:, :1]
    mean = synthesize(network, ultrasound, (0,))[0]
    assert torch.equal(mean, synthesize(network, ultrasound, (0,))[0])
    shapes = [(1, 16), (1, 4, 8, 8), (1, 4, 16, 16), (1, 2, 32, 32)]
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(2)) for shape in shapes]
    assert torch.allclose(synthesize(network, ultrasound, (0,), 0.0, noise)[0], mean, atol=1e-6)
    sample = synthesize(network, ultrasound, (0,), 0.7, noise)[0]
    assert torch.equal(sample, synthesize(network, ultrasound, (0,), 0.7, noise)[0])
    torch.manual_seed(0)
    spread = [
        float(torch.stack([synthesize(network, ultrasound, (0,), heat)[0] for _ in range(4)]).std(0).mean())
        for heat in (1e-4, 1e-3, 0.7)
    ]
    assert 0 < spread[0] < spread[1] < spread[2]


def test_an_encoder_learns_only_from_its_own_image(network, image):
    network.zero_grad()
    found, apart = network(image[:, [0, 2]], (0, 2))
    (found.square().mean() + apart.mean()).backward()
    taught = [any(parameter.grad is not None for parameter in part.parameters()) for part in network.encoders]
    assert taught == [True, False, True, False]
    network.zero_grad(set_to_none=True)


@pytest.mark.parametrize("latents", [(4,), (1, 4), (1, 3, 4)])
def test_levels_without_a_latent_variable_see_no_image(latents, image):
    """Their encoders' features reach nothing; a latent variable at the last level alone is MVAE."""
    torch.manual_seed(0)
    network = MMHVAE(4, latents=latents, **SMALL)
    network(image)[0].mean().backward()
    parts = [level.parts for level in network.levels]
    assert parts == [2 if level in latents else 0 for level in (3, 2, 1)]
    assert synthesize(network.eval(), image[:, :1], (0,))[1].shape == (2,)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusions(fusion, image):
    torch.manual_seed(0)
    network = MMHVAE(4, fusion=fusion, **SMALL).eval()
    found, apart = synthesize(network, image[:, [1, 3]], (1, 3))
    assert found.shape == image.shape
    assert len(network.encoders) == (1 if fusion == "zeros" else 4)
    assert bool(apart.any()) == (fusion != "average")


def test_an_average_is_the_mean_of_what_each_image_says(image):
    torch.manual_seed(0)
    network = MMHVAE(4, fusion="average", **SMALL).eval()
    same = torch.cat([image[:, :1]] * 2, 1)
    for parameter, other in zip(network.encoders[1].parameters(), network.encoders[0].parameters(), strict=True):
        parameter.data.copy_(other.data)
    alone, both = synthesize(network, same[:, :1], (0,))[0], synthesize(network, same, (0, 1))[0]
    assert torch.allclose(alone, both, atol=1e-5)


def test_zeros_stand_for_what_is_missing(image):
    seen = []
    network = ZeroImputed(torch.nn.Identity(), 4)
    network.network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(image[:, [2, 0]], (0, 2))
    assert torch.equal(seen[0][:, 0], image[:, 2])
    assert torch.equal(seen[0][:, 2], image[:, 0])
    assert not seen[0][:, [1, 3]].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion": "sum"}, "unknown fusion 'sum'; choose from product, zeros, average"),
        ({"latents": (5,)}, "latents must be among levels 1 to 4, not 5"),
        ({"window": 44}, "the window must be a multiple of 8, twice it at least, not 44"),
    ],
)
def test_sizes_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        MMHVAE(4, **{**SMALL, **arguments})


def test_volumes_are_refused():
    with pytest.raises(ValueError, match="works in 2D, not in 3D"):
        build("mmhvae", "3D", IMAGES)
