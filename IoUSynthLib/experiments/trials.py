"""What the trials of the benchmark's families share: presets, their size, and the options on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..constants import TARGETS
from ..generators import REGIMES
from ..training.families import FAMILIES, FAMILY_PRESETS, FamilyPreset


def trial_presets(families: Sequence[str], regime: str, steps: int, published: bool) -> list[FamilyPreset]:
    """The families' presets for T2w and FLAIR.

    Parameters
    ----------
    families, regime
        Names in ``families.FAMILIES`` and ``generators.REGIMES``.
    steps
        Length of every training, also of each of ResViT's two phases and of a first stage.
    published
        Networks, windows and rates of the published sizes, which takes a GPU; else those of
        :meth:`.families.FamilyPreset.reduced`.
    """
    chosen = [
        preset for preset in FAMILY_PRESETS.values()
        if preset.family in families and preset.regime == regime and len(preset.targets) == len(TARGETS)
    ]
    return [preset.shortened(steps) if published else preset.reduced(steps) for preset in chosen]


def describe_size(published: bool) -> str:
    """The networks' size in words for a table's heading."""
    return "published sizes" if published else "narrow networks (a quarter to a third of the published widths)"


def trial_parser(description: str | None, steps: int) -> argparse.ArgumentParser:
    """A parser of the common options, ``steps`` being the default length."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of a simulated cohort")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES, help="default: all")
    parser.add_argument("--regime", choices=REGIMES, default="2D")
    parser.add_argument("--steps", type=int, default=steps, metavar="N", help=f"default: {steps}")
    parser.add_argument("--published", action="store_true", help="published sizes and rates; takes a GPU")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    return parser
