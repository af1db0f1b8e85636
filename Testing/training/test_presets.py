"""The table of presets: which there are, and the figures of the published trainings."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

from support.toy_presets import BENCHMARK, ONE_OF_EACH, SIZES

from IoUSynthLib.generators import REGIMES, get_family
from IoUSynthLib.training.data import TrainingVolume
from IoUSynthLib.training.presets import PRESETS
from IoUSynthLib.volume import InputError


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


def test_figures_of_the_published_recipe():
    """Text and released code, where this library does otherwise by default."""

    def published(name):
        return BENCHMARK[name].published().last.recipe

    assert BENCHMARK["cut-2d-t2w"].published().recipe == "published"
    cut, gan, resvit = (published(name) for name in ("cut-2d-t2w", "pix2pix-3d-t2w-flair", "resvit-2.5d-t2w"))
    assert (cut.axes, cut.keep, cut.complete, cut.generated) == ((0,), "last", True, True)
    assert (cut.augmentation.intensities, cut.augmentation.rotation) == ("gamma", 15)
    assert (gan.augmentation.intensities, gan.augmentation.rotation) == ("none", 10)
    assert (gan.anywhere, gan.similarity_every, gan.generated, gan.clip) == (True, 2, False, 1)
    assert (resvit.keep, resvit.complete, resvit.checkpoint_every) == ("absolute", False, 5 * 694)
    syndiff = published("syndiff-3d-t2w")
    assert (syndiff.keep, syndiff.clip, syndiff.augmentation.rotation) == ("structure", math.inf, 0)
    stages = BENCHMARK["swin-pix2pix-2d+3d-refine-t2w"].published().stages
    assert [stage.recipe.keep for stage in stages] == ["last", "last"]
    assert stages[0].slice_axes == (0, 1, 2), "what the released code runs a network along"
    for preset in BENCHMARK.values():
        for usual, other in zip(preset.stages, preset.published().stages, strict=True):
            assert usual.recipe.steps == other.recipe.steps
            assert usual.recipe.describe() != other.recipe.describe()


def test_which_presets_draw():
    """Diffusions, and autoencoders with deviations; what a bundle says of it is what a run may ask for."""
    drawing = {name for name, preset in PRESETS.items() if preset.first.details.get("draws")}
    assert {name for name in drawing if name in BENCHMARK} == {name for name in BENCHMARK if name.startswith("syndiff")}
    assert {"mmhvae", "mmhvae-zeros", "mvae"} <= drawing
    assert not {"mmhvae-average", "resvit-unified", "ious2mr-2.5d"} & drawing


def test_what_ships_has_no_published_recipe():
    with pytest.raises(InputError, match="lesion-3d has no published recipe; leave the option out"):
        PRESETS["lesion-3d"].published()


@pytest.mark.parametrize(
    ("name", "image", "target", "figures"),
    [
        ("ious2mr-2.5d", -828939.4, -403.99, "batches of 64 x 96x96, rate 0.002 cycle"),
        ("lesion-3d", -1180606.6, -1418.28, "batches of 4 x 64x64x64, rate 0.001 cycle"),
    ],
)
def test_what_ships_learns_from_the_batches_that_it_learned_from(name, image, target, figures):
    """A run that was begun earlier goes on as it began: the sums were found before there was a second recipe."""
    stage, rng = PRESETS[name].last, np.random.default_rng(0)
    fan = np.zeros((96, 96, 96), bool)
    fan[10:80, 15:85, 20:90] = True
    seen = np.where(fan, rng.uniform(-0.99, 1, (len(stage.inputs), *fan.shape)), -1).astype(np.float16)
    goal = rng.uniform(-1, 1, (2 if stage.kind == "generator" else 1, *fan.shape)).astype(np.float16)
    volume = TrainingVolume(seen, goal, fan, np.argwhere(fan)[::500].astype(np.int16))
    batch = stage.batches([volume], seed=5, augment=True).draw(7)
    assert float(batch.image.double().sum()) == pytest.approx(image, abs=1.0)
    assert float(batch.target.double().sum()) == pytest.approx(target, abs=0.2)
    assert stage.recipe.describe() == figures
