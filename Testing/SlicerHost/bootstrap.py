"""Brings the stand-in up: the real scene and logics, the missing modules in ``sys.modules``, one application."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import logging
import os
import sys
import time
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import version

# What PySide6 and vtk need beyond a bare Debian or Ubuntu with Python; tried on a minimal Debian 12.
SYSTEM_PACKAGES = "apt-get install libegl1 libgl1 libglib2.0-0 libdbus-1-3 libxkbcommon0 libfontconfig1"

# Slicer's own modules. A scripted module that is loaded at start-up may come before some that it needs.
_FIRST_MODULES = ("Colors", "Volumes", "Segmentations", "SubjectHierarchy", "Data", "Markups", "VolumeRendering",
                  "Transforms", "Sequences", "Models", "Texts", "Tables")  # fmt: skip
_LAST_MODULES = ("Terminologies", "SampleData")

_state: dict[str, Any] = {"core": None, "errors": []}


def stand_for(name: str | None = None) -> None:
    """Stand for Slicer "5.10" or "5.12" from now on, for what is made or connected; see :mod:`version`.

    :raises ValueError: for any other version.
    """
    version.choose(name)
    if _state["core"] is not None:
        import slicer

        from . import sample_data

        slicer.app.show_version()
        sample_data.show_version()
        _install_packaging(slicer)


def missing_packages() -> list[str]:
    """What must be installed before ``start`` can work; empty when all is there."""
    wanted = {"slicer_core": "slicer-core<5.12", "trame_slicer": "trame-slicer[standalone]"}
    wanted["PySide6"] = "PySide6-Essentials<6.12"
    return [package for module, package in wanted.items() if importlib.util.find_spec(module) is None]


def start(modules: Sequence[str | Path] = (), main_window: bool = True) -> Any:
    """Set everything up, once for a process, and load scripted modules from their files; returns ``slicer.app``.

    ``startupCompleted`` is emitted once, at the end of the first call: modules that are loaded later never get it.

    :param main_window: whether there are views, as in Slicer; without, as under its ``--no-main-window``, there is no
      layout manager. The window itself is made when it is first asked for.
    :raises RuntimeError: naming the Python or system packages that are missing.
    """
    first = _state["core"] is None
    app = _started_application(main_window)
    for path in modules:
        load_module(path)
    if first:
        _add_modules(_LAST_MODULES)
        app.startupCompleted.emit()
    return app


def _started_application(main_window: bool) -> Any:
    if _state["core"] is not None:
        import slicer

        return slicer.app
    if missing_packages():
        raise RuntimeError(f"SlicerHost needs: pip install {' '.join(map(repr, missing_packages()))}")
    _check_pyside()
    _choose_displays()
    try:
        app = _make_application(main_window)
    except ImportError as error:
        raise RuntimeError(f"{error}. A system library is missing; on Debian and Ubuntu: {SYSTEM_PACKAGES}") from error
    _collect_uncaught_errors()
    return app


def _check_pyside() -> None:
    """PySide6 6.12 gives away references to None and True on Python before 3.12, until the interpreter aborts."""
    version = tuple(int(part) for part in importlib.metadata.version("PySide6-Essentials").split(".")[:2])
    if sys.version_info < (3, 12) and version >= (6, 12):
        raise RuntimeError(
            "PySide6 from 6.12 on crashes with Python before 3.12: pip install 'PySide6-Essentials<6.12'"
        )


def _choose_displays() -> None:
    """Without an X display: Qt's offscreen platform and VTK on EGL. Must happen before either is imported."""
    if not sys.platform.startswith("linux"):
        return
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    renderers = {"libEGL.so.1": "vtkEGLRenderWindow", "libOSMesa.so.8": "vtkOSOpenGLRenderWindow"}
    found = next((window for library, window in renderers.items() if _can_load(library)), None)
    if found is None:
        raise RuntimeError(f"No library draws off screen; on Debian and Ubuntu: {SYSTEM_PACKAGES}")
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", found)


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _make_application(main_window: bool) -> Any:
    import slicer
    from PySide6 import QtCore

    from .qt_module import qt

    sys.modules["qt"] = qt
    slicer.modules = types.SimpleNamespace()
    slicer.mrmlScene = None
    _install_modules(slicer)
    from .application import qSlicerApplication

    QtCore.QCoreApplication.setAttribute(QtCore.Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    slicer.app = qSlicerApplication(["SlicerHost"])
    _start_core(slicer)
    _add_modules(_FIRST_MODULES)
    if main_window:
        slicer.app.make_layout_manager()
    return slicer.app


def _add_modules(names: Sequence[str]) -> None:
    """Have modules of Slicer itself in ``slicer.modules``, where slicer-core brings their logics."""
    import slicer

    from .application import qSlicerLoadableModule

    for name in names:
        logic = slicer.app.moduleLogic(name)
        if logic is not None or name == "SampleData":  # which is scripted
            slicer.app.moduleManager().add(qSlicerLoadableModule(name, logic))


def _install_modules(slicer: Any) -> None:
    """Put the stand-in modules where ``import`` finds them."""
    from . import ctk_module, i18n, mrml_widgets, parameter_node, sample_data, scripted_module, ui_loader
    from .qt_module import qt

    qt.QUiLoader = ui_loader.QUiLoader
    sys.modules["ctk"] = ctk_module.ctk
    widgets = {cls.__name__: cls for cls in mrml_widgets.MRML_WIDGETS}
    ui_loader.QUiLoader.custom_widgets = {**vars(ctk_module.ctk), **widgets}
    for name, cls in widgets.items():
        setattr(slicer, name, cls)
    slicer.qSlicerScriptedLoadableModule = scripted_module.qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = scripted_module.qSlicerScriptedLoadableModuleWidget
    for module in (scripted_module.make_module(), parameter_node.make_module(), i18n.make_module()):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.split(".")[1], module)
    sys.modules["SampleData"] = sample_data.make_module()
    _install_packaging(slicer)


def _install_packaging(slicer: Any) -> None:
    """``slicer.packaging`` came with 5.12; nothing is installed by it here."""
    from . import packaging

    name = "slicer.packaging"
    if version.at_least(5, 12):
        slicer.packaging = sys.modules[name] = packaging.make_module()
    else:
        sys.modules.pop(name, None)
        vars(slicer).pop("packaging", None)


def _start_core(slicer: Any) -> None:
    from trame_slicer.core import SlicerApp
    from vtkmodules.vtkCommonCore import vtkLogger

    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)  # the output window below says the same
    core = SlicerApp()
    _state["core"] = core
    slicer.mrmlScene = core.scene
    slicer.app.attach(core)
    core.scene.AddObserver(core.scene.EndCloseEvent, _keep_subject_hierarchy)
    for name, cls in (("Transforms", "vtkSlicerTransformLogic"), ("Sequences", "vtkSlicerSequencesLogic"),
                      ("Models", "vtkSlicerModelsLogic"), ("Texts", "vtkSlicerTextsLogic"),
                      ("Tables", "vtkSlicerTablesLogic")):  # fmt: skip
        if hasattr(slicer, cls):
            _state[name] = core.register_module_logic(getattr(slicer, cls)(), logic_name=name)


def _keep_subject_hierarchy(scene: Any, _event: str) -> None:
    """In Slicer every scene has a subject hierarchy, a new one too."""
    import slicer

    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def _collect_uncaught_errors() -> None:
    """Qt and VTK print what a slot or an observer raises and go on; keep it, so that tests can fail on it."""
    previous = sys.excepthook

    def hook(kind: type, value: BaseException, trace: Any) -> None:
        _state["errors"].append(value)
        previous(kind, value, trace)

    sys.excepthook = hook


def take_uncaught_errors() -> list[BaseException]:
    """What slots and observers raised since the last call."""
    errors, _state["errors"] = _state["errors"], []
    return errors


def load_module(path: str | Path) -> Any:
    """Load a scripted module from its file, as Slicer does at any time; returns the module object.

    The panel is made by ``module.widgetRepresentation()`` (or ``slicer.util.getModuleWidget``) when first needed.
    """
    import slicer

    path = Path(path).resolve()
    name = path.stem
    if slicer.app.moduleManager().module(name) is not None:
        unload_module(name)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(specification)
    sys.modules[name] = source
    specification.loader.exec_module(source)
    module = slicer.qSlicerScriptedLoadableModule(name, str(path))
    module._python_class = source
    setattr(slicer.modules, f"{name}Instance", getattr(source, name)(module))
    slicer.app.moduleManager().add(module)
    return module


def unload_module(name: str) -> None:
    """Let the module clean up and forget it."""
    import slicer

    module = slicer.app.moduleManager().module(name)
    slicer.app.moduleManager().discard(name)
    if module is not None and module._widget is not None:
        module._widget.delete()


def open_module(name: str, main_window: bool = False) -> Any:
    """Make the module's panel and enter it; returns the module's widget object.

    :param main_window: show it in a main window, which ``slicer.util.mainWindow()`` then finds.
    """
    import slicer

    if main_window:
        window = slicer.util.mainWindow() or make_main_window()
        window.moduleSelector().selectModule(name)
    else:
        slicer.util.getModule(name).widgetRepresentation().enter()
    return slicer.util.getModuleWidget(name)


def make_main_window() -> Any:
    """The main window; kept until the process ends."""
    from .application import MainWindow
    from .views_widget import ViewsWidget

    _state["main_window"] = window = MainWindow()
    window.setCentralWidget(ViewsWidget(window))
    window.resize(1680, 960)
    return _state["main_window"]


def reset_scene() -> None:
    """Close the scene, as "Close scene" in the menu does."""
    import slicer

    slicer.mrmlScene.Clear(False)
    slicer.app.processEvents()


def process_until(condition: Callable[[], bool], timeout: float = 60.0) -> bool:
    """Let Qt work until a condition holds; False when the time (in seconds) is up before."""
    import slicer

    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            logging.warning(f"The condition did not come true within {timeout} s")
            return False
        slicer.app.processEvents()
        time.sleep(0.005)
    return True
