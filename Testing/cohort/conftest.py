"""Patients of another cohort."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_models import SHARED


@pytest.fixture(scope="session")
def brats() -> Path:
    """Patients of BraTS 2021, where the development data are."""
    folder = SHARED / "data" / "brats_2021"
    if not folder.exists():
        pytest.skip("BraTS is not here")
    return folder
