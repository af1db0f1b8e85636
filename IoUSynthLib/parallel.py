"""Work on several arrays side by side: NumPy, SimpleITK and zlib let other threads run meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(function: Callable[[Item], Made], items: Iterable[Item]) -> list[Made]:
    """Call a function for each item, in as many threads as there are cores; the results come in the items' order.

    What one call raises is raised once all have ended. Each result is that of a call by itself, whatever the number of
    threads.

    Examples
    --------
    >>> side_by_side(abs, [-1, 2, -3])
    [1, 2, 3]
    """
    items = list(items)
    if min(len(items), usable_cores()) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(len(items), usable_cores())) as pool:
        return list(pool.map(function, items))
