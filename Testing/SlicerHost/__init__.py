"""A stand-in for the 3D Slicer application, for tests and the demo only. It holds no Slicer code.

The scene, the nodes, the logics, the displayable managers, the slice views and ``slicer.util`` are Slicer's own, from
the packages slicer-core and trame-slicer. What these leave out is rebuilt here on PySide6, from the documented
behaviour: the modules ``qt``, ``ctk``, ``slicer.ScriptedLoadableModule``, ``slicer.parameterNodeWrapper``,
``slicer.i18n``, ``SampleData``, the qMRML widgets, ``slicer.app`` and ``slicer.modules``. Where Slicer would raise, or
ignore a mistake without a word, the stand-in raises; the views and their layouts are as silent as Slicer's, since what
they then show is what is tested. A module that works here still has to be tried in Slicer.

Example::

    import SlicerHost

    SlicerHost.start(["IoUSynth/IoUSynth.py"])
    widget = SlicerHost.open_module("IoUSynth")
    widget.ui.applyButton.click()
    SlicerHost.process_until(lambda: finished())
    SlicerHost.photograph_views("views.png")
"""

from .bootstrap import (
    load_module,
    make_main_window,
    missing_packages,
    open_module,
    process_until,
    reset_scene,
    stand_for,
    start,
    take_uncaught_errors,
    unload_module,
)
from .photograph import photograph_application, photograph_panel, photograph_views, set_theme, show_application

__all__ = [
    "load_module",
    "make_main_window",
    "missing_packages",
    "open_module",
    "photograph_application",
    "photograph_panel",
    "photograph_views",
    "process_until",
    "reset_scene",
    "set_theme",
    "show_application",
    "stand_for",
    "start",
    "take_uncaught_errors",
    "unload_module",
]
