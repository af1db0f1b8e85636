"""What lies over the images in the module's views: the preoperative MRI, faded in or in the squares of a checkerboard,
and the uncertainty of a result.

A slice view of Slicer 5.10 and later stacks any number of volumes: behind the background and the foreground, which
belongs to the MRI, come additional layers. The uncertainty is the first of these, so that both can be faded on their
own.
"""

from __future__ import annotations

import numpy as np
import slicer

from .grid import Grid
from .provenance import PREFIX
from .results import find_results
from .transforms import voxels_between
from .views import compared_views
from .write import remove_nodes

#: Index of the first layer after background, foreground and label map.
LAYER = slicer.vtkMRMLSliceCompositeNode.Layer_Last
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
        result = next((result for result in results if result.holds(background)), None)
        uncertainty = result.outputs.uncertainty if result is not None else None
        if uncertainty is not None and uncertainty is not background:
            _hide_below(uncertainty, threshold)
            composite.SetNthLayerOpacity(LAYER, opacity)
            composite.SetNthLayerVolumeID(LAYER, uncertainty.GetID())
        elif composite.GetNumberOfAdditionalLayers() > 0:
            composite.SetNthLayerVolumeID(LAYER, None)


def _hide_below(uncertainty: slicer.vtkMRMLScalarVolumeNode, threshold: float) -> None:
    display = uncertainty.GetDisplayNode()
    display.AutoThresholdOff()
    display.SetThreshold(max(threshold, _LEAST_ERROR), _HIGHEST_ERROR)
    display.ApplyThresholdOn()
