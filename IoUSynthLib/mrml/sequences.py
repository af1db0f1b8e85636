"""The frames of a sequence of ultrasound volumes, into new sequences of synthetic images.

A browser of Slicer's module Sequences shows one frame of a sequence at a time in a node of the scene, the proxy. The
new sequences have the index values of the old one, and proxies of their own under the same transform, which the same
browser drives: replay shows ultrasound and synthetic images of the same moment, and nothing where a frame was left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import slicer

from ..outputs.batch import Batch, Outcome
from ..volume import InputError
from . import nodes
from .run import describe_source, patient_grid_of
from .transforms import parents

if TYPE_CHECKING:
    from ..pipeline import SynthesisResult
    from ..worker.parent import Worker


@dataclass
class _Target:
    """Where the results of all frames go.

    Attributes
    ----------
    proxy, browser, source
        The ultrasound node of the scene, what drives it, and the sequence of its frames.
    outputs
        The nodes of the latest frame, which become the proxies of the new sequences.
    sequences
        The new sequences, by what their images are.
    """

    proxy: slicer.vtkMRMLScalarVolumeNode
    browser: slicer.vtkMRMLSequenceBrowserNode
    source: slicer.vtkMRMLSequenceNode
    preoperative: slicer.vtkMRMLScalarVolumeNode | None
    model: str | None
    device: str
    before_resection: bool
    outputs: nodes.OutputNodes | None = None
    sequences: dict[str, slicer.vtkMRMLSequenceNode] = field(default_factory=dict)

    def check(self) -> None:
        """Raise :class:`InputError` where the input is not there any more."""
        if any(node.GetScene() is None for node in (self.proxy, self.browser, self.source)):
            raise InputError("The sequence was removed while its images were made; select a volume and start again.")

    def add(self, result: SynthesisResult, grid: nodes.Grid, index_value: str) -> None:
        """Put the result of a frame into the new sequences."""
        self.outputs = nodes.add_result(result, self.proxy, self.preoperative, self.outputs, grid)
        for node in self.outputs.all():
            self._sequence(node).SetDataNodeAtValue(node, index_value)

    def _sequence(self, node: slicer.vtkMRMLNode) -> slicer.vtkMRMLSequenceNode:
        kind = node.GetAttribute(nodes.PREFIX + "Output")
        if kind not in self.sequences:
            scene = self.proxy.GetScene()
            name = scene.GenerateUniqueName(f"{node.GetName()} sequence")
            sequence = self.sequences[kind] = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
            sequence.SetIndexName(self.source.GetIndexName())
            sequence.SetIndexUnit(self.source.GetIndexUnit())
            sequence.SetIndexType(self.source.GetIndexType())
            for key in ("Synthetic", "Notice", "Model", "ModelSHA256"):
                sequence.SetAttribute(nodes.PREFIX + key, node.GetAttribute(nodes.PREFIX + key))
        return self.sequences[kind]

    def connect(self) -> None:
        """Let the browser show the new sequences, once they are made."""
        if self.browser.GetScene() is None:
            return
        modifying = self.browser.StartModify()  # it would make proxies of its own before it is told of these
        for node in self.outputs.all() if self.outputs else ():
            sequence = self.sequences[node.GetAttribute(nodes.PREFIX + "Output")]
            self.browser.AddSynchronizedSequenceNode(sequence)
            self.browser.AddProxyNode(node, sequence, False)
            # Not the image of another moment where a frame has none.
            self.browser.SetMissingItemMode(sequence, slicer.vtkMRMLSequenceBrowserNode.MissingItemSetToDefault)
        self.browser.EndModify(modifying)


class _Frame:
    """One frame, as an item of a batch."""

    def __init__(self, target: _Target, number: int) -> None:
        self.outcome = Outcome(f"{target.source.GetName()}, frame {number + 1}")
        self._target, self._number = target, number
        self._grid: nodes.Grid | None = None
        self._source: dict[str, object] = {}

    def start(self, worker: Worker) -> None:
        target = self._target
        target.check()
        frame = target.source.GetNthDataNode(self._number)
        value = target.source.GetNthIndexValue(self._number)
        mr_grid, notes = patient_grid_of(target.proxy, target.preoperative, target.model)
        chain = list(_parents_at(target.proxy, target.browser, value))
        nodes.check_measurable(frame, chain)
        volume = nodes.volume_from_node(frame, chain)
        note = f'Frame {self._number + 1} of {target.source.GetNumberOfDataNodes()} of "{target.source.GetName()}".'
        self._grid = nodes.Grid.of(frame)
        self._source = describe_source(target.proxy, target.preoperative, chain) | {
            "sequence": target.source.GetName(),
            "sequence_id": target.source.GetID(),
            "index_value": value,
        }
        volume = replace(volume, notes=(*volume.notes, note, *notes))
        worker.submit(volume, target.model or None, target.device, mr_grid, target.before_resection)

    def finish(self, result: SynthesisResult) -> None:
        self._target.check()
        result.report["input"] |= self._source
        self._target.add(result, self._grid, self._target.source.GetNthIndexValue(self._number))
        self.outcome.succeed(result.report)

    def abort(self) -> None:
        """Nothing of the frame is in the scene yet."""


def _parents_at(
    proxy: slicer.vtkMRMLTransformableNode, browser: slicer.vtkMRMLSequenceBrowserNode, index_value: str
) -> Iterator[slicer.vtkMRMLTransformNode]:
    """Give the transforms above a proxy, each as the browser would show it at an index value."""
    for transform in parents(proxy):
        sequence = browser.GetSequenceNode(transform) if browser.IsProxyNodeID(transform.GetID()) else None
        recorded = sequence.GetDataNodeAtValue(index_value, False) if sequence is not None else None
        yield recorded if recorded is not None else transform


def sequence_of(
    node: slicer.vtkMRMLNode | None,
) -> tuple[slicer.vtkMRMLSequenceBrowserNode, slicer.vtkMRMLSequenceNode] | None:
    """Return the browser that shows a sequence in a node, and the sequence; None for a node that is not a proxy."""
    if node is None or node.GetScene() is None:
        return None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        if browser.IsProxyNodeID(node.GetID()):
            return browser, browser.GetSequenceNode(node)
    return None


def frame_numbers(text: str, count: int) -> list[int]:
    """Read a choice of frames, counted from 1 as Slicer shows them, such as "1, 3-5"; all of them if it is empty.

    Returns
    -------
    list
        Numbers from 0, ascending.

    Raises
    ------
    InputError
        It is not such a list, or names a frame that is not there.
    """
    if not text.strip():
        return list(range(count))
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match:
            raise InputError(f'frames: "{part.strip()}" is not a number or a range; write for example 1, 3-5')
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= count:
            raise InputError(f"frames: {part.strip()} is not within 1-{count}; the sequence has {count} frames")
        numbers.update(range(first - 1, last))
    return sorted(numbers)


def sequence_batch(
    input_node: slicer.vtkMRMLScalarVolumeNode,
    frames: Sequence[int] | None = None,
    preoperative_node: slicer.vtkMRMLScalarVolumeNode | None = None,
    model: str | None = None,
    device: str = "auto",
    before_resection: bool = False,
) -> Batch:
    """Return the batch that makes the synthetic images of frames of the sequence that a volume node shows.

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
    target = _Target(input_node, browser, source, preoperative_node, model, device, before_resection)
    return Batch([_Frame(target, number) for number in numbers], conclude=target.connect)
