"""A trial of the benchmark's families: what it is given, and training and exporting one of them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..cases.index import describe_index
from ..commands import positive
from ..constants import TARGETS
from ..generators import FAMILIES, REGIMES, get_family
from ..training.preset import Preset
from ..training.presets import PRESETS, preset_name
from ..training.release import export_run
from ..training.run import train
from .reporting import Report, say

#: The families that have presets for both contrasts: not the U-Net, which ships, nor those of other studies.
BENCHMARK = tuple(name for name in FAMILIES if get_family(name).recipes and TARGETS in get_family(name).targets)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial is given.

    Attributes
    ----------
    cohort
        Folder of a cohort, simulated or prepared.
    output
        Folder of all that is made; runs in it go on where they stopped.
    steps
        Length of every training, also of each of ResViT's two phases and of a first stage.
    families, regime
        Names in :data:`BENCHMARK` and ``generators.REGIMES``.
    published
        Networks, windows and rates of the published sizes, which takes a GPU; else those of :func:`reduced`.
    device
        "cpu" or "cuda".
    report
        Receives lines about the progress.
    """

    cohort: Path
    output: Path
    steps: int
    families: Sequence[str] = BENCHMARK
    regime: str = "2D"
    published: bool = False
    device: str = "cpu"
    report: Report = say

    @classmethod
    def of(cls, options: argparse.Namespace) -> Trial:
        """What :func:`add_trial_arguments` let the user choose."""
        return cls(
            cohort=options.data, output=options.output, steps=options.steps, families=options.families,
            regime=options.regime, published=options.published, device=options.device,
        )  # fmt: skip

    @property
    def presets(self) -> list[Preset]:
        """The families' presets for T2w and FLAIR."""
        names = [preset_name(family, self.regime, TARGETS) for family in BENCHMARK if family in self.families]
        chosen = [PRESETS[name] for name in names if name in PRESETS]
        return [preset.shortened(self.steps) if self.published else reduced(preset, self.steps) for preset in chosen]

    @property
    def simulated(self) -> bool:
        """Whether the cohort is."""
        return describe_index(self.cohort).get("simulated", True)

    @property
    def size(self) -> str:
        """Of the networks, in words for a table's heading."""
        return "published sizes" if self.published else "narrow networks (a quarter to a third of the published widths)"

    def learn(self, preset: Preset, cohort: Path, folder: Path) -> tuple[torch.nn.Module, float]:
        """Train a preset, or go on, and export it; return the network and the minutes of training.

        The run and the bundle stand in ``folder``.
        """
        started = time.monotonic()
        network = train(
            preset, cohort, folder / "run", device=self.device,
            report=lambda line: self.report(f"{preset.name}: {line}"),
        )
        minutes = (time.monotonic() - started) / 60
        if not (folder / "bundle").exists():
            export_run(folder / "run", folder / "bundle", preset=preset)
        return network, minutes

    def write(self, name: str, found: Mapping[str, Any], text: str) -> None:
        """Write what was found as JSON and as a text, each under the trial's name."""
        setting = {"simulated": self.simulated, "regime": self.regime, "steps": self.steps, "published": self.published}
        (self.output / f"{name}.json").write_text(json.dumps({**setting, **found}, indent=1) + "\n", encoding="utf-8")
        (self.output / f"{name}.md").write_text(text, encoding="utf-8")


def reduced(preset: Preset, steps: int) -> Preset:
    """The preset with narrow networks, small windows and batches, for a real training without a GPU."""
    return preset.resized(
        get_family(preset.last.family).reduced, slices=96, patch=32, rate=1e-3, discriminator_rate=2e-4,
        pretraining_rate=1e-3, warm_up=steps // 10, average=0.999, mixed=True, batch_size=4,
    ).shortened(steps)  # fmt: skip


def add_trial_arguments(parser: argparse.ArgumentParser, steps: int) -> None:
    """Add the common options, ``steps`` being the default length."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of a cohort")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--families", nargs="+", choices=BENCHMARK, default=BENCHMARK, help="default: all")
    parser.add_argument("--regime", choices=REGIMES, default="2D")
    parser.add_argument("--steps", type=positive, default=steps, metavar="N", help=f"default: {steps}")
    parser.add_argument("--published", action="store_true", help="published sizes and rates; takes a GPU")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
