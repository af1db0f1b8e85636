"""What the T1-to-T2 study adds to the trainer: cross-entropy, divergence, steps of the rate, unpaired batches."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from support.pair_cohort import SPACING, write_pair_cohort  # noqa: E402

from IoUSynthLib.cases.index import read_index  # noqa: E402
from IoUSynthLib.generators.recipe import NOT_AUGMENTED, Schedule  # noqa: E402
from IoUSynthLib.training import losses, run  # noqa: E402
from IoUSynthLib.training.data import Batch, PatchBatches, SliceBatches, TrainingVolume, generator_volume  # noqa: E402
from IoUSynthLib.training.discriminators import batch_discriminator  # noqa: E402
from IoUSynthLib.training.distributed import World  # noqa: E402
from IoUSynthLib.training.objectives.adversary import PatchAdversary  # noqa: E402
from IoUSynthLib.training.objectives.cycle import Cycle  # noqa: E402
from IoUSynthLib.training.objectives.variational import Variational  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402
from IoUSynthLib.volume import InputError  # noqa: E402


def test_cross_entropy_by_hand():
    mask = torch.ones(1, 1, 2, 2)
    assert float(losses.cross_entropy(torch.zeros(1, 1, 2, 2), 1.0, mask)) == pytest.approx(math.log(2))
    score = torch.tensor([0.0, math.log(3), 0.0, 0.0]).reshape(1, 1, 2, 2)
    mask[..., 1, :] = 0
    assert float(losses.cross_entropy(score, 1.0, mask)) == pytest.approx((math.log(2) - math.log(0.75)) / 2)
    assert float(losses.cross_entropy(score, 0.0, mask)) == pytest.approx((math.log(2) - math.log(0.25)) / 2)


def test_divergence_of_known_distributions():
    zero = torch.zeros(3, 128)
    assert float(losses.divergence(zero, zero)) == 0
    assert float(losses.divergence(zero + 1, zero)) == pytest.approx(0.5 * 128)
    normal = torch.distributions.Normal
    mean, log_variance = torch.randn(3, 128), torch.randn(3, 128)
    expected = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0, 1)).sum(1).mean()
    assert float(losses.divergence(mean, log_variance)) == pytest.approx(float(expected), rel=1e-5)


def test_the_rate_is_halved_at_each_milestone():
    schedule = Schedule(1000, warm_up=0, decay="steps", milestones=(0.2, 0.4, 0.6, 0.8))
    assert [schedule.factor(step) for step in (0, 199, 200, 399, 400, 600, 800, 999)] == [
        1, 1, 0.5, 0.5, 0.25, 0.125, 0.0625, 0.0625,
    ]  # fmt: skip


def volume(level: float, edge: int = 16) -> TrainingVolume:
    """Input and target of a level of its own, inside a fan that leaves out the rim."""
    fan = np.zeros((edge,) * 3, bool)
    fan[2:-2, 2:-2, 2:-2] = True
    image = np.where(fan, level, -1)[None].astype(np.float16)
    return TrainingVolume(image, np.full((1, edge, edge, edge), level, np.float16), fan, np.argwhere(fan))


@pytest.mark.parametrize("kind", ["slices", "patches"])
def test_unpaired_batches_never_pair(kind):
    volumes = [volume(level) for level in (0.0, 0.25, 0.5)]
    how = {"seed": 0, "augment": True, "augmentation": NOT_AUGMENTED, "unpaired": True}
    if kind == "slices":
        batches = SliceBatches(volumes, 40, 16, context=0, axes=(0,), **how)
    else:
        batches = PatchBatches(volumes, 40, (16, 16, 16), **how)
    batch = batches.draw(0)
    seen, wanted = (part.flatten(1).amax(1) for part in (batch.image, batch.target))
    assert (seen != wanted).all()
    assert set(seen.tolist()) == set(wanted.tolist()) == {0.0, 0.25, 0.5}
    assert (batch.fan == 1).all()
    assert (batch.target[..., :2] == -1).all(), "blank outside the target's own fan"
    with pytest.raises(InputError, match="need two cases"):
        type(batches)(volumes[:1], 4, *([16] if kind == "slices" else [(16, 16, 16)]), **how)


def test_no_augmentation_leaves_slices_as_they_are():
    one = volume(0.0)
    one.image[0] = np.linspace(-0.5, 0.5, 16)
    how = {"seed": 0, "augment": True, "context": 0, "axes": (0,)}
    as_it_is = SliceBatches([one], 20, 16, augmentation=NOT_AUGMENTED, **how).draw(0).image
    assert (as_it_is.diff(dim=3) > 0).all()
    assert not (SliceBatches([one], 20, 16, **how).draw(0).image.diff(dim=3) > 0).all()
    preset = PRESETS["unet-pix2pix-2d-t2w"]
    assert preset.last.recipe.augmentation.flipped
    assert preset.unaugmented().last.recipe.augmentation == preset.published().last.recipe.augmentation == NOT_AUGMENTED


def test_a_discriminator_with_batch_normalisation_sees_kinds_of_images_apart():
    torch.manual_seed(0)
    discriminator = batch_discriminator(2, 2, width=2)
    adversary = PatchAdversary(discriminator, condition=(0,), adversarial=1.0, matching=0.0, scores="cross entropy")
    adversary.prepare(torch.device("cpu"), World(), lambda step, peak: 1.0)
    batch = Batch(torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32))
    fake = torch.rand(2, 1, 32, 32)
    true, false = (discriminator(torch.cat([batch.image, image], 1))[0][-1] for image in (batch.target, fake))
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected = entropy(true, torch.ones_like(true)) + entropy(false, torch.zeros_like(false))
    wanted = entropy(false, torch.ones_like(false))
    assert float(adversary.terms(fake, batch)["adversarial"]) == pytest.approx(float(wanted), rel=1e-5)
    assert float(adversary.learn(fake, batch)) == pytest.approx(float(expected), rel=1e-5)


def test_a_cycle_that_is_not_supervised_learns_nothing_from_pairs():
    stage = PRESETS["unet-cyclegan-2d-t2w"].last
    assert stage.recipe.unpaired
    adversaries = tuple(
        PatchAdversary(batch_discriminator(2, 1, width=2), condition=(), matching=0.0) for _ in range(2)
    )
    network, inverse = torch.nn.Conv2d(1, 1, 1), torch.nn.Conv2d(1, 1, 1)
    objective = Cycle(losses.WeightedLoss(1.0), inverse, adversaries, cycle=10, identity=5, supervised=False)
    objective.prepare(torch.device("cpu"), World(), lambda step, peak: 1.0)
    batch = Batch(torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32), torch.ones(2, 1, 32, 32))
    terms = objective.terms(objective.forward(network, batch), batch)
    assert set(terms) == {"adversarial", "cycle", "identity"}
    assert set(objective.loss(network(batch.image), batch)) == {"absolute"}, "what validation reports, of pairs"


def test_an_autoencoders_terms():
    torch.manual_seed(0)
    stage = PRESETS["vae-2d-t2w"].last
    assert stage.recipe.divergence * 256**2 == pytest.approx(stage.recipe.squared), "1 to 1 with the sum over a slice"
    objective = Variational(losses.WeightedLoss(0.0, squared=2.0), 0.5)
    batch = Batch(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), torch.ones(2, 1, 8, 8))
    mean, log_variance = torch.ones(2, 4), torch.zeros(2, 4)
    output = objective.forward(lambda image, drawn: (image, mean, log_variance), batch)
    terms = objective.terms(output, batch)
    assert float(terms["squared"]) == pytest.approx(2 * float(((batch.image - batch.target) ** 2).mean()), rel=1e-5)
    assert float(terms["divergence"]) == pytest.approx(0.5 * 0.5 * 4)


def test_a_preset_reads_the_contrast_that_is_the_cohorts_input(tmp_path):
    folder = read_index(write_pair_cohort(tmp_path, ("train",)), "train")[0]
    stage = PRESETS["resvit-2d-t2w"].reading("T1w", (1, 1, 1)).last
    assert (stage.inputs, stage.voxels, stage.channels) == (("T1w",), (1.0, 1.0, 1.0), 1)
    loaded, expected = stage.load(folder), generator_volume(folder, ["T2w"], source="T1w")
    np.testing.assert_array_equal(loaded.image, expected.image)
    batches = stage.batches([loaded], seed=0, augment=True)
    assert not batches.augment, "MRI is not varied as ultrasound is"


def change(folder, **parameters):
    file = folder / "case.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | parameters))


def test_a_cohort_of_patients_ultrasound_is_read_as_it_was(tmp_path):
    write_pair_cohort(tmp_path, ("train",))
    change(tmp_path / "P0", input="ioUS", spacing_mm=0.8)
    preset = PRESETS["resvit-2d-t2w"]
    assert run.for_cohort(preset, tmp_path) is preset


def test_cases_of_one_cohort_must_be_alike(tmp_path):
    write_pair_cohort(tmp_path, ("train", "train"))
    assert run.for_cohort(PRESETS["resvit-2d-t2w"], tmp_path).last.voxels == SPACING
    change(tmp_path / "P1", spacing_mm=[1.0, 1.0, 2.0])
    with pytest.raises(InputError, match="its cases differ in input or voxel size"):
        run.for_cohort(PRESETS["resvit-2d-t2w"], tmp_path)


@pytest.mark.parametrize("name", ["cut-2d+3d-refine-t2w", "lesion-3d"])
def test_two_stages_and_segmenters_read_ultrasound_alone(name):
    with pytest.raises(InputError, match=r"learns from ultrasound, and the cohort's input is T1w; choose another"):
        PRESETS[name].reading("T1w", (1, 1, 1))


def test_a_contrast_is_not_made_of_itself():
    with pytest.raises(InputError, match="vae-2d-t2w: makes T2w, which is the cohort's input"):
        PRESETS["vae-2d-t2w"].reading("T2w", (1, 1, 1))
