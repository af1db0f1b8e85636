"""Samples of a generator that draws: their mean and deviation, seeds and temperature, and where they show tumour."""

from __future__ import annotations

import numpy as np
import pytest
from support.tiny_models import drawing_network, generator_network, write_bundle

from IoUSynthLib import pipeline
from IoUSynthLib.inference import Cancelled
from IoUSynthLib.models.bundle import DEFAULT_GENERATOR, load
from IoUSynthLib.synthesis import spread
from IoUSynthLib.synthesis.generate import generate
from IoUSynthLib.synthesis.grid import FieldOfView, network_grid
from IoUSynthLib.synthesis.spread import Sampling, Spread
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture(scope="module")
def models(tiny_bundles, tmp_path_factory):
    """A generator that draws at a temperature, one without, one whose metadata promise too much, and the tiny ones."""
    folder = tmp_path_factory.mktemp("models")
    outputs = {"outputs": ["T2w", "FLAIR"], "draws": True}
    write_bundle(folder / "vae", drawing_network(), **outputs, temperature=0.5)
    write_bundle(folder / "diffusion", drawing_network(heated=False), **outputs)
    write_bundle(folder / "promise", generator_network(), draws=True)
    return folder


@pytest.fixture(autouse=True)
def found(models, tiny_bundles, monkeypatch):
    monkeypatch.setenv("IOUSYNTH_MODELS", f"{models}:{tiny_bundles}")


@pytest.fixture(scope="module")
def grid(ultrasound, models):
    return network_grid(FieldOfView.of(ultrasound), load(models / "vae"))


def draw(model, grid, count=3, seed=0, temperature=0.5):
    return spread.draw(load(model), grid, Sampling(count, seed, temperature), device="cpu")


def same(first, second):
    return all(np.array_equal(first.images[name], second.images[name]) for name in first.images)


def test_deviation_of_known_samples():
    """Of 0, 0.2 and 0.4 it is 0.2, of 0, 0 and 0.6 it is 0.3464; half of that is a fraction of the range of 2."""
    samples = [
        {"T2w": np.full((2, 2, 2), first), "FLAIR": np.full((2, 2, 2), second)}
        for first, second in ((0.0, 0.0), (0.2, 0.0), (0.4, 0.6))
    ]
    np.testing.assert_allclose(spread.deviation(samples), (0.2 + 0.6 / np.sqrt(3)) / 4, rtol=1e-6)


def test_samples_are_those_of_their_seed_and_the_image_is_their_mean(models, grid):
    first = draw(models / "vae", grid)
    assert len(first.samples) == 3
    again, more, other = (draw(models / "vae", grid, *how) for how in ((3, 0), (5, 0), (3, 1)))
    for number in range(3):
        for name in ("T2w", "FLAIR"):
            np.testing.assert_array_equal(first.samples[number][name], again.samples[number][name])
            np.testing.assert_array_equal(first.samples[number][name], more.samples[number][name])
    assert same(first, again)
    assert not same(first, other)
    for name, image in first.images.items():
        np.testing.assert_allclose(image, np.mean([sample[name] for sample in first.samples], axis=0), atol=1e-6)
    assert (first.images["T2w"][~grid.valid] == 0).all()


def test_the_network_draws_what_its_seed_gives(models, grid):
    """The tiny network adds the temperature times the first number of its noise to T2w, and the second to FLAIR."""
    made, plain = draw(models / "vae", grid, 2, seed=5), generate(load(models / "vae"), grid, device="cpu")
    for number, sample in enumerate(made.samples):
        noise = np.random.default_rng((5, number)).standard_normal((1, 2), dtype=np.float32)[0]
        for name, value in zip(("T2w", "FLAIR"), noise, strict=True):
            expected = np.clip(plain.images[name] + 0.5 * value, -1, 1)
            np.testing.assert_allclose(sample[name][grid.valid], expected[grid.valid], atol=1e-5)


def test_at_temperature_0_samples_are_alike(models, grid):
    made = draw(models / "vae", grid, 3, temperature=0.0)
    assert not spread.deviation(made.samples).any()
    np.testing.assert_allclose(made.images["T2w"], generate(load(models / "vae"), grid, device="cpu").images["T2w"])


def test_a_diffusion_has_no_temperature_and_draws_by_its_seed(models, grid):
    first, again, other = (draw(models / "diffusion", grid, 2, seed, None) for seed in (1, 1, 2))
    assert same(first, again)
    assert not same(first, other)


WRONG = {
    "draws nothing": ("ious2mr-2.5d", {}, "samples 4: ious2mr-2.5d draws nothing, all would be alike; leave the "
                      "samples out, or choose one that draws: diffusion, promise, vae"),
    "too many": ("vae", {"samples": 17}, "samples 17: must be from 1 to 16, or 0 to draw none"),
    "no temperature": ("diffusion", {"temperature": 0.5}, "temperature 0.5: diffusion has none; leave it out"),
    "too hot": ("vae", {"temperature": 3.0}, "temperature 3: must be from 0 to 2"),
    "not so": ("promise", {}, "the network takes no noise, its metadata say it does; export it again"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_drawn_is_refused(wrong, ultrasound):
    model, choices, said = WRONG[wrong]
    with pytest.raises(InputError) as error:
        pipeline.synthesize(ultrasound, model, "cpu", **{"samples": 4, **choices})
    assert said in str(error.value)


def test_without_a_model_that_draws_the_refusal_says_how_to_get_one(tiny_bundles, monkeypatch):
    monkeypatch.setenv("IOUSYNTH_MODELS", str(tiny_bundles))
    with pytest.raises(InputError, match=r"leave the samples out, or train MMHVAE or SynDiff \(train --list\)"):
        spread.check_sampling(load(DEFAULT_GENERATOR), 2)


def test_frequencies_of_outlined_tumours():
    labels, frequency = np.zeros((4, 6, 12), np.uint8), np.zeros((4, 6, 12), np.uint8)
    labels[1:3, 1:3, 1:4], frequency[1:3, 1:3, 1:4] = 1, 6
    frequency[1:3, 1:3, 3] = 2  # a third of it
    labels[1:3, 1:3, 8:10], frequency[1:3, 1:3, 8] = 1, 3
    frequency[1:3, 1:3, 9] = 5  # 4 in the median
    labels[3, 5, 11], frequency[0, 0, 0] = 2, 7
    grid = Volume(labels, (10.0, 10.0, 10.0))
    found = spread.describe_spread(
        Spread(grid, grid.with_array(frequency)), grid, mean_deviation=0.03126
    )
    assert found == {
        "mean_deviation": 0.0313, "most": 7, "outlined": [{"ml": 12.0, "samples": 6}, {"ml": 8.0, "samples": 4}],
    }  # fmt: skip
    assert spread.tumour_words({"samples": 8, **found}) == "largest tumour in 6 of 8 samples"


def test_the_result_has_mean_deviation_and_frequency(ultrasound, models, grid):
    result = pipeline.synthesize(ultrasound, models / "vae", "cpu", samples=4, seed=3)
    made = draw(models / "vae", grid, 4, seed=3)
    plain = pipeline.synthesize(ultrasound, models / "vae", "cpu")
    assert plain.spread is None
    assert plain.report["spread"] is None
    assert (plain.report["samples"], plain.report["seed"]) == (0, None)
    fan = result.valid.array > 0
    assert result.spread.deviation.same_grid(ultrasound, 0.0)
    values = result.spread.deviation.array
    assert (values[fan] > 0).all()
    assert (values[~fan] == 0).all()
    report = result.report["spread"]
    assert report["samples"] == 4
    assert (report["seed"], report["temperature"]) == (3, 0.5)
    expected = float(spread.deviation(made.samples)[grid.valid].mean())
    assert report["mean_deviation"] == pytest.approx(expected, abs=1e-4) == pytest.approx(values[fan].mean(), rel=0.02)
    frequency = result.spread.frequency.array
    assert frequency.dtype == np.uint8
    assert frequency.max() == report["most"] <= 4
    said = f" of 4 samples (seed 3), samples differ by {expected:.1%} of the intensity range"
    assert said in result.report["summary"]
    np.testing.assert_array_equal(result.segmentation.array, plain.segmentation.array)


def test_a_voxel_is_tumour_in_as_many_samples_as_it_is_outlined_in(ultrasound, models, monkeypatch):
    """The tiny segmenter finds tumour by the ultrasound alone; here it is told so in two samples of three."""
    counted, real = [], pipeline.outline

    def outline(segmenter, grid, images, **how):
        seen, probabilities = real(segmenter, grid, images, **how)
        counted.append(images)
        if len(counted) == 3:  # the result's own came first
            probabilities = np.stack([np.ones_like(probabilities[0]), *np.zeros_like(probabilities[1:])])
        return seen, probabilities

    monkeypatch.setattr(pipeline, "outline", outline)
    result = pipeline.synthesize(ultrasound, models / "vae", "cpu", samples=3)
    assert len(counted) == 4
    tumour = result.segmentation.array == 1
    assert tumour.any()
    apart = result.spread.frequency.array != 2 * tumour
    assert apart.mean() < 1e-4, "but for where a sample's T2w makes it cavity"
    assert "tumour in 2 of 3 samples" in result.report["summary"]
    shown, *samples = counted
    assert not np.array_equal(samples[0]["T2w"], samples[1]["T2w"])
    valid = shown["T2w"] != 0
    together = np.concatenate([sample["T2w"][valid] for sample in samples])
    assert together.mean() == pytest.approx(shown["T2w"][valid].mean(), abs=0.02), "in the scale that is known"


def test_one_sample_has_no_spread(ultrasound, models):
    result = pipeline.synthesize(ultrasound, models / "diffusion", "cpu", samples=1, seed=9)
    assert result.spread is None
    assert result.report["spread"] == {"samples": 1, "seed": 9, "temperature": None}
    assert "; one sample (seed 9); " in result.report["summary"]


def test_progress_rises_over_all_samples_and_a_cancel_ends_it(ultrasound, models):
    told: list[float] = []
    pipeline.synthesize(ultrasound, models / "vae", "cpu", lambda stage, done: told.append(done), samples=3)
    assert told == sorted(told)
    assert len([done for done in told if 0.1 < done < 0.55]) > 10

    def stop(stage, done):
        if stage == "segmenting" and done > 0.8:
            raise Cancelled

    with pytest.raises(Cancelled):
        pipeline.synthesize(ultrasound, models / "vae", "cpu", stop, samples=3)
