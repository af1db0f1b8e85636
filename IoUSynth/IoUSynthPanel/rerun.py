"""A new run when the ultrasound changes: its voxels are replaced, or a volume reconstruction has finished."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer import vtkMRMLNode, vtkMRMLScalarVolumeNode

from .quality import VOXEL_EVENTS, voxelState
from .section import Panel, Section
from .state import State

#: How long the ultrasound must rest before a run: a live reconstruction writes it about once a second.
REST_MILLISECONDS = 3000
#: Node class and events of the extension SlicerIGT, which need not be installed.
RECONSTRUCTION_CLASS = "vtkMRMLVolumeReconstructionNode"
FINISHED_EVENT = 56002  # vtkMRMLVolumeReconstructionNode::VolumeReconstructionFinished


class RerunSection(Section):
    """Starts a run by itself, where that is chosen. It goes on while another module is open.

    Nothing is started by a frame: a reconstruction tells "finished" after each live update, too, so the run waits until
    no reconstruction is under way and nothing has changed for some seconds.
    """

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._known: tuple[str, int] | None = None  # state of the input that needs no run
        self.timer = qt.QTimer()
        self.timer.setSingleShot(True)
        self.timer.setInterval(REST_MILLISECONDS)
        self.timer.connect("timeout()", self.onRest)

    def cleanup(self) -> None:
        """Let go of the scene."""
        super().cleanup()
        self.timer.stop()
        self._known = None

    def follow(self) -> None:
        """Observe the input and the reconstructions of the scene, if a run is to follow them."""
        parameters = self.panel.choices
        reconstructions = slicer.util.getNodesByClass(RECONSTRUCTION_CLASS) if parameters.autoRerun else []
        volumes = [parameters.inputVolume] if parameters.autoRerun and parameters.inputVolume else []
        wanted = reconstructions + volumes * len(VOXEL_EVENTS)
        if wanted == [node for node, _tag in self._observed]:
            return
        self.unobserve()
        for node in reconstructions:
            self.observe(node, FINISHED_EVENT, self.onReconstructed)
        for node in volumes:
            for event in VOXEL_EVENTS:
                self.observe(node, event, self.onChanged)
            if self._known is None or self._known[0] != node.GetID():
                self._known = voxelState(node)  # choosing a volume starts nothing
        if not volumes:
            self.timer.stop()

    def onStarted(self, inputVolumeNode: vtkMRMLScalarVolumeNode) -> None:
        """Take note of which voxels a run works on."""
        self._known = voxelState(inputVolumeNode)
        self.timer.stop()

    def onChanged(self, _caller: Any = None, _event: Any = None) -> None:
        """Wait until nothing changes any more."""
        self.timer.start()

    def onReconstructed(self, node: vtkMRMLNode, _event: Any = None) -> None:
        """Take the reconstructed volume for the input, and wait until nothing changes any more."""
        volume = node.GetOutputVolumeNode()
        if volume is None or node.GetLiveVolumeReconstructionInProgress():
            return
        self.panel.choices.inputVolume = volume
        self.follow()
        self._known = (volume.GetID(), -1)
        self.timer.start()

    def onRest(self) -> None:
        """Start a run, unless the last one worked on the same voxels; while one is under way, wait for its end."""
        parameters = self.panel.choices
        node = parameters.inputVolume
        if not parameters.autoRerun or node is None or voxelState(node) == self._known:
            return
        if self.panel.state is not State.IDLE or _isReconstructing():
            self.timer.start()
        else:
            self.panel.startSynthesis()


def _isReconstructing() -> bool:
    nodes = slicer.util.getNodesByClass(RECONSTRUCTION_CLASS)
    return any(node.GetLiveVolumeReconstructionInProgress() for node in nodes)
