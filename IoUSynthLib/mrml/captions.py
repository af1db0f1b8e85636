"""What is written at the edges of the module's views: what they show, and which sides of the patient they are."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from .provenance import PREFIX, is_synthetic
from .styles import is_muted

_ACQUIRED_TEXT = (0.62, 0.79, 0.88)
_SYNTHETIC_TEXT = (0.99, 0.68, 0.42)
_FONT_SIZE = 15
#: What lies over the image, by the attribute ``Output`` of the layer's volume.
_LAYERS = {
    "no echo": "\nstripes: no echo, made up",
    "uncertainty": "\nmagenta: expected error",
    "difference": "\ngreen: what MRI changed",
    "spread": "\nyellow: samples differ",
    "frequency": "\nyellow: tumour in how many samples",
    "disagreement": "\nred stripes: MRI and ultrasound disagree",
}
#: Lines that are left to the ruler and, in narrow views, to the names of the volumes that Data Probe writes there.
_ROOM_BELOW = 4 * "\n "


class _Caption:
    """Writes at the edges of a view, and goes with it.

    The text follows the nodes of the view: it stays true when the user turns the slice or shows another volume. It
    stands in the view's overlay, which is drawn above all else; the corner annotation, of which a view has one with one
    colour and font, is left to Slicer's own texts.
    """

    def __init__(self, slice_node: slicer.vtkMRMLSliceNode, composite: slicer.vtkMRMLSliceCompositeNode) -> None:
        self.slice_node, self.composite, self.scene = slice_node, composite, slice_node.GetScene()
        changed, removed = vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLScene.NodeRemovedEvent
        self.observed = [(node, node.AddObserver(changed, self.update)) for node in (slice_node, composite)]
        self.observed.append((self.scene, self.scene.AddObserver(removed, self.on_removed)))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_removed(self, _scene: slicer.vtkMRMLScene, _event: str, node: slicer.vtkMRMLNode) -> None:
        """Let go when one of the nodes leaves the scene, and the view with it."""
        if node in (self.slice_node, self.composite):
            self.let_go()

    def let_go(self) -> None:
        """Observe nothing any more."""
        for observed, tag in self.observed:
            observed.RemoveObserver(tag)
        self.observed = []
        _captions.pop(self.slice_node, None)

    def update(self, *_: object) -> None:
        """Write it anew."""
        widget = _widget_of(self.slice_node)
        if widget is None:  # while Slicer ends
            return
        right, up = orientation_of(self.slice_node)[:, :2].T
        volume = slicer.mrmlScene.GetNodeByID(self.composite.GetBackgroundVolumeID() or "")
        title, color = _title(volume)
        title += _additions(self.composite)
        annotation = widget.overlayCornerAnnotation()
        annotation.SetMaximumFontSize(_FONT_SIZE)
        annotation.SetText(vtk.vtkCornerAnnotation.UpperEdge, f"{title}\n{patient_side(up)}")
        annotation.SetText(vtk.vtkCornerAnnotation.LowerEdge, patient_side(-up) + _ROOM_BELOW)
        annotation.SetText(vtk.vtkCornerAnnotation.LeftEdge, patient_side(-right))
        annotation.SetText(vtk.vtkCornerAnnotation.RightEdge, patient_side(right))
        annotation.GetTextProperty().SetColor(*color)
        annotation.GetTextProperty().ShadowOn()
        annotation.GetTextProperty().BoldOn()
        widget.sliceView().scheduleRender()


_captions: dict[slicer.vtkMRMLSliceNode, _Caption] = {}


def attach(slice_node: slicer.vtkMRMLSliceNode) -> None:
    """Write the caption of a view from now on, where it has a widget."""
    widget = _widget_of(slice_node)
    composite = None if widget is None else widget.mrmlSliceCompositeNode()
    if composite is None:
        return
    caption = _captions.get(slice_node)
    if caption is not None and caption.composite is not composite:
        caption.let_go()
        caption = None
    if caption is None:
        caption = _captions[slice_node] = _Caption(slice_node, composite)
    caption.update()


def let_go() -> None:
    """Leave all captions as they are, and follow the nodes no longer; before this file is loaded anew."""
    for caption in list(_captions.values()):
        caption.let_go()


def _widget_of(slice_node: slicer.vtkMRMLSliceNode) -> slicer.qMRMLSliceWidget | None:
    """Return the widget of a slice node: by the node, whose name, by which Slicer finds widgets too, can change."""
    manager = slicer.app.layoutManager()
    return None if manager is None else manager.viewWidget(slice_node)


def _additions(composite: slicer.vtkMRMLSliceCompositeNode) -> str:
    """Lines that say what lies over the image."""
    overlay = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")
    lines = f"\nunder {overlay.GetName()}" if overlay is not None and composite.GetForegroundOpacity() > 0 else ""
    for number in range(composite.GetNumberOfAdditionalLayers()):
        layer = composite.GetNthLayerVolume(slicer.vtkMRMLSliceCompositeNode.Layer_Last + number)
        lines += _LAYERS.get("" if layer is None else layer.GetAttribute(PREFIX + "Output"), "")
    return lines


def _title(volume: slicer.vtkMRMLVolumeNode | None) -> tuple[str, tuple[float, float, float]]:
    if volume is None:
        return "", _ACQUIRED_TEXT
    if is_synthetic(volume):
        muted = ", muted" if is_muted(volume) else ""
        return f"SYNTHETIC {volume.GetAttribute(PREFIX + 'Output')} - not acquired{muted}", _SYNTHETIC_TEXT
    return volume.GetName(), _ACQUIRED_TEXT


def patient_side(direction: np.ndarray) -> str:
    """Return the letters of the patient's sides that a RAS direction points to, the nearest first: "R", "RP", ...

    A second or third letter is added where it is more than 22.5 degrees off.
    """
    letters = [("L", "R"), ("P", "A"), ("I", "S")]
    unit = direction / np.linalg.norm(direction)
    parts = [(abs(value), letters[axis][int(value > 0)]) for axis, value in enumerate(unit)]
    return "".join(letter for size, letter in sorted(parts, reverse=True) if size > np.sin(np.radians(22.5)))


def orientation_of(slice_node: slicer.vtkMRMLSliceNode) -> np.ndarray:
    """Return the RAS directions of a slice's x (to the right), y (upwards) and normal as columns: 3x3."""
    matrix = slice_node.GetSliceToRAS()
    return np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
