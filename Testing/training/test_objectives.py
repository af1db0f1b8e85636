"""Terms of the adversarial schemes against known answers and independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skimage.metrics import structural_similarity  # noqa: E402

from IoUSynthLib.generators import build  # noqa: E402
from IoUSynthLib.generators.diffusion import noise_schedule  # noqa: E402
from IoUSynthLib.training import losses  # noqa: E402
from IoUSynthLib.training.data import Batch, PatchBatches, TrainingVolume  # noqa: E402
from IoUSynthLib.training.discriminators import StepDiscriminator, gan_discriminator  # noqa: E402
from IoUSynthLib.training.distributed import World  # noqa: E402
from IoUSynthLib.training.objectives.adversarial import Adversarial  # noqa: E402
from IoUSynthLib.training.objectives.adversary import Adversary, PatchAdversary  # noqa: E402
from IoUSynthLib.training.objectives.contrastive import Contrastive  # noqa: E402
from IoUSynthLib.training.objectives.cycle import Cycle  # noqa: E402
from IoUSynthLib.training.objectives.diffusion import AdversarialDiffusion  # noqa: E402

PLAIN = losses.WeightedLoss(1.0)


def make_batch(*sizes, targets=1, inputs=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image, target = (torch.rand((2, count, *sizes), generator=generator) * 2 - 1 for count in (inputs, targets))
    fan = torch.zeros(2, 1, *sizes)
    fan[(..., *[slice(4, -4)] * len(sizes))] = 1
    return Batch(image, target, fan)


def prepared(objective):
    objective.prepare(torch.device("cpu"), World(), lambda step, peak: 1.0)
    return objective


# Losses ---------------------------------------------------------------------------------------------------------------


def test_gaussian_similarity_agrees_with_scikit_image():
    batch = make_batch(40, 36)
    other = (0.7 * batch.target + 0.1).clamp(-1, 1)
    found = losses.gaussian_similarity(batch.target[:1], other[:1], torch.ones(1, 1, 40, 36))
    first, second = ((image[0, 0].numpy().astype(np.float64) + 1) / 2 for image in (batch.target, other))
    _, full = structural_similarity(
        first, second, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    assert float(found) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)


def test_gaussian_similarity_of_a_volume_is_that_of_its_axial_slices():
    batch = make_batch(12, 20, 24, targets=2)
    other = (batch.target + 0.3).clamp(-1, 1)
    mask = batch.fan * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1, 1)
    found = losses.gaussian_similarity(other, batch.target, mask)
    parts = [
        losses.gaussian_similarity(other[:, :1, z], batch.target[:, :1, z], batch.fan[:, :, z]) for z in range(4, 8)
    ]
    assert float(found) == pytest.approx(float(torch.stack(parts).mean()), abs=1e-6)


def test_similarity_of_every_second_slice():
    batch = make_batch(12, 20, 24)
    other = (batch.target + 0.3 * torch.linspace(0, 1, 12).reshape(12, 1, 1)).clamp(-1, 1)
    half = Batch(batch.image[:, :, ::2], batch.target[:, :, ::2], batch.fan[:, :, ::2])
    all_of_half = losses.WeightedLoss(1, structure=1)(other[:, :, ::2], half)["structure"]
    every_second = losses.WeightedLoss(1, structure=1, every=2)(other, batch)["structure"]
    assert float(every_second) == pytest.approx(float(all_of_half), abs=1e-6)
    assert float(every_second) != pytest.approx(float(losses.WeightedLoss(1, structure=1)(other, batch)["structure"]))


def test_weighted_loss_by_hand():
    batch = make_batch(24, 24)
    terms = losses.WeightedLoss(10, 8, 5)((batch.target + 0.25).clamp(-1, 2), batch)
    assert float(terms["absolute"]) == pytest.approx(2.5, abs=1e-5)
    assert float(terms["gradient"]) == pytest.approx(0, abs=1e-4)
    perfect = losses.WeightedLoss(10, 8, 5)(batch.target, batch)
    assert sum(map(float, perfect.values())) == pytest.approx(0, abs=1e-5)


def test_a_missing_target_takes_no_part():
    batch = make_batch(24, 24, targets=2)
    prediction = torch.zeros_like(batch.target, requires_grad=True)
    both = losses.WeightedLoss(1)(prediction, batch)["absolute"]
    batch.target[:, 1] = torch.nan
    batch.target[0] = torch.nan
    one = losses.WeightedLoss(1, 1, 1)(prediction, batch)
    inside = batch.fan[1, 0] > 0
    assert float(one["absolute"]) == pytest.approx(float(batch.target[1, 0][inside].abs().mean()), abs=1e-6)
    assert float(both) != pytest.approx(float(one["absolute"]), abs=1e-4)
    sum(one.values()).backward()
    assert torch.isfinite(prediction.grad).all()
    assert (prediction.grad.abs().amax((2, 3)) > 0).tolist() == [[False, False], [True, False]]


def test_uncertainty_is_least_where_the_variance_is_the_loss():
    """The minimum of exp(-v) L + v over v is at v = log L, where it is 1 + log L."""
    values = torch.tensor([0.5, 4.0])
    best = losses.uncertainty_weighted(values, values.log(), torch.ones(2))
    assert float(best) == pytest.approx(2 + math.log(0.5) + math.log(4.0), abs=1e-6)
    for shift in (-0.1, 0.1):
        assert float(losses.uncertainty_weighted(values, values.log() + shift, torch.ones(2))) > float(best)
    half = losses.uncertainty_weighted(values, values.log(), torch.tensor([1.0, 0.0]))
    assert float(half) == pytest.approx(1 + math.log(0.5), abs=1e-6)


def test_gradient_penalty_of_a_known_function():
    """For the scores sum(a x^2) the gradient is 2 a x; its squared norm 4 a^2 |x|^2, mean over the batch."""
    image = torch.randn(3, 2, 5, 5, requires_grad=True)
    weight = torch.tensor(0.7, requires_grad=True)
    penalty = losses.gradient_penalty((weight * image**2).flatten(1).sum(1), image)
    expected = 4 * 0.7**2 * image.detach().square().flatten(1).sum(1).mean()
    assert float(penalty) == pytest.approx(float(expected), rel=1e-5)
    penalty.backward()  # it teaches the discriminator
    assert float(weight.grad) == pytest.approx(float(2 * expected / 0.7), rel=1e-4)


def test_patch_contrast_is_a_cross_entropy():
    """Park et al.: one positive and N - 1 negatives of the same image, by a loop over places."""
    generator = torch.Generator().manual_seed(0)
    query, key = (
        torch.nn.functional.normalize(torch.randn(2, 7, 5, generator=generator), dim=2) for _ in range(2)
    )
    expected = []
    for image in range(2):
        for place in range(7):
            similarity = torch.stack([query[image, place] @ key[image, other] for other in range(7)]) / 0.07
            expected.append(float(torch.logsumexp(similarity, 0) - similarity[place]))
    assert float(losses.patch_contrast(query, key)) == pytest.approx(np.mean(expected), abs=1e-5)


def test_patch_contrast_of_known_features():
    """Orthogonal features, each its own: log(1 + (N - 1) exp(-1 / 0.07)); all the same: log N."""
    features = torch.eye(256)[None]
    expected = math.log1p(255 * math.exp(-1 / 0.07))
    assert float(losses.patch_contrast(features, features)) == pytest.approx(expected, abs=1e-5)
    same = torch.ones(1, 256, 1)
    assert float(losses.patch_contrast(same, same)) == pytest.approx(math.log(256), rel=1e-5)
    key = features.clone().requires_grad_()
    assert not losses.patch_contrast(features, key).requires_grad


# Objectives -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def judge():
    torch.manual_seed(0)
    return gan_discriminator(2, 1, conditional=False, width=4)


def test_scales_count_alike(judge):
    """The mean over two scales of half the squared distance, as eq. 3 for each."""
    adversary = PatchAdversary(judge, adversarial=1.0, matching=0.0, condition=())
    batch = make_batch(32, 32)
    term = prepared(adversary).terms(batch.target, batch)["adversarial"]
    judge.eval()
    image = losses.visible(batch.target, batch)
    expected = [losses.least_squares(layers[-1], 1.0, batch.fan) for layers in judge(image)]
    assert float(term) == pytest.approx(float(sum(expected) / 2), rel=1e-5)


def test_the_penalty_comes_every_so_many_steps(judge, monkeypatch):
    adversary, due = PatchAdversary(judge, matching=0.0, condition=(), penalty=10.0, every=3), []
    original = losses.gradient_penalty

    def watch(scores, image):
        due.append(adversary.scheduler.last_epoch)
        return original(scores, image)

    monkeypatch.setattr("IoUSynthLib.training.objectives.adversary.gradient_penalty", watch)
    batch = make_batch(32, 32)
    prepared(adversary)
    for _ in range(7):
        adversary.learn(batch.target * 0, batch)
    assert due == [3, 6]


def test_uncertainties_learn_with_the_generator():
    adversary = PatchAdversary(gan_discriminator(2, 3, conditional=True, width=4), condition=(0,))
    objective = prepared(Adversarial(losses.WeightedLoss(10), adversary, targets=2))
    batch = make_batch(64, 64, targets=2)
    (variances,) = objective.parameters()
    terms = objective.terms({"prediction": batch.target + torch.tensor([0.1, 0.5]).reshape(1, 2, 1, 1)}, batch)
    assert float(terms["weighed"]) == pytest.approx(1 + 5, abs=1e-4)  # both variances are exp(0)
    terms["weighed"].backward()
    assert variances.grad.tolist() == pytest.approx([0.0, -4.0], abs=1e-3)  # 1 - L
    again = prepared(Adversarial(losses.WeightedLoss(10), adversary, targets=2))
    variances.data += 2
    again.load_state_dict(objective.state_dict())
    assert again.log_variances.tolist() == [2.0, 2.0]


class Shift(torch.nn.Module):
    """Adds a learned constant."""

    def __init__(self, amount):
        super().__init__()
        self.amount = torch.nn.Parameter(torch.tensor(amount))

    def forward(self, image):
        return image + self.amount


def test_cycle_and_identity_by_hand(judge):
    """Ways of +0.2 and -0.1: each round trip errs by 0.1; the identities by 0.2 and 0.1."""
    other = gan_discriminator(2, 1, conditional=False, width=4)
    judges = PatchAdversary(judge, condition=()), PatchAdversary(other, condition=())
    objective = prepared(Cycle(PLAIN, Shift(-0.1), judges, cycle=10.0, identity=5.0))
    batch = make_batch(32, 32)
    terms = objective.terms(objective.forward(Shift(0.2), batch), batch)
    assert float(terms["cycle"]) == pytest.approx(10 * (0.1 + 0.1), abs=1e-4)
    assert float(terms["identity"]) == pytest.approx(5 * (0.2 + 0.1), abs=1e-4)
    expected = (batch.image + 0.2 - batch.target).abs()[batch.fan > 0].mean()
    assert float(terms["absolute"]) == pytest.approx(float(expected), abs=1e-5)
    assert [parameter.shape for parameter in objective.parameters()] == [torch.Size([])]
    assert 0 < float(objective.learn(objective.forward(Shift(0.2), batch), batch)["discriminator"]) < 3


def test_nothing_is_hidden_outside_the_fan(judge):
    """Round trips by networks that see far: no gradient of them falls where no other term looks."""
    torch.manual_seed(0)
    there, back = (torch.nn.Conv2d(*channels, 9, padding=4) for channels in ((1, 2), (2, 1)))
    judges = PatchAdversary(gan_discriminator(2, 2, conditional=False, width=4), condition=()), PatchAdversary(
        judge, condition=()
    )
    objective = prepared(Cycle(PLAIN, back, judges, cycle=10.0, identity=0.0))
    batch = make_batch(32, 32, targets=2)
    batch.target[1, 1] = torch.nan  # a missing contrast is no place to hide in, either
    output = objective.forward(there, batch)
    halfway = output["prediction"], output["ultrasound"]
    seen = torch.autograd.grad(objective.terms(output, batch)["cycle"], halfway)
    for gradient in seen:
        assert float((gradient * (1 - batch.fan)).abs().max()) == 0
        assert float((gradient * batch.fan).abs().max()) > 0
    assert float(seen[0][1, 1].abs().max()) == 0


def test_contrast_reaches_the_encoder_and_the_heads(judge):
    torch.manual_seed(0)
    network = build("cut", "2D", ("T2w",), width=4)
    adversary = PatchAdversary(judge, condition=())
    objective = Contrastive(PLAIN, adversary, channels=[4, 4, 8, 32], contrast=1.0, identity=0.5)
    prepared(objective)
    batch = make_batch(64, 64)
    output = objective.forward(network, batch)
    terms = objective.terms(output, batch)
    assert {"absolute", "adversarial", "contrast", "identity"} <= set(terms)
    assert float(terms["identity"]) == pytest.approx(0.5 * float(output["identity"]))
    places = [256, 256, 256, 4]  # the bottleneck has only 2 x 2
    assert 0 < float(terms["contrast"]) < sum(map(math.log, places)) / 4 + 3
    terms["contrast"].backward()
    assert network.stem[0].weight.grad.abs().max() > 0
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_contrast_of_the_synthetic_image(judge, monkeypatch):
    """Equation 5: the query is of the image that was made, blank outside the fan; over all places, in any order."""
    monkeypatch.setattr("IoUSynthLib.training.objectives.contrastive.PLACES", 10**6)
    torch.manual_seed(0)
    network = build("cut", "2D", ("T2w",), width=4).eval()
    channels = {"channels": [4, 4, 8, 32], "contrast": 1.0, "identity": 0.5}
    objective = prepared(Contrastive(PLAIN, PatchAdversary(judge, condition=()), **channels, generated=True))
    batch = make_batch(32, 32)
    output = objective.forward(network, batch)
    for name, image in (("contrast", batch.image), ("identity", losses.visible(batch.target, batch))):
        made, keys = network.forward_with_features(image)
        queries = network.encode(torch.where(batch.fan > 0, made, torch.tensor(-1.0)))
        expected = []
        for head, query, key in zip(objective.heads, [*queries[:3], queries[-1]], keys, strict=True):
            pair = [torch.nn.functional.normalize(head(one.flatten(2).mT), dim=2) for one in (query, key)]
            expected.append(float(losses.patch_contrast(*pair).detach()))
        assert float(output[name].detach()) == pytest.approx(np.mean(expected), rel=1e-4)
    usual = prepared(Contrastive(PLAIN, PatchAdversary(judge, condition=()), **channels))
    assert not torch.allclose(usual.forward(network, batch)["contrast"], output["contrast"])


def test_contrast_of_two_synthetic_images_of_three_slices(judge):
    network = build("cut", "2.5D", ("T2w", "FLAIR"), width=4)
    adversary = PatchAdversary(judge, condition=())
    objective = prepared(Contrastive(PLAIN, adversary, channels=[4, 4, 8, 32], contrast=1.0, generated=True))
    output = objective.forward(network, make_batch(32, 32, inputs=3, targets=2))
    output["contrast"].backward()
    assert network.head[1].weight.grad.abs().amax((1, 2, 3)).min() > 0, "what makes either image learns from it"


class Oracle(torch.nn.Module):
    """A denoiser that knows the answer, or one that is off by a constant."""

    def __init__(self, clean, off=0.0):
        super().__init__()
        self.clean, self.targets = clean, 1
        self.off = torch.nn.Parameter(torch.tensor(off))

    def forward(self, noisy, image, step, latent):
        assert latent.shape == (len(image), 100)
        return self.clean + self.off


def test_diffusion_by_hand():
    torch.manual_seed(0)
    batch = make_batch(16, 16)
    critic = StepDiscriminator(2, 2, filters=8, multipliers=(2,), embedding=16)
    adversary = Adversary(critic, 1e-3, betas=(0.5, 0.9))
    objective = prepared(AdversarialDiffusion(losses.WeightedLoss(10), adversary, penalty=1.0, every=64))
    output = objective.forward(Oracle(batch.target, 0.2), batch)
    terms = objective.terms(output, batch)
    assert float(terms["absolute"]) == pytest.approx(2.0, abs=1e-4)
    plan = noise_schedule()
    clean = losses.visible(batch.target + 0.2, batch)
    for number, step in enumerate(output["step"].tolist()):  # the estimate's x_t, from the posterior's coefficients
        expected = plan.clean_weight[step] * clean[number] + plan.noisy_weight[step] * output["noisy"][number]
        expected = expected + plan.deviation[step] * output["noise"][number]
        found = objective._estimated(output, batch)[number]
        assert torch.allclose(found, expected, atol=1e-5)
    score = critic(torch.cat([objective._estimated(output, batch), output["noisy"]], 1), output["step"])
    assert float(terms["adversarial"]) == pytest.approx(float(torch.nn.functional.softplus(-score).mean()), rel=1e-4)
    before = [parameter.clone() for parameter in critic.parameters()]
    loss = objective.learn(output, batch)["discriminator"]
    assert 0.5 < float(loss) < 5
    assert any(not torch.equal(one, other) for one, other in zip(before, critic.parameters(), strict=True))
    sampler = objective.generator(Oracle(batch.target), batch.image)
    assert torch.equal(sampler(batch.image), batch.target)  # four estimates of the same clean image


def test_patches_are_the_same_place_in_all_images():
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (1, 24, 20, 12)).astype(np.float16)
    fan = np.ones(image.shape[1:], bool)
    source = TrainingVolume(image, np.concatenate([image, -image]), fan, np.argwhere(fan)[::50])
    batches = PatchBatches([source], 3, (16, 8, 16), seed=1, augment=False)
    batch = batches.draw(5)
    assert batch.image.shape == (3, 1, 16, 8, 16)
    assert torch.equal(batch.image[:, 0], batch.target[:, 0])
    inside = batch.fan[:, 0] > 0
    assert 0.7 < float(inside.float().mean()) < 0.8  # 12 of 16 voxels along x: the rest is padding
    assert torch.equal(batch.image[:, 0][inside], -batch.target[:, 1][inside])
    assert (batch.image[:, 0][~inside] == -1).all()
    again = batches.draw(5)
    assert torch.equal(batch.image, again.image)
    changed = PatchBatches([source], 3, (16, 8, 16), seed=1, augment=True).draw(5)
    assert not torch.equal(batch.image[:1], changed.image[:1])
    assert torch.equal(batch.target[:1], changed.target[:1])


def test_patches_vary_the_ultrasound_alone():
    image = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 16)).astype(np.float16)
    fan = np.ones(image.shape[1:], bool)
    source = TrainingVolume(image, image[:1], fan, np.argwhere(fan))
    plain, varied = (
        PatchBatches([source], 1, (16,) * 3, seed=1, augment=augment).draw(0).image for augment in (False, True)
    )
    assert not torch.equal(plain[:, 0], varied[:, 0])
    assert torch.equal(plain[:, 1], varied[:, 1])
