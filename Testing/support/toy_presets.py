"""Presets of toy size: tiny networks, windows and batches, and rates that let them learn in a few steps."""

from __future__ import annotations

from dataclasses import replace

from IoUSynthLib.generators.family import Size
from IoUSynthLib.training.preset import Preset
from IoUSynthLib.training.presets import PRESETS

#: One of each family, and of each regime: what the short run takes.
ONE_OF_EACH = (
    "pix2pix-2d-t2w-flair",
    "resvit-2.5d-t2w",
    "syndiff-2.5d-t2w",
    "cyclegan-3d-t2w",
    "swin-pix2pix-3d-t2w-flair",
    "cut-2d+3d-refine-t2w",
)
_GAN = Size({"width": 4}, {"width": 4}, {"width": 4})
SIZES = {
    "pix2pix": _GAN,
    "swin_pix2pix": Size({"width": 6}, {"width": 4}, {"width": 4}),
    "cyclegan": _GAN,
    "cut": _GAN,
    "resvit": Size(
        {"filters": 4, "blocks": 2, "transformer_blocks": (1,), "heads": 4, "pairs": 1}, {"filters": 4}, {"width": 4}
    ),
    "syndiff": Size(
        {"filters": 8, "multipliers": (1, 2, 2), "blocks": 1, "attention_level": 2},
        {"filters": 4},
        {"filters": 8, "multipliers": (2, 2), "embedding": 16},
    ),
}
#: The systems of other papers, with as many levels as slices of 64 pixels, or patches of 32, can be halved.
OTHERS = {
    "unet_pix2pix": Size({"widths": (4, 4, 8, 8, 8, 8)}, {}, {"width": 4}),
    "unet_cyclegan": Size({"widths": (4, 4, 8, 8, 8, 8)}, {}, {"width": 4}),
    "vae": Size({"widths": (4, 8, 8, 8), "latent": 8, "side": 4}),
    "brainvoxgen": Size({"widths": (4, 4, 8, 8, 8)}, {}, {"width": 4}),
    "mdaunet": Size({"stem": 4, "widths": (4, 8, 12, 16), "growths": (2, 4, 4, 4)}, {}, {"width": 2}),
}
#: The experiments of the benchmark.
BENCHMARK = {name: preset for name, preset in PRESETS.items() if getattr(preset.last, "family", "") in SIZES}


def toy(preset: Preset, steps: int = 8, slices: int = 64, patch: int = 32) -> Preset:
    """A preset of the benchmark, or of another paper, without what takes weights that may not be here."""
    return preset.resized(
        {**SIZES, **OTHERS}[preset.last.family], slices=slices, patch=patch, rate=2e-3, discriminator_rate=2e-4,
        perception=0.0, pretraining_rate=2e-3, warm_up=0, average=0.0, mixed=False, validation_batches=1, batch_size=2,
    ).shortened(steps)


def toy_unet(preset: Preset, steps: int = 4) -> Preset:
    """A preset of the models that ship."""
    (stage,) = preset.stages
    recipe = replace(
        stage.recipe, batch_size=2, window=(32,) * stage.dimensions, warm_up=2, validation_batches=1
    ).shortened(steps)
    return replace(preset, stages=(replace(stage, recipe=recipe, size={"features": (4, 4, 8, 8, 8, 4)}),))


def toy_unified(preset: Preset, steps: int = 2) -> Preset:
    """A preset of a network of any subset, with windows of 32 voxels but where all seven levels are named."""
    stage, window = preset.last, 32
    size = dict(stage.size)
    if stage.architecture == "mmhvae":
        size |= {"width": 4, "widest": 8, "blocks": 1, "expansion": 2}
        size["levels"], window = (7, 128) if "latents" in size else (3, window)
    else:
        size |= SIZES[stage.architecture].generator
    return preset.resized(
        Size(size, {}, {"width": 4, "halvings": 2}), slices=window, patch=8, batch_size=2, validation_batches=1,
        steps=steps, checkpoint_every=steps,
    )
