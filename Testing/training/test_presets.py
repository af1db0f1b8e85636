"""The table of presets: which there are, and the figures of the published trainings."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from support.toy_presets import BENCHMARK, ONE_OF_EACH, SIZES

from IoUSynthLib.generators import REGIMES, get_family


def test_there_are_48_presets():
    assert len(BENCHMARK) == 48
    assert {(preset.last.family, preset.regime) for preset in BENCHMARK.values()} == {
        (family, regime) for family in SIZES for regime in REGIMES
    }
    assert "swin-pix2pix-2d+3d-refine-t2w-flair" in BENCHMARK
    short = [BENCHMARK[name] for name in ONE_OF_EACH]
    assert {preset.last.family for preset in short} == set(SIZES)
    assert {preset.regime for preset in short} == set(REGIMES)


def test_figures_of_the_table():
    """As published: rates, steps, batches and weights, and where presets of a family differ."""

    def recipe(name):
        return BENCHMARK[name].last.recipe

    pix2pix = recipe("pix2pix-2d-t2w")
    assert (pix2pix.rate, pix2pix.discriminator_rate, pix2pix.steps, pix2pix.batch_size) == (2e-4, 5e-5, 20_000, 16)
    assert (pix2pix.absolute, pix2pix.structure, pix2pix.gradient, pix2pix.matching) == (10, 8, 5, 2)
    assert (pix2pix.penalty, pix2pix.every, pix2pix.weighed) == (10, 16, False)
    assert recipe("pix2pix-2.5d-t2w-flair").weighed
    assert not recipe("pix2pix-3d-t2w-flair").weighed
    assert recipe("swin-pix2pix-3d-t2w").window == (32, 64, 64)
    assert (recipe("swin-pix2pix-3d-t2w").penalty, recipe("swin-pix2pix-3d-t2w").steps) == (0, 50_000)
    assert recipe("cyclegan-2d-t2w").batch_size == 4
    identity = [recipe(f"cyclegan-{kind}").identity for kind in ("2d-t2w", "2.5d-t2w", "2d-t2w-flair", "3d-t2w")]
    assert identity == [5, 0, 0, 5]
    cut = recipe("cut-2d-t2w")
    assert (cut.contrast, cut.identity, cut.batch_size) == (1, 0.5, 8)
    assert recipe("cut-3d-t2w").contrast == 0
    resvit = recipe("resvit-2.5d-t2w")
    assert (resvit.pretraining_rate, resvit.rate, resvit.absolute, resvit.matching) == (2e-4, 1e-4, 100, 10)
    assert [phase.discriminator_rate for phase in (resvit.earlier_phase(), resvit)] == pytest.approx([2e-4, 1e-4])
    assert recipe("resvit-3d-t2w").window == (96, 96, 96)
    assert (recipe("syndiff-2d-t2w").steps, recipe("syndiff-2d-t2w-flair").steps) == (300 * 736, 200 * 736)
    assert (recipe("syndiff-2d-t2w").every, recipe("syndiff-3d-t2w").every) == (64, 32)
    refined = BENCHMARK["cut-2d+3d-refine-t2w"]
    assert (refined.last.recipe.steps, refined.last.recipe.rate, refined.last.recipe.absolute) == (10_000, 1e-4, 10)
    assert refined.first.recipe == recipe("cut-2d-t2w")


def test_windows_suit_the_networks():
    for preset in BENCHMARK.values():
        multiple = get_family(preset.first.family).size_multiple
        assert all(size % multiple == 0 for size in preset.first.recipe.window), preset.name
