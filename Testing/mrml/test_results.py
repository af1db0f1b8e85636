"""Results in the scene: which nodes belong together, how large tumour and cavity are and where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from support.scene import nested, world_points


@pytest.fixture
def made(scene, ultrasound, add, result_of):
    """Return a function that adds an ultrasound volume with its result."""
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.write import add_result

    def make(name, node=None):
        node = node or add(ultrasound, name)
        return node, add_result(result_of(volume_from_node(node)), node)

    return make


def test_are_found_by_input_in_the_order_of_loading(scene, made, add, ultrasound):
    from IoUSynthLib.mrml.results import find_results, newest_of

    first, outputs = made("Before")
    second, later = made("After")
    _, again = made("", first)  # another run on the first, into nodes of its own
    found = find_results(scene)
    assert [result.input_node for result in found] == [first, first, second]
    assert [result.outputs.segmentation for result in found] == [node.segmentation for node in (outputs, again, later)]
    assert found[0].outputs.images == outputs.images
    assert found[0].outputs.uncertainty is outputs.uncertainty
    assert found[0].model == "ious2mr-2.5d 0.1.0"
    assert newest_of(first).outputs.segmentation is again.segmentation
    assert newest_of(add(ultrasound, "Neither")) is None
    scene.RemoveNode(second)
    assert [result.input_node for result in find_results(scene)] == [first, first]


@pytest.mark.parametrize("parent", [None, nested])
def test_segments_have_a_volume_and_a_middle(scene, made, parent):
    import slicer

    from IoUSynthLib.mrml import views
    from IoUSynthLib.mrml.results import find_results, middle_of

    node, outputs = made("Case")
    transform = parent(scene).GetID() if parent else None
    for placed in (node, *outputs.all()):
        placed.SetAndObserveTransformNodeID(transform)
    (result,) = find_results(scene)
    voxel = float(np.prod(node.GetSpacing())) / 1000
    assert result.volumes_ml() == pytest.approx({"tumour": (800 - 2 * 5 * 5) * voxel, "cavity": 2 * 5 * 5 * voxel})
    mask = views.segment_mask(outputs.segmentation, node, "cavity")
    points = world_points(node, np.argwhere(mask)[:, ::-1])
    middle = middle_of(result, "cavity")
    assert np.abs(points - middle).max(axis=1).min() < 1e-6  # one of its voxels
    assert np.linalg.norm(points.mean(axis=0) - middle) < 1.0
    views.show_result(outputs, node)
    views.go_to(middle)
    matrix = slicer.app.applicationLogic().GetSliceLogicByLayoutName("IoUSynthT2w").GetSliceNode().GetSliceToRAS()
    assert [matrix.GetElement(row, 3) for row in range(3)] == pytest.approx(list(middle))
    outputs.segmentation.GetSegmentation().RemoveSegment("tumour")
    assert list(result.volumes_ml()) == ["cavity"]
    assert middle_of(result, "tumour") is None
