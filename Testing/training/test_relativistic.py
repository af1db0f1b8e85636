"""3D-mDAUNet's losses against hand computations: relativistic scores, L1 at every level, slices of three views."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from IoUSynthLib.evaluation import perceptual  # noqa: E402
from IoUSynthLib.training import perception as perception_module  # noqa: E402
from IoUSynthLib.training.data import Batch  # noqa: E402
from IoUSynthLib.training.discriminators import PlainDiscriminator, VoxelDiscriminator  # noqa: E402
from IoUSynthLib.training.distributed import World  # noqa: E402
from IoUSynthLib.training.losses import relativistic  # noqa: E402
from IoUSynthLib.training.objectives.adversary import Adversary  # noqa: E402
from IoUSynthLib.training.objectives.relativistic import Relativistic  # noqa: E402
from IoUSynthLib.training.perception import find_features, perception, vgg19  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402
from IoUSynthLib.volume import InputError  # noqa: E402

ONES = torch.ones(1, 1, 2, 2, 2)


def softplus(value):
    return math.log1p(math.exp(value))


def test_at_chance_the_relativistic_loss_is_log_2():
    constant = torch.full((1, 1, 2, 2, 2), 3.7)
    assert float(relativistic(constant, constant, ONES)) == pytest.approx(math.log(2))


def test_relativistic_loss_and_its_gradient_by_hand():
    """2 x 2 x 2 logits, one of them 1 and the others 0; the gradient flows through both terms, to the means, too."""
    true, synthetic = (torch.zeros(1, 1, 2, 2, 2, requires_grad=True) for _ in range(2))
    with torch.no_grad():
        true[0, 0, 0, 0, 0], synthetic[0, 0, 1, 1, 1] = 1.0, -1.0
    first = [-1 + -1 / 8] + [0 - 1 / 8] * 7  # E[synthetic] - true
    second = [-1 - 1 / 8] + [0 - 1 / 8] * 7  # synthetic - E[true]
    loss = relativistic(true, synthetic, ONES)
    expected = 0.5 * (np.mean([softplus(value) for value in first]) + np.mean([softplus(value) for value in second]))
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    loss.backward()
    slope = [[1 / (1 + math.exp(-value)) for value in values] for values in (first, second)]
    through_mean = 0.5 * np.mean(slope[1]) / 8
    wanted = [-0.5 * slope[0][0] / 8 - through_mean] + [-0.5 * slope[0][1] / 8 - through_mean] * 7
    np.testing.assert_allclose(true.grad.flatten().numpy(), wanted, rtol=1e-5)
    through_mean = 0.5 * np.mean(slope[0]) / 8
    wanted = [0.5 * slope[1][1] / 8 + through_mean] * 7 + [0.5 * slope[1][0] / 8 + through_mean]
    np.testing.assert_allclose(synthetic.grad.flatten().numpy(), wanted, rtol=1e-5)


def test_voxels_that_do_not_count_do_not_enter_the_means():
    mask = torch.zeros(1, 1, 2, 2, 2)
    mask[..., 0] = 1
    true, synthetic = torch.rand(1, 1, 2, 2, 2), torch.rand(1, 1, 2, 2, 2)
    inside = relativistic(true[..., :1], synthetic[..., :1], mask[..., :1])
    assert float(relativistic(true, synthetic, mask)) == pytest.approx(float(inside), rel=1e-6)


class Levels(torch.nn.Module):
    """Gives its parameters as images at four sizes."""

    def __init__(self):
        super().__init__()
        self.images = torch.nn.ParameterList(torch.rand(1, 1, size, size, size) for size in (16, 8, 4, 2))

    def forward(self, image, with_levels):
        assert with_levels
        return 2 * self.images[0] - 1, list(self.images)


def prepared(discriminator, **choices):
    adversary = Adversary(discriminator, 1e-2, betas=(0.9, 0.999))
    weights = {"absolute": 1.0, "perceptual": 0.0, "adversarial": 1.0, "features": None, **choices}
    objective = Relativistic(adversary, **weights)
    objective.prepare(torch.device("cpu"), World(), lambda step, peak: 1.0)
    return objective


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return Batch(torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16) * 2 - 1, torch.ones(1, 1, 16, 16, 16))


def test_differences_of_every_level_add_up(batch):
    objective, network = prepared(VoxelDiscriminator(1, width=2)), Levels()
    terms = objective.terms(objective.forward(network, batch), batch)
    goals = [(batch.target[..., ::step, ::step, ::step] + 1) / 2 for step in (1, 2, 4, 8)]
    expected = sum(float((a - b).abs().mean()) for a, b in zip(network.images, goals, strict=True))
    assert float(terms["absolute"]) == pytest.approx(expected, rel=1e-5)
    validation = objective.loss(2 * network.images[0] - 1, batch)["absolute"]
    assert float(validation) == pytest.approx(float((network.images[0] - goals[0]).abs().mean()), rel=1e-5)


@pytest.mark.parametrize("average", [True, False])
def test_adversarial_gradient_reaches_every_level_of_the_generator_and_not_the_discriminator(batch, average):
    discriminator = VoxelDiscriminator(1, width=2)
    objective, network = prepared(discriminator, average=average), Levels()
    output = objective.forward(network, batch)
    objective.terms(output, batch)["adversarial"].backward()
    for image in network.images:
        assert torch.isfinite(image.grad).all()
        assert float(image.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    before = [parameter.detach().clone() for parameter in discriminator.parameters()]
    assert math.isfinite(float(objective.learn(output, batch)["discriminator"]))
    assert any(not torch.equal(a, b) for a, b in zip(before, discriminator.parameters(), strict=True))


def test_the_generators_term_is_the_discriminators_with_images_exchanged(batch):
    discriminator = VoxelDiscriminator(1, width=2)
    objective, network = prepared(discriminator), Levels()
    output = objective.forward(network, batch)
    found = float(objective.terms(output, batch)["adversarial"])
    goals = [(batch.target[..., ::step, ::step, ::step] + 1) / 2 for step in (1, 2, 4, 8)]
    discriminator.eval()
    with torch.no_grad():
        scores = [discriminator(images) for images in (list(network.images), goals)]
    expected = np.mean([float(relativistic(a, b, torch.ones_like(a))) for a, b in zip(*scores, strict=True)])
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_plain_discriminator_judges_wholes():
    """One logit an image: the loss is that of two numbers."""
    torch.manual_seed(0)
    discriminator = PlainDiscriminator(1, width=2)
    images = [torch.rand(1, 1, 32, 32, 32) for _ in range(2)]
    batch = Batch(images[0], 2 * images[0] - 1, torch.ones(1, 1, 32, 32, 32))
    output = {"prediction": 2 * images[1] - 1, "level 0": images[1].requires_grad_()}
    objective = prepared(discriminator)
    found = objective.terms(output, batch)["adversarial"]
    true, synthetic = (float(discriminator([image])[0].detach()) for image in images)
    assert float(found.detach()) == pytest.approx(softplus(true - synthetic), rel=1e-4)
    found.backward()
    assert float(images[1].grad.abs().max()) > 0


def test_perception_of_known_features():
    """With the mean of a slice as its feature, three views of a ramp along the first axis."""
    ramp = torch.arange(6.0).reshape(1, 1, 6, 1, 1).expand(1, 1, 6, 6, 6) / 10
    found = perception(lambda slices: slices.mean((2, 3)), ramp, torch.zeros(1, 1, 6, 6, 6))
    axial = (0.0 + 0.3) / 2  # every third slice
    assert float(found) == pytest.approx(axial + 2 * 0.25, rel=1e-5)


def test_alexnet_is_that_of_lpips():
    if perceptual.alexnet() is None:
        pytest.skip("AlexNet's weights are not here")
    slices = torch.rand(2, 1, 64, 64)
    network, distance = find_features("alexnet"), perceptual.load()
    *_, last = distance._features(2 * slices - 1)
    unit = network(slices)
    unit = unit / (unit.square().sum(1, keepdim=True).sqrt() + 1e-10)
    torch.testing.assert_close(unit, last, atol=2e-3, rtol=0)  # LPIPS rounds ImageNet's statistics
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_vgg19_ends_behind_its_sixteenth_convolution():
    widths = [3, 2, 2, 4, 4, *[4] * 11]
    rng = np.random.default_rng(0)
    convolutions = [
        (rng.normal(size=(after, before, 3, 3)).astype(np.float32), np.zeros(after, np.float32))
        for before, after in zip(widths, [*widths[1:], 4], strict=True)
    ]
    network = vgg19(convolutions)
    assert [type(layer).__name__ for layer in network][-2:] == ["Conv2d", "ReLU"]
    assert len(network) == 36
    assert tuple(network(torch.rand(1, 1, 64, 64)).shape) == (1, 4, 4, 4)


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"vgg19-dcbb9e9d.pth: is missing, and the perceptual loss needs VGG-19"):
        find_features("vgg19")
    monkeypatch.setattr(perception_module.perceptual, "alexnet", lambda: None)
    with pytest.raises(InputError, match=r"needs AlexNet's weights; see .* or choose a preset without perception"):
        find_features("alexnet")


def test_presets_and_ablations():
    names = [name for name in PRESETS if name.startswith("mdaunet-3d-t2w")]
    assert len(names) == 7
    recipe = PRESETS["mdaunet-3d-t2w"].last.recipe
    assert (recipe.absolute, recipe.perception, recipe.adversarial, recipe.batch_size) == (1, 1, 1e-4, 3)
    assert recipe.window == (96, 96, 96)
    assert "perception 1 by alexnet" in recipe.describe()
    assert "perception 1 by vgg19" in PRESETS["mdaunet-3d-t2w"].published().last.recipe.describe()
    assert PRESETS["mdaunet-3d-t2w-cross-entropy"].last.recipe.scores == "cross entropy"
    assert PRESETS["mdaunet-3d-t2w-single-input"].last.size == {"many_in": False}
    assert PRESETS["mdaunet-3d-t2w-single-output"].last.size == {"many_out": False}
    assert PRESETS["mdaunet-3d-t2w-plain-discriminator"].last.discriminator == {"voxelwise": False}
    assert "perception" not in PRESETS["mdaunet-3d-t2w-without-perception"].last.recipe.describe()
    assert "flipped" not in recipe.describe()
