"""Parameter counts of the discriminators as published, and what they compute."""

from __future__ import annotations

import json

import pytest
from support.tiny_models import SHARED

torch = pytest.importorskip("torch")

from IoUSynthLib.training import discriminators as critics  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402

#: Dimensions, channels, whether it sees the ultrasound: counts with spectral normalisation's vectors, as Keras counts.
GAN = {
    (2, 2, True): 5_531_012,
    (2, 3, True): 5_533_060,
    (2, 1, False): 1_323_396,
    (2, 2, False): 1_325_444,
    (2, 3, False): 1_327_492,
    (3, 2, True): 11_053_762,
    (3, 3, True): 11_057_858,
    (3, 1, False): 2_643_138,
    (3, 2, False): 2_647_234,
}


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def keras_parameters(network):
    """Keras keeps the left vector of each weight's largest singular value; torch keeps the right one, too."""
    left = [buffer.numel() for name, buffer in network.named_buffers() if name.endswith("._u")]
    return parameters(network) + sum(left)


@pytest.mark.parametrize("plan", GAN, ids=str)
def test_gan_discriminators(plan):
    with torch.device("meta"):
        network = critics.gan_discriminator(*plan[:2], conditional=plan[2])
    assert keras_parameters(network) == GAN[plan]


def test_gan_discriminators_agree_with_the_oracle():
    file = SHARED / "oracles" / "gan_param_counts.json"
    if not file.exists():
        pytest.skip("the counts are not here")
    published = {row["published"] for name, row in json.loads(file.read_text()).items() if name.startswith("disc_")}
    assert len(published) == 8
    assert published == set(GAN.values()) - {1_327_492}


@pytest.mark.parametrize(
    ("dimensions", "channels", "count"), [(2, 2, 2_763_713), (2, 4, 2_765_761), (3, 2, 6_224_593)]
)
def test_resvit_discriminators(dimensions, channels, count):
    with torch.device("meta"):
        assert parameters(critics.resvit_discriminator(dimensions, channels)) == count


@pytest.mark.parametrize(
    ("dimensions", "channels", "count"),
    [(2, 2, 7_216_705), (2, 4, 7_216_833), (3, 2, 9_119_089), (3, 4, 9_119_185)],
)
def test_syndiff_discriminators(dimensions, channels, count):
    with torch.device("meta"):
        assert parameters(critics.StepDiscriminator(dimensions, channels)) == count


def test_syndiff_refiner_and_its_judge():
    """The released counts, exactly; the published files of the refiner differ by the weights of a second target."""
    stages = [PRESETS[f"syndiff-2d+3d-refine-{name}"].last for name in ("t2w", "t2w-flair")]
    one, two = (parameters(stage.network()) for stage in stages)
    assert (one, two) == (212_257, 228_722)
    assert two - one == pytest.approx((932_258 - 866_402) / 4, abs=2)
    judges = [parameters(stage.objective().adversary.discriminator) for stage in stages]
    assert judges == [1_564_345, 1_565_881]


def test_presets_have_the_published_discriminators():
    objective = PRESETS["pix2pix-2.5d-t2w"].last.objective()
    assert keras_parameters(objective.adversary.discriminator) == 5_531_012  # the middle slice alone
    cycle = PRESETS["cyclegan-2.5d-t2w"].last.objective()
    assert [keras_parameters(one.discriminator) for one in cycle.adversaries] == [1_323_396, 1_327_492]
    assert parameters(cycle.inverse) == 11_377_155
    assert parameters(PRESETS["resvit-2.5d-t2w"].last.objective().adversary.discriminator) == 2_765_761


def test_scales_see_the_image_at_full_and_half_size():
    torch.manual_seed(0)
    network = critics.gan_discriminator(2, 2, conditional=True, width=4).eval()
    image = torch.randn(1, 2, 64, 64)
    first, second = network(image)
    assert [tuple(layer.shape[1:]) for layer in first] == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (32, 7, 7), (1, 6, 6)]
    half = network.scales[1](torch.nn.functional.avg_pool2d(image, 2))
    assert all(torch.equal(one, other) for one, other in zip(second, half, strict=True))


def test_spectral_normalisation_bounds_every_weight():
    torch.manual_seed(0)
    network = critics.gan_discriminator(2, 2, conditional=False, width=4)
    for _ in range(30):
        network(torch.randn(1, 2, 32, 32))
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    norms = [float(torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)) for conv in convolutions]
    assert norms == pytest.approx([1.0] * 8, abs=0.02)


def test_a_step_is_judged_by_both_images_and_its_number():
    torch.manual_seed(0)
    network = critics.StepDiscriminator(2, 2, filters=8, multipliers=(2, 2), embedding=16)
    images, step = torch.randn(4, 2, 16, 16), torch.tensor([0, 1, 2, 3])
    score = network(images, step)
    assert score.shape == (4,)
    assert not torch.allclose(score, network(images, step.flip(0)))
    for channel in range(2):
        changed = images.clone()
        changed[:, channel] += 0.5
        assert not torch.allclose(score, network(changed, step))


def test_deviation_within_the_batch():
    """Karras et al. 2018: 0 for equal images; for two values a and b half their distance; in groups of four at most."""
    same = torch.ones(4, 3, 2, 2)
    assert float(critics._deviation(same).max()) == pytest.approx(1e-4)
    different = torch.cat([torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 4.0)])
    assert torch.allclose(critics._deviation(different), torch.tensor(2.0))
    groups = torch.zeros(8, 1, 1, 1)
    groups[::2] = torch.tensor([0.0, 2.0, 0.0, 2.0]).reshape(4, 1, 1, 1)  # images 0, 2, 4, 6 are a group
    found = critics._deviation(groups).flatten()
    assert found[::2].tolist() == pytest.approx([1.0] * 4)
    assert found[1::2].tolist() == pytest.approx([1e-4] * 4)
