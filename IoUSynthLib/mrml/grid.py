"""The voxel grid of a volume node, bit by bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import vtk

from ..constants import RAS_TO_LPS

if TYPE_CHECKING:
    import slicer

#: From the coordinates of Slicer to those of :class:`~IoUSynthLib.volume.Volume`, and back.
FLIP = np.diag([*RAS_TO_LPS, 1.0])


@dataclass(frozen=True)
class Grid:
    """The voxel grid of a volume node in the node's own RAS frame, kept exactly as the node stores it.

    ``vtkMRMLVolumeNode.CopyOrientation`` goes through the IJK-to-RAS matrix and rounds; this copies its three parts.
    """

    dimensions: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, node: slicer.vtkMRMLVolumeNode) -> Grid:
        """Return the grid of a volume node that has voxels."""
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASDirectionMatrix(matrix)
        direction = tuple(tuple(matrix.GetElement(row, column) for column in range(3)) for row in range(3))
        return cls(node.GetImageData().GetDimensions(), node.GetSpacing(), node.GetOrigin(), direction)

    def apply(self, node: slicer.vtkMRMLVolumeNode) -> None:
        """Give a volume node this geometry; its voxels must have the same dimensions."""
        matrix = vtk.vtkMatrix4x4()
        for row in range(3):
            for column in range(3):
                matrix.SetElement(row, column, self.direction[row][column])
        node.SetIJKToRASDirectionMatrix(matrix)
        node.SetSpacing(*self.spacing)
        node.SetOrigin(*self.origin)

    @property
    def ijk_to_ras(self) -> np.ndarray:
        """4x4 matrix from voxel indices to the node's own RAS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction) * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix
