"""A crowded scene: a click touches the input's result alone.

The table of Resources/Documentation/faults.md names this test.
"""

from __future__ import annotations

from support.panel import click, contents, message


def test_a_scene_with_200_nodes_keeps_them_as_they_are(scene, panel, case, add, ultrasound):
    small = ultrasound.array[:4, :5, :6]
    for number in range(100):
        transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", f"Transform {number}")
        node = add(type(ultrasound)(small, ultrasound.spacing), f"Volume {number}")
        node.SetAndObserveTransformNodeID(transform.GetID())
    before = contents(scene)
    assert len(before) >= 200
    click(panel)
    assert message(panel) == ""
    assert panel.logic.getParameterNode().t2wVolume.GetName() == "Case ioUS T2w (synthetic)"
    after = contents(scene)
    assert {name: after.get(name) for name in before} == before
