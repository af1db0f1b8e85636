"""What lies over the images in the module's views: the preoperative MRI, faded in or in the squares of a checkerboard,
the uncertainty of a result, a grey veil where an image was made up, what preoperative MRI has changed in it, and what
samples differ in.

A slice view of Slicer 5.10 and later stacks any number of volumes: behind the background and the foreground, which
belongs to the MRI, come additional layers. These are for veil and uncertainty, so that each can be faded on its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer

from ..constants import FREQUENCY, SPREAD, VEIL_OPACITY
from .grid import Grid
from .provenance import PREFIX
from .results import DIFFERENCE, DISAGREEMENT, NO_ECHO, Result, find_results
from .styles import show_muted
from .transforms import voxels_between
from .views import compared_views
from .write import remove_nodes

#: Index of the first layer after background, foreground and label map.
LAYER = slicer.vtkMRMLSliceCompositeNode.Layer_Last
#: What can lie in these layers, from below, by the attribute ``Output`` of the nodes.
_STACKED = (NO_ECHO, DIFFERENCE, SPREAD, FREQUENCY, "uncertainty", DISAGREEMENT)
#: Opacities of the difference of images with and without MRI, and of the stripes where they disagree.
_DIFFERENCE_OPACITY, _DISAGREEMENT_OPACITY = 0.6, 0.6
#: Opacity of what samples differ in.
_SPREAD_OPACITY = 0.6
#: Node attribute of the volume whose voxels are the MRI's in every other square.
_CHECKERBOARD = PREFIX + "Checkerboard"
#: More than any expected error.
_HIGHEST_ERROR = 1e6
#: Least expected error that is data; 0 is none.
_LEAST_ERROR = 1e-6


def fade_mri(mri_node: slicer.vtkMRMLScalarVolumeNode | None, opacity: float) -> None:
    """Lay the MRI over ultrasound and synthetic MRI in the module's views, with an opacity from 0 to 1."""
    _remove_checkerboard()
    _lay_over(mri_node, opacity)


def show_checkerboard(
    mri_node: slicer.vtkMRMLScalarVolumeNode, ultrasound_node: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode:
    """Show the MRI in every other square of the views of ultrasound and synthetic MRI.

    Slicer blends slices but has no checkerboard of them. So the MRI, as it lies now, is resampled onto the ultrasound's
    grid, and the other squares are cut out by the display's threshold. The volume is neither saved nor listed.
    """
    from ..outputs.drawing import checkerboard

    _remove_checkerboard()
    grid = Grid.of(ultrasound_node)
    parent = ultrasound_node.GetParentTransformNode()
    voxels = voxels_between(mri_node, grid.ijk_to_ras, parent, shape=grid.dimensions[::-1])
    shown = checkerboard(grid.dimensions, grid.spacing)
    lowest = float(voxels.min())
    scene = ultrasound_node.GetScene()
    node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)  # the scene holds it from now on
    node.SetName(f"{mri_node.GetName()} checkerboard")
    node.SetAttribute(_CHECKERBOARD, "true")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    scene.AddNode(node)
    slicer.util.updateVolumeFromArray(node, np.where(shown & (voxels != 0), voxels, lowest - 2).astype(np.float32))
    grid.apply(node)
    node.SetAndObserveTransformNodeID(ultrasound_node.GetTransformNodeID())
    _copy_display(mri_node, node, lowest - 1)
    _lay_over(node, 1.0)
    return node


def _copy_display(
    source: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLScalarVolumeNode, threshold: float
) -> None:
    """Show a volume as another is shown, with voxels below the threshold transparent."""
    node.CreateDefaultDisplayNodes()
    display, example = node.GetDisplayNode(), source.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetInterpolate(False)  # between the shown squares and the others there is nothing to interpolate
    if example is not None:
        display.SetAndObserveColorNodeID(example.GetColorNodeID())
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(example.GetWindowLevelMin(), example.GetWindowLevelMax())
    display.AutoThresholdOff()
    display.SetThreshold(threshold, 1e9)
    display.ApplyThresholdOn()


def _lay_over(node: slicer.vtkMRMLScalarVolumeNode | None, opacity: float) -> None:
    for composite in compared_views():
        composite.SetForegroundVolumeID(None if node is None else node.GetID())
        composite.SetForegroundOpacity(opacity)


def _remove_checkerboard() -> None:
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    remove_nodes(node for node in volumes if node.GetAttribute(_CHECKERBOARD) == "true")


def show_uncertainty(visible: bool, opacity: float, threshold: float) -> None:
    """Lay the uncertainty of each result over its synthetic images in the module's views, or take it away.

    Parameters
    ----------
    visible
        Whether it is shown.
    opacity
        From 0 to 1.
    threshold
        Expected error, as a fraction of the intensity range, below which a voxel is left clear: the model is sure.
    """
    results = find_results(slicer.mrmlScene) if visible else []
    for composite in compared_views():
        background = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        # Over an image that is not the result's, the result's error would be that of another.
        shown = (result for result in results if background in result.outputs.images.values())
        result = next(shown, None)
        uncertainty = result.outputs.uncertainty if result is not None else None
        if uncertainty is not None:
            _hide_below(uncertainty, threshold)
        _stack(composite, "uncertainty", uncertainty, opacity=opacity)


def _hide_below(uncertainty: slicer.vtkMRMLScalarVolumeNode, threshold: float) -> None:
    display = uncertainty.GetDisplayNode()
    display.AutoThresholdOff()
    display.SetThreshold(max(threshold, _LEAST_ERROR), _HIGHEST_ERROR)
    display.ApplyThresholdOn()


def mute(wanted: bool) -> None:
    """Show images that are not to be trusted muted, and what was made up under a veil, or all of them in full.

    Which images are not to be trusted, the reports of their results say. The ultrasound is left as it is.
    """
    results, changed = find_results(slicer.mrmlScene), False
    for result in results:
        muted = wanted and bool(result.report.get("muted"))
        for name, image in result.outputs.images.items():
            for node in (image, result.alternative(name)):
                changed |= node is not None and show_muted(node, muted)
    for composite in compared_views():
        _veil(composite, results if wanted else [])
        if changed:
            composite.Modified()  # for the captions: how an image is shown, the view's own nodes do not tell


def _veil(composite: slicer.vtkMRMLSliceCompositeNode, results: Sequence[Result]) -> None:
    """Lay the veil of the result that an image of a view belongs to over it, or take away what there was."""
    background = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
    result = next((result for result in results if result.contrast_of(background) is not None), None)
    empty = result is None or not result.report.get("quality", {}).get("no_echo")
    _stack(composite, NO_ECHO, None if empty else result.outputs.no_echo, opacity=VEIL_OPACITY)


def show_contribution(*, alternative: bool = False, difference: bool = False) -> None:
    """Choose what the module's views show of images that a model has made with preoperative MRI, or could have.

    Where images with and without MRI disagree about tissue, stripes lie over either.

    Parameters
    ----------
    alternative
        Whether the images are shown that are not the result's: those of ultrasound alone where MRI was used, else those
        with MRI.
    difference
        Whether the difference of the two lies over them.
    """
    results = find_results(slicer.mrmlScene)
    for composite in compared_views():
        background = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        result = next((result for result in results if result.contrast_of(background) is not None), None)
        found = result.outputs.contribution if result is not None else {}
        if found:
            name = result.contrast_of(background)
            image = result.alternative(name) if alternative else result.outputs.images[name]
            composite.SetBackgroundVolumeID(image.GetID())
        disagree = bool(found) and bool(result.report["contribution"]["disagreeing_ml"])
        _stack(composite, DIFFERENCE, found.get(DIFFERENCE) if difference else None, opacity=_DIFFERENCE_OPACITY)
        _stack(composite, DISAGREEMENT, found[DISAGREEMENT] if disagree else None, opacity=_DISAGREEMENT_OPACITY)


def show_spread(kind: str = "") -> None:
    """Lay over a result's images in the module's views what samples differ in: one of ``spread`` (their standard
    deviation) and ``frequency`` (in how many of them there is tumour), or nothing.
    """
    results = find_results(slicer.mrmlScene)
    for composite in compared_views():
        background = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        # As with the uncertainty, not over an image of which they are no samples.
        result = next((result for result in results if background in result.outputs.images.values()), None)
        found = result.outputs.spread if result is not None else {}
        for layer in (SPREAD, FREQUENCY):
            _stack(composite, layer, found.get(layer) if layer == kind else None, opacity=_SPREAD_OPACITY)


def stacked(composite: slicer.vtkMRMLSliceCompositeNode) -> list[slicer.vtkMRMLVolumeNode]:
    """Return what lies in the additional layers of a view, from below."""
    count = composite.GetNumberOfAdditionalLayers()
    return [composite.GetNthLayerVolume(LAYER + number) for number in range(count)]


def _stack(
    composite: slicer.vtkMRMLSliceCompositeNode, kind: str, node: slicer.vtkMRMLScalarVolumeNode | None, *,
    opacity: float,
) -> None:
    """Put a volume among the additional layers in place of what is there of its kind; take that away without one.

    Slicer keeps no empty layers: one that is taken away moves those above it down.
    """
    volumes = stacked(composite)
    layers = [(volume, composite.GetNthLayerOpacity(LAYER + number)) for number, volume in enumerate(volumes)]
    wanted = [(volume, shown) for volume, shown in layers if volume is not None and _kind(volume) != kind]
    wanted += [] if node is None else [(node, opacity)]
    wanted.sort(key=lambda layer: _STACKED.index(_kind(layer[0])) if _kind(layer[0]) in _STACKED else len(_STACKED))
    if wanted == layers:
        return
    for number, (volume, shown) in enumerate(wanted):
        composite.SetNthLayerVolumeID(LAYER + number, volume.GetID())
        composite.SetNthLayerOpacity(LAYER + number, shown)
    for number in reversed(range(len(wanted), len(layers))):
        composite.SetNthLayerVolumeID(LAYER + number, None)


def _kind(volume: slicer.vtkMRMLVolumeNode) -> str:
    return volume.GetAttribute(PREFIX + "Output") or ""
