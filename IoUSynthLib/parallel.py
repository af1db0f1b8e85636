"""Work on several arrays side by side: NumPy, SimpleITK and zlib let other threads run meanwhile."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")

_here = threading.local()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Start as many threads as there are cores, once, and return them.

    A process that may run out of memory calls it when it starts: Python waits for ever for a thread that has no memory
    to begin with.
    """
    count = usable_cores()
    all_there = threading.Barrier(count + 1)
    pool = ThreadPoolExecutor(count, initializer=lambda: setattr(_here, "in_thread", True))
    for _ in range(count):
        pool.submit(all_there.wait)
    all_there.wait()
    return pool


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=threads.cache_clear)  # a fork has none of the threads


def side_by_side(function: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """Call a function for each item, in as many threads as there are cores; the results come in the items' order.

    What one call raises is raised once all have ended. Each result is that of a call by itself, whatever the number of
    threads. What such a call does side by side in its turn goes one after the other.

    Examples
    --------
    >>> side_by_side(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    items = list(items)
    if min(len(items), usable_cores()) < 2 or getattr(_here, "in_thread", False):
        return [function(item) for item in items]
    calls = [threads().submit(function, item) for item in items]
    wait(calls)
    return [call.result() for call in calls]


def beside(function: Callable[..., Made], *arguments: Any) -> Callable[[], Made]:
    """Begin a call in one of those threads while this one goes on, and return what waits for its result.

    Examples
    --------
    >>> root = beside(pow, 9, 0.5)
    >>> root()
    3.0
    """
    if getattr(_here, "in_thread", False):  # where waiting for another thread might be waiting for this one
        return functools.partial(function, *arguments)
    return threads().submit(function, *arguments).result
