"""Paths that a user gives. None of them may lie in Slicer's own working directory by accident."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ctk
from slicer.i18n import tr as _

from .library import importLibrary


def whyNotPath(path: str | Path) -> str:
    """Say what is wrong with the path of a file or folder, or return the empty text."""
    text = str(path).strip()
    if text in ("", "."):  # Path("") is "."
        return _("No path is given; give the whole path of a file or folder.")
    if not Path(text).is_absolute():
        return _(
            "{path}: is not a whole path and would lie in the folder that Slicer was started in; give the whole path."
        ).format(path=text)
    return ""


def wholePath(path: str | Path) -> Path:
    """Return a path that can mean one place only.

    :raises InputError: it is empty or relative; says what to do.
    """
    problem = whyNotPath(path)
    if problem:
        raise importLibrary("volume").InputError(problem)
    return Path(str(path).strip())


def connectPath(line: ctk.ctkPathLineEdit, changed: Callable[..., None]) -> None:
    """Call a function whenever the text of a ctkPathLineEdit changes; an emptied line tells only that it is invalid."""
    line.connect("currentPathChanged(QString)", changed)
    line.connect("validInputChanged(bool)", changed)
