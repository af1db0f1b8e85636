"""``slicer.app.layoutManager()``: the real layout logic and slice views of slicer-core, arranged without a window."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from PySide6 import QtCore
from trame_slicer.views import AbstractView, SliceView
from trame_slicer.views.render_scheduler import ScheduledRenderStrategy

from .qt_module import qt

_INITIAL_SIZE = (1200, 900)
BAR_HEIGHT = 22  # pixels of the bar above each view


class _Notify(ScheduledRenderStrategy):
    """Renders nothing by itself; says that a view needs to be rendered."""

    def __init__(self, manager: LayoutManager) -> None:
        super().__init__()
        self._manager = manager

    def schedule_render(self) -> None:
        self._manager.viewsModified.emit()


class _View(SliceView):
    """A slice view that leaves the slice node as the layout or the module set it."""

    def _initialize_displayable_manager_group(self, *arguments: Any) -> None:
        """Add the image first: what is drawn later blends with it (segments would be opaque otherwise)."""
        self._render_manager.image_actor.SetVisibility(False)
        self.first_renderer().AddViewProp(self._render_manager.image_actor)
        super()._initialize_displayable_manager_group(*arguments)

    def set_scene(self, scene: Any) -> None:
        """Take the slice node that the layout made (trame-slicer would overwrite it with a new one)."""
        AbstractView.set_scene(self, scene)
        self._logic.SetMRMLScene(scene)
        node = scene.GetSingletonNode(self.name, "vtkMRMLSliceNode")
        self._logic.SetSliceNode(node)
        self.set_view_node(node)

    def _reset_node_view_properties(self) -> None:
        """Slicer's views do not turn the slices when a node is set or a scene is closed."""

    def _update_slice_size(self, *_: Any) -> None:
        """The widget resizes the slice node itself; the event is outdated in VTK."""


def _make_view(manager: LayoutManager, name: str) -> _View:
    """A view without the warning about the resize event, which trame-slicer asks for in an outdated way."""
    shown = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        return _View(slicer.mrmlScene, manager.application_logic, name, scheduled_render_strategy=_Notify(manager))
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(shown)


class SliceController:
    """The bar above a slice view, as far as it acts on nodes."""

    def __init__(self, widget: SliceWidget) -> None:
        self._widget = widget

    def sliceLogic(self) -> Any:
        return self._widget.sliceLogic()

    def mrmlSliceNode(self) -> Any:
        return self._widget.mrmlSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._widget.mrmlSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._widget.fitSliceToBackground()

    def rotateSliceToLowestVolumeAxes(self) -> None:
        self.sliceLogic().RotateSliceToLowestVolumeAxes()

    def setSliceOffsetValue(self, offset: float) -> None:
        self.sliceLogic().SetSliceOffset(offset)

    def setSliceVisible(self, visible: bool) -> None:
        self.mrmlSliceNode().SetSliceVisible(visible)

    def setSliceOrientation(self, orientation: str) -> None:
        self.mrmlSliceNode().SetOrientation(orientation)

    def setSliceLink(self, linked: bool) -> None:
        """Link all slice views, as the button does."""
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            node.SetLinkedControl(linked)

    def setHotLinked(self, hot: bool) -> None:
        for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            node.SetHotLinkedControl(hot)

    def setForegroundOpacity(self, opacity: float) -> None:
        self.mrmlSliceCompositeNode().SetForegroundOpacity(opacity)

    def setOrientationMarkerType(self, kind: int) -> None:
        self.mrmlSliceNode().SetOrientationMarkerType(kind)

    def setRulerType(self, kind: int) -> None:
        self.mrmlSliceNode().SetRulerType(kind)


class SliceViewAccess:
    """``sliceWidget.sliceView()``."""

    def __init__(self, view: _View) -> None:
        self._view = view
        self._annotation = vtk.vtkCornerAnnotation()
        view.first_renderer().AddViewProp(self._annotation)

    def cornerAnnotation(self) -> vtk.vtkCornerAnnotation:
        return self._annotation

    def renderWindow(self) -> Any:
        return self._view.render_window()

    def renderer(self) -> Any:
        return self._view.first_renderer()

    def interactor(self) -> Any:
        return self._view.interactor()

    def mrmlSliceNode(self) -> Any:
        return self._view.get_view_node()

    def displayableManagerByClassName(self, name: str) -> Any:
        return self._view.get_displayable_manager_by_class(name)

    def forceRender(self) -> None:
        self._view.render()

    def scheduleRender(self) -> None:
        self._view.schedule_render()


class SliceWidget(qt.QWidget):
    """A slice view with its controller; what it shows is rendered off screen."""

    __module__ = "slicer"

    def __init__(self, manager: LayoutManager, name: str) -> None:
        super().__init__()
        self.setObjectName(f"qMRMLSliceWidget{name}")
        self._view = _make_view(manager, name)
        self.resize_view(512, 512)
        self._controller, self._access = SliceController(self), SliceViewAccess(self._view)

    def resize_view(self, width: int, height: int) -> None:
        """Give the view a size in pixels, as the window would."""
        self._view.update_size(width, height)
        self._view.render_window().SetSize(width, height)
        self.sliceLogic().ResizeSliceNode(width, height)

    def sliceLogic(self) -> Any:
        return self._view._logic

    def mrmlSliceNode(self) -> Any:
        return self._view.get_view_node()

    def mrmlSliceCompositeNode(self) -> Any:
        return self.sliceLogic().GetSliceCompositeNode()

    def sliceController(self) -> SliceController:
        return self._controller

    def sliceView(self) -> SliceViewAccess:
        return self._access

    def fitSliceToBackground(self) -> None:
        self.sliceLogic().FitSliceToBackground()

    def setSliceOrientation(self, orientation: str) -> None:
        self.mrmlSliceNode().SetOrientation(orientation)

    sliceViewName = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetLayoutName())
    sliceViewLabel = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetLayoutLabel())
    sliceOrientation = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetOrientation())


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
    """Makes the slice views that the current layout names. 3D, table and plot views are left out."""

    __module__ = "slicer"
    layoutChanged = QtCore.Signal(int)
    viewsModified = QtCore.Signal()

    def __init__(self, application_logic: Any) -> None:
        super().__init__()
        self.__dict__["application_logic"] = application_logic
        self._widgets: dict[str, SliceWidget] = {}
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._layout_node = self._logic.GetLayoutNode()
        # After the layout logic, which observes with a priority and makes the nodes.
        self._layout_node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update)
        slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, self._node_added)
        self._shown = None
        self._size = _INITIAL_SIZE
        self._update()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_added(self, scene: Any, _event: str, node: Any) -> None:
        """As in Slicer, a slice node that joins the scene gets its widget at once, hidden until a layout names it."""
        if node.IsA("vtkMRMLSliceNode") and node.GetLayoutName() and not scene.IsBatchProcessing():
            self._make_widget(node)

    def _make_widget(self, node: Any) -> None:
        name = node.GetLayoutName()
        if name not in self._widgets:
            node.SetInteractionNode(self.application_logic.GetInteractionNode())
            self._widgets[name] = SliceWidget(self, name)

    def _update(self, *_: Any) -> None:
        for node in self._current_nodes():
            self._make_widget(node)
        arrangement = self._layout_node.GetViewArrangement()
        if arrangement != self._shown:
            self._shown = arrangement
            self._arrange()
            self.layoutChanged.emit(arrangement)
            self.viewsModified.emit()

    def _current_nodes(self) -> list[Any]:
        views = self._logic.GetViewNodes()
        nodes = [views.GetItemAsObject(i) for i in range(views.GetNumberOfItems())] if views is not None else []
        return [node for node in nodes if node is not None and node.IsA("vtkMRMLSliceNode")]

    def resize_views(self, width: int, height: int) -> None:
        """Give all views of the layout together a size in pixels, as the window would."""
        if (width, height) != self._size:
            self._size = (width, height)
            self._arrange()

    def views_size(self) -> tuple[int, int]:
        return self._size

    def _arrange(self) -> None:
        for cell in self.cells():
            widget = self._widgets.get(cell.name)
            if widget is not None:
                _x, _y, width, height = cell.in_pixels(*self._size)
                widget.resize_view(width, height - BAR_HEIGHT)

    def layoutLogic(self) -> Any:
        return self._logic

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        return self.application_logic.GetSliceLogics()

    def setLayout(self, identifier: int) -> None:
        """Show a layout.

        :raises ValueError: if the layout node has no such layout (Slicer would show nothing).
        """
        if not self._layout_node.IsLayoutDescription(identifier):
            raise ValueError(f"The layout node has no layout {identifier}; add it with AddLayoutDescription first")
        self._layout_node.SetViewArrangement(identifier)

    layout = QtCore.Property(int, lambda self: self._layout_node.GetViewArrangement(), setLayout)
    threeDViewCount = QtCore.Property(int, lambda _self: 0)

    def sliceViewNames(self) -> tuple[str, ...]:
        """Names of the slice views that were made so far, also those that the current layout does not show."""
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._widgets.get(name)

    def threeDWidget(self, _index: int | str) -> None:
        """None: the stand-in has no 3D views."""
        logging.warning("The stand-in has no 3D views")

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """The stand-in has no 3D views."""

    def cells(self) -> list[Cell]:
        """The views of the current layout and where they lie."""
        description = self._layout_node.GetCurrentLayoutDescription()
        return cells_of(ElementTree.fromstring(description)) if description else []
