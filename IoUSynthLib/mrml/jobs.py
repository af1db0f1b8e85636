"""The jobs that begin and end with nodes of the scene: each reads its nodes, gives them to the child process, and puts
what comes back into the scene. All have the shape of :class:`IoUSynthLib.worker.jobs.Job`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from ..input_checks import check_ultrasound
from ..models.bundle import DEFAULT_GENERATOR, load
from ..outputs.summary import Outcome
from ..pipeline import Options, SynthesisResult
from ..synthesis.preoperative import Preoperative, image_sha256
from ..synthesis.report import add_warnings
from ..volume import InputError, Volume
from ..worker.jobs import Job, Queue, QueuedJob
from . import registration, transforms
from .grid import FLIP, Grid
from .provenance import INPUT_ROLE, PREFIX, is_synthetic
from .read import check_measurable, volume_from_node
from .results import OutputNodes, segment_mask
from .sequences import SequenceOutputs, sequence_of
from .write import add_result

if TYPE_CHECKING:
    from ..doctor import Finding
    from ..worker.messages import Registered
    from ..worker.parent import Worker

#: Distance in mm at which transforms that bend are sampled: a registration bends over 25 mm.
_FIELD_MM = 5.0
#: An MRI that is resampled covers the ultrasound and this much round it, in mm: what the search can reach.
_MARGIN_MM = 25.0


# --- Synthesis --------------------------------------------------------------------------------------------------------


@dataclass
class SynthesisJob(Job):
    """One synthesis, from the click to its nodes.

    Attributes
    ----------
    input_node, preoperative_node
        The ultrasound, and the MRI that is shown beside the result and whose grid some models take.
    options
        What was chosen; the MRI's grid is put in its place.
    mri_nodes
        MRI, by contrast, that a model reads beside the ultrasound (:func:`.registration.usable_mri`).
    outputs
        Before the end: the nodes to fill again. After it: the nodes of the result.
    grid
        The input's grid when its voxels were read.
    source
        What the report says of the nodes, as they were then.
    report
        The report of the result, empty before the end.
    """

    input_node: slicer.vtkMRMLScalarVolumeNode
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None = None
    options: Options = field(default_factory=Options)
    outputs: OutputNodes | None = None
    mri_nodes: dict[str, slicer.vtkMRMLScalarVolumeNode] = field(default_factory=dict)
    grid: Grid | None = field(default=None, init=False)
    source: dict[str, Any] = field(default_factory=dict, init=False)
    report: dict[str, Any] = field(default_factory=dict, init=False)

    def start(self, worker: Worker) -> None:
        node = self.input_node
        check_measurable(node)
        volume = check_ultrasound(volume_from_node(node), f'volume "{node.GetName()}"')
        if self.preoperative_node is node:
            self.preoperative_node = None
        options, notes = _with_mri(self.options, node, self.preoperative_node)
        self.source = _describe_source(node, self.preoperative_node, transforms.parents(node))
        self.grid = Grid.of(node)
        preoperative = _second_input(volume, node, self.mri_nodes) if self.mri_nodes else None
        worker.submit(replace(volume, notes=(*volume.notes, *notes)), options, preoperative=preoperative)

    def check(self) -> None:
        if self.input_node.GetScene() is None:
            raise InputError(
                "The input volume was removed while the images were made; select a volume and start again."
            )

    def finish(self, result: SynthesisResult) -> None:
        if self.preoperative_node is not None and self.preoperative_node.GetScene() is None:
            self.preoperative_node = None
        result.report["input"] |= self.source
        self.outputs = add_result(
            result, self.input_node, self.preoperative_node, outputs=self.outputs, grid=self.grid
        )
        self.report = result.report


class FrameJob(QueuedJob):
    """One frame of a sequence, which becomes one of the new sequences' frames."""

    def __init__(self, target: SequenceOutputs, number: int, options: Options) -> None:
        self.outcome = Outcome(f"{target.source.GetName()}, frame {number + 1}")
        self._target, self._number, self._options = target, number, options
        self._grid: Grid | None = None
        self._source: dict[str, Any] = {}

    def start(self, worker: Worker) -> None:
        self.check()
        target = self._target
        frame = target.source.GetNthDataNode(self._number)
        value = target.source.GetNthIndexValue(self._number)
        options, notes = _with_mri(self._options, target.proxy, target.preoperative)
        chain = list(transforms.parents_at(target.proxy, target.browser, value))
        check_measurable(frame, chain)
        volume = volume_from_node(frame, chain)
        note = f'Frame {self._number + 1} of {target.source.GetNumberOfDataNodes()} of "{target.source.GetName()}".'
        self._grid = Grid.of(frame)
        self._source = _describe_source(target.proxy, target.preoperative, chain) | {
            "sequence": target.source.GetName(),
            "sequence_id": target.source.GetID(),
            "index_value": value,
        }
        worker.submit(replace(volume, notes=(*volume.notes, note, *notes)), options)

    def check(self) -> None:
        target = self._target
        if any(node.GetScene() is None for node in (target.proxy, target.browser, target.source)):
            raise InputError("The sequence was removed while its images were made; select a volume and start again.")

    def finish(self, result: SynthesisResult) -> None:
        result.report["input"] |= self._source
        self._target.add(result, self._grid, self._target.source.GetNthIndexValue(self._number))
        self.outcome.succeed(result.report)


def sequence_queue(
    input_node: slicer.vtkMRMLScalarVolumeNode,
    frames: Sequence[int] | None = None,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None = None,
    *,
    options: Options | None = None,
) -> Queue:
    """Return the jobs that make the synthetic images of frames of the sequence that a volume node shows.

    Parameters
    ----------
    input_node
        Proxy of a sequence of ultrasound volumes.
    frames
        Numbers from 0; all if left out.

    Raises
    ------
    InputError
        The node does not show a sequence, or a frame is not there.
    """
    found = sequence_of(input_node)
    if found is None:
        name = input_node.GetName() if input_node is not None else "input volume"
        raise InputError(f"{name}: shows no sequence; choose the volume that a sequence browser drives")
    browser, source = found
    count = source.GetNumberOfDataNodes()
    numbers = range(count) if frames is None else frames
    if not numbers or not all(0 <= number < count for number in numbers):
        raise InputError(f"{source.GetName()}: has frames 0 to {count - 1}; choose among these")
    target = SequenceOutputs(input_node, browser, source, preoperative_node)
    return Queue([FrameJob(target, number, options or Options()) for number in numbers], conclude=target.connect)


def _with_mri(
    options: Options,
    input_node: slicer.vtkMRMLScalarVolumeNode,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None,
) -> tuple[Options, tuple[str, ...]]:
    """Return the options with what a model wants of the MRI that is shown: its checksum, for a model of one patient, or
    the patient's grid, and notes about that.
    """
    try:
        bundle = load(options.model or DEFAULT_GENERATOR)
    except InputError:
        return options, ()  # the child will say so
    if bundle.patient and preoperative_node is not None:
        options = replace(options, mri_sha256=(image_sha256(volume_from_node(preoperative_node)),))
    if bundle.frame != "patient":
        return options, ()
    grid, notes = transforms.patient_grid(input_node, preoperative_node, bundle.spacing)
    return replace(options, mr_grid=grid), notes


def _second_input(
    ultrasound: Volume, input_node: slicer.vtkMRMLScalarVolumeNode, mri_nodes: dict[str, slicer.vtkMRMLScalarVolumeNode]
) -> Preoperative:
    """Return MRI as it lies to the ultrasound now; what is measured in another frame than the first is left out."""
    from ..files.transforms import field_transform
    from ..registration.rigid import to_sitk

    first = next(iter(mri_nodes.values()))
    source, target = transforms.frame_of(input_node), transforms.frame_of(first)
    used = {contrast: node for contrast, node in mri_nodes.items() if transforms.frame_of(node) is target}
    matrix = transforms.linear_between(source, target)
    if matrix is None:
        steps = np.ceil(np.multiply(np.array(ultrasound.size) - 1, ultrasound.spacing) / _FIELD_MM).astype(int) + 1
        spacing, shape = (_FIELD_MM,) * 3, tuple(int(count) for count in steps[::-1])
        grid = Volume(np.zeros(shape, np.uint8), spacing, ultrasound.origin, ultrasound.direction)
        transform = field_transform(transforms.field_between(source, target, grid), grid)
    else:
        transform = to_sitk(FLIP @ matrix @ FLIP)
    registered = registration.latest(first)
    names = {contrast: node.GetName() for contrast, node in used.items()}
    names |= {} if registered is None else {"transform": registered.GetName()}
    return Preoperative({name: volume_from_node(node) for name, node in used.items()}, transform, names)


def _describe_source(
    input_node: slicer.vtkMRMLScalarVolumeNode,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None,
    chain: Iterable[slicer.vtkMRMLTransformNode],
) -> dict[str, Any]:
    """Return what a report says of the nodes a result is made of, as they are now; ``chain`` are the transforms above
    the input, the nearest first."""
    return {
        "node": input_node.GetName(),
        "node_id": input_node.GetID(),
        "transforms": transforms.snapshot(chain),
        "preoperative": preoperative_node.GetName() if preoperative_node is not None else None,
        "preoperative_id": preoperative_node.GetID() if preoperative_node is not None else None,
    }


# --- Registration -----------------------------------------------------------------------------------------------------


@dataclass
class RegistrationJob(Job):
    """One registration, from the click to its transform.

    The search runs in the ultrasound's own frame and the MRI's own, or in the world where a transform above one scales,
    so that no voxel is interpolated for it; the rigid chain of transforms between the two is where it starts. Where
    that chain is not rigid, the MRI is resampled as it lies. The answer becomes a transform of its own.

    Attributes
    ----------
    mri_node, ultrasound_node
        What is moved, and onto what.
    synthetic_nodes
        Synthetic MRI of this ultrasound by contrast.
    carried_nodes
        What moves along; some of :func:`registration.companions`. MRI of another contrast takes part in the search.
    segmentation_node
        The synthetic segmentation, whose cavity the deformation leaves out.
    affine, deformable
        See :func:`IoUSynthLib.registration.register`.
    landmark_nodes
        Point lists of the MRI and of the ultrasound, which correspond by their order.
    transform_node
        After the end: the new transform; None where the registration failed, which leaves the scene as it was.
    report
        That of :func:`IoUSynthLib.registration.register`, empty before the end.
    """

    mri_node: slicer.vtkMRMLScalarVolumeNode
    ultrasound_node: slicer.vtkMRMLScalarVolumeNode
    synthetic_nodes: dict[str, slicer.vtkMRMLScalarVolumeNode]
    _: KW_ONLY
    carried_nodes: Sequence[slicer.vtkMRMLTransformableNode] = ()
    segmentation_node: slicer.vtkMRMLSegmentationNode | None = None
    affine: bool = False
    deformable: bool = False
    landmark_nodes: tuple[slicer.vtkMRMLMarkupsNode, slicer.vtkMRMLMarkupsNode] | None = None
    transform_node: slicer.vtkMRMLTransformNode | None = field(default=None, init=False)
    report: dict[str, Any] = field(default_factory=dict, init=False)
    notes: list[str] = field(default_factory=list, init=False)  # what is to be said beside the report
    initial: np.ndarray | None = field(default=None, init=False)  # of the search; None where the MRI is resampled
    package = "SimpleITK"

    def start(self, worker: Worker) -> None:
        worker.submit_registration(**self.prepare())

    def prepare(self) -> dict[str, Any]:
        """Return the arguments of ``Worker.submit_registration``.

        Raises
        ------
        InputError
            Something is missing or cannot be used; says what to do.
        """
        from ..registration.rigid import to_sitk
        from ..synthesis.acquired import check_is_mri

        self.notes = []
        self._check_nodes()
        self.initial = self._start()
        ultrasound = volume_from_node(self.ultrasound_node)
        moving = {registration.contrast_of(self.mri_node): self.mri_node}
        for node in self.carried_nodes:
            if registration.is_image(node) and registration.contrast_of(node) in self.synthetic_nodes:
                moving.setdefault(registration.contrast_of(node), node)
        images = {name: self._image(node, ultrasound) for name, node in moving.items()}
        initial = None if self.initial is None else FLIP @ self.initial @ FLIP
        start = None if initial is None else to_sitk(initial)
        for name, image in images.items():
            check_is_mri(image, ultrasound, f'volume "{moving[name].GetName()}"', transform=start)
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
        registration.matrix_to_frame(ultrasound, self._target()[1], self.deformable)

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
        return grid.with_array(transforms.voxels_between(node, FLIP @ grid.ijk_to_lps, frame, shape=shape))

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
            points, labels = registration.world_points(node)
            placed = np.isfinite(points).all(axis=1)
            points[placed] = transforms.mapped(transforms.between(None, above), points[placed]) @ FLIP[:3, :3]
            sets.append(Landmarks(points, labels))
        names = " and ".join(f'"{node.GetName()}"' for node in self.landmark_nodes)
        return pair(*sets, name=f"landmarks {names}", warn=self.notes.append)

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

    def check(self) -> None:
        nodes = {"preoperative MRI": self.mri_node, "ultrasound": self.ultrasound_node}
        for name, node in nodes.items():
            if node.GetScene() is None:
                raise InputError(f"The {name} was removed during the registration; choose another and start again.")

    def finish(self, result: Registered) -> None:
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
        to_frame = registration.matrix_to_frame(self.ultrasound_node, above, result.deformation is not None)
        start = np.eye(4) if self.initial is None else self._start()  # a tracker may have moved on
        if start is None:
            raise InputError("the transforms above MRI and ultrasound are no longer rigid")
        answer = np.linalg.inv(start) @ FLIP @ result.matrix @ FLIP
        matrix = to_frame @ np.linalg.inv(answer) @ np.linalg.inv(to_frame)
        created: list[slicer.vtkMRMLTransformNode] = []
        try:
            linear = self._add_transform("vtkMRMLLinearTransformNode", "linear", created)
            linear.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
            linear.SetAndObserveTransformNodeID(above.GetID() if above is not None else None)
            if result.deformation is not None:
                grid = self._add_transform("vtkMRMLGridTransformNode", "deformation", created)
                grid.SetAndObserveTransformFromParent(registration.grid_transform(result.deformation, to_frame))
                grid.SetAndObserveTransformNodeID(linear.GetTransformNodeID())
                linear.SetAndObserveTransformNodeID(grid.GetID())
                linear.SetNodeReferenceID(registration.DEFORMATION_ROLE, grid.GetID())
            for node in moved:
                node.SetAndObserveTransformNodeID(linear.GetID())
            registration.keep_place(linear, self.ultrasound_node, self.mri_node)
        except Exception:
            for node in created:
                registration.take_out(node)
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
        node.SetAttribute(registration.KIND, kind)
        node.SetAttribute(PREFIX + "Verdict", self.report["verdict"])
        node.SetAttribute(PREFIX + "Report", json.dumps(self.report, sort_keys=True, default=str))
        scene.AddNode(node)
        created.append(node)
        node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), self.mri_node.GetID())
        node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), self.ultrasound_node.GetID())
        return node


# --- Before surgery ---------------------------------------------------------------------------------------------------


@dataclass
class ExaminationJob(Job):
    """One examination of the machine, in a fresh child process, free of what earlier runs opened.

    Attributes
    ----------
    device, model
        See :func:`IoUSynthLib.doctor.examine`.
    findings
        All of them, empty before the end.
    """

    device: str = "auto"
    model: str | None = None
    findings: list[Finding] = field(default_factory=list, init=False)
    package = ""

    def start(self, worker: Worker) -> None:
        worker.close()
        worker.submit_examination(self.device, self.model)

    def finish(self, result: list[Finding]) -> None:
        """Keep the result; the scene stays as it is."""
        self.findings = result
