"""Chains of parent transforms: what lies between two nodes, what lies under a transform, and who writes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..preprocessing import axial
from ..volume import SHEAR_TOLERANCE, Volume
from .grid import FLIP, Grid

#: Singular values of a rigid matrix lie within this of 1: a fifth of a millimetre over a brain.
_RIGID = 1e-3
#: Singular values of an affine registration lie within this of 1; those of a voxel size do not.
_AFFINE = 0.15


def between(
    source: slicer.vtkMRMLTransformNode | None, target: slicer.vtkMRMLTransformNode | None
) -> vtk.vtkGeneralTransform:
    """Return the transform from points under one node to points under another; None is the world."""
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return transform


def linear_between(
    source: slicer.vtkMRMLTransformNode | None, target: slicer.vtkMRMLTransformNode | None
) -> np.ndarray | None:
    """Return the same as a 4x4 matrix (RAS), or None where a transform between the two is not linear."""
    linear = vtk.vtkTransform()
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(between(source, target), linear):
        return None
    return slicer.util.arrayFromVTKMatrix(linear.GetMatrix())


def field_between(
    source: slicer.vtkMRMLTransformNode | None, target: slicer.vtkMRMLTransformNode | None, grid: Volume
) -> np.ndarray:
    """Return :func:`between` as displacements (z, y, x, 3) in mm along LPS at the voxels of a grid under ``source``."""
    ijk = np.indices(grid.array.shape)[::-1].reshape(3, -1)
    points = (grid.ijk_to_lps[:3, :3] @ ijk).T + grid.origin
    flip = FLIP[:3, :3]
    return (mapped(between(source, target), points @ flip) @ flip - points).reshape(*grid.array.shape, 3)


def is_rigid(matrix: np.ndarray) -> bool:
    """Tell whether a 4x4 matrix only turns and shifts."""
    linear = matrix[:3, :3]
    return bool(np.linalg.det(linear) > 0) and np.allclose(np.linalg.svd(linear, compute_uv=False), 1.0, atol=_RIGID)


def scaling_above(
    node: slicer.vtkMRMLVolumeNode, chain: Iterable[slicer.vtkMRMLTransformNode] | None = None
) -> np.ndarray | None:
    """Return the 4x4 matrix (RAS) from a volume's own frame to the world where that is not rigid; else None.

    Then millimetres of the own frame are none of the world: live 3D ultrasound has its voxel size in the transform
    above it. None, too, where the transforms bend, or shear the volume: it is no grid in the world.

    Parameters
    ----------
    chain
        The transforms above the volume, the nearest first; by default those that are there.
    """
    matrix = matrix_above(node, chain)
    return None if matrix is None or is_rigid(matrix) or _shears(node, matrix) else matrix


def stretch_above(
    node: slicer.vtkMRMLVolumeNode, chain: Iterable[slicer.vtkMRMLTransformNode] | None = None
) -> tuple[float, bool]:
    """Return the factor by which transforms change a volume's millilitres that is measured without them.

    And whether that is no more than an affine registration does; 1 and true where it is measured in the world, and
    where a transform bends.
    """
    chain = list(parents(node) if chain is None else chain)
    matrix = matrix_above(node, chain)
    if matrix is None or is_rigid(matrix) or scaling_above(node, chain) is not None:
        return 1.0, True
    values = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    return float(values.prod()), bool(np.abs(values - 1.0).max() <= _AFFINE)


def matrix_above(
    node: slicer.vtkMRMLTransformableNode, chain: Iterable[slicer.vtkMRMLTransformNode] | None = None
) -> np.ndarray | None:
    """Return the 4x4 matrix (RAS) from a node's own frame to the world, or None where a transform above it bends."""
    matrix = np.eye(4)
    for transform in parents(node) if chain is None else chain:
        if not transform.IsLinear():
            return None
        to_parent = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToParent(to_parent)
        matrix = slicer.util.arrayFromVTKMatrix(to_parent) @ matrix
    return matrix


def frame_of(node: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLTransformNode | None:
    """Return the transform under which a volume is measured: the one above it, or None, the world."""
    return None if scaling_above(node) is not None else node.GetParentTransformNode()


def _shears(node: slicer.vtkMRMLVolumeNode, matrix: np.ndarray) -> bool:
    steps = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(steps)
    steps = matrix[:3, :3] @ slicer.util.arrayFromVTKMatrix(steps)[:3, :3]
    axes = steps / np.linalg.norm(steps, axis=0)
    return float(np.abs(axes.T @ axes - np.eye(3)).max()) > SHEAR_TOLERANCE


def mapped(transform: vtk.vtkAbstractTransform, points: np.ndarray) -> np.ndarray:
    """Return (n, 3) points after a transform."""
    return np.array([transform.TransformPoint(point) for point in points.tolist()]).reshape(-1, 3)


def parents(node: slicer.vtkMRMLTransformableNode) -> Iterator[slicer.vtkMRMLTransformNode]:
    """Give the transforms above a node, the nearest first."""
    parent = node.GetParentTransformNode()
    while parent is not None:
        yield parent
        parent = parent.GetParentTransformNode()


def parents_at(
    proxy: slicer.vtkMRMLTransformableNode, browser: slicer.vtkMRMLSequenceBrowserNode, index_value: str
) -> Iterator[slicer.vtkMRMLTransformNode]:
    """Give the transforms above a proxy, each as the browser would show it at an index value."""
    for transform in parents(proxy):
        sequence = browser.GetSequenceNode(transform) if browser.IsProxyNodeID(transform.GetID()) else None
        recorded = sequence.GetDataNodeAtValue(index_value, False) if sequence is not None else None
        yield recorded if recorded is not None else transform


def snapshot(chain: Iterable[slicer.vtkMRMLTransformNode]) -> list[dict[str, Any]]:
    """Return what a report says of transforms as they are now, in the given order.

    Of each its name, identifier and kind, and whether a tracker or a replay writes to it; of a linear one the 4x4
    matrix to its parent (RAS millimetres), row by row. One that bends is named by its VTK class alone: its points can
    be many millions, and they are in the saved scene.
    """
    return [_described(transform) for transform in chain]


def _described(transform: slicer.vtkMRMLTransformNode) -> dict[str, Any]:
    description = {"name": transform.GetName(), "node_id": transform.GetID(), "kind": "linear"}
    if transform.GetScene() is not None:
        description["driven"] = is_driven(transform)
    if not transform.IsLinear():
        return description | {"kind": transform.GetTransformToParent().GetClassName()}
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToParent(matrix)
    return description | {"matrix_ras": slicer.util.arrayFromVTKMatrix(matrix).tolist()}


def children(
    scene: slicer.vtkMRMLScene, parent: slicer.vtkMRMLTransformNode | None
) -> list[slicer.vtkMRMLTransformableNode]:
    """Return the nodes directly under a transform, or those under none."""
    nodes = (scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes()))
    return [
        node for node in nodes if node.IsA("vtkMRMLTransformableNode") and node.GetParentTransformNode() is parent
    ]


def is_driven(transform: slicer.vtkMRMLTransformNode) -> bool:
    """Tell whether a tracker (OpenIGTLink) or the replay of a sequence writes to a transform."""
    scene = transform.GetScene()
    for connector in _nodes(scene, "vtkMRMLIGTLConnectorNode"):  # of the extension SlicerOpenIGTLink
        count = connector.GetNumberOfIncomingMRMLNodes()
        if any(connector.GetIncomingMRMLNode(index) is transform for index in range(count)):
            return True
    browsers = _nodes(scene, "vtkMRMLSequenceBrowserNode")
    return any(browser.IsProxyNodeID(transform.GetID()) for browser in browsers)


def _nodes(scene: slicer.vtkMRMLScene, class_name: str) -> list[slicer.vtkMRMLNode]:
    return [scene.GetNthNodeByClass(index, class_name) for index in range(scene.GetNumberOfNodesByClass(class_name))]


def voxels_between(
    node: slicer.vtkMRMLVolumeNode,
    ijk_to_ras: np.ndarray,
    frame: slicer.vtkMRMLTransformNode | None,
    *,
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Resample a volume node through all transforms between it and a grid.

    Parameters
    ----------
    node
        Scalar volume.
    ijk_to_ras
        4x4 matrix of the grid in its own frame.
    frame
        The transform above the grid; None for the world.
    shape
        Voxels of the grid (z, y, x).

    Returns
    -------
    numpy.ndarray
        float32 ``[z, y, x]``, linearly interpolated; 0 where the node has no data.
    """
    ras_to_ijk = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(ras_to_ijk)
    steps = vtk.vtkGeneralTransform()
    steps.PostMultiply()
    steps.Concatenate(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    steps.Concatenate(between(frame, node.GetParentTransformNode()))
    steps.Concatenate(ras_to_ijk)
    image = vtk.vtkImageData()  # in voxels: a node's image carries no geometry
    image.ShallowCopy(node.GetImageData())
    image.SetSpacing(1.0, 1.0, 1.0)
    image.SetOrigin(0.0, 0.0, 0.0)
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(steps)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputScalarType(vtk.VTK_FLOAT)
    reslice.SetOutputSpacing(1.0, 1.0, 1.0)
    reslice.SetOutputOrigin(0.0, 0.0, 0.0)
    reslice.SetOutputExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    reslice.Update()
    scalars = numpy_support.vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars())
    return scalars.reshape(*shape, -1)[..., 0].copy()


def to_world(node: slicer.vtkMRMLVolumeNode) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from voxel indices of a node to world coordinates, through all its parents."""
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, transform)
    ijk_to_ras = Grid.of(node).ijk_to_ras

    def moved(ijk: np.ndarray) -> np.ndarray:
        return np.array(transform.TransformPoint(ijk_to_ras[:3, :3] @ ijk + ijk_to_ras[:3, 3]))

    return moved


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
    flip = FLIP[:3, :3]
    steps = flip @ to_input[:3, :3] @ flip @ steps
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
    grid = axial(Volume(np.zeros((1, 1, 1)), node.GetSpacing(), direction=FLIP[:3, :3] @ direction))
    return grid.direction * np.asarray(grid.spacing)
