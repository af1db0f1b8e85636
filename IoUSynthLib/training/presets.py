"""The table of presets: the models that ship, what they are compared with, and the experiments of the benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..constants import TARGETS, VOXEL_MM
from ..generators import FAMILIES, REGIMES, get_family
from ..generators.family import CHANNELS, REFINED, Variant
from ..generators.recipe import Recipe
from .preset import REFINER, SLICES, PreoperativeSynthesis, Preset, Refinement, Segmentation, Synthesis
from .unified import unified_presets

_GENERATOR = Synthesis(
    family="unet", regime="2.5D", targets=TARGETS, recipe=Recipe(steps=13_000, batch_size=64, window=(96, 96))
)
#: Goes on from the weights of the generator of ultrasound alone: what it has to learn besides takes fewer steps.
_WITH_MRI = PreoperativeSynthesis(
    family="unet", regime="2.5D", targets=TARGETS,
    recipe=Recipe(
        steps=4000, batch_size=16, window=(96, 96), rate=5e-4, warm_up=200, checkpoint_every=100, validation_batches=4,
        keep="last",
    ),
)  # fmt: skip
#: Goes on from the generator that ships, on sweeps of one patient's MRI: as long as there is time (:mod:`.personal`).
_PERSONAL = replace(_GENERATOR, recipe=Recipe(
    steps=400, batch_size=16, window=(96, 96), rate=2e-4, warm_up=20, decay="constant", average=0.99,
    checkpoint_every=50, validation_batches=2, keep="last",
))  # fmt: skip
#: For a GPU: texture that a discriminator asks for takes many more steps to learn.
_ADVERSARIAL = Recipe(
    steps=20_000, batch_size=16, window=(96, 96), rate=1e-3, discriminator_rate=2e-4, adversarial=0.01, matching=0.1
)


def _segmenter(*images: str) -> Segmentation:
    """Voxels twice as large as the generator's: the network sees a tumour as a whole, and a volume takes a second."""
    return Segmentation(
        images=images, recipe=Recipe(steps=4000, batch_size=4, window=(64, 64, 64), rate=1e-3),
        size={"features": (24, 48, 64, 96, 128, 24)}, spacing=2 * VOXEL_MM,
    )


def family_presets(family: str) -> Iterator[Preset]:
    """A family's presets, for each of the targets that it makes, in the regimes that it has recipes for."""
    traits = get_family(family)
    recipes = traits.recipes
    needed = {"3D": {"volumes"}, REFINED: {"slices", "refiner"}}
    for regime in (regime for regime in REGIMES if regime in traits.regimes):
        for targets in traits.targets:
            if needed.get(regime, {"slices"}) <= set(recipes):
                preset = _family_preset(family, regime, targets)
                yield from (preset, *(_varied(preset, *entry) for entry in traits.variants.items()))


def _family_preset(family: str, regime: str, targets: tuple[str, ...]) -> Preset:
    traits, what = {"family": family, "targets": targets}, "volumes" if regime == "3D" else "slices"
    recipes = get_family(family).recipes
    own = {name: recipe.adapted(len(targets), CHANNELS[regime]) for name, recipe in recipes.items()}
    name = preset_name(family, regime, targets)
    if regime != REFINED:
        return Preset(name, (Synthesis(**traits, regime=regime, recipe=own[what]),))
    first = Synthesis(**traits, name=SLICES, regime="2D", recipe=own["slices"])
    return Preset(name, (first, Refinement(**traits, name=REFINER, recipe=own["refiner"])))


def _varied(preset: Preset, name: str, variant: Variant) -> Preset:
    stage = preset.last
    recipe, size = replace(stage.recipe, **variant.figures), variant.size
    stage = replace(stage, recipe=recipe, size=size.generator, discriminator=size.discriminator)
    return Preset(f"{preset.name}-{name}", (stage,))


def preset_name(family: str, regime: str, targets: tuple[str, ...]) -> str:
    """Name of a family's preset: ``swin-pix2pix-2d+3d-refine-t2w-flair``."""
    return "-".join([family.replace("_", "-"), regime.lower(), *map(str.lower, targets)])


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("ious2mr-2.5d", (_GENERATOR,)),
        Preset("ious-mri2mr-2.5d", (_WITH_MRI,)),
        Preset("ious2mr-2.5d-personal", (_PERSONAL,)),
        Preset("ious2mr-2.5d-adversarial", (replace(_GENERATOR, recipe=_ADVERSARIAL),)),
        Preset("lesion-3d", (_segmenter("ioUS", *TARGETS),)),
        # What the shipped segmenter is compared with: the same network, cases and steps, fewer inputs.
        Preset("lesion-3d-ultrasound-only", (_segmenter("ioUS"),)),
        Preset("lesion-3d-synthetic-only", (_segmenter(*TARGETS),)),
        Preset("lesion-3d-true-mri", (_segmenter(*TARGETS),)),
        *(preset for family in FAMILIES for preset in family_presets(family)),
        *unified_presets(),
    )
}


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises
    ------
    ValueError
        There is none.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
