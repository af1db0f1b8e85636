"""Learning rates, and recipes that are adapted, shortened and described."""

from __future__ import annotations

from dataclasses import replace

import pytest

from IoUSynthLib.generators.recipe import Recipe, Schedule


def test_a_cycle_warms_up_stays_and_falls_to_a_thousandth():
    schedule = Schedule(1000, warm_up=100, decay="cycle")
    assert schedule.factor(0) == pytest.approx(0.01 + 1e-3)
    assert [schedule.factor(step) for step in (99, 250, 400)] == pytest.approx([1 + 1e-3] * 3)
    assert schedule.factor(700) == pytest.approx(0.5**1.5 + 1e-3)
    assert schedule.factor(1000) == pytest.approx(1e-3)


def test_a_cosine_falls_from_the_peak_to_its_floor():
    schedule = Schedule(1100, rate=2e-4, warm_up=100, decay="cosine", floor=1e-5)
    rates = [2e-4 * schedule.factor(step) for step in (49, 100, 600, 1100, 2000)]
    assert rates == pytest.approx([1e-4, 2e-4, (2e-4 + 1e-5) / 2, 1e-5, 1e-5])


def test_a_discriminator_falls_to_the_same_floor():
    schedule = Schedule(1000, rate=1.6e-4, warm_up=0, decay="cosine", floor=1e-5)
    assert [peak * schedule.factor(1000, peak) for peak in (1.6e-4, 1e-4)] == pytest.approx([1e-5, 1e-5])
    assert schedule.factor(0, 1e-4) == schedule.factor(0) == 1


def test_a_constant_rate_needs_no_warm_up():
    schedule = Schedule(10, warm_up=0, decay="constant")
    assert [schedule.factor(step) for step in (0, 9)] == [1, 1]


@pytest.fixture
def recipe():
    return Recipe(
        steps=1000, steps_for_two=600, pretraining=1000, pretraining_rate=1e-3, rate=1e-4, batch_size=2,
        window=(64, 64), absolute=10, identity=5, weighed=True,
    )


def test_what_depends_on_targets_and_slices(recipe):
    one, two, neighbours = recipe.adapted(1, 1), recipe.adapted(2, 1), recipe.adapted(1, 3)
    assert (one.steps, one.identity, one.weighed) == (1000, 5, False)
    assert (two.steps, two.identity, two.weighed) == (600, 0, True)
    assert (neighbours.steps, neighbours.identity, neighbours.weighed) == (1000, 0, False)


def test_both_phases_are_shortened(recipe):
    short = recipe.shortened(8)
    assert (short.steps, short.pretraining, short.checkpoint_every) == (8, 8, 4)
    assert (short.earlier_phase().steps, short.earlier_phase().rate, short.earlier_phase().pretraining) == (8, 1e-3, 0)
    assert short.rate == recipe.rate
    assert replace(recipe, discriminator_rate=2e-4).earlier_phase().discriminator_rate == pytest.approx(2e-3)


def test_a_recipe_describes_what_it_weighs(recipe):
    assert recipe.describe() == (
        "after 1000 steps without transformer at 0.001: batches of 2 x 64x64, rate 0.0001 cycle; "
        "absolute 10, identity 5, weighed by uncertainty"
    )
    assert Recipe(steps=1, batch_size=4, window=(8, 8, 8)).describe() == "batches of 4 x 8x8x8, rate 0.002 cycle"
