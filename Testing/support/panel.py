"""The panel as its user sees and clicks it."""

from __future__ import annotations

import SlicerHost


def message(panel):
    return panel.ui.messageLabel.text if panel.ui.messageLabel.isVisibleTo(panel.parent) else ""


def contents(scene):
    """Identifiers and transforms of all nodes."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    return {n.GetID(): n.GetTransformNodeID() if n.IsA("vtkMRMLTransformableNode") else "" for n in nodes}


def finish(panel, timeout=60.0):
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", timeout)


def click(panel, timeout=60.0):
    """Click the button and wait until the panel is idle again."""
    panel.ui.applyButton.click()
    assert SlicerHost.process_until(lambda: panel.state.name == "IDLE", timeout)


def tracked(scene, node):
    """Put a node under two nested linear transforms; return the outer one."""
    import vtk

    outer, inner = (scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name) for name in ("ToRas", "ToTracker"))
    for transform, elements in (
        (outer, [0, -1, 0, 30, 1, 0, 0, -20, 0, 0, 1, 7, 0, 0, 0, 1]),
        (inner, [1, 0, 0, 5, 0, 0.6, -0.8, 6, 0, 0.8, 0.6, -7, 0, 0, 0, 1]),
    ):
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy(elements)
        transform.SetMatrixTransformToParent(matrix)
    inner.SetAndObserveTransformNodeID(outer.GetID())
    node.SetAndObserveTransformNodeID(inner.GetID())
    return outer


def start_slow_run(panel):
    """Start a run that takes minutes; return the process once it is inside the network."""
    panel.ui.modelSelector.setCurrentText("slow-2.5d")
    panel.ui.applyButton.click()
    assert SlicerHost.process_until(lambda: panel.ui.statusLabel.text.startswith("Synthesizing"), 60)
    return child(panel)


def child(panel):
    return panel.logic.runner._worker._child.process


def synthesize(panel):
    """Click the button and wait for the result."""
    click(panel)
    assert message(panel) == ""
    assert panel.logic.getParameterNode().t2wVolume is not None
