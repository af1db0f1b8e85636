"""What Slicer learns from the module once it has started: the simulated case, a code and layouts of its own."""

from typing import Any

import slicer

from .library import importLibrary, resourcesFolder


def registerSampleData() -> None:
    """Add the simulated case to the Sample Data module. Its files come with the extension; nothing is downloaded."""
    importLibrary("mrml.sample").register(resourcesFolder())


def registerTerminology() -> None:
    """Make the code of the resection cavity known, which Slicer's own lists do not have."""
    if hasattr(slicer.modules, "terminologies"):
        file = resourcesFolder() / "Terminology" / "IoUSynth.term.json"
        slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(file))


_layoutObserver: dict[str, int] = {}


def restoreLayouts() -> None:
    """Show a scene that was saved with the module's views as it was, also while the module itself is not opened.

    A scene file names a layout, but does not hold it.
    """
    if not _layoutObserver:
        event = slicer.mrmlScene.EndImportEvent
        _layoutObserver["tag"] = slicer.mrmlScene.AddObserver(event, _onSceneEndImport)


def _onSceneEndImport(_caller: Any, _event: Any) -> None:
    if slicer.app.layoutManager() is not None:  # Slicer without a main window has none
        importLibrary("mrml.views").restore_layout()
