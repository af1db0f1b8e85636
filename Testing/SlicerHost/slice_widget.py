"""``qMRMLSliceWidget`` and what hangs on it: the real slice view and slice logic of slicer-core, drawn off screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import shiboken6
import slicer
import vtk
from PySide6 import QtCore
from trame_slicer.views import AbstractView, SliceView
from trame_slicer.views.render_scheduler import ScheduledRenderStrategy

from .qt_module import qt

if TYPE_CHECKING:
    from .layout import LayoutManager

#: Pixels of a view before it is shown for the first time, and from then on until Qt has laid it out: those of a QWidget
#: that nothing has resized, and those that were seen in Slicer's own widgets.
_HIDDEN_SIZE, _UNLAID_SIZE = (100, 30), (26, 32)


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

    def close(self, application_logic: Any) -> None:
        """Let go of node, scene and window, once the node has left the scene."""
        application_logic.GetSliceLogics().RemoveItem(self._logic)
        self.set_view_node(None)
        self._event_observer.UpdateObservation(self._scene, None)
        self._logic.SetMRMLScene(None)
        self.finalize()


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
    """``sliceWidget.sliceView()``; raises once its widget has been deleted, as PythonQt does."""

    _destroyed = False

    def __init__(self, view: _View) -> None:
        self._view = view
        self._annotation = vtk.vtkCornerAnnotation()
        view.first_renderer().AddViewProp(self._annotation)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and self._destroyed:
            raise ValueError(f"Trying to call '{name}' on a destroyed qMRMLSliceView object")
        return super().__getattribute__(name)

    def cornerAnnotation(self) -> vtk.vtkCornerAnnotation:
        """The annotation that Slicer's own Data Probe writes to, with one text property for all its texts."""
        return self._annotation

    def renderWindow(self) -> Any:
        return self._view.render_window()

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
    _destroyed = False

    def __init__(self, manager: LayoutManager, name: str) -> None:
        super().__init__()
        self.setObjectName(f"qMRMLSliceWidget{name}")
        self._application_logic = manager.application_logic
        self._view = _make_view(manager, name)
        self._pixels, self._was_shown = _HIDDEN_SIZE, False
        self._controller, self._access = SliceController(self), SliceViewAccess(self._view)
        self._overlay = vtk.vtkCornerAnnotation()
        self._overlay.SetMaximumLineHeight(0.07)
        self._overlay.GetTextProperty().ShadowOn()
        self._view._overlay_renderer.AddViewProp(self._overlay)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and self._destroyed:
            raise ValueError(f"Trying to call '{name}' on a destroyed qMRMLSliceWidget object")
        return super().__getattribute__(name)

    def _resize(self, width: int, height: int) -> None:
        """Give the view a size in pixels, as Qt does in the end."""
        if (width, height) != self._pixels:
            self._pixels = (width, height)
            self._view.update_size(width, height)
            self._view.render_window().SetSize(width, height)
            self._take_size()

    def _take_size(self) -> None:
        """Tell the slice node the size, which keeps its height in mm."""
        self._view._logic.ResizeSliceNode(*self._pixels)

    def _show(self) -> None:
        """Become part of the layout. A widget without a size gets that of its content until Qt lays it out."""
        if not self._was_shown:
            self._was_shown = True
            self._resize(*_UNLAID_SIZE)

    def _leave_scene(self) -> None:
        """Let go at once, and be destroyed when the event loop turns next (``deleteLater``)."""
        self._view.close(self._application_logic)
        QtCore.QTimer.singleShot(0, self._destroy)

    def _destroy(self) -> None:
        self._destroyed = self._access._destroyed = True
        shiboken6.delete(self)

    def sliceLogic(self) -> Any:
        return self._view._logic

    def mrmlSliceNode(self) -> Any:
        return self._view.get_view_node()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._view._logic.GetSliceCompositeNode()

    def sliceController(self) -> SliceController:
        return self._controller

    def sliceView(self) -> SliceViewAccess:
        return self._access

    def overlayCornerAnnotation(self) -> vtk.vtkCornerAnnotation:
        """The annotation above all others, which nothing in Slicer itself writes to."""
        return self._overlay

    def fitSliceToBackground(self) -> None:
        self._view._logic.FitSliceToBackground()

    def setSliceOrientation(self, orientation: str) -> None:
        self.mrmlSliceNode().SetOrientation(orientation)

    sliceViewName = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetLayoutName())
    sliceViewLabel = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetLayoutLabel())
    sliceOrientation = QtCore.Property(str, lambda self: self.mrmlSliceNode().GetOrientation())
