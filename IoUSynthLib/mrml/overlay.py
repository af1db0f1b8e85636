"""The uncertainty of a result as a magenta layer over its synthetic images.

A slice view of Slicer 5.10 and later stacks any number of volumes: behind the background and the foreground, which
belongs to the preoperative MRI (:mod:`.compare`), come additional layers. The uncertainty is the first of these, so
that both can be faded on their own.
"""

from __future__ import annotations

import slicer

from .results import find_results
from .views import compared_views

#: Index of the first layer after background, foreground and label map.
LAYER = slicer.vtkMRMLSliceCompositeNode.Layer_Last
#: More than any expected error.
_HIGHEST = 1e6
#: Least expected error that is data; 0 is none.
_LOWEST = 1e-6


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
    display.SetThreshold(max(threshold, _LOWEST), _HIGHEST)
    display.ApplyThresholdOn()
