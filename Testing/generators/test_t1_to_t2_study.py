"""The T1-to-T2 study's networks: published sizes, halving to one pixel, and the latent space of the autoencoder."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from IoUSynthLib.generators import get_family  # noqa: E402
from IoUSynthLib.generators.skip_unet import SkipUNet  # noqa: E402
from IoUSynthLib.generators.vae import Autoencoder  # noqa: E402
from IoUSynthLib.training.discriminators import batch_discriminator  # noqa: E402


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_counts_of_three_channels_as_published_and_of_one():
    with torch.device("meta"):
        for family in ("unet_pix2pix", "unet_cyclegan"):
            build = get_family(family).build
            assert [count(build(2, channels, channels)) for channels in (3, 1)] == [54_413_955, 54_407_809]
        assert [count(batch_discriminator(2, channels)) for channels in (6, 3, 2)] == [2_768_705, 2_765_633, 2_764_609]
        build = get_family("vae").build
        assert [count(build(2, channels, channels)) for channels in (3, 1)] == [17_123_907, 17_121_857]


def test_eight_levels_halve_a_slice_to_a_pixel():
    network = get_family("unet_pix2pix").build(2, 1, 1, widths=(2,) * 8)
    sizes = []
    for level in network.down:
        level.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[2]))
    assert tuple(network(torch.zeros(2, 1, 256, 256)).shape) == (2, 1, 256, 256)
    assert sizes == [128, 64, 32, 16, 8, 4, 2, 1]
    dropped = [any(isinstance(part, torch.nn.Dropout) and part.p for part in level) for level in network.up]
    assert dropped == [False, True, True, True, False, False, False, False]


def test_slabs_keep_the_length_of_the_first_axis_at_the_deepest_levels():
    network = SkipUNet(3, 1, 1, widths=(2, 2, 2, 2), flat=2, norm="instance")
    sizes = []
    for level in network.down:
        level.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[2:])))
    assert tuple(network(torch.zeros(1, 1, 8, 32, 32)).shape) == (1, 1, 8, 32, 32)
    assert sizes == [(4, 16, 16), (2, 8, 8), (2, 4, 4), (2, 2, 2)]


@pytest.fixture
def autoencoder():
    torch.manual_seed(0)
    return Autoencoder(1, 1, widths=(4, 4), latent=6, side=2).eval()


def test_interpolation_ends_at_the_images_of_both_means(autoencoder):
    first, second = torch.rand(2, 1, 1, 8, 8)
    path = autoencoder.interpolated(first, second, 5)
    assert tuple(path.shape) == (5, 1, 8, 8)
    torch.testing.assert_close(path[[0, -1]], autoencoder(torch.cat([first, second])).detach())
    middle = sum(autoencoder.encode(image)[0] for image in (first, second)) / 2
    torch.testing.assert_close(path[[2]], autoencoder.decode(middle).detach())


def test_draws_are_of_the_standard_normal_distribution(autoencoder):
    seen = []
    autoencoder.widen.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    assert tuple(autoencoder.drawn(2000, torch.Generator().manual_seed(0)).shape) == (2000, 1, 8, 8)
    assert float(seen[0].mean()) == pytest.approx(0, abs=0.03)
    assert float(seen[0].std()) == pytest.approx(1, abs=0.03)


def test_spread_is_that_of_the_latent_variables(autoencoder):
    """With a linear way back and one latent variable of deviation s, the image w z spreads by |w| s."""
    image = torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        autoencoder.log_variance.weight.zero_()
        autoencoder.log_variance.bias.fill_(-100)
    assert float(autoencoder.spread(image).abs().max()) < 1e-6
    weights = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)
    autoencoder.decode = lambda latent: latent[:, :1, None, None] * weights
    with torch.no_grad():
        autoencoder.log_variance.bias.fill_(2 * torch.tensor(0.5).log())
    found = autoencoder.spread(image, 4000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, 0.5 * weights.abs(), atol=0.02, rtol=0)
