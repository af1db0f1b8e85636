"""The qMRML widgets that the module's panel uses, on the real MRML scene; they appear as ``slicer.qMRML...``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import version
from .ctk_module import ctkComboBox, ctkSliderWidget
from .qt_module import declare_property, qt


class qMRMLWidget(qt.QWidget):
    """A widget that knows the scene and passes it on."""

    __module__ = "slicer"
    EXPOSED = ("mrmlScene", "setMRMLScene")
    mrmlSceneChanged = QtCore.Signal(object)
    CPP_SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged(PyObject)"}  # noqa: RUF012

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._scene = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(qt.QWidget):
    """A selector of nodes that follows the scene."""

    __module__ = "slicer"
    EXPOSED = ("mrmlScene", "setMRMLScene", "addAttribute", "removeAttribute", "nodeTypeLabel", "nodeCount",
               "nodeFromIndex", "currentNode", "setCurrentNode", "setCurrentNodeID", "setCurrentNodeIndex", "addNode",
               "removeCurrentNode", "renameCurrentNode")  # fmt: skip
    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentNodeIDChanged = QtCore.Signal(str)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAddedByUserAction = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    CPP_SIGNALS = {  # noqa: RUF012
        f"{name}(vtkMRMLNode*)": f"{name}(PyObject)"
        for name in ("currentNodeChanged", "nodeActivated", "nodeAdded", "nodeAddedByUser", "nodeAddedByUserAction",
                     "nodeAboutToBeRemoved")
    }  # fmt: skip
    SINCE = {"nodeAddedByUserAction": (5, 12)}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._current, self._requested = None, "", ""
        self._identifiers: list[str] = []
        self._attributes: list[tuple[str, str, Any]] = []
        self._base_names: dict[str, str] = {}
        self._observed: list[tuple[Any, int]] = []
        self._combo_box = ctkComboBox(self)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo_box)
        self._combo_box.activated.connect(self._activated)
        self.setEnabled(False)

    def _changed(self) -> None:
        self._refresh()

    nodeTypes = declare_property("QStringList", (), _changed)
    showHidden = declare_property("bool", False, _changed)
    showChildNodeTypes = declare_property("bool", True, _changed)
    hideChildNodeTypes = declare_property("QStringList", (), _changed)
    noneEnabled = declare_property("bool", False, _changed)
    noneDisplay = declare_property("QString", "None", _changed)
    addEnabled = declare_property("bool", True, _changed)
    removeEnabled = declare_property("bool", True, _changed)
    editEnabled = declare_property("bool", False, _changed)
    renameEnabled = declare_property("bool", False, _changed)
    selectNodeUponCreation = declare_property("bool", True)
    interactionNodeSingletonTag = declare_property("QString", "")

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._unobserve()
        self._scene = scene
        if scene is not None:
            events = (scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._observed = [(scene, scene.AddObserver(event, self._scene_changed)) for event in events]
            self._observed.append((scene, scene.AddObserver(scene.NodeAddedEvent, self._node_added)))
        self.setEnabled(scene is not None)
        self._refresh()
        if self._requested:
            self.setCurrentNodeID(self._requested)
            self._requested = ""

    def _unobserve(self, *_: Any) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed = []

    def _scene_changed(self, *_: Any) -> None:
        if shiboken6.isValid(self):
            self._refresh()
        else:  # the widget was deleted; only this object is left
            self._unobserve()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_added(self, scene: Any, _event: str, node: Any) -> None:
        """As in Slicer, a new node is looked at alone, and comes last."""
        if not shiboken6.isValid(self):
            self._unobserve()
        elif self._shown([node]):
            self._list([*map(scene.GetNodeByID, self._identifiers), node])

    def addAttribute(self, node_type: str, name: str, value: Any = None) -> None:
        """Show nodes of a type only where they have an attribute (of a value, where given)."""
        self._attributes.append((node_type, name, value))
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes = [a for a in self._attributes if a[:2] != (node_type, name)]
        self._refresh()

    def _has_attributes(self, node: Any) -> bool:
        wanted = [(name, value) for node_type, name, value in self._attributes if node.IsA(node_type)]
        return all(
            node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == str(value))
            for name, value in wanted
        )

    def _shown(self, nodes: Iterable[Any]) -> list[Any]:
        """Those of some nodes that are offered."""
        show_hidden, hidden_types, exact, types = (  # once, for a scene has many nodes
            self.showHidden, self.hideChildNodeTypes, not self.showChildNodeTypes, self.nodeTypes
        )  # fmt: skip

        def is_shown(node: Any) -> bool:
            if node.GetHideFromEditors() and not show_hidden:
                return False
            if any(node.IsA(hidden) for hidden in hidden_types):
                return False
            matches = any(node.GetClassName() == t if exact else node.IsA(t) for t in types)
            return matches and self._has_attributes(node)

        return [node for node in nodes if is_shown(node)]

    def _candidates(self) -> list[Any]:
        if self._scene is None:
            return []
        return self._shown(self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes()))

    def _refresh(self) -> None:
        """List the nodes of the scene anew."""
        self._list(self._candidates())

    def _list(self, nodes: list[Any]) -> None:
        """List nodes; keep the choice, or make the one that QComboBox would make."""
        before = self._identifiers
        self._identifiers = [node.GetID() for node in nodes]
        current = self._current
        if current and current not in self._identifiers:
            current = self._neighbour(before.index(current) if current in before else 0)
        elif not current and not before and self._identifiers and not self.noneEnabled and not self._actions():
            current = self._identifiers[0]
        self._fill(nodes)
        self._observe_names(nodes)
        self._select(current)
        for node in nodes:
            if node.GetID() not in before:
                self.nodeAdded.emit(node)

    def _neighbour(self, index: int) -> str:
        """What is selected once the node at an index is gone."""
        entries = [""] * self.noneEnabled + self._identifiers
        position = index + int(self.noneEnabled)
        return entries[min(position, len(entries) - 1)] if entries else ""

    def _observe_names(self, nodes: list[Any]) -> None:
        scene_observers = [item for item in self._observed if item[0] is self._scene]
        for observed, tag in self._observed:
            if observed is not self._scene:
                observed.RemoveObserver(tag)
        self._observed = scene_observers + [(n, n.AddObserver("ModifiedEvent", self._renamed)) for n in nodes]

    def _renamed(self, node: Any, _event: str) -> None:
        if not shiboken6.isValid(self):
            return
        index = self._combo_box.findData(node.GetID())
        if index < 0 or self._combo_box.itemText(index) == (node.GetName() or ""):
            return
        self._combo_box.setItemText(index, node.GetName() or "")
        if node.GetID() == self._current and version.at_least(5, 12):
            self._tell_current_node()

    def _actions(self) -> list[tuple[str, Callable[[], Any]]]:
        """Entries below the nodes: what they are called and what they do."""
        label = self.nodeTypeLabel(self.nodeTypes[0]) if len(self.nodeTypes) == 1 else "node"
        choices = [
            (self.renameEnabled, f"Rename current {label}", self.renameCurrentNode),
            (self.addEnabled, f"Create new {label}", self._create),
            (self.removeEnabled, f"Delete current {label}", self.removeCurrentNode),
        ]
        return [(text, action) for enabled, text, action in choices if enabled]

    def _fill(self, nodes: list[Any]) -> None:
        box = self._combo_box
        box.clear()
        if self.noneEnabled:
            box.addItem(self.noneDisplay, "")
        for node in nodes:
            box.addItem(node.GetName() or "", node.GetID())
        for text, _action in self._actions() if self._scene is not None else []:
            box.addItem(text, None)
        if self.nodeTypes:
            box.defaultText = f"Select a {self.nodeTypeLabel(self.nodeTypes[0])}"

    def _select(self, identifier: str) -> None:
        box = self._combo_box
        index = box.findData(identifier) if identifier or self.noneEnabled else -1
        box.setCurrentIndex(index)
        if identifier != self._current:
            self._current = identifier
            self._tell_current_node()

    def _tell_current_node(self) -> None:
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(self._current)

    def _activated(self, index: int) -> None:
        identifier = self._combo_box.itemData(index)
        if identifier is None:
            self._combo_box.setCurrentIndex(self._combo_box.findData(self._current))
            dict(self._actions())[self._combo_box.itemText(index)]()
            return
        self._select(identifier)
        self.nodeActivated.emit(self.currentNode())

    def nodeTypeLabel(self, node_type: str) -> str:
        """What the scene calls nodes of a class."""
        node = self._scene.CreateNodeByClass(node_type) if self._scene is not None else None
        if node is None:
            return node_type
        node.UnRegister(None)
        return node.GetTypeDisplayName()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise TypeError(f"setCurrentNode takes a vtkMRMLNode or None, not {node!r}")
        self.setCurrentNodeID("" if node is None else node.GetID() or "")

    def setCurrentNodeID(self, identifier: str) -> None:
        if self._scene is None:
            self._requested = identifier
            return
        self._select(identifier if identifier in self._identifiers else "")

    currentNodeID = QtCore.Property(str, lambda self: self._current, setCurrentNodeID)

    def nodeCount(self) -> int:
        return len(self._identifiers)

    def nodeFromIndex(self, index: int) -> Any:
        return self._scene.GetNodeByID(self._identifiers[index]) if 0 <= index < len(self._identifiers) else None

    def setCurrentNodeIndex(self, index: int) -> None:
        node = self.nodeFromIndex(index)
        self._select(node.GetID() if node is not None else "")

    def _set_base_name(self, name: str, node_type: str = "") -> None:
        self._base_names[node_type] = name

    baseName = QtCore.Property(str, lambda self: self._base_names.get("", ""), _set_base_name)

    def _create(self) -> None:
        """What the entry "Create new" does."""
        node = self.addNode()
        self.setCurrentNode(node)
        (self.nodeAddedByUserAction if version.at_least(5, 12) else self.nodeAddedByUser).emit(node)

    def addNode(self, node_type: str = "") -> Any:
        """Make a node of the first (or the given) type."""
        node_type = node_type or self.nodeTypes[0]
        base = self._base_names.get(node_type) or self._base_names.get("") or self.nodeTypeLabel(node_type)
        node = self._scene.AddNewNodeByClass(node_type, self._scene.GenerateUniqueName(base))
        for attribute_type, name, value in self._attributes:
            if attribute_type == node_type:
                node.SetAttribute(name, str(value))
        self._refresh()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        node = self.currentNode()
        if node is not None:
            self.nodeAboutToBeRemoved.emit(node)
            self._scene.RemoveNode(node)

    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node is None:
            return
        name, accepted = QtWidgets.QInputDialog.getText(self, "Rename", "New name:", text=node.GetName())
        if accepted and name:
            node.SetName(name)


class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that takes units from the scene in Slicer; here it is a plain one."""

    __module__ = "slicer"
    EXPOSED = ("setMRMLScene",)
    quantity = declare_property("QString", "")

    def setMRMLScene(self, _scene: Any) -> None:
        """Units are not followed here."""


MRML_WIDGETS = (qMRMLWidget, qMRMLNodeComboBox, qMRMLSliderWidget)
