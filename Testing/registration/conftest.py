"""A search on few voxels, for what does not depend on how exact it is."""

from __future__ import annotations

import pytest
from support.phantom import FEW_VOXELS

from IoUSynthLib.registration import search


@pytest.fixture
def few_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer voxels at all levels."""
    monkeypatch.setattr(search, "_VOXELS", FEW_VOXELS)
