"""Pictures of the views, of a module's panel, and of both together, as the main window of Slicer has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def patient_sides(direction: Any) -> str:
    """Letters of the patient's sides that a RAS direction points to, the nearest first, such as "R" or "RA".

    A second letter says that the direction is more than about 20 degrees off the first.
    """
    letters = (("L", "R"), ("P", "A"), ("I", "S"))
    ranked = sorted(range(3), key=lambda axis: -abs(direction[axis]))
    return "".join(letters[axis][direction[axis] > 0] for axis in ranked[:2] if abs(direction[axis]) > 0.35)


def edge_letters(slice_node: Any) -> dict[str, str]:
    """What the patient has at each edge of a slice view; x of the slice runs to the right, y upwards."""
    matrix = slice_node.GetSliceToRAS()
    right, up = ([matrix.GetElement(row, column) for row in range(3)] for column in (0, 1))
    return {
        "right": patient_sides(right),
        "left": patient_sides([-value for value in right]),
        "top": patient_sides(up),
        "bottom": patient_sides([-value for value in up]),
    }


def render_view(widget: Any) -> Any:
    """One slice view, rendered now, as QImage."""
    import vtk
    from PySide6 import QtGui
    from vtk.util.numpy_support import vtk_to_numpy

    window = widget.sliceView().renderWindow()
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGB()
    grab.ReadFrontBufferOff()
    grab.ShouldRerenderOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()
    return QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888).copy()


def draw_views() -> Any:
    """All views of the current layout in their places, as QImage."""
    import slicer
    from PySide6 import QtGui

    manager = slicer.app.layoutManager()
    mosaic = QtGui.QImage(*manager.views_size(), QtGui.QImage.Format.Format_RGB888)
    mosaic.fill(QtGui.QColor(20, 20, 20))
    painter = QtGui.QPainter(mosaic)
    for cell in manager.cells():
        _draw_cell(painter, cell.in_pixels(*manager.views_size()), manager.widget_of(cell), cell.name)
    painter.end()
    return mosaic


def _draw_cell(painter: Any, area: tuple[int, int, int, int], widget: Any, name: str) -> None:
    from PySide6 import QtCore, QtGui

    from .layout import BAR_HEIGHT

    x, y, width, height = area
    painter.fillRect(x, y, width, height, QtGui.QColor(60, 60, 60))
    if widget is None:
        centre = QtCore.Qt.AlignmentFlag.AlignCenter
        painter.setPen(QtGui.QColor(160, 160, 160))
        painter.drawText(QtCore.QRect(*area), centre, f"{name}: not drawn by the stand-in")
        return
    painter.drawImage(x, y + BAR_HEIGHT, render_view(widget))
    _draw_bar(painter, (x, y, width, BAR_HEIGHT), widget)
    if not _has_annotation(widget):
        _draw_letters(painter, (x, y + BAR_HEIGHT, width, height - BAR_HEIGHT), edge_letters(widget.mrmlSliceNode()))


def _has_annotation(widget: Any) -> bool:
    """Whether the module writes at the edges of the view itself."""
    return any(widget.overlayCornerAnnotation().GetText(position) for position in range(8))


def _draw_bar(painter: Any, area: tuple[int, int, int, int], widget: Any) -> None:
    """The bar above a view: its colour and label, and which volumes it shows."""
    from PySide6 import QtCore, QtGui

    node = widget.mrmlSliceNode()
    color = QtGui.QColor.fromRgbF(*node.GetLayoutColor())
    painter.fillRect(*area, color)
    painter.setPen(QtGui.QColor("black" if color.lightness() > 110 else "white"))
    flags = QtCore.Qt.AlignmentFlag.AlignVCenter | QtCore.Qt.AlignmentFlag.AlignLeft
    text = f"{node.GetLayoutLabel()}   {' + '.join(_volume_names(widget.mrmlSliceCompositeNode()))}"
    painter.drawText(QtCore.QRect(*area).adjusted(8, 0, -8, 0), flags, text)


def _volume_names(composite: Any) -> list[str]:
    import slicer

    identifiers = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID())
    nodes = [slicer.mrmlScene.GetNodeByID(identifier) for identifier in identifiers if identifier]
    return [node.GetName() for node in nodes if node is not None]


def _draw_letters(painter: Any, area: tuple[int, int, int, int], letters: dict[str, str]) -> None:
    from PySide6 import QtCore, QtGui

    align = QtCore.Qt.AlignmentFlag
    middle = {"right": align.AlignRight | align.AlignVCenter, "left": align.AlignLeft | align.AlignVCenter,
              "top": align.AlignTop | align.AlignHCenter, "bottom": align.AlignBottom | align.AlignHCenter}  # fmt: skip
    painter.setPen(QtGui.QColor(255, 220, 120))
    font = QtGui.QFont(painter.font())
    font.setBold(True)
    painter.save()
    painter.setFont(font)
    for edge, text in letters.items():
        painter.drawText(QtCore.QRect(*area).adjusted(6, 4, -6, -4), middle[edge], text)
    painter.restore()


def _save(image: Any, path: str | Path) -> Path:
    """Write a PNG file.

    :raises OSError: if it cannot be written.
    """
    if not image.save(str(path)):
        raise OSError(f"The picture {path} could not be written")
    return Path(path)


#: Colours of a dark panel: as Qt names their roles, for what is enabled.
_DARK = {
    "Window": "#353535", "WindowText": "#e6e6e6", "Base": "#1f1f1f", "AlternateBase": "#262626", "Text": "#e6e6e6",
    "Button": "#454545", "ButtonText": "#e6e6e6", "BrightText": "#ffffff", "Highlight": "#3d6a9a",
    "HighlightedText": "#ffffff", "ToolTipBase": "#3a3a3a", "ToolTipText": "#e6e6e6", "PlaceholderText": "#a0a0a0",
    "Link": "#6fa8dc", "Light": "#4a4a4a", "Midlight": "#424242", "Mid": "#262626", "Dark": "#1a1a1a",
    "Shadow": "#000000",
}  # fmt: skip
_DARK_DISABLED = {"WindowText": "#8a8a8a", "Text": "#8a8a8a", "ButtonText": "#8a8a8a"}


def set_theme(name: str) -> None:
    """Show every widget "light", in Qt's own colours, or "dark"."""
    import slicer
    from PySide6 import QtGui

    palette = slicer.app.style().standardPalette()
    if name == "dark":
        for role, color in _DARK.items():
            palette.setColor(getattr(QtGui.QPalette.ColorRole, role), QtGui.QColor(color))
        for role, color in _DARK_DISABLED.items():
            group = QtGui.QPalette.ColorGroup.Disabled
            palette.setColor(group, getattr(QtGui.QPalette.ColorRole, role), QtGui.QColor(color))
    slicer.app.setPalette(palette)
    slicer.app.processEvents()


def photograph_views(path: str | Path, size: tuple[int, int] | None = None) -> Path:
    """Write the views of the current layout to a PNG file.

    :param size: width and height in pixels of all views together; as before where it is not given.
    """
    import slicer

    slicer.app.processEvents()  # what has just been laid out has its size then
    if size is not None:
        slicer.app.layoutManager().resize_views(*size)
    return _save(draw_views(), path)


def photograph_panel(path: str | Path, module: str, size: tuple[int, int] = (420, 900)) -> Path:
    """Write the panel of a module to a PNG file, grown where it does not fit into the size, without the space below."""
    import slicer
    from PySide6 import QtCore, QtWidgets

    panel = slicer.util.getModule(module).widgetRepresentation()
    if not panel.isVisible():
        QtWidgets.QWidget.window(panel).show()  # itself, or the main window that it stands in
        panel.resize(size[0], max(size[1], panel.sizeHint().height()))
    slicer.app.processEvents()
    area = QtCore.QRect(0, 0, QtWidgets.QWidget.width(panel), _filled_height(panel))
    return _save(panel.grab(area), path)


def _filled_height(panel: Any) -> int:
    """Height in pixels of what is shown of a panel, with a margin."""
    from PySide6.QtCore import QPoint
    from PySide6.QtWidgets import QWidget

    shown = [child for child in panel.findChildren(QWidget) if QWidget.isVisibleTo(child, panel)]
    holders = {id(QWidget.parentWidget(child)) for child in shown}
    bottoms = [c.mapTo(panel, QPoint(0, QWidget.height(c))).y() for c in shown if id(c) not in holders]
    return min(max(bottoms, default=0) + 20, QWidget.height(panel))


def show_application(size: tuple[int, int] = (1680, 960)) -> Any:
    """Show the main window in a size, its panel as wide as it needs, and return it.

    :raises RuntimeError: if there is no main window (``open_module(name, main_window=True)`` makes one).
    """
    import slicer

    window = slicer.util.mainWindow()
    if window is None:
        raise RuntimeError("There is no main window; open the module with main_window=True")
    window.resize(*size)
    window.show()
    slicer.app.processEvents()
    window.fit_panel()  # known once it has been laid out
    for _round in range(5):  # the dock, then the views
        window.layout().activate()
        slicer.app.processEvents()
    return window


def photograph_application(path: str | Path, size: tuple[int, int] = (1680, 960)) -> Path:
    """Write the whole main window to a PNG file: the panel on the left, the views beside it.

    :raises RuntimeError: as :func:`show_application`.
    """
    window = show_application(size)
    window.centralWidget().refresh()
    return _save(window.grab(), path)
