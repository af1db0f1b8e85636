"""Work side by side gives what work one after the other gives."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from IoUSynthLib import parallel
from IoUSynthLib.inference.fusion import fuse


@pytest.fixture(autouse=True)
def _other_threads():
    """Threads of this test alone, as many as it says that there are cores."""
    parallel.threads.cache_clear()
    yield
    parallel.threads.cache_clear()


def test_results_come_in_order_and_from_several_threads(monkeypatch):
    monkeypatch.setattr(parallel, "usable_cores", lambda: 3)
    together = threading.Barrier(3, timeout=30)

    def work(number: int) -> int:
        together.wait()  # passes only when three are under way at once
        return -number

    assert parallel.side_by_side(work, range(3)) == [0, -1, -2]


def test_an_error_is_raised_once_the_others_have_ended(monkeypatch):
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)
    ended = []

    def work(number: int) -> None:
        if number == 0:
            raise OSError("full")
        ended.append(number)

    with pytest.raises(OSError, match="full"):
        parallel.side_by_side(work, range(3))
    assert sorted(ended) == [1, 2]


def test_work_within_work_ends(monkeypatch):
    monkeypatch.setattr(parallel, "usable_cores", lambda: 2)
    sums = parallel.side_by_side(lambda one: sum(parallel.side_by_side(abs, [one, one, one])), range(6))
    assert sums == [0, 3, 6, 9, 12, 15]


@pytest.mark.parametrize("cores", [2, 4])
def test_fusion_is_bit_identical_for_any_number_of_threads(monkeypatch, cores):
    passes = [np.random.default_rng(axis).normal(size=(3, 12, 14, 10)).astype(np.float32) for axis in range(3)]
    monkeypatch.setattr(parallel, "usable_cores", lambda: 1)
    alone = fuse(passes, (0, 1, 2), 2.0)
    parallel.threads.cache_clear()
    monkeypatch.setattr(parallel, "usable_cores", lambda: cores)
    assert np.array_equal(alone, fuse(passes, (0, 1, 2), 2.0))
