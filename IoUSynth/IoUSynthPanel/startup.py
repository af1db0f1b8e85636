"""What Slicer learns from the module when it is loaded: the simulated case, a code and layouts of its own."""

from collections.abc import Callable
from typing import Any

import slicer

from .library import importLibrary, resourcesFolder

#: What the functions here need, as they are called in ``slicer.modules``.
_NEEDED = ("sampledata", "terminologies")


def callOnceStarted(function: Callable[[], None]) -> None:
    """Call a function when Slicer has started; now, if the modules of Slicer are there that it may need.

    A module that is loaded later, as after the installation of its extension, never hears that Slicer has started.
    """
    if all(hasattr(slicer.modules, name) for name in _NEEDED):
        function()
    else:
        slicer.app.connect("startupCompleted()", function)


def registerSampleData() -> None:
    """Add the simulated case to the Sample Data module. Its files come with the extension; nothing is downloaded."""
    importLibrary("mrml.sample").register(resourcesFolder())


def registerTerminology() -> None:
    """Make the code of the resection cavity known, which Slicer's own lists do not have."""
    if hasattr(slicer.modules, "terminologies"):
        file = resourcesFolder() / "Terminology" / "IoUSynth.term.json"
        slicer.modules.terminologies.logic().LoadTerminologyFromFile(str(file))


_layoutObservers: list[int] = []
_imported: list[bool] = []


def restoreLayouts() -> None:
    """Show a scene that was saved with the module's views as it was, also while the module itself is not opened.

    A scene file names a layout, but does not hold it, nor does a scene view. The views of a scene get their widgets
    when all that belongs to its loading has ended, which is after the end of the import.
    """
    scene = slicer.mrmlScene
    if not _layoutObservers:
        _layoutObservers.append(scene.AddObserver(scene.EndImportEvent, _onSceneEndImport))
        _layoutObservers.append(scene.AddObserver(scene.EndBatchProcessEvent, _onSceneEndBatchProcess))


def _onSceneEndImport(_caller: Any, _event: Any) -> None:
    _imported.append(True)


def _onSceneEndBatchProcess(_caller: Any, _event: Any) -> None:
    if _imported or _nothingIsLaidOut():
        _imported.clear()
        importLibrary("mrml.views").restore_layout()


def _nothingIsLaidOut() -> bool:
    manager = slicer.app.layoutManager()
    return manager is not None and not manager.layoutLogic().GetLayoutNode().GetCurrentLayoutDescription()
