"""A trial of the benchmark's families: what it is given, and training and exporting one of them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..cases.case import read_parameters
from ..cases.index import describe_index, read_index
from ..commands import positive
from ..constants import TARGETS
from ..evaluation.from_pipeline import choose_cases
from ..generators import FAMILIES, REGIMES, get_family
from ..training.preset import Preset
from ..training.presets import PRESETS, preset_name
from ..training.release import export_run
from ..training.run import for_cohort, train
from ..volume import InputError
from .reporting import Report, say

#: The families that have presets for both contrasts: not the U-Net, which ships, nor those of other studies.
BENCHMARK = tuple(name for name in FAMILIES if get_family(name).recipes and TARGETS in get_family(name).targets)
#: All that can be trained here: those, and the systems of other papers.
SYSTEMS = (*BENCHMARK, *(name for name in FAMILIES if get_family(name).recipes and name not in BENCHMARK))
#: How many checkpoints a training writes.
_CHECKPOINTS = 5
#: In the folder of a training: what it has taken so far, and the model that it has become.
_MINUTES, BUNDLE = "minutes.txt", "bundle"


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
    lengths
        That of some families, where it is another.
    families, regime
        Names in :data:`SYSTEMS` and ``generators.REGIMES``; a system of another paper is of its own regime, and makes
        T2w alone.
    models
        Names or folders of models that are scored as they are.
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
    lengths: Mapping[str, int] = field(default_factory=dict)
    families: Sequence[str] = BENCHMARK
    models: Sequence[str] = ()
    regime: str = "2D"
    published: bool = False
    device: str = "cpu"
    report: Report = say

    @classmethod
    def of(cls, options: argparse.Namespace, models: Sequence[str] = ()) -> Trial:
        """What :func:`add_trial_arguments` let the user choose."""
        lengths = dict(entry for entry in options.steps if entry[0])
        return cls(
            cohort=options.data, output=options.output, steps=dict(options.steps).get("", options.default_steps),
            lengths=lengths, families=options.families, models=models, regime=options.regime,
            published=options.published, device=options.device,
        )  # fmt: skip

    @cached_property
    def presets(self) -> list[Preset]:
        """The families' presets, for what they can make of the cohort, as they read it."""
        return [for_cohort(self._resized(preset), self.cohort) for preset in filter(None, map(self._find, SYSTEMS))]

    def _find(self, family: str) -> Preset | None:
        if family not in self.families:
            return None
        regime = self.regime if family in BENCHMARK else get_family(family).regimes[0]
        names = [preset_name(family, regime, targets) for targets in (TARGETS, TARGETS[:1])]
        found = [PRESETS[name] for name in names if name in PRESETS]
        if self.source != "ioUS":
            found = [preset for preset in found if len(preset.last.targets) == 1]
        return found[0] if found else None

    def _resized(self, preset: Preset) -> Preset:
        steps = self.lengths.get(preset.last.family, self.steps)
        return preset.shortened(steps) if self.published else reduced(preset, steps)

    @property
    def source(self) -> str:
        """The cohort's input: "ioUS", or a contrast of MRI."""
        return str(read_parameters(read_index(self.cohort, "train")[0]).get("input", "ioUS"))

    @property
    def simulated(self) -> bool:
        """Whether the cohort is."""
        return describe_index(self.cohort).get("simulated", True)

    @property
    def size(self) -> str:
        """Of the networks, in words for a table's heading."""
        return "published sizes" if self.published else "narrow networks (a quarter to a third of the published widths)"

    def cases(self, count: int) -> tuple[list[Path], list[Path]]:
        """Folders of the cases for training, and of so many for testing, half of them after a resection if they can be.

        Raises
        ------
        InputError
            The cohort lacks an index, or cases for one of the two.
        """
        try:
            training, tested = (read_index(self.cohort, split) for split in ("train", "test"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.cohort}: no cohort can be read ({error}); make one with iousynth simulate"
            ) from error
        if not training or not tested:
            raise InputError(
                f"{self.cohort}: has no cases for training or none for testing; make a cohort with more heads"
            )
        return training, choose_cases(tested, count)

    def learn(self, preset: Preset, cohort: Path, folder: Path) -> tuple[torch.nn.Module, float]:
        """Train a preset, or go on, and export it; return the network and the minutes of the processor.

        The run and the bundle stand in ``folder``.
        """
        clock = _Clock(folder / _MINUTES)

        def report(line: str) -> None:
            clock.keep()
            self.report(f"{preset.name}: {line}")

        network = train(preset, cohort, folder / "run", device=self.device, report=report)
        if not (folder / BUNDLE).exists():
            clock.keep()
            export_run(folder / "run", folder / BUNDLE, preset=preset)
        return network, clock.kept

    def write(self, name: str, found: Mapping[str, Any], text: str) -> None:
        """Write what was found as JSON and as a text, each under the trial's name."""
        setting = {"simulated": self.simulated, "regime": self.regime, "steps": self.steps, "published": self.published}
        (self.output / f"{name}.json").write_text(json.dumps({**setting, **found}, indent=1) + "\n", encoding="utf-8")
        (self.output / f"{name}.md").write_text(text, encoding="utf-8")


class _Clock:
    """Minutes of the processor that a training has taken, over all of its interruptions, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kept = float(path.read_text(encoding="utf-8")) if path.exists() else 0.0
        self._last = time.process_time()

    def keep(self) -> None:
        """Add the time since the last call."""
        now = time.process_time()
        self.kept, self._last = self.kept + (now - self._last) / 60, now
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(f"{self.kept:.2f}\n", encoding="utf-8")


def reduced(preset: Preset, steps: int) -> Preset:
    """The preset with narrow networks, small windows and batches, for a real training without a GPU."""
    traits = get_family(preset.last.family)
    return preset.shortened(steps).resized(
        traits.reduced, slices=traits.reduced_window, patch=32, rate=1e-3, discriminator_rate=2e-4,
        pretraining_rate=1e-3, warm_up=steps // 10, average=0.999, mixed=True, batch_size=4,
        checkpoint_every=max(1, steps // _CHECKPOINTS),
    )  # fmt: skip


def add_trial_arguments(parser: argparse.ArgumentParser, steps: int, families: Sequence[str] = BENCHMARK) -> None:
    """Add the common options, ``steps`` being the default length and ``families`` the choice."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of a cohort")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--families", nargs="+", choices=families, default=BENCHMARK, help="default: those of the benchmark"
    )
    parser.add_argument("--regime", choices=REGIMES, default="2D")
    add_training_arguments(parser, steps, SYSTEMS)


def add_training_arguments(parser: argparse.ArgumentParser, steps: int, names: Collection[str]) -> None:
    """Add how long, how large and where what has these names is trained, ``steps`` being the default length."""
    parser.add_argument(
        "--steps", nargs="+", type=_length_among(names), default=[], metavar="N|NAME=N",
        help=f"of every training, and of some otherwise; default: {steps}",
    )  # fmt: skip
    parser.add_argument("--published", action="store_true", help="published sizes and rates; takes a GPU")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.set_defaults(default_steps=steps)


def _length_among(names: Collection[str]) -> Callable[[str], tuple[str, int]]:
    """What reads a name, or nothing for all, and its steps of an argument like ``vae=2000``."""

    def length(text: str) -> tuple[str, int]:
        name, _, steps = text.rpartition("=")
        if name and name not in names:
            raise argparse.ArgumentTypeError(f"{name} is unknown; choose from {', '.join(names)}")
        return name, positive(steps)

    return length
