"""How synthetic images, their uncertainty and their outlines are shown and coded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import slicer

from ..constants import LABELS, MUTED_CONTRAST
from .provenance import PREFIX

#: Node attribute of an image: whether it is shown with less contrast.
MUTED = PREFIX + "Muted"

_UNCERTAINTY_WINDOW = (0.0, 0.25)
#: Samples differ by less than they are wrong.
_SPREAD_WINDOW = (0.0, 0.15)


@dataclass(frozen=True)
class SegmentStyle:
    """How one label is shown and coded. The two colours are the orange and sky blue of Okabe and Ito's palette, which
    stay apart for colour-blind readers and on grey."""

    label: int
    identifier: str
    name: str
    color: tuple[float, float, float]
    terminology: str


_BRAIN = "Anatomic codes - DICOM master list~SCT^12738006^Brain~^^"
SEGMENTS = (
    SegmentStyle(
        LABELS["tumour"],
        "tumour",
        "Tumour",
        (0.902, 0.624, 0.0),
        "Segmentation category and type - 3D Slicer General Anatomy list"
        f"~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^~{_BRAIN}",
    ),
    SegmentStyle(
        LABELS["cavity"],
        "cavity",
        "Resection cavity",
        (0.337, 0.706, 0.914),
        # No standard code names a resection cavity; DICOM reserves designators that start with 99 for private codes.
        "IoUSynth brain ultrasound"
        f"~SCT^49755003^Morphologically Altered Structure~99IOUSYNTH^ResectionCavity^Resection cavity~^^~{_BRAIN}",
    ),
)


def show_as_mri(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetInterpolate(True)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*_window(node))
    _hide_no_data(display, 1.0, 1e6)
    node.SetAttribute(MUTED, "false")


def is_muted(node: slicer.vtkMRMLVolumeNode) -> bool:
    """Tell whether an image is shown with less contrast; those of scenes from before there was such a thing are not."""
    return node.GetAttribute(MUTED) == "true"


def show_muted(node: slicer.vtkMRMLScalarVolumeNode, muted: bool) -> bool:
    """Show an image with little contrast about the middle of its window, or with all of it again.

    Returns
    -------
    bool
        Whether that is a change. The window, which the surgeon may have set, is scaled and not made anew.
    """
    display = node.GetDisplayNode()
    if is_muted(node) == muted or display is None:
        return False
    node.SetAttribute(MUTED, "true" if muted else "false")
    window = display.GetWindow() * (1 / MUTED_CONTRAST if muted else MUTED_CONTRAST)
    display.SetWindowLevel(window, display.GetLevel())
    return True


def show_as_veil(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show the stripes of :func:`.synthesis.echo.hatched` in two greys."""
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.SetInterpolate(False)  # half a mask is none
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(-0.8, 6.3)  # 1 is a quarter of white, 2 two fifths
    _hide_no_data(display, 1.0, 1e6)


def copy_window(source: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show an image in the window of another, so that the two can be compared."""
    display = source.GetDisplayNode()
    node.GetDisplayNode().SetWindowLevelMinMax(display.GetWindowLevelMin(), display.GetWindowLevelMax())


def show_as_difference(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show how far images with and without MRI differ, from a fiftieth of the intensity range on."""
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGreen")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*_UNCERTAINTY_WINDOW)
    _hide_no_data(display, 0.02, 1e6)


def show_as_disagreement(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show the stripes of :func:`.synthesis.echo.hatched` in two reds."""
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    display.SetInterpolate(False)  # half a mask is none
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(-1.0, 2.0)
    _hide_no_data(display, 1.0, 1e6)


def show_as_spread(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show how far samples are apart, from a fiftieth of the intensity range on."""
    _show_in_yellow(node, _SPREAD_WINDOW, lowest=0.02)


def show_as_frequency(node: slicer.vtkMRMLScalarVolumeNode, samples: int) -> None:
    """Show in how many samples a voxel is tumour."""
    _show_in_yellow(node, (0.0, float(samples)), lowest=0.5)


def _show_in_yellow(node: slicer.vtkMRMLScalarVolumeNode, window: tuple[float, float], *, lowest: float) -> None:
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeYellow")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*window)
    _hide_no_data(display, lowest, 1e6)


def _window(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    """Return the range of intensities between the 0.5 and the 99.5 percentile of the valid voxels."""
    array = slicer.util.arrayFromVolume(node)
    valid = array[array > 0]
    if valid.size == 0:
        return 1.0, 1000.0
    low, high = np.percentile(valid[:: max(1, valid.size // 200_000)], (0.5, 99.5))
    return float(low), float(max(high, low + 1))


def show_as_uncertainty(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    display = node.GetDisplayNode()
    # As a layer it must stand out from grey images, an orange tumour and a blue cavity.
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeMagenta")
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*_UNCERTAINTY_WINDOW)
    _hide_no_data(display, 1e-6, 1e6)


def _hide_no_data(display: slicer.vtkMRMLScalarVolumeDisplayNode, lower: float, upper: float) -> None:
    """Make voxels below ``lower`` transparent: 0 stands for no data, not for dark tissue."""
    display.AutoThresholdOff()
    display.SetThreshold(lower, upper)
    display.ApplyThresholdOn()


def show_as_outlines(node: slicer.vtkMRMLSegmentationNode, doubtful: Iterable[str]) -> None:
    """Show outlines with a tinted inside; those of the segments named as doubtful are faint and empty."""
    display = node.GetDisplayNode()
    display.SetVisibility(True)
    display.SetVisibility2DFill(True)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(0.12)
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(2)
    for style in SEGMENTS:
        faint = style.identifier in doubtful
        display.SetSegmentOpacity2DOutline(style.identifier, 0.5 if faint else 1.0)
        display.SetSegmentOpacity2DFill(style.identifier, 0.0 if faint else 1.0)
