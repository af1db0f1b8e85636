"""The frames of a sequence of ultrasound volumes, into new sequences of synthetic images.

A browser of Slicer's module Sequences shows one frame of a sequence at a time in a node of the scene, the proxy. The
new sequences have the index values of the old one, and proxies of their own under the same transform, which the same
browser drives: replay shows ultrasound and synthetic images of the same moment, and nothing where a frame was left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import slicer

from ..volume import InputError
from .grid import Grid
from .provenance import PREFIX
from .results import OutputNodes
from .write import add_result

if TYPE_CHECKING:
    from ..pipeline import SynthesisResult


@dataclass
class SequenceOutputs:
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
    outputs: OutputNodes | None = None
    sequences: dict[str, slicer.vtkMRMLSequenceNode] = field(default_factory=dict)

    def add(self, result: SynthesisResult, grid: Grid, index_value: str) -> None:
        """Put the result of a frame into the new sequences."""
        self.outputs = add_result(result, self.proxy, self.preoperative, outputs=self.outputs, grid=grid)
        for node in self.outputs.all():
            self._sequence(node).SetDataNodeAtValue(node, index_value)

    def _sequence(self, node: slicer.vtkMRMLNode) -> slicer.vtkMRMLSequenceNode:
        kind = node.GetAttribute(PREFIX + "Output")
        if kind not in self.sequences:
            scene = self.proxy.GetScene()
            name = scene.GenerateUniqueName(f"{node.GetName()} sequence")
            sequence = self.sequences[kind] = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
            sequence.SetIndexName(self.source.GetIndexName())
            sequence.SetIndexUnit(self.source.GetIndexUnit())
            sequence.SetIndexType(self.source.GetIndexType())
            for key in ("Synthetic", "Notice", "Model", "ModelSHA256"):
                sequence.SetAttribute(PREFIX + key, node.GetAttribute(PREFIX + key))
        return self.sequences[kind]

    def connect(self) -> None:
        """Let the browser show the new sequences, once they are made."""
        if self.browser.GetScene() is None:
            return
        modifying = self.browser.StartModify()  # it would make proxies of its own before it is told of these
        for node in self.outputs.all() if self.outputs else ():
            sequence = self.sequences[node.GetAttribute(PREFIX + "Output")]
            self.browser.AddSynchronizedSequenceNode(sequence)
            self.browser.AddProxyNode(node, sequence, False)
            # Not the image of another moment where a frame has none.
            self.browser.SetMissingItemMode(sequence, slicer.vtkMRMLSequenceBrowserNode.MissingItemSetToDefault)
        self.browser.EndModify(modifying)


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
