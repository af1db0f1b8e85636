"""Pytest fixtures for tests that need Slicer. Loaded by ``pytest_plugins = ["SlicerHost.plugin"]`` in conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import SlicerHost
from SlicerHost import version


@pytest.fixture(scope="session")
def slicer_application() -> Any:
    """``slicer.app``, started once; skips the test where the packages of the extra ``host`` are missing."""
    missing = SlicerHost.missing_packages()
    if missing:
        pytest.skip(f"SlicerHost needs {', '.join(missing)}: pip install .[host]")
    return SlicerHost.start()


@pytest.fixture(params=version.VERSIONS)
def slicer_version(slicer_application: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test twice, as in each Slicer that the stand-in can stand for. To be named before what it shall hold."""
    SlicerHost.stand_for(request.param)
    yield request.param
    SlicerHost.stand_for()


@pytest.fixture
def slicer_host(slicer_application: Any) -> Iterator[Any]:
    """The package SlicerHost, with an empty scene and without settings; fails the test on what slots and observers
    raised meanwhile.
    """
    slicer_application.userSettings().clear()
    SlicerHost.reset_scene()
    SlicerHost.take_uncaught_errors()
    yield SlicerHost
    SlicerHost.reset_scene()
    errors = SlicerHost.take_uncaught_errors()
    assert not errors, f"Slots or observers raised: {errors}"
