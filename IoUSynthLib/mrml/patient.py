"""The patient's axes in the coordinates of the ultrasound node, for models that were trained on the MRI's grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import vtk

from ..preprocessing import axial
from ..volume import Volume
from .transforms import frame_of, linear_between

_FLIP = np.diag([-1.0, -1.0, 1.0])


def patient_grid(
    input_node: slicer.vtkMRMLScalarVolumeNode,
    mri_node: slicer.vtkMRMLScalarVolumeNode | None,
    spacing: Sequence[float],
) -> tuple[Volume | None, tuple[str, ...]]:
    """Express the preoperative MRI's grid in the coordinates that the ultrasound node is measured in.

    Parameters
    ----------
    input_node
        The ultrasound; a tracker's transform may lie above it.
    mri_node
        The MRI. Without one, the axes are those of the world, which are the patient's in Slicer.
    spacing
        Voxel size (x, y, z) in mm without an MRI: the model's own.

    Returns
    -------
    tuple
        A volume for ``pipeline.synthesize(..., mr_grid=...)``, and notes for the report. Where the transforms between
        the two are not linear, which a grid cannot follow, None and a note.
    """
    above = mri_node.GetParentTransformNode() if mri_node is not None else None
    to_input = linear_between(above, frame_of(input_node))
    if to_input is None:
        what = "patient" if mri_node is None else f'preoperative MRI "{mri_node.GetName()}"'
        note = (
            f"Non-linear transforms lie between the {what} and the ultrasound: the model ran along the axes of the "
            "ultrasound's own coordinates, at its own voxel size."
        )
        return None, (note,)
    steps = np.diag(np.asarray(spacing, dtype=np.float64)) if mri_node is None else _axial_steps(mri_node)
    steps = _FLIP @ to_input[:3, :3] @ _FLIP @ steps
    lengths = np.linalg.norm(steps, axis=0)
    left, _, right = np.linalg.svd(steps / lengths)  # the nearest right-angled frame, should a transform shear
    return Volume(np.zeros((1, 1, 1)), tuple(lengths), direction=left @ right), ()


def _axial_steps(node: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """Return the steps from voxel to voxel as columns, LPS in the node's own frame, ordered to make slices axial.

    The order is found in the frame of the scan: under a transform "axial" may mean anything.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(matrix)
    direction = np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
    grid = axial(Volume(np.zeros((1, 1, 1)), node.GetSpacing(), direction=_FLIP @ direction))
    return grid.direction * np.asarray(grid.spacing)
