"""What a family of generators is: each file of this folder that holds a ``FAMILY`` is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..constants import TARGETS
from .recipe import Recipe

if TYPE_CHECKING:
    import torch

REFINED = "2D+3D-refine"
REGIMES = ("2D", "2.5D", REFINED, "3D")
#: Channels of ultrasound by regime: one slice, a slice with its two neighbours, or a volume. Refinement follows the 2D
#: network.
CHANNELS = {"2D": 1, "2.5D": 3, REFINED: 1, "3D": 1}


@dataclass(frozen=True)
class Size:
    """Sizes other than the published ones, for the makers of the generator, the refiner and the discriminators."""

    generator: Mapping[str, Any] = field(default_factory=dict)
    refiner: Mapping[str, Any] = field(default_factory=dict)
    discriminator: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """What one of a family's further presets has otherwise, such as what its paper leaves out to see what that does.

    Attributes
    ----------
    size
        Of its networks.
    figures
        Of its recipe.
    """

    size: Size = field(default_factory=Size)
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the networks of a family are built, trained and run.

    Attributes
    ----------
    build
        Makes an untrained generator from 2 or 3 dimensions, its numbers of input and output channels, and sizes by
        keyword. It maps (B, inputs, ...) in [-1, 1] to (B, outputs, ...).
    build_refiner
        Makes the untrained second stage of 2D+3D-refine from the number of targets and sizes by keyword. It maps
        (B, targets, D, H, W), with the ultrasound behind them where ``refiner_sees_ultrasound``, to (B, targets, ...).
    regimes
        Those of :data:`REGIMES` in which it can be built.
    targets
        What it makes: it has presets for each of these.
    recipes
        How it is trained, by what goes through the network: "slices" (2D, 2.5D, and the first stage of 2D+3D-refine),
        "volumes" (3D) and "refiner" (the second stage). A family has presets for the regimes that it has recipes for.
    variants
        Its further presets, by what is added to the name; of families of one stage.
    published
        What differs in those recipes from the one that was published (:mod:`.recipe`), by the same names; none where
        nothing was.
    objective, refiner_objective
        The functions that make what it learns for from a :class:`.training.preset.Stage`, as "module:name" within the
        library.
    estimates_error
        Whether the last channel is the logarithm of the error of the others.
    diffusion
        Whether the network estimates the clean image from a noisy one, and :class:`.diffusion.Sampler` makes images.
    unified
        Whether the targets are the inputs, too, of which any may be missing, as :mod:`.unified` says. Presets of such
        a family are those of :mod:`.training.unified`.
    foldable
        Whether a training may start from a bundle's weights (:mod:`.training.initial`): for a U-Net whose
        normalisations were folded into its convolutions.
    slice_axes
        Axes along which slices are cut; predictions along several are averaged.
    overlap, blending, fusion_scale
        How windows, and predictions along several slice axes, are joined, as a bundle's metadata say it.
    windows
        Sizes in voxels of the windows that the trained network is run in, by number of dimensions, where it takes any
        multiple of ``size_multiple``; by default those that it learned from.
    size_multiple
        Sizes that go through the network are multiples of this.
    half
        Whether a bundle stores its weights in half precision.
    encoder
        Names of the network's modules by whose outputs an input is compared with those that were learned from
        (:mod:`.synthesis.familiarity`); none where inputs are not compared.
    citation
        What to cite for the network and its training, where a bundle's maker says nothing else.
    reduced
        A quarter or so of the published widths: what a processor can train within minutes.
    reduced_window
        Edge in pixels of the windows of slices that such a network learns from.
    """

    build: Callable[..., torch.nn.Module]
    build_refiner: Callable[..., torch.nn.Module] | None = None
    regimes: tuple[str, ...] = REGIMES
    targets: tuple[tuple[str, ...], ...] = (TARGETS[:1], TARGETS)
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    variants: Mapping[str, Variant] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    objective: str = "training.objectives.adversarial:supervised"
    refiner_objective: str = "training.objectives.adversarial:supervised"
    refiner_sees_ultrasound: bool = False
    estimates_error: bool = False
    diffusion: bool = False
    unified: bool = False
    foldable: bool = False
    slice_axes: tuple[int, ...] = (0, 1, 2)
    overlap: float = 0.25
    blending: str = "hann"
    fusion_scale: float = 0.0
    windows: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    size_multiple: int = 1
    half: bool = False
    encoder: tuple[str, ...] = ()
    citation: str = ""
    reduced: Size = field(default_factory=Size)
    reduced_window: int = 96
