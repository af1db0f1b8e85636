"""3D-mDAUNet: its size, its blocks with weights of zero, and what comes out at every level."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from IoUSynthLib.generators.mdaunet import (  # noqa: E402
    GROWTHS,
    Attention,
    DenseAttentionUNet,
    DenseBlock,
    ResidualDense,
)
from IoUSynthLib.training.discriminators import PlainDiscriminator, VoxelDiscriminator  # noqa: E402
from IoUSynthLib.training.run_folder import without_parametrizations  # noqa: E402

#: Features, encoder, decoder with attention, and the four last layers, as the sizes of the layers give them.
PARTS = {"stems": 1_792, "encoder": 5_424_288, "decoder": 744_282, "heads": 6_484}
TOY = {"stem": 2, "widths": (2, 4, 6, 8), "growths": (2, 2, 2, 2)}


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def zeroed(network):
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    return network


def test_count_of_about_6_2_million():
    network = DenseAttentionUNet(1, 1)
    assert count(network) == sum(PARTS.values()) == 6_176_846
    found = {name: count(getattr(network, name)) for name in PARTS}
    found["decoder"] += count(network.attention)
    assert found == PARTS
    light, _, _, heavy = (count(block[0]) for block in network.encoder)
    assert heavy > 15 * light, "light blocks at large sizes, heavy ones at small ones"


@pytest.mark.parametrize("level", range(4))
def test_blocks_keep_shapes_at_every_level(level):
    channels, edge = (16, 32, 48, 80)[level], 32 >> level
    image = torch.rand(1, channels, edge // 4, edge // 4, edge // 4)
    assert ResidualDense(channels, GROWTHS[level])(image).shape == image.shape
    if level < 3:
        joined, reduction = (48, 96, 192)[level], (2, 4, 8)[level]
        features = torch.rand(1, joined, edge // 4, edge // 4, edge // 4)
        attention = Attention(joined, reduction)
        assert attention(features).shape == features.shape
        assert attention.channels[0].out_channels == joined // reduction == 24


def test_blocks_of_zero_weights():
    """A dense block adds nothing, three of them a fifth of the image; both gates of the attention are a half."""
    image = torch.rand(2, 8, 4, 4, 4)
    torch.testing.assert_close(zeroed(DenseBlock(8, 4))(image), image)
    torch.testing.assert_close(zeroed(ResidualDense(8, 4))(image), 1.2 * image)
    torch.testing.assert_close(zeroed(Attention(8, 2))(image), image / 4)


def test_attention_by_hand():
    """One channel in the middle, from the mean and maximum of each channel; then a voxel alone."""
    attention = zeroed(Attention(2, 2))
    attention.channels[0].weight.data[:] = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1, 1)
    attention.channels[2].weight.data[:] = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1)
    attention.space.weight.data[0, :, 3, 3, 3] = torch.tensor([0.0, 1.0])
    image = torch.zeros(1, 2, 1, 1, 2)
    image[0, 0, 0, 0], image[0, 1, 0, 0] = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0])
    pooled = torch.tensor([2.0 + 3.0, -5.0]).sigmoid().reshape(1, 2, 1, 1, 1)
    weighed = image * pooled
    expected = weighed * weighed.amax(1, keepdim=True).sigmoid()
    torch.testing.assert_close(attention(image), expected)


@pytest.mark.parametrize(("many_in", "many_out"), [(True, True), (False, True), (True, False)])
def test_levels_come_in_and_go_out(many_in, many_out):
    torch.manual_seed(0)
    network = DenseAttentionUNet(1, 1, **TOY, many_in=many_in, many_out=many_out).eval()
    image = torch.rand(1, 1, 32, 16, 24) * 2 - 1
    prediction, levels = network(image, with_levels=True)
    sizes = [tuple(level.shape[2:]) for level in levels]
    assert sizes == [(32, 16, 24), (16, 8, 12), (8, 4, 6), (4, 2, 3)][: 4 if many_out else 1]
    torch.testing.assert_close(prediction, 2 * levels[0] - 1)
    torch.testing.assert_close(network(image), prediction)
    assert len(network.stems) == (4 if many_in else 1)
    blank = network.levels(torch.full_like(image, -1.0))[0]
    assert float((blank - levels[0]).detach().abs().max()) > 0


def test_discriminators_judge_every_voxel_or_the_whole():
    torch.manual_seed(0)
    images = [torch.rand(2, 1, size, size, size) for size in (16, 8, 4, 2)]
    network = VoxelDiscriminator(1, width=2)
    assert [logits.shape for logits in network(images)] == [image.shape for image in images]
    normalised = [module for module in network.modules() if isinstance(module, torch.nn.Conv3d)]
    assert all(torch.nn.utils.parametrize.is_parametrized(module, "weight") for module in normalised)
    single = VoxelDiscriminator(1, width=2, images=1)
    assert [tuple(logits.shape) for logits in single(images[:1])] == [(2, 1, 16, 16, 16)]
    whole = PlainDiscriminator(1, width=2)([torch.rand(2, 1, 32, 32, 32)])
    assert [tuple(logits.shape) for logits in whole] == [(2, 1, 1, 1, 1)]


def test_a_trained_network_has_plain_weights_and_gives_the_same():
    torch.manual_seed(0)
    network = DenseAttentionUNet(1, 1, **TOY).eval()
    image = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        before = network(image)
        plain = without_parametrizations(network)
        torch.testing.assert_close(plain(image), before)
    assert not [name for name in plain.state_dict() if "parametrizations" in name]
