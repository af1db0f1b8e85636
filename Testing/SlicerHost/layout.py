"""``slicer.app.layoutManager()``: the real layout logic and slice views of slicer-core, arranged without a window."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from PySide6 import QtCore

from .qt_module import qt
from .slice_widget import SliceWidget

_INITIAL_SIZE = (1200, 900)
BAR_HEIGHT = 22  # pixels of the bar above each view


@dataclass(frozen=True)
class Cell:
    """One view of a layout: where it lies (fractions of the whole, y downwards) and which view it is."""

    x: float
    y: float
    width: float
    height: float
    node_class: str
    name: str

    def in_pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """x, y, width, height in an area of a size, with a pixel left between the views."""
        x, y = round(self.x * width), round(self.y * height)
        right, bottom = round((self.x + self.width) * width), round((self.y + self.height) * height)
        return x, y, max(right - x - 1, 1), max(bottom - y - 1, BAR_HEIGHT + 1)


def _is_side_by_side(element: ElementTree.Element) -> bool:
    return element.get("type", "horizontal") == "horizontal"


def cells_of(
    element: ElementTree.Element, x: float = 0, y: float = 0, width: float = 1, height: float = 1
) -> list[Cell]:
    """The views of a layout description, placed with equal shares (split sizes and tabs are not followed)."""
    if element.tag == "view":
        return [Cell(x, y, width, height, element.get("class", ""), element.get("singletontag", ""))]
    children = [child for child in element if child.tag in ("item", "layout", "view")]
    if not children or element.tag == "item":
        return cells_of(children[0], x, y, width, height) if children else []
    result: list[Cell] = []
    for index, child in enumerate(children):
        share = 1 / len(children)
        if _is_side_by_side(element):
            result += cells_of(child, x + index * share * width, y, share * width, height)
        else:
            result += cells_of(child, x, y + index * share * height, width, share * height)
    return result


class LayoutManager(qt.QObject):
    """Makes the widgets of slice nodes and lays out those that the layout node names, when Slicer does and not before.

    3D, table and plot views are left out. Slicer 5.10 and 5.12 do not differ in what is here.
    """

    __module__ = "slicer"
    layoutChanged = QtCore.Signal(int)
    viewsModified = QtCore.Signal()

    def __init__(self, application_logic: Any) -> None:
        super().__init__()
        self.__dict__["application_logic"] = application_logic
        self._widgets: dict[Any, SliceWidget] = {}  # by slice node
        self._cells: list[Cell] = []
        self._size = _INITIAL_SIZE
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._layout_node = self._logic.GetLayoutNode()
        # After the layout logic, which observes with a priority and makes the nodes.
        self._layout_node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._layout_node_modified)
        scene = slicer.mrmlScene
        for event, follow in (
            (scene.NodeAddedEvent, self._node_added),
            (scene.NodeRemovedEvent, self._node_removed),
            (scene.StartCloseEvent, self._scene_about_to_be_closed),
            (scene.EndBatchProcessEvent, self._batch_ended),
        ):
            scene.AddObserver(event, follow)
        self._batch_ended()

    # --- Widgets come and go with their nodes

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_added(self, scene: Any, _event: str, node: Any) -> None:
        """Make the widget, hidden until a layout names it; in a batch what it needs may not be there yet."""
        if not scene.IsBatchProcessing():
            self._make_widget(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_removed(self, _scene: Any, _event: str, node: Any) -> None:
        widget = self._widgets.pop(node, None)
        if widget is not None:
            widget._leave_scene()

    def _make_widget(self, node: Any) -> None:
        if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() and node not in self._widgets:
            node.SetInteractionNode(self.application_logic.GetInteractionNode())
            self._widgets[node] = SliceWidget(self, node.GetLayoutName())

    def _batch_ended(self, *_: Any) -> None:
        """Make what the batch has brought, and lay it out."""
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self._make_widget(node)
        for widget in self._widgets.values():
            widget._take_size()
        self._update_layout()

    def _scene_about_to_be_closed(self, *_: Any) -> None:
        self._lay_out("")

    # --- The layout follows its node

    def _layout_node_modified(self, *_: Any) -> None:
        if not slicer.mrmlScene.IsBatchProcessing():
            self._update_layout()

    def _update_layout(self) -> None:
        """Lay out what the layout node holds, whether or not it has changed."""
        node = self._layout_node
        if node.GetViewArrangement() == node.SlicerLayoutCustomView:
            return
        description = node.GetCurrentLayoutDescription() or ""
        for index in range(node.GetNumberOfMaximizedViewNodes()):
            if node.GetMaximizedViewNode(index) is not None:
                description = self._logic.GetMaximizedViewLayoutDescription(
                    node.GetMaximizedViewNode(index), description
                )
        self._lay_out(description)
        self.layoutChanged.emit(node.GetViewArrangement())
        self.viewsModified.emit()

    def _lay_out(self, description: str) -> None:
        """Put the views in their places; Qt gives them the sizes of these when its event loop turns next."""
        self._cells = cells_of(ElementTree.fromstring(description)) if description else []
        shown = [node for node in map(self._node_of, self._cells) if node is not None]
        for node in set(self._widgets).difference(shown):
            node.SetMappedInLayout(False)
        for node in shown:
            self._make_widget(node)
            node.SetMappedInLayout(True)
            self._widgets[node]._show()
        QtCore.QTimer.singleShot(0, self._apply_geometry)

    def _apply_geometry(self) -> None:
        for cell in self._cells:
            widget = self.widget_of(cell)
            if widget is not None:
                _x, _y, width, height = cell.in_pixels(*self._size)
                widget._resize(width, height - BAR_HEIGHT)

    def _node_of(self, cell: Cell) -> Any:
        """The slice node of a cell; None for a view of another kind."""
        node = slicer.mrmlScene.GetSingletonNode(cell.name, cell.node_class)
        return node if cell.node_class == "vtkMRMLSliceNode" else None

    # --- Of the stand-in alone

    def cells(self) -> list[Cell]:
        """The views that are laid out, and where they lie."""
        return list(self._cells)

    def widget_of(self, cell: Cell) -> SliceWidget | None:
        """The widget in a cell; None where the stand-in has none."""
        return self._widgets.get(self._node_of(cell))

    def resize_views(self, width: int, height: int) -> None:
        """Give all views of the layout together a size in pixels, as the window does when it is resized."""
        if (width, height) != self._size:
            self._size = (width, height)
            self._apply_geometry()

    def views_size(self) -> tuple[int, int]:
        return self._size

    # --- As in Slicer

    def layoutLogic(self) -> Any:
        return self._logic

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        return self.application_logic.GetSliceLogics()

    def setLayout(self, identifier: int) -> None:
        """Show a layout. As in Slicer, nothing happens where the layout node has that identifier already, and one
        without a description gives the conventional layout, both without a word.
        """
        node = self._layout_node
        if node.GetViewArrangement() == identifier:
            return
        known = node.IsLayoutDescription(identifier)
        node.RemoveAllMaximizedViewNodes()
        node.SetViewArrangement(identifier if known else node.SlicerLayoutConventionalView)

    layout = QtCore.Property(int, lambda self: self._layout_node.GetViewArrangement(), setLayout)
    threeDViewCount = QtCore.Property(int, lambda _self: 0)

    def addMaximizedViewNode(self, node: Any) -> None:
        self._layout_node.AddMaximizedViewNode(node)

    def removeMaximizedViewNode(self, node: Any) -> None:
        self._layout_node.RemoveMaximizedViewNode(node)

    def removeAllMaximizedViewNodes(self) -> None:
        self._layout_node.RemoveAllMaximizedViewNodes()

    def sliceViewNames(self) -> tuple[str, ...]:
        """Names of the nodes of the slice views that were made so far, also those that the layout does not show."""
        return tuple(node.GetName() for node in self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """The widget of the slice node of a name, which a user can change and which need not be the layout's."""
        return next((widget for node, widget in self._widgets.items() if node.GetName() == name), None)

    def viewWidget(self, node: Any) -> SliceWidget | None:
        """The widget of a view node; None where there is none, or none yet."""
        return self._widgets.get(node)

    def threeDWidget(self, _index: int | str) -> None:
        """None: the stand-in has no 3D views."""
        logging.warning("The stand-in has no 3D views")

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """The stand-in has no 3D views."""
