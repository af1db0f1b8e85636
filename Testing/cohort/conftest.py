"""A tree like ReMIND's, with a flaw each, which is only read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import remind
from support.tiny_models import SHARED


@pytest.fixture(scope="session")
def flawed_tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Its folder, and what the table says of the flaws, by patient."""
    folder = tmp_path_factory.mktemp("download") / "ReMIND"
    return folder, remind.flawed_tree(folder)


@pytest.fixture(scope="session")
def brats() -> Path:
    """Patients of BraTS 2021, where the development data are."""
    folder = SHARED / "data" / "brats_2021"
    if not folder.exists():
        pytest.skip("BraTS is not here")
    return folder
