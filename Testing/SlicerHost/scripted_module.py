"""Module ``slicer.ScriptedLoadableModule``: the base classes of a scripted module, from their documentation."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import types
import unittest
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from .mrml_widgets import qMRMLWidget
from .qt_module import qt


class qSlicerScriptedLoadableModule:
    """The module object that Slicer makes for a scripted module; it takes only the attributes that Slicer's has."""

    __module__ = "slicer"
    _WRITABLE = ("title", "categories", "dependencies", "contributors", "helpText", "acknowledgementText", "icon",
                 "hidden", "index", "associatedNodeTypes", "extensions",
                 "widgetRepresentationCreationEnabled")  # fmt: skip

    def __init__(self, name: str, path: str) -> None:
        self.__dict__.update(
            name=name, path=path, title="", categories=[], dependencies=[], contributors=[], helpText="",
            acknowledgementText="", icon=None, hidden=False, index=-1, associatedNodeTypes=[], extensions={},
            widgetRepresentationCreationEnabled=True, isInstalled=False, isBuiltIn=False,
            _module=None, _widget=None, _python_class=None,
        )  # fmt: skip

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._WRITABLE and not name.startswith("_"):
            raise AttributeError(f"A module has no attribute '{name}' that can be set")
        self.__dict__[name] = value

    def logic(self) -> Any:
        """None: the logic of a scripted module belongs to its widget (``slicer.util.getModuleLogic``)."""
        return

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """Another panel of the module, ready to be shown."""
        widget = qSlicerScriptedLoadableModuleWidget(self)
        widget._build()
        return widget

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """The panel; made when it is first asked for."""
        if self._widget is None:
            self._widget = self.createNewWidgetRepresentation()
        return self._widget


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The widget that Slicer makes for the panel of a scripted module; the module's own widget object fills it."""

    __module__ = "slicer"
    EXPOSED = ("reload", "self", "enter", "exit")

    def __init__(self, module: qSlicerScriptedLoadableModule) -> None:
        super().__init__()
        self._module, self._python_widget, self._entered = module, None, False
        QtWidgets.QVBoxLayout(self)
        self.setObjectName(f"{module.name}ModuleWidget")

    def _build(self) -> None:
        """Make the module's widget and call its ``setup``."""
        self.setMRMLScene(slicer.mrmlScene)
        cls = getattr(self._module._python_class, f"{self._module.name}Widget")
        self._python_widget = cls(self)
        setattr(slicer.modules, f"{self._module.name}Widget", self._python_widget)
        self._python_widget.setup()

    def reload(self) -> None:
        """Make the module's widget anew from the source that was read last; it is not entered again."""
        self._module._python_class = sys.modules[self._module.name]
        self._build()

    def self(self) -> Any:
        return self._python_widget

    isEntered = QtCore.Property(bool, lambda self: self._entered)

    def enter(self) -> None:
        self._call("enter", not self._entered)
        self._entered = True

    def exit(self) -> None:
        self._call("exit", self._entered)
        self._entered = False

    def _call(self, method: str, wanted: bool) -> None:
        function = getattr(self._python_widget, method, None)
        if wanted and function is not None:
            function()


class ScriptedLoadableModule:
    """What a module says about itself before it is opened."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        for extension in (".svg", ".png"):
            path = self.resourcePath(f"Icons/{self.moduleName}{extension}")
            if os.path.isfile(path):
                parent.icon = qt.QIcon(path)
                break
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        page = docPage or self.moduleName
        return (
            f'<p>For more information, see the <a href="{slicer.app.documentationBaseUrl}{page}">documentation</a>.</p>'
        )

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        test = getattr(importlib.import_module(self.__module__), f"{self.moduleName}Test", None)
        if test is None:
            raise AssertionError(f"Test case class not found: {self.moduleName}Test")
        case = test()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel of a module."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent
        if parent is None:
            self.parent = qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self) -> None:
        """Slicer adds the "Reload && Test" section here in developer mode; the stand-in has none."""

    def cleanup(self) -> None:
        """Called when the module is about to be unloaded."""

    def onReload(self) -> None:
        """Read the module's file again and make its panel anew."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """The work of a module, without its panel."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """The module's parameter node, made if there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                # Closing a scene clears the attribute and keeps the singleton.
                node.SetAttribute("ModuleName", self.moduleName)
                return node
        nodes = [] if self.isSingletonParameterNode else self.getAllParameterNodes()
        return nodes[0] if nodes else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The self-test of a module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.messageDelay = None
        super().__init__(*args, **kwargs)

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        delay = next((d for d in (self.messageDelay, msec, requestedDelay) if d is not None), 100)
        slicer.util.delayDisplay(message, delay)

    def runTest(self) -> None:
        """Run every method whose name has "test" in it."""
        names = [n for n in dir(self) if "test" in n and n != "runTest" and callable(getattr(self, n))]
        if not names:
            logging.warning(f"No test is defined in {type(self).__name__}")
            return
        self.setUpClass()
        for name in names:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
        self.tearDownClass()


def make_module() -> types.ModuleType:
    """The module object for ``slicer.ScriptedLoadableModule``, ready for ``import *``."""
    module = types.ModuleType("slicer.ScriptedLoadableModule", __doc__)
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    for cls in classes:
        setattr(module, cls.__name__, cls)
    module.__all__ = [cls.__name__ for cls in classes]
    return module
