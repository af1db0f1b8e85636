"""Progress through the stages of a long work, and the seconds that each took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping

#: Receives the stage and the overall fraction in [0, 1]; may raise :class:`inference.Cancelled` to stop the work.
Progress = Callable[[str, float], None]
#: Receives the fraction of one piece of the work, in [0, 1]; may raise, too.
PartProgress = Callable[[float], None]


class StageProgress:
    """Reports to a callback which stage has begun and how far the work is, and keeps the seconds of each stage.

    Parameters
    ----------
    begins
        The stages in their order, and the overall fraction at which each begins.
    progress
        The callback, if there is one.
    """

    def __init__(self, begins: Mapping[str, float], progress: Progress | None) -> None:
        self.begins, self.progress = begins, progress
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[PartProgress]:
        """Begin a stage, and give the callback for the fraction of it."""
        begin = self.begins[name]
        end = min((start for start in self.begins.values() if start > begin), default=1.0)
        self.report(name, begin)
        started = time.perf_counter()
        yield lambda fraction: self.report(name, begin + fraction * (end - begin))
        self.seconds[name] = round(time.perf_counter() - started, 3)

    def report(self, name: str, fraction: float) -> None:
        """Report the overall fraction."""
        if self.progress is not None:
            self.progress(name, fraction)


def part_of(progress: PartProgress, begin: float, end: float) -> PartProgress:
    """Return a callback for a part of a piece of work, which goes from one fraction of it to another."""
    return lambda fraction: progress(begin + fraction * (end - begin))


class StagePrinter:
    """A progress callback of commands: prints one line on stderr when a stage begins."""

    def __init__(self, case: str) -> None:
        self.case, self.stage = case, ""

    def __call__(self, stage: str, fraction: float) -> None:
        if stage != self.stage:
            self.stage = stage
            print(f"{self.case}: {stage} ...", file=sys.stderr, flush=True)
