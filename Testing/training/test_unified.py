"""Networks of any subset: batches of one pattern, the mixture's terms by hand, discriminators, and toy trainings."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

torch = pytest.importorskip("torch")

from support.toy_presets import toy_unified  # noqa: E402

from IoUSynthLib.cases.case import Case, write_case  # noqa: E402
from IoUSynthLib.cases.index import write_index  # noqa: E402
from IoUSynthLib.training import trainer  # noqa: E402
from IoUSynthLib.training.data import Batch, PatternBatches, TrainingVolume  # noqa: E402
from IoUSynthLib.training.discriminators import image_discriminator  # noqa: E402
from IoUSynthLib.training.distributed import World  # noqa: E402
from IoUSynthLib.training.objectives.adversary import Adversary  # noqa: E402
from IoUSynthLib.training.objectives.mixture import Mixture, subsets  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402
from IoUSynthLib.training.run import train  # noqa: E402
from IoUSynthLib.training.unified import IMAGES, Unified  # noqa: E402
from IoUSynthLib.volume import InputError, Volume  # noqa: E402

NAMES = [name for name, preset in PRESETS.items() if isinstance(preset.last, Unified)]
RECIPE = PRESETS["mmhvae"].last.recipe
EDGE = 40


# Batches --------------------------------------------------------------------------------------------------------------


def volume(value, *present, shape=(12, 14, 16)):
    """A case of one value, with an image for each of the four that is present."""
    image = np.full((4, *shape), np.nan, np.float16)
    image[list(present)] = value
    fan = np.zeros(shape, bool)
    fan[2:-2, 2:-2, 2:-2] = True
    return TrainingVolume(image, image.copy(), fan, np.argwhere(fan).astype(np.int16))


def test_a_batch_has_one_pattern_as_often_as_there_are_cases_of_it():
    volumes = [volume(0.1, 0, 1), volume(0.2, 0, 1), volume(0.3, 0, 1), volume(0.4, 0, 2, 3)]
    batches = PatternBatches(volumes, 8, 16, seed=0, axes=(0, 1, 2))
    counts, values = Counter(), set()
    for step in range(200):
        batch = batches.draw(step)
        assert batch.image.shape == batch.target.shape == (8, 4, 16, 16)
        known = batch.target.isfinite().all(-1).all(-1)
        assert (known == known[0]).all()
        counts[tuple(known[0].tolist())] += 1
        values |= set(batch.target[:, 0].unique().tolist())
    assert set(counts) == {(True, True, False, False), (True, False, True, True)}
    assert counts[True, True, False, False] / 200 == pytest.approx(0.75, abs=0.08)
    assert len(values) == 5, "four cases, and what is beyond"


def test_batches_are_the_same_for_the_same_number():
    rng = np.random.default_rng(0)
    volumes = [volume(rng.normal(size=(12, 14, 16)), 0, 1, 2, 3)]
    first, second = (PatternBatches(volumes, 4, 16, seed=3, axes=(0, 2)) for _ in range(2))
    assert torch.equal(first.draw(5).image, second.draw(5).image)
    assert not torch.equal(first.draw(5).image, first.draw(6).image)
    batch = first.draw(5)
    assert torch.equal(batch.image, batch.target), "image, target and fan are cut and flipped alike"
    assert (batch.image[(batch.fan == 0).expand_as(batch.image)] == -1).any(), "padded where the case is smaller"


# The mixture ----------------------------------------------------------------------------------------------------------


def test_subsets_of_what_was_observed():
    torch.manual_seed(0)
    drawn = Counter()
    for _ in range(700):
        first, second, third = subsets((0, 1, 2, 3))
        assert (first, second) == ((0, 1, 2, 3), (0,))
        drawn[third] += 1
    assert len(drawn) == 7
    assert all(0 not in subset for subset in drawn)
    assert stats.chisquare(list(drawn.values())).pvalue > 0.001
    assert subsets((0,)) == [(0,)]
    assert subsets((2,)) == [(2,)]
    assert subsets((0, 2)) == [(0, 2), (0,), (2,)]


class Offset(torch.nn.Module):
    """Makes 0.5 plus a learned value of all images; the divergence of each slice is 1024."""

    def __init__(self):
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, image, present, temperature=0.0):
        assert image.isfinite().all()
        assert image.shape[1] == len(present)
        made = (0.5 + self.value).expand(image.shape[0], 4, *image.shape[2:])
        return made, torch.full((image.shape[0],), 1024.0)


def make_batch(*present):
    target = torch.full((2, 4, 32, 32), torch.nan)
    target[:, list(present)] = 0.25
    fan = torch.zeros(2, 1, 32, 32)
    fan[..., :16] = 1
    return Batch(target.clone(), target, fan)


def judges():
    torch.manual_seed(0)
    return torch.nn.ModuleList(image_discriminator(width=4, halvings=2) for _ in range(4))


def objective(**changes):
    recipe = replace(RECIPE, **{"steps": 100, **changes})
    made = Mixture(recipe, Adversary(judges(), 1e-3, betas=(0.9, 0.999)) if recipe.adversarial else None)
    made.prepare(torch.device("cpu"), World(), lambda step, peak: 1.0)
    return made


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 2), (0,), (1, 3)])
def test_terms_by_hand(present):
    """All differences are 0.25 in half of the slice: 0.5 x 0.25 / 2. The divergence is 1024 over 4 x 32 x 32 pixels."""
    made, batch = objective(adversarial=0.0, divergence=0.8), make_batch(*present)
    network = Offset().requires_grad_(False)
    terms = made.terms(made.forward(network, batch), batch)
    assert float(terms["absolute"]) == pytest.approx(0.0625)
    assert float(terms["divergence"]) == pytest.approx(0.8 / 5 * 0.25), "the first of five steps to the full weight"
    made.step = 50
    terms = made.terms(made.forward(network, batch), batch)
    assert float(terms["divergence"]) == pytest.approx(0.8 * 0.25)
    assert float(terms["adversarial"]) == 0


def test_the_adversarial_term_begins_late_and_teaches_the_generator_alone():
    made, network, batch = objective(adversarial=1.0), Offset(), make_batch(0, 1)
    made.step = 79
    assert float(made.terms(made.forward(network, batch), batch)["adversarial"]) == 0
    made.step = 80
    term = made.terms(made.forward(network, batch), batch)["adversarial"]
    scores = [
        (judge(torch.where(batch.fan > 0, 0.5, -1.0))[-1] - 1).square().mean().detach()
        for judge in made.adversary.discriminator
    ]
    assert float(term.detach()) == pytest.approx(float(sum(scores)) / 4 * 2 / 3, rel=1e-5), "two of three components"
    term.backward()
    assert float(network.value.grad.abs()) > 0
    assert all(parameter.grad is None for parameter in made.adversary.discriminator.parameters())


def test_discriminators_learn_from_what_was_made_of_other_images():
    """One step ahead of the generators' term; of an image that is missing, from the pool, once there is one."""
    made, network = objective(), Offset()
    weights = [judge.layers[-1].weight.detach().clone() for judge in made.adversary.discriminator]

    def learn(*present):
        batch = make_batch(*present)
        loss = float(made.learn(made.forward(network, batch), batch)["discriminator"])
        now = [judge.layers[-1].weight.detach().clone() for judge in made.adversary.discriminator]
        changed = [not torch.equal(before, after) for before, after in zip(weights, now, strict=True)]
        weights[:] = now
        return loss, changed

    made.step = 78
    assert learn(0, 1) == (0.0, [False] * 4)
    loss, changed = learn(0, 1)
    assert changed == [True, True, False, False]
    assert loss > 0
    assert made.step == 80
    assert learn(0, 2, 3)[1] == [True] * 4
    assert [len(pool.images) for pool in made.pools] == [4, 2, 2, 2]


def test_pools_hold_32_slices():
    made, batch = objective(), make_batch(0, 1)
    made.step = 80
    for _ in range(20):
        made.learn(made.forward(Offset(), batch), batch)
    assert [len(pool.images) for pool in made.pools] == [32, 32, 0, 0]


def test_an_objective_goes_on_where_it_was():
    made, batch = objective(), make_batch(0, 1)
    made.step = 80
    made.learn(made.forward(Offset(), batch), batch)
    again = objective()
    again.load_state_dict(made.state_dict())
    assert again.step == 81
    assert [len(pool.images) for pool in again.pools] == [2, 2, 0, 0]
    states = [one.adversary.discriminator.state_dict() for one in (made, again)]
    assert all(torch.equal(first, second) for first, second in zip(*(state.values() for state in states), strict=True))


def test_several_processes_are_refused():
    with pytest.raises(InputError, match="trains in one process; leave torchrun out"):
        objective().prepare(torch.device("cpu"), World(0, 2), lambda step, peak: 1.0)


def test_the_published_discriminator():
    judge = image_discriminator()
    assert sum(parameter.numel() for parameter in judge.parameters()) == 4_856_257
    sizes = [tuple(layer.shape[1:]) for layer in judge(torch.zeros(2, 1, 192, 192))]
    assert sizes[5:] == [(256, 3, 3), (256, 2, 2), (1, 1, 1)]


# Presets --------------------------------------------------------------------------------------------------------------


def test_figures_of_the_presets():
    assert set(NAMES) == {
        "mmhvae", "mmhvae-without-gan", "mmhvae-zeros", "mmhvae-average", "mmhvae-latents-1-7", "mmhvae-latents-1-4-7",
        "mmhvae-latents-1-3-4-5-7", "mvae", "resvit-unified",
    }  # fmt: skip
    stage = PRESETS["mmhvae"].last
    assert stage.inputs == stage.outputs == IMAGES
    assert sum(parameter.numel() for parameter in stage.network().parameters()) == 13_774_770
    assert (RECIPE.steps, RECIPE.batch_size, RECIPE.window, RECIPE.rate) == (70_000, 16, (192, 192), 2e-3)
    assert [RECIPE.factor(step) * 2e-3 for step in (0, 70_000)] == pytest.approx([2e-3, 1e-4])
    assert (RECIPE.optimizer, RECIPE.discriminator_rate, RECIPE.divergence, RECIPE.late) == ("Adamax", 2e-4, 1e-3, 0.8)
    assert RECIPE.describe().endswith(
        "absolute 0.5, divergence 0.001, adversarial 0.025, adversarial after 80 % of the steps, "
        "ultrasound as it is, last checkpoint kept, gradients not clipped"
    )
    assert PRESETS["mmhvae-average"].last.recipe.divergence == 0
    assert not PRESETS["mmhvae-without-gan"].last.recipe.adversarial
    with pytest.raises(InputError, match="resvit-unified has no published recipe"):
        PRESETS["resvit-unified"].published()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Cases whose MRI follows from the ultrasound: inverted, squared, its root; two lack images."""
    folder, rng, entries = tmp_path_factory.mktemp("cohort"), np.random.default_rng(0), []
    fan = np.zeros((EDGE,) * 3, np.uint8)
    fan[3:-3, 3:-3, 3:-3] = 1
    for number, targets in enumerate((("T2w", "FLAIR", "ceT1"), ("T2w",), ("FLAIR", "ceT1"), ("T2w", "FLAIR", "ceT1"))):
        texture = stats.rankdata(ndimage.gaussian_filter(rng.normal(size=fan.shape), 3)).reshape(fan.shape) / fan.size
        made = {"T2w": 1 - texture, "FLAIR": texture**2, "ceT1": texture**0.5}
        images = {name: Volume((1000 * made[name]).astype(np.int16)) for name in targets}
        images["ioUS"] = Volume(((20 + 235 * texture) * fan).astype(np.uint8))
        known = {"white_matter": {"T2w": 250, "FLAIR": 400, "ceT1": 550}}
        parameters = {"simulated": True, "targets": list(targets), **known}
        write_case(Case(images, Volume(0 * fan), Volume(fan), parameters), folder / f"case-{number:04d}")
        split = "train" if number < 3 else "validation"
        entries.append({"name": f"case-{number:04d}", "head": "noise", "split": split})
    write_index(folder, entries, seed=0)
    return folder


@pytest.fixture(autouse=True)
def _quick(no_board, monkeypatch):
    monkeypatch.setattr(trainer, "Board", no_board)


def curve(run):
    names, *rows = [line.split(",") for line in (run / "curve.csv").read_text().splitlines()]
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


#: What the short run takes.
FEW = ("mmhvae", "resvit-unified")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FEW else pytest.mark.long) for name in NAMES]
)
def test_every_preset_learns(name, cohort, tmp_path):
    """A few steps of each: finite losses, and a picture."""
    train(toy_unified(PRESETS[name]), cohort, tmp_path / "run", report=lambda line: None)
    (row,) = curve(tmp_path / "run")
    assert all(math.isfinite(value) for value in row.values())
    assert (tmp_path / "run" / "samples" / "step-000002.png").is_file()


@pytest.mark.long
def test_mmhvae_learns_to_make_mri_of_ultrasound(cohort, tmp_path):
    """Better than a constant, also of what the ultrasound was never seen beside in a case."""
    preset = toy_unified(PRESETS["mmhvae"], 60)
    stage = replace(preset.last, recipe=replace(preset.last.recipe, batch_size=8, checkpoint_every=20, rate=5e-3))
    network = train(replace(preset, stages=(stage,)), cohort, tmp_path / "run", report=lambda line: None).eval()
    rows = curve(tmp_path / "run")
    assert rows[-1]["absolute"] < 0.7 * rows[0]["absolute"]
    assert rows[-1]["discriminator"] > 0
    batch = stage.batches([stage.load(cohort / "case-0003")], seed=1, augment=False).draw(0)
    inside = batch.fan[:, 0] > 0
    with torch.no_grad():
        made, _ = network(batch.image[:, :1], (0,))
    for place in range(1, 4):
        truth = batch.target[:, place][inside]
        error = (made[:, place][inside] - truth).abs().mean()
        assert float(error) < 0.8 * float((truth - truth.median()).abs().mean()), IMAGES[place]
