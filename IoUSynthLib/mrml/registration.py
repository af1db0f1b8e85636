"""Registrations of the scene: what can move along with an MRI, the transform that a registration made, its end.

A registration is a transform of its own above the MRI; what the scene's other transforms do is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..files.names import contrast_of_name, has_agent
from ..volume import InputError
from . import transforms
from .grid import FLIP, Grid
from .provenance import PREFIX, is_synthetic
from .read import guess_inputs
from .write import remove_nodes

if TYPE_CHECKING:
    from ..registration.deformable import Deformation

#: Node attribute of the transforms that a registration made: "linear" or "deformation".
KIND = PREFIX + "Registration"
#: From a registration's linear transform to its deformation.
DEFORMATION_ROLE = PREFIX + "deformation"
#: Node attribute of a registration: where it puts the corners of the ultrasound, in the frame of the MRI.
_CORNERS = PREFIX + "Corners"

#: Why no MRI of a scene can be read beside an ultrasound (:func:`usable_mri`).
NO_MRI, NOT_REGISTERED, NOT_AGREED, MOVED = "no MRI", "not registered", "not agreed", "moved"
#: The corners of an ultrasound that have moved by more than this, in mm, no longer lie where they were registered.
_STILL_MM = 0.5

_CARRIED = ("vtkMRMLModelNode", "vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode", "vtkMRMLLabelMapVolumeNode")


def companions(
    mri_node: slicer.vtkMRMLScalarVolumeNode, ultrasound_node: slicer.vtkMRMLScalarVolumeNode | None = None
) -> list[slicer.vtkMRMLTransformableNode]:
    """Return what can move along with an MRI: other MRI, models, segmentations and markups under its transform.

    What was made from the ultrasound, or drawn on it, is left out.
    """
    own = (mri_node, ultrasound_node)
    return [
        node
        for node in transforms.children(mri_node.GetScene(), mri_node.GetParentTransformNode())
        if node not in own
        and not node.GetHideFromEditors()
        and not is_synthetic(node)
        and (is_image(node) or any(node.IsA(kind) for kind in _CARRIED))
        and not _drawn_on(node, ultrasound_node)
    ]


def latest(mri_node: slicer.vtkMRMLScalarVolumeNode | None) -> slicer.vtkMRMLTransformNode | None:
    """Return the newest registration among the transforms above an MRI; None where there is none."""
    found = {node.GetID() for node in _above(mri_node) if node.GetAttribute(KIND) == "linear"}
    scene = mri_node.GetScene() if found else None
    nodes = [] if scene is None else [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return next((node for node in reversed(nodes) if node.GetID() in found), None)


def keep_place(
    transform_node: slicer.vtkMRMLTransformNode, ultrasound_node: slicer.vtkMRMLScalarVolumeNode,
    mri_node: slicer.vtkMRMLScalarVolumeNode,
) -> None:
    """Write on a registration where ultrasound and MRI lie to each other now that it is made."""
    transform_node.SetAttribute(_CORNERS, json.dumps(_corners(ultrasound_node, mri_node).tolist()))


def usable_mri(
    ultrasound_node: slicer.vtkMRMLScalarVolumeNode, contrasts: Collection[str]
) -> tuple[dict[str, slicer.vtkMRMLScalarVolumeNode], str]:
    """Return MRI that a model can read beside an ultrasound, by contrast, or why there is none.

    That is MRI whose newest registration is to this ultrasound, agrees, and still holds. All of it is under one
    transform.
    """
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    found = [node for node in volumes if node is not ultrasound_node and is_image(node)]
    found = [node for node in found if _contrast_with_agent(node) in contrasts]
    reasons = {node: _why_unusable(node, ultrasound_node) for node in found}
    groups: dict[str, dict[str, slicer.vtkMRMLScalarVolumeNode]] = {}
    for node in found:
        if not reasons[node]:
            groups.setdefault(node.GetTransformNodeID(), {})[_contrast_with_agent(node)] = node
    if groups:
        return max(groups.values(), key=len), ""
    return {}, next((reason for reason in (MOVED, NOT_AGREED, NOT_REGISTERED) if reason in reasons.values()), NO_MRI)


def _contrast_with_agent(node: slicer.vtkMRMLNode) -> str:
    contrast = contrast_of(node)
    return "ceT1" if contrast == "T1w" and has_agent(node.GetName()) else contrast


def _why_unusable(
    mri_node: slicer.vtkMRMLScalarVolumeNode, ultrasound_node: slicer.vtkMRMLScalarVolumeNode
) -> str:
    transform = latest(mri_node)
    if transform is None or transform.GetNodeReference(transform.GetFixedNodeReferenceRole()) is not ultrasound_node:
        return NOT_REGISTERED
    if transform.GetAttribute(PREFIX + "Verdict") != "agrees":
        return NOT_AGREED
    corners = json.loads(transform.GetAttribute(_CORNERS) or "null")
    if corners is None or ultrasound_node.GetImageData() is None:  # of an earlier version's scene, or being loaded
        return NOT_REGISTERED
    moved = np.linalg.norm(_corners(ultrasound_node, mri_node) - corners, axis=1).max()
    return MOVED if moved > _STILL_MM else ""


def _corners(
    ultrasound_node: slicer.vtkMRMLScalarVolumeNode, mri_node: slicer.vtkMRMLScalarVolumeNode
) -> np.ndarray:
    """The corners (8, 3) of an ultrasound, RAS in the frame of the transform above an MRI."""
    grid = Grid.of(ultrasound_node)
    ijk = np.array(np.meshgrid(*((0, length - 1) for length in grid.dimensions))).reshape(3, -1)
    points = (grid.ijk_to_ras[:3, :3] @ ijk).T + grid.ijk_to_ras[:3, 3]
    frames = (ultrasound_node.GetParentTransformNode(), mri_node.GetParentTransformNode())
    return transforms.mapped(transforms.between(*frames), points)


def undo(transform_node: slicer.vtkMRMLTransformNode) -> None:
    """Take a registration out of the scene: what it moved lies again where it lay, under the parent it had."""
    deformation = transform_node.GetNodeReference(DEFORMATION_ROLE)
    take_out(transform_node)
    if deformation is not None:
        take_out(deformation)


def take_out(node: slicer.vtkMRMLTransformNode) -> None:
    for child in transforms.children(node.GetScene(), node):
        child.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    remove_nodes([node])


def _above(node: slicer.vtkMRMLTransformableNode | None) -> Iterable[slicer.vtkMRMLTransformNode]:
    return () if node is None or node.GetScene() is None else transforms.parents(node)


def is_image(node: slicer.vtkMRMLNode) -> bool:
    """Tell whether a node is an MRI, by its name."""
    return bool(node.IsA("vtkMRMLScalarVolumeNode")) and guess_inputs([node])[1] is node


def contrast_of(node: slicer.vtkMRMLNode) -> str:
    contrast = contrast_of_name(node.GetName() or "")
    return "MRI" if contrast == "none" else contrast


def _drawn_on(node: slicer.vtkMRMLNode, ultrasound_node: slicer.vtkMRMLNode | None) -> bool:
    if not node.IsA("vtkMRMLSegmentationNode"):
        return False
    image = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    return image is not None and (image is ultrasound_node or is_synthetic(image))


def matrix_to_frame(
    ultrasound_node: slicer.vtkMRMLScalarVolumeNode, above: slicer.vtkMRMLTransformNode | None, rigid: bool
) -> np.ndarray:
    """Return the 4x4 matrix (RAS) from the ultrasound's own frame to that of the new transform, or refuse."""
    matrix = transforms.linear_between(transforms.frame_of(ultrasound_node), above)
    name = f'volume "{ultrasound_node.GetName()}"'
    if matrix is None:
        raise InputError(
            f"{name}: a non-linear transform lies between it and the MRI's place; let all that is under that transform "
            "move along, or harden it on a copy"
        )
    if rigid and not transforms.is_rigid(matrix):
        raise InputError(f"{name}: lies under a transform that scales or shears; register without deformation")
    return matrix


def world_points(node: slicer.vtkMRMLMarkupsNode) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return RAS points (n, 3) in world coordinates, NaN for those that are not placed, and their labels."""
    count, position = node.GetNumberOfControlPoints(), [0.0, 0.0, 0.0]
    points = np.full((count, 3), np.nan)
    for index in range(count):
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
            node.GetNthControlPointPositionWorld(index, position)
            points[index] = position
    return points, tuple(node.GetNthControlPointLabel(index) for index in range(count))


def grid_transform(deformation: Deformation, to_frame: np.ndarray) -> slicer.vtkOrientedGridTransform:
    """Return the displacement field (LPS, in the ultrasound's frame) as Slicer holds it (RAS, under the transform)."""
    grid, turn = deformation.grid, (to_frame @ FLIP)[:3, :3]
    image = vtk.vtkImageData()
    image.SetDimensions(*grid.size)
    image.SetSpacing(*grid.spacing)
    image.SetOrigin(*(to_frame @ FLIP @ [*grid.origin, 1.0])[:3])
    vectors = np.ascontiguousarray(deformation.field.reshape(-1, 3) @ turn.T)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(vectors, deep=True))
    direction = np.eye(4)
    direction[:3, :3] = turn @ grid.direction
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(direction))
    transform.SetDisplacementGridData(image)
    transform.SetInterpolationModeToCubic()  # as Slicer does with one that it has read from a file
    return transform
