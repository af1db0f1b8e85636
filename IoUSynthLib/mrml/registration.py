"""Registration of nodes of the scene: from nodes to the search, and its answer as a new transform above the MRI.

The search runs in the ultrasound's own frame and the MRI's own, or in the world where a transform above one scales, so
that no voxel is interpolated for it; the rigid chain of transforms between the two is where it starts. Where that chain
is not rigid, the MRI is resampled as it lies. The answer becomes a transform of its own; what the scene's other
transforms do is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..files.names import contrast_of_name
from ..synthesis.report import add_warnings
from ..volume import InputError, Volume
from . import transforms
from .nodes import INPUT_ROLE, PREFIX, guess_inputs, is_synthetic, remove_nodes, volume_from_node
from .views import segment_mask

if TYPE_CHECKING:
    from ..registration.deformable import Deformation
    from ..worker.parent import Registered

#: Node attribute of the transforms that a registration made: "linear" or "deformation".
KIND = PREFIX + "Registration"
#: From a registration's linear transform to its deformation.
DEFORMATION_ROLE = PREFIX + "deformation"

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # between RAS and LPS
#: An MRI that is resampled covers the ultrasound and this much round it, in mm: what the search can reach.
_MARGIN_MM = 25.0
_CARRIED = ("vtkMRMLModelNode", "vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode", "vtkMRMLLabelMapVolumeNode")


@dataclass
class RegistrationJob:
    """One registration, from the click to its transform.

    Attributes
    ----------
    mri_node, ultrasound_node
        What is moved, and onto what.
    synthetic_nodes
        Synthetic MRI of this ultrasound by contrast.
    carried_nodes
        What moves along; some of :func:`companions`. MRI of another contrast takes part in the search.
    segmentation_node
        The synthetic segmentation, whose cavity the deformation leaves out.
    affine, deformable
        See :func:`registration.register`.
    landmark_nodes
        Point lists of the MRI and of the ultrasound, which correspond by their order.
    transform_node
        After the end: the new transform; None where the registration failed, which leaves the scene as it was.
    report
        That of :func:`registration.register`, empty before the end.
    """

    mri_node: slicer.vtkMRMLScalarVolumeNode
    ultrasound_node: slicer.vtkMRMLScalarVolumeNode
    synthetic_nodes: dict[str, slicer.vtkMRMLScalarVolumeNode]
    carried_nodes: Sequence[slicer.vtkMRMLTransformableNode] = ()
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None
    affine: bool = False
    deformable: bool = False
    landmark_nodes: tuple[slicer.vtkMRMLMarkupsNode, slicer.vtkMRMLMarkupsNode] | None = None
    transform_node: slicer.vtkMRMLTransformNode | None = None
    cancelled: bool = False
    report: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what is to be said beside the report
    initial: np.ndarray | None = None  # where the search starts; None where the MRI is resampled

    def prepare(self) -> dict[str, Any]:
        """Return the arguments of ``Worker.submit_registration``.

        Raises
        ------
        InputError
            Something is missing or cannot be used; says what to do.
        """
        from ..registration.inputs import check_is_mri

        self.notes = []
        self._check_nodes()
        self.initial = self._start()
        ultrasound = volume_from_node(self.ultrasound_node)
        moving = {_contrast(self.mri_node): self.mri_node}
        for node in self.carried_nodes:
            if _is_image(node) and _contrast(node) in self.synthetic_nodes:
                moving.setdefault(_contrast(node), node)
        images = {name: self._image(node, ultrasound) for name, node in moving.items()}
        initial = None if self.initial is None else _FLIP @ self.initial @ _FLIP
        for name, image in images.items():
            check_is_mri(image, ultrasound, f'volume "{moving[name].GetName()}"', initial)
        return {
            "moving": images,
            "ultrasound": ultrasound,
            "synthetic": {name: volume_from_node(node) for name, node in self.synthetic_nodes.items()},
            "cavity": self._cavity(ultrasound) if self.deformable else None,
            "affine": self.affine,
            "deformable": self.deformable,
            "landmarks": self._landmarks(),
            "initial": initial,
        }

    def _check_nodes(self) -> None:
        mri, ultrasound = self.mri_node, self.ultrasound_node
        if mri is None or ultrasound is None:
            raise InputError("registration: needs a preoperative MRI and an ultrasound volume; choose both")
        if mri is ultrasound or is_synthetic(mri):
            raise InputError(f'volume "{mri.GetName()}": is not a preoperative MRI; choose another')
        stale = [node for node in self.synthetic_nodes.values() if node.GetNodeReference(INPUT_ROLE) is not ultrasound]
        if stale or not self.synthetic_nodes:
            raise InputError(f'volume "{ultrasound.GetName()}": has no synthetic MRI; synthesize it first')
        for node in self.synthetic_nodes.values():
            if node.GetTransformNodeID() != ultrasound.GetTransformNodeID():
                raise InputError(f'volume "{node.GetName()}": is not under the ultrasound\'s transform; undo that')
        for node in self.carried_nodes:
            if node.GetParentTransformNode() is not mri.GetParentTransformNode():
                raise InputError(f'"{node.GetName()}": is not under the MRI\'s transform; leave it out')
        _to_frame(ultrasound, self._target()[1], self.deformable)

    def _start(self) -> np.ndarray | None:
        """Return the matrix (RAS) from the ultrasound's frame to that of the MRI, or None if it is not rigid."""
        start = transforms.linear_between(
            transforms.frame_of(self.ultrasound_node), transforms.frame_of(self.mri_node)
        )
        return start if start is not None and transforms.is_rigid(start) else None

    def _image(self, node: slicer.vtkMRMLScalarVolumeNode, ultrasound: Volume) -> Volume:
        volume = volume_from_node(node)
        if self.initial is not None:
            return volume
        spacing = min(volume.spacing)
        steps = np.ceil(_MARGIN_MM / spacing) * np.ones(3)
        size = np.ceil(np.array(ultrasound.size) * ultrasound.spacing / spacing) + 2 * steps
        origin = ultrasound.origin - ultrasound.direction @ (steps * spacing)
        shape = tuple(int(length) for length in size[::-1])
        frame = transforms.frame_of(self.ultrasound_node)
        grid = Volume(np.broadcast_to(np.float32(0), shape), (spacing,) * 3, tuple(origin), ultrasound.direction)
        return grid.with_array(transforms.voxels_between(node, _FLIP @ grid.ijk_to_lps, frame, shape))

    def _cavity(self, ultrasound: Volume) -> Volume | None:
        segmentation = self.segmentation_node
        if segmentation is None or segmentation.GetNodeReference(INPUT_ROLE) is not self.ultrasound_node:
            return None
        mask = segment_mask(segmentation, self.ultrasound_node, "cavity")
        return ultrasound.with_array(mask.astype(np.uint8)) if mask.any() else None

    def _landmarks(self) -> tuple[np.ndarray, np.ndarray] | None:
        if self.landmark_nodes is None:
            return None
        from ..registration.landmarks import Landmarks, pair

        above_mri = self.ultrasound_node if self.initial is None else self.mri_node
        frames = [transforms.frame_of(node) for node in (above_mri, self.ultrasound_node)]
        sets = []
        for node, above in zip(self.landmark_nodes, frames, strict=True):
            points, labels = _world_points(node)
            placed = np.isfinite(points).all(axis=1)
            points[placed] = transforms.mapped(transforms.between(None, above), points[placed]) @ _FLIP[:3, :3]
            sets.append(Landmarks(points, labels))
        names = " and ".join(f'"{node.GetName()}"' for node in self.landmark_nodes)
        return pair(*sets, name=f"landmarks {names}", say=self.notes.append)

    def _target(self) -> tuple[list[slicer.vtkMRMLTransformableNode], slicer.vtkMRMLTransformNode | None]:
        """Return the nodes that get the new transform as their parent, and what is above it.

        That is the top of the MRI's chain, as far as all that hangs under the chain is to move and no tracker drives
        it. Otherwise the new transform comes directly above the MRI and what it carries along.
        """
        moved, parent = [self.mri_node, *self.carried_nodes], self.mri_node.GetParentTransformNode()
        while parent is not None and not transforms.is_driven(parent):
            under = transforms.children(self.mri_node.GetScene(), parent)
            if any(node not in moved for node in under):
                break
            moved, parent = [parent], parent.GetParentTransformNode()
        return moved, parent

    def problem(self) -> str:
        """Say what has changed in the scene so that the answer cannot be used, or return the empty text."""
        nodes = {"preoperative MRI": self.mri_node, "ultrasound": self.ultrasound_node}
        for name, node in nodes.items():
            if node.GetScene() is None:
                return f"The {name} was removed during the registration; choose another and start again."
        return ""

    def add(self, result: Registered) -> None:
        """Put the answer into the scene, unless the registration failed.

        Raises
        ------
        InputError
            A transform was bent meanwhile. Nothing is then changed; the same holds for any other failure.
        """
        self.report = result.report
        add_warnings(self.report, self.notes)
        if result.report["verdict"] == "failed":
            return
        present = [node for node in self.carried_nodes if node.GetScene() is not None]
        parent = self.mri_node.GetParentTransformNode()
        self.carried_nodes = [node for node in present if node.GetParentTransformNode() is parent]
        moved, above = self._target()
        to_frame = _to_frame(self.ultrasound_node, above, result.deformation is not None)
        start = np.eye(4) if self.initial is None else self._start()  # a tracker may have moved on
        if start is None:
            raise InputError("the transforms above MRI and ultrasound are no longer rigid")
        answer = np.linalg.inv(start) @ _FLIP @ result.matrix @ _FLIP
        matrix = to_frame @ np.linalg.inv(answer) @ np.linalg.inv(to_frame)
        created: list[slicer.vtkMRMLTransformNode] = []
        try:
            linear = self._add_transform("vtkMRMLLinearTransformNode", "linear", created)
            linear.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
            linear.SetAndObserveTransformNodeID(above.GetID() if above is not None else None)
            if result.deformation is not None:
                grid = self._add_transform("vtkMRMLGridTransformNode", "deformation", created)
                grid.SetAndObserveTransformFromParent(_grid_transform(result.deformation, to_frame))
                grid.SetAndObserveTransformNodeID(linear.GetTransformNodeID())
                linear.SetAndObserveTransformNodeID(grid.GetID())
                linear.SetNodeReferenceID(DEFORMATION_ROLE, grid.GetID())
            for node in moved:
                node.SetAndObserveTransformNodeID(linear.GetID())
        except Exception:
            for node in created:
                _take_out(node)
            raise
        self.transform_node = linear

    def _add_transform(
        self, class_name: str, kind: str, created: list[slicer.vtkMRMLTransformNode]
    ) -> slicer.vtkMRMLTransformNode:
        """Add a transform named From-To that says what it was made from."""
        scene, part = self.mri_node.GetScene(), " deformation" if kind == "deformation" else ""
        name = f"{self.mri_node.GetName()} to {self.ultrasound_node.GetName()}{part} (IoUSynth)"
        node = scene.CreateNodeByClass(class_name)
        node.UnRegister(None)  # the scene holds it from now on
        node.SetName(scene.GenerateUniqueName(name) if scene.GetFirstNodeByName(name) is not None else name)
        node.SetAttribute(KIND, kind)
        node.SetAttribute(PREFIX + "Verdict", self.report["verdict"])
        node.SetAttribute(PREFIX + "Report", json.dumps(self.report, sort_keys=True, default=str))
        scene.AddNode(node)
        created.append(node)
        node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), self.mri_node.GetID())
        node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), self.ultrasound_node.GetID())
        return node


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
        and (_is_image(node) or any(node.IsA(kind) for kind in _CARRIED))
        and not _drawn_on(node, ultrasound_node)
    ]


def latest(mri_node: slicer.vtkMRMLScalarVolumeNode | None) -> slicer.vtkMRMLTransformNode | None:
    """Return the newest registration among the transforms above an MRI; None where there is none."""
    found = {node.GetID() for node in _above(mri_node) if node.GetAttribute(KIND) == "linear"}
    scene = mri_node.GetScene() if found else None
    nodes = [] if scene is None else [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return next((node for node in reversed(nodes) if node.GetID() in found), None)


def undo(transform_node: slicer.vtkMRMLTransformNode) -> None:
    """Take a registration out of the scene: what it moved lies again where it lay, under the parent it had."""
    deformation = transform_node.GetNodeReference(DEFORMATION_ROLE)
    _take_out(transform_node)
    if deformation is not None:
        _take_out(deformation)


def _take_out(node: slicer.vtkMRMLTransformNode) -> None:
    for child in transforms.children(node.GetScene(), node):
        child.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    remove_nodes([node])


def _above(node: slicer.vtkMRMLTransformableNode | None) -> Iterable[slicer.vtkMRMLTransformNode]:
    return () if node is None or node.GetScene() is None else transforms.parents(node)


def _is_image(node: slicer.vtkMRMLNode) -> bool:
    """Tell whether a node is an MRI, by its name."""
    return bool(node.IsA("vtkMRMLScalarVolumeNode")) and guess_inputs([node])[1] is node


def _contrast(node: slicer.vtkMRMLNode) -> str:
    contrast = contrast_of_name(node.GetName() or "")
    return "MRI" if contrast == "none" else contrast


def _drawn_on(node: slicer.vtkMRMLNode, ultrasound_node: slicer.vtkMRMLNode | None) -> bool:
    if not node.IsA("vtkMRMLSegmentationNode"):
        return False
    image = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    return image is not None and (image is ultrasound_node or is_synthetic(image))


def _to_frame(
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


def _world_points(node: slicer.vtkMRMLMarkupsNode) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return RAS points (n, 3) in world coordinates, NaN for those that are not placed, and their labels."""
    count, position = node.GetNumberOfControlPoints(), [0.0, 0.0, 0.0]
    points = np.full((count, 3), np.nan)
    for index in range(count):
        if node.GetNthControlPointPositionStatus(index) == node.PositionDefined:
            node.GetNthControlPointPositionWorld(index, position)
            points[index] = position
    return points, tuple(node.GetNthControlPointLabel(index) for index in range(count))


def _grid_transform(deformation: Deformation, to_frame: np.ndarray) -> slicer.vtkOrientedGridTransform:
    """Return the displacement field (LPS, in the ultrasound's frame) as Slicer holds it (RAS, under the transform)."""
    grid, turn = deformation.grid, (to_frame @ _FLIP)[:3, :3]
    image = vtk.vtkImageData()
    image.SetDimensions(*grid.size)
    image.SetSpacing(*grid.spacing)
    image.SetOrigin(*(to_frame @ _FLIP @ [*grid.origin, 1.0])[:3])
    vectors = np.ascontiguousarray(deformation.field.reshape(-1, 3) @ turn.T)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(vectors, deep=True))
    direction = np.eye(4)
    direction[:3, :3] = turn @ grid.direction
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(direction))
    transform.SetDisplacementGridData(image)
    transform.SetInterpolationModeToCubic()  # as Slicer does with one that it has read from a file
    return transform
