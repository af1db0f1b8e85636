"""What the trials of the benchmark's families share: presets, their size, and the options on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..commands import positive
from ..constants import TARGETS
from ..generators import FAMILIES, REGIMES, get_family
from ..training.preset import Preset
from ..training.presets import PRESETS, preset_name

#: The families that presets are made of; the U-Net, which ships, has none.
BENCHMARK = tuple(name for name in FAMILIES if get_family(name).recipes)


def trial_presets(families: Sequence[str], regime: str, steps: int, published: bool) -> list[Preset]:
    """The families' presets for T2w and FLAIR.

    Parameters
    ----------
    families, regime
        Names in :data:`BENCHMARK` and ``generators.REGIMES``.
    steps
        Length of every training, also of each of ResViT's two phases and of a first stage.
    published
        Networks, windows and rates of the published sizes, which takes a GPU; else those of :func:`reduced`.
    """
    names = [preset_name(family, regime, TARGETS) for family in BENCHMARK if family in families]
    chosen = [PRESETS[name] for name in names if name in PRESETS]
    return [preset.shortened(steps) if published else reduced(preset, steps) for preset in chosen]


def reduced(preset: Preset, steps: int) -> Preset:
    """The preset with narrow networks, small windows and batches, for a real training without a GPU."""
    return preset.resized(
        get_family(preset.last.family).reduced, slices=96, patch=32, rate=1e-3, discriminator_rate=2e-4,
        pretraining_rate=1e-3, warm_up=steps // 10, average=0.999, mixed=True, batch_size=4,
    ).shortened(steps)


def describe_size(published: bool) -> str:
    """The networks' size in words for a table's heading."""
    return "published sizes" if published else "narrow networks (a quarter to a third of the published widths)"


def add_trial_arguments(parser: argparse.ArgumentParser, steps: int) -> None:
    """Add the common options, ``steps`` being the default length."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of a simulated cohort")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--families", nargs="+", choices=BENCHMARK, default=BENCHMARK, help="default: all")
    parser.add_argument("--regime", choices=REGIMES, default="2D")
    parser.add_argument("--steps", type=positive, default=steps, metavar="N", help=f"default: {steps}")
    parser.add_argument("--published", action="store_true", help="published sizes and rates; takes a GPU")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
