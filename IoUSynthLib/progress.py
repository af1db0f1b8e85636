"""Progress through the stages of a long work, and the seconds that each took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping

#: Receives the stage and the overall fraction in [0, 1]; may raise :class:`inference.Cancelled` to stop the work.
Progress = Callable[[str, float], None]
#: Receives the fraction of one piece of the work.
Tell = Callable[[float], None]


class Stages:
    """Tells the caller which stage has begun and how far it is, and keeps the seconds of each.

    Parameters
    ----------
    begins
        The stages in their order, and the overall fraction at which each begins.
    progress
        What is told, if anybody wants to know.
    """

    def __init__(self, begins: Mapping[str, float], progress: Progress | None) -> None:
        self.begins, self.progress = begins, progress
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Tell]:
        """Begin a stage and give what tells its own fraction."""
        begin = self.begins[name]
        end = min((start for start in self.begins.values() if start > begin), default=1.0)
        self.tell(name, begin)
        started = time.perf_counter()
        yield lambda fraction: self.tell(name, begin + fraction * (end - begin))
        self.seconds[name] = round(time.perf_counter() - started, 3)

    def tell(self, name: str, fraction: float) -> None:
        """Tell the overall fraction."""
        if self.progress is not None:
            self.progress(name, fraction)


def part_of(tell: Tell, begin: float, end: float) -> Tell:
    """Let a piece of work tell its own fraction as a part of the whole."""
    return lambda fraction: tell(begin + fraction * (end - begin))


class StagePrinter:
    """A progress callback of commands: prints one line on stderr when a stage begins."""

    def __init__(self, case: str) -> None:
        self.case, self.stage = case, ""

    def __call__(self, stage: str, fraction: float) -> None:
        if stage != self.stage:
            self.stage = stage
            print(f"{self.case}: {stage} ...", file=sys.stderr, flush=True)
