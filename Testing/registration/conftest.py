"""A search on fewer voxels, for what does not depend on how exact it is."""

from __future__ import annotations

import pytest

from IoUSynthLib.registration import search


@pytest.fixture
def few_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the voxels at the middle and fine level: a registration takes about a third of the time."""
    monkeypatch.setattr(search, "_VOXELS", (4_000, 5_000, 20_000))
