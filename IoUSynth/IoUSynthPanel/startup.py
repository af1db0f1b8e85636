"""What Slicer learns from the module once it has started: the simulated case, and a code of its own."""

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
