"""Where the module finds its library and its resources."""

import importlib
import sys
from pathlib import Path
from typing import Any

_MODULE_FOLDER = Path(__file__).resolve().parents[1]


def importLibrary(name: str) -> Any:
    """Import a module of IoUSynthLib when it is first needed.

    Once installed, the library lies beside IoUSynth.py, where Python finds it. In the source tree it lies one folder
    up, which Slicer does not search.
    """
    try:
        return importlib.import_module(f"IoUSynthLib.{name}")
    except ModuleNotFoundError as error:
        if error.name != "IoUSynthLib":
            raise
    sys.path.append(str(_MODULE_FOLDER.parent))
    return importlib.import_module(f"IoUSynthLib.{name}")


def resourcesFolder() -> Path:
    """Return the folder Resources: beside IoUSynth.py once installed, beside its folder in the source tree."""
    installed = _MODULE_FOLDER / "Resources"
    return installed if installed.is_dir() else _MODULE_FOLDER.parent / "Resources"
