"""``slicer.app`` and what hangs on it: settings, module manager, file input and output, main window."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import version
from .data_probe import SliceAnnotations
from .launcher import write_launcher
from .layout import LayoutManager
from .qt_module import host_class, qt

_TYPES_BY_SUFFIX = {
    (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"): "VolumeFile",
    (".seg.nrrd", ".seg.vtm"): "SegmentationFile",
    (".h5", ".tfm", ".mat"): "TransformFile",
    (".mrml", ".mrb"): "SceneFile",
    (".txt", ".json"): "TextFile",
    (".ctbl",): "ColorTableFile",
}
_NODE_CLASSES = {
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "TransformFile": "vtkMRMLTransformNode",
    "TextFile": "vtkMRMLTextNode",
    "ColorTableFile": "vtkMRMLColorTableNode",
}


class qSlicerLoadableModule:
    """A module that is only its logic here (Volumes, Segmentations, ...)."""

    __module__ = "slicer"

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self.title, self.path, self._logic = name, name, "", logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        """None: the stand-in has no panels but those of scripted modules."""


class ModuleManager(qt.QObject):
    """``slicer.app.moduleManager()``."""

    __module__ = "slicer"
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}

    def add(self, module: Any) -> None:
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        self.moduleLoaded.emit(module.name)

    def discard(self, name: str) -> None:
        self.moduleAboutToBeUnloaded.emit(name)
        self._modules.pop(name, None)
        for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def factoryManager(self) -> ModuleManager:
        return self

    def loadedModuleNames(self) -> tuple[str, ...]:
        return tuple(self._modules)


def _file_type(path: str) -> str:
    matches = [
        (len(s), kind) for suffixes, kind in _TYPES_BY_SUFFIX.items() for s in suffixes if path.lower().endswith(s)
    ]
    return max(matches)[1] if matches else ""


class IOManager:
    """``slicer.app.coreIOManager()``: reads and writes files with the logics and storage nodes of slicer-core."""

    def fileType(self, path: str) -> str:
        return _file_type(str(path))

    def fileWriterFileType(self, node: Any) -> str:
        types = {cls: kind for kind, cls in _NODE_CLASSES.items()}
        return next((kind for cls, kind in types.items() if node.IsA(cls)), "VolumeFile")

    def loadNodes(self, kind: str, properties: dict, collection: Any = None, messages: Any = None) -> bool:
        """Read one file; the nodes go into the collection. False where it cannot be read."""
        path = str(properties["fileName"])
        if not Path(path).exists():
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File does not exist: {path}")
            return False
        if kind == "SceneFile":
            return self._load_scene(path, properties)
        node = self._load_volume(path, properties) if kind == "VolumeFile" else self._load_storable(path, kind)
        if node is None:
            return False
        if properties.get("name"):
            node.SetName(properties["name"])
        if collection is not None:
            collection.AddItem(node)
        return True

    def _load_volume(self, path: str, properties: dict) -> Any:
        logic = slicer.modules.volumes.logic()
        name = properties.get("name") or Path(path).name.split(".")[0]
        options = (1 if properties.get("labelmap") else 0) + (8 if properties.get("singleFile") else 0)
        node = logic.AddArchetypeVolume(path, name, options)
        if node is not None and properties.get("show", True):
            selection = slicer.app.applicationLogic().GetSelectionNode()
            selection.SetActiveVolumeID(node.GetID())
            slicer.app.applicationLogic().PropagateVolumeSelection()
        return node

    def _load_storable(self, path: str, kind: str) -> Any:
        if kind == "TransformFile":
            return slicer.modules.transforms.logic().AddTransform(path, slicer.mrmlScene)
        if kind not in _NODE_CLASSES:
            return None
        node = slicer.mrmlScene.AddNewNodeByClass(_NODE_CLASSES[kind], Path(path).name.split(".")[0])
        storage = node.CreateDefaultStorageNode()
        storage.UnRegister(None)
        storage.SetFileName(path)
        slicer.mrmlScene.AddNode(storage)
        if storage.ReadData(node):
            node.SetAndObserveStorageNodeID(storage.GetID())
            return node
        slicer.mrmlScene.RemoveNode(storage)
        slicer.mrmlScene.RemoveNode(node)
        return None

    def _load_scene(self, path: str, properties: dict) -> bool:
        scene = slicer.mrmlScene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, properties.get("clear", False)))
        scene.SetURL(path)
        return bool(scene.Connect() if properties.get("clear", False) else scene.Import())

    def saveNodes(self, kind: str, properties: dict, _messages: Any = None) -> bool:
        """Write the scene, or the node whose identifier is given, to a file."""
        path = str(properties["fileName"])
        if kind == "SceneFile":
            return self._save_scene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        return bool(storage.WriteData(node))

    def _save_scene(self, path: str) -> bool:
        if path.endswith(".mrb"):
            return bool(slicer.mrmlScene.WriteToMRB(path))
        slicer.mrmlScene.SetURL(path)
        return bool(slicer.mrmlScene.Commit())


class ModuleSelector:
    """The list of modules in the main window."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self.selectedModule = ""

    def selectModule(self, name: str) -> None:
        """Leave the current panel and enter another.

        :raises RuntimeError: if there is no such module.
        """
        if self.selectedModule:
            slicer.util.getModule(self.selectedModule).widgetRepresentation().exit()
        representation = slicer.util.getModule(name).widgetRepresentation()
        self._window.show_panel(representation)
        self.selectedModule = name
        representation.enter()


class MainWindow(qt.QMainWindow):
    """The window that ``slicer.util.mainWindow()`` finds: the panel on the left, the views in the middle."""

    __module__ = "slicer"

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("SlicerHost (stand-in for 3D Slicer)")
        self._selector = ModuleSelector(self)
        self._dock = qt.QDockWidget("Module", self)
        self._area = qt.QScrollArea(self._dock)
        self._area.setWidgetResizable(True)
        self._dock.setWidget(self._area)
        self.addDockWidget(QtCore.Qt.DockWidgetArea.LeftDockWidgetArea, self._dock)

    def moduleSelector(self) -> ModuleSelector:
        return self._selector

    def show_panel(self, panel: QtWidgets.QWidget) -> None:
        self._area.takeWidget()
        self._area.setWidget(panel)
        self.fit_panel()

    def fit_panel(self) -> None:
        """Make the left side as wide as the panel now needs, beside its vertical scroll bar."""
        self._area.setMinimumWidth(self._area.widget().minimumSizeHint().width() + 24)


class qSlicerApplication(host_class(QtWidgets.QApplication)):
    """``slicer.app``."""

    __module__ = "slicer"
    startupCompleted = QtCore.Signal()

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self._temporary = tempfile.TemporaryDirectory(prefix="SlicerHost-")
        self._use_own_settings()
        self._find_launcher()
        self._module_manager, self._io_manager, self._core = ModuleManager(), IOManager(), None
        self._layout_manager: LayoutManager | None = None
        self._testing, self._paused = True, 0

    def _use_own_settings(self) -> None:
        """Settings in a folder that goes away with the process: nobody's Slicer is touched."""
        self.setOrganizationName("IoUSynth")
        self.setApplicationName("Slicer")
        self.show_version()
        settings = QtCore.QSettings
        settings.setDefaultFormat(settings.Format.IniFormat)
        settings.setPath(settings.Format.IniFormat, settings.Scope.UserScope, self._temporary.name)

    def show_version(self) -> None:
        """Say which Slicer this stands for."""
        self.setApplicationVersion(".".join(map(str, version.current())))

    def _find_launcher(self) -> None:
        """In Slicer, what a module starts as ``PythonSlicer`` is a launcher."""
        if sys.platform != "win32":
            launcher = write_launcher(Path(self._temporary.name) / "bin")
            os.environ["PATH"] = os.pathsep.join([str(launcher.parent), os.environ.get("PATH", os.defpath)])

    def attach(self, core: Any) -> None:
        """Take the scene and application logic of slicer-core, whose scenes are unpacked in the cache, as in Slicer."""
        self._core = core
        slicer.mrmlScene.GetDataIOManager().GetCacheManager().SetRemoteCacheDirectory(self.cachePath)

    def make_layout_manager(self) -> None:
        """Make what Slicer makes with its main window: the views, and what Data Probe writes into them."""
        self._layout_manager = LayoutManager(self._core.app_logic)
        self._slice_annotations = SliceAnnotations(self._layout_manager)

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._core.app_logic

    def moduleLogic(self, name: str) -> Any:
        return self._core.app_logic.GetModuleLogic(name)

    def moduleManager(self) -> ModuleManager:
        return self._module_manager

    def coreIOManager(self) -> IOManager:
        return self._io_manager

    def ioManager(self) -> IOManager:
        return self._io_manager

    def layoutManager(self) -> LayoutManager | None:
        """The layout manager; None in an application without a main window, as in Slicer."""
        return self._layout_manager

    def userSettings(self) -> Any:
        return qt.QSettings()

    def settings(self) -> Any:
        return qt.QSettings()

    def testingEnabled(self) -> bool:
        """Whether messages are only logged and confirmations are taken for granted, as under ``--testing``."""
        return self._testing

    def enable_dialogs(self) -> None:
        """Show messages, for a person at the screen."""
        self._testing = False

    def translate(self, _context: str, text: str) -> str:
        """The stand-in speaks English only."""
        return text

    def pauseRender(self) -> None:
        self._paused += 1

    def resumeRender(self) -> None:
        self._paused -= 1

    def setRenderPaused(self, pause: bool) -> None:
        self._paused += 1 if pause else -1

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def startupEnvironment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    temporaryPath = QtCore.Property(str, lambda self: self._temporary.name)
    cachePath = QtCore.Property(str, lambda self: str(Path(self._temporary.name) / "cache"))
    extensionsInstallPath = QtCore.Property(str, lambda self: str(Path(self._temporary.name) / "extensions"))
    slicerHome = QtCore.Property(str, lambda _self: str(Path(__file__).resolve().parent))
    slicerUserSettingsFilePath = QtCore.Property(str, lambda _self: qt.QSettings().fileName())
    startupWorkingPath = QtCore.Property(str, lambda _self: str(Path.cwd()))
    documentationBaseUrl = QtCore.Property(str, lambda _self: "https://slicer.readthedocs.io/en/latest/")
    revision = QtCore.Property(str, lambda _self: "SlicerHost")
    repositoryRevision = QtCore.Property(str, lambda _self: "SlicerHost")
    releaseType = QtCore.Property(str, lambda _self: "Stand-in")
    isInstalled = QtCore.Property(bool, lambda _self: False)
    majorVersion = QtCore.Property(int, lambda _self: version.current()[0])
    minorVersion = QtCore.Property(int, lambda _self: version.current()[1])
