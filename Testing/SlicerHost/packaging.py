"""Module ``slicer.packaging`` of Slicer 5.12, as far as it goes without installing anything."""

from __future__ import annotations

import types
from pathlib import Path

import slicer


def pip_ensure(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> None:
    """Do nothing under test, as there.

    :raises RuntimeError: a person is at the screen: the stand-in installs nothing.
    """
    if not (skip_in_testing and slicer.app.testingEnabled()):
        raise RuntimeError(f"The stand-in for Slicer installs nothing: pip install {requirements}")


def make_module() -> types.ModuleType:
    """The module object for ``slicer.packaging``."""
    module = types.ModuleType("slicer.packaging", __doc__)
    module.pip_ensure = pip_ensure
    return module
