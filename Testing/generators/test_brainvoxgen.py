"""BrainVoxGen's proposal: its size, its blocks, and the discriminator's one logit a block."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from IoUSynthLib.generators import get_family  # noqa: E402
from IoUSynthLib.inference.sliding_window import predict  # noqa: E402
from IoUSynthLib.models.bundle import Bundle  # noqa: E402
from IoUSynthLib.training.discriminators import DenseDiscriminator  # noqa: E402
from IoUSynthLib.training.presets import PRESETS  # noqa: E402

PRESET = PRESETS["brainvoxgen-3d-flair"]


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_counts_of_the_proposal():
    with torch.device("meta"):
        assert count(PRESET.last.network()) == 22_560_961
        assert count(DenseDiscriminator(2, (8, 128, 128))) == 2_212_129


def test_a_block_goes_in_and_out_and_gets_one_logit():
    network = get_family("brainvoxgen").build(3, 1, 1, widths=(2,) * 5)
    sizes = []
    for level in network.down:
        level.register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output.shape[2:])))
    block = torch.rand(1, 1, 8, 128, 128)
    assert network(block).shape == block.shape
    assert sizes == [(4, 64, 64), (2, 32, 32), (1, 16, 16), (1, 8, 8), (1, 4, 4)]
    (logit,) = DenseDiscriminator(2, (8, 128, 128), width=2)(block.expand(2, 2, -1, -1, -1))
    assert tuple(logit.shape) == (2, 1, 1, 1, 1)


def test_blocks_without_overlap_are_put_together_again():
    """A volume of 16 by 128 by 256 voxels is four blocks, each seen once."""
    traits, recipe = PRESET.last.traits, PRESET.last.recipe
    plan = Bundle(
        path=Path("x"), version="", kind="generator", regime="3D", spacing=(1.0, 1.0, 1.0), slice_axes=(),
        window=recipe.window, overlap=traits.overlap, size_multiple=1, inputs=("ioUS",), outputs=("FLAIR",),
        checksums={}, details={"blending": traits.blending, "padding": "window"},
    )  # fmt: skip
    image = np.random.default_rng(0).uniform(-1, 1, (1, 16, 128, 256)).astype(np.float32)
    blocks = []

    class Identity:
        device = "cpu"

        def run(self, batch):
            blocks.extend(batch)
            return batch

    found = predict(Identity(), image, np.ones(image.shape[1:], bool), plan)
    np.testing.assert_allclose(found, image, atol=1e-6)
    assert [block.shape for block in blocks] == [(1, 8, 128, 128)] * 4
    assert predict(Identity(), image, np.ones(image.shape[1:], bool), replace(plan, overlap=0.5)).shape == image.shape
    assert len(blocks) > 8


def test_its_recipe():
    recipe, published = PRESET.last.recipe, PRESET.published().last.recipe
    assert (recipe.steps, recipe.batch_size, recipe.window) == (70_000, 1, (8, 128, 128))
    assert (recipe.absolute, recipe.scores, recipe.keep) == (100, "cross entropy", "structure")
    assert (published.keep, published.checkpoint_every, published.augmentation.flipped) == ("last", 10_000, False)
