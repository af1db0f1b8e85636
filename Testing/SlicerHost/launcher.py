"""``PythonSlicer``, which is no interpreter but a launcher: what its child's end looks like through it."""

from __future__ import annotations

import sys
from pathlib import Path

# As ctkAppLauncher.cpp: the exit code of a child passes through; one that crashed becomes an error line and 1.
_SCRIPT = """#!/bin/sh
"{python}" "$@"
code=$?
[ $code -le 128 ] && exit $code
echo "error: [{python}] exit abnormally - Report the problem." >&2
exit 1
"""


def write_launcher(folder: Path, python: str | Path = sys.executable) -> Path:
    """Write the launcher of an interpreter into a folder, under the name that it has in Slicer; POSIX only."""
    folder.mkdir(parents=True, exist_ok=True)
    launcher = folder / "PythonSlicer"
    launcher.write_text(_SCRIPT.format(python=python))
    launcher.chmod(0o755)
    return launcher
