"""The discriminator and what it demands: known answers, the fan, missing targets, and that the game is played."""

import numpy as np
import pytest
import torch

from IoUSynthLib.generators.recipe import Schedule
from IoUSynthLib.training.data import Batch
from IoUSynthLib.training.discriminators import patch_discriminator
from IoUSynthLib.training.distributed import World
from IoUSynthLib.training.losses import feature_matching, least_squares
from IoUSynthLib.training.objectives.adversary import Adversary, PatchAdversary


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    image, target = (torch.rand((4, count, 48, 48), generator=generator) * 2 - 1 for count in (3, 2))
    fan = torch.zeros(4, 1, 48, 48)
    fan[:, :, 8:40, 10:44] = 1
    return Batch(image, target, fan)


@pytest.fixture
def adversary():
    torch.manual_seed(0)
    adversary = PatchAdversary(patch_discriminator(5, width=8), rate=2e-3, condition=(0, 1, 2))
    adversary.prepare(torch.device("cpu"), World(), lambda step, peak: 1.0)
    return adversary


def test_the_rate_falls_to_the_floor_of_the_generators():
    schedule = Schedule(4, rate=2e-4, warm_up=0, decay="cosine", floor=1e-6)
    adversary = Adversary(torch.nn.Linear(1, 1), 1e-4, betas=(0.5, 0.999))
    adversary.prepare(torch.device("cpu"), World(), schedule.factor)
    rates = []
    for _ in range(5):
        rates.append(adversary.optimizer.param_groups[0]["lr"])
        adversary.optimizer.step()
        adversary.scheduler.step()
    assert [rates[0], rates[2], rates[4]] == pytest.approx([1e-4, (1e-4 + 1e-6) / 2, 1e-6])


def test_least_squares_by_hand():
    score = torch.tensor([[[[1.0, 0.0], [3.0, 7.0]]]])
    mask = torch.ones(1, 1, 4, 4)
    assert float(least_squares(score, 1.0, mask)) == pytest.approx(0.5 * (0 + 1 + 4 + 36) / 4)
    mask[..., 2:, 2:] = 0  # the patch with score 7
    mask[..., 2:, :1] = 0  # half of the patch with score 3
    assert float(least_squares(score, 1.0, mask)) == pytest.approx(0.5 * (0 + 1 + 0.5 * 4) / 2.5)


def test_feature_matching_by_hand():
    ones = [torch.ones(2, 3, 8, 8), torch.ones(2, 6, 4, 4)]
    others = [torch.full((2, 3, 8, 8), 1.5, requires_grad=True), torch.full((2, 6, 4, 4), -1.0)]
    assert float(feature_matching(ones, others, torch.ones(2, 1, 16, 16))) == pytest.approx(0.5 + 2)
    assert not feature_matching(ones, others, torch.ones(2, 1, 16, 16)).requires_grad


def test_each_judgement_sees_a_square_of_34_voxels():
    torch.manual_seed(0)
    network = patch_discriminator(5, width=4).eval()
    image = torch.randn(1, 5, 96, 96, requires_grad=True)
    score = network(image)[-1]
    score[0, 0, score.shape[2] // 2, score.shape[3] // 2].backward()
    rows = np.flatnonzero(image.grad.abs().sum((0, 1, 3)).numpy())
    assert rows[-1] - rows[0] + 1 == 34


def test_spectral_norm_bounds_every_layer():
    network = patch_discriminator(5, width=4)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.parametrizations.weight.original.mul_(50)
        for _ in range(30):
            network(torch.randn(1, 5, 32, 32))
    norms = [
        float(torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2))
        for module in network.eval().modules() if isinstance(module, torch.nn.Conv2d)
    ]
    assert len(norms) == 4
    assert norms == pytest.approx([1.0] * 4, abs=0.05)


def test_a_perfect_prediction_matches_all_features(adversary, batch):
    terms = adversary.terms(batch.target, batch)
    assert float(terms["matching"]) == 0


def test_nothing_outside_the_fan_counts(adversary, batch):
    prediction = torch.zeros_like(batch.target, requires_grad=True)
    sum(adversary.terms(prediction, batch).values()).backward()
    gradient = prediction.grad.abs().sum((0, 1))
    assert float((gradient * (1 - batch.fan[0, 0])).max()) == 0
    assert float((gradient * batch.fan[0, 0]).min()) >= 0
    assert float(gradient.sum()) > 0


def test_a_missing_target_gives_no_gradient_and_no_nan(adversary, batch):
    batch.target[0, 1] = torch.nan
    batch.target[2] = torch.nan
    prediction = torch.zeros_like(batch.target, requires_grad=True)
    sum(adversary.terms(prediction, batch).values()).backward()
    amount = prediction.grad.abs().sum((2, 3))
    assert torch.isfinite(amount).all()
    assert (amount == 0).tolist() == [[False, True], [False, False], [True, True], [False, False]]
    assert torch.isfinite(adversary.learn(prediction, batch))


def test_the_generators_terms_leave_the_discriminator_alone(adversary, batch):
    sum(adversary.terms(torch.zeros_like(batch.target, requires_grad=True), batch).values()).backward()
    assert all(parameter.grad is None for parameter in adversary.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in adversary.discriminator.parameters())


def test_it_learns_to_tell_a_blur_from_the_truth(adversary, batch):
    blur = torch.nn.functional.avg_pool2d(batch.target, 5, 1, 2)
    losses = [float(adversary.learn(blur, batch)) for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]
    found, true = (float(adversary.terms(image, batch)["adversarial"]) for image in (blur, batch.target))
    assert found > 2 * true
