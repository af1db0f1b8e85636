"""``qMRMLNodeComboBox`` follows the real scene."""

import pytest


@pytest.fixture
def selector(slicer_host):
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.addEnabled = box.removeEnabled = False
    box.noneEnabled = True
    box.setMRMLScene(slicer.mrmlScene)
    return box


def add(class_name="vtkMRMLScalarVolumeNode", name="volume"):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass(class_name, name)


def test_nodes_come_and_go(selector):
    import slicer

    heard = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    selector.connect("currentNodeChanged(bool)", heard.append)
    first, second = add(name="first"), add(name="second")
    add("vtkMRMLModelNode")
    assert (selector.nodeCount(), selector.currentNode()) == (2, None)
    selector.setCurrentNode(first)
    assert (selector.currentNode(), selector.currentNodeID) == (first, first.GetID())
    assert heard == [first, True]
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is second
    slicer.mrmlScene.Clear()
    assert selector.currentNode() is None


def test_the_first_node_is_chosen_where_there_is_no_none(slicer_host):
    import slicer

    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.addEnabled = box.removeEnabled = False
    box.setMRMLScene(slicer.mrmlScene)
    node = add()
    assert box.currentNode() is node


def test_child_types_hidden_nodes_and_attributes(selector):
    labels = add("vtkMRMLLabelMapVolumeNode")
    assert selector.nodeFromIndex(0) is labels
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 0
    hidden = add(name="hidden")
    hidden.SetHideFromEditors(True)
    marked = add(name="marked")
    marked.SetAttribute("IoUSynth.Synthetic", "true")
    selector.addAttribute("vtkMRMLScalarVolumeNode", "IoUSynth.Synthetic", "true")
    assert selector.nodeCount() == 1
    selector.setCurrentNode(hidden)
    assert selector.currentNode() is None


def test_a_node_can_be_made(selector):
    selector.addEnabled = True
    selector.baseName = "Output"
    node = selector.addNode()
    assert node.GetName() == "Output"
    assert selector.currentNode() is node


def test_a_node_that_the_user_makes_is_told_otherwise_from_5_12_on(slicer_version, selector):
    told = []
    selector.addEnabled = True
    selector.connect("nodeAddedByUser(vtkMRMLNode*)", lambda _node: told.append("by user"))
    if slicer_version == "5.12":
        selector.connect("nodeAddedByUserAction(vtkMRMLNode*)", lambda _node: told.append("by action"))
    else:
        assert not hasattr(selector, "nodeAddedByUserAction")
        with pytest.raises(ValueError, match="no signal"):
            selector.connect("nodeAddedByUserAction(vtkMRMLNode*)", print)
    selector.addNode()
    assert told == ["by user"]
    selector._activated(selector._combo_box.count - 1)  # Create new
    assert told == ["by user", "by user", "by action" if slicer_version == "5.12" else "by user"]


def test_a_renamed_node_is_told_as_another_from_5_12_on(slicer_version, selector):
    first, second = add(name="first"), add(name="second")
    selector.setCurrentNode(first)
    told = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", told.append)
    second.SetName("other")
    first.Modified()
    assert told == []
    first.SetName("renamed")
    assert told == ([first] if slicer_version == "5.12" else [])


def test_what_is_no_node_is_refused(selector):
    with pytest.raises(TypeError):
        selector.setCurrentNode("vtkMRMLScalarVolumeNode1")
    with pytest.raises(AttributeError):
        selector.nodeType = "vtkMRMLScalarVolumeNode"
