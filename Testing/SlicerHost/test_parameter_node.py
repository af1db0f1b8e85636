"""Typed fields on a real vtkMRMLScriptedModuleNode."""

import enum
import gc
import weakref
from pathlib import Path
from typing import Annotated, Union

import pytest


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@pytest.fixture
def wrapper(slicer_host):
    import slicer
    from slicer.parameterNodeWrapper import Choice, Default, Minimum, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        number: Annotated[float, WithinRange(0, 1)] = 0.5
        count: Annotated[int, Minimum(2), Default(4)]
        flag: bool
        text: str
        choice: Annotated[str, Choice(["a", "b"])] = "a"
        path: Path
        colour: Colour = Colour.BLUE
        node: slicer.vtkMRMLScalarVolumeNode
        either: Union[slicer.vtkMRMLModelNode, slicer.vtkMRMLScalarVolumeNode, None]  # noqa: UP007

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    return Parameters, Parameters(node)


def test_defaults(wrapper):
    parameters = wrapper[1]
    assert (parameters.number, parameters.count, parameters.flag, parameters.text) == (0.5, 4, False, "")
    assert (parameters.choice, parameters.path, parameters.colour) == ("a", Path(), Colour.BLUE)
    assert parameters.node is parameters.either is None


def test_values_lie_on_the_node(wrapper):
    import slicer

    cls, parameters = wrapper
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.number, parameters.colour, parameters.node, parameters.either = 0.25, Colour.RED, volume, volume
    node = parameters.parameterNode
    assert (node.GetParameter("number"), node.GetParameter("colour")) == ("0.25", "RED")
    assert node.GetNodeReference("node") is volume
    again = cls(node)
    assert (again.number, again.colour, again.node, again.either) == (0.25, Colour.RED, volume, volume)
    node.SetParameter("number", "0.75")
    assert parameters.number == 0.75


def test_references_follow_the_scene(wrapper):
    import slicer

    parameters = wrapper[1]
    parameters.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    slicer.mrmlScene.RemoveNode(parameters.node)
    assert parameters.node is None


def test_one_event_for_one_change(wrapper):
    import vtk

    parameters, seen = wrapper[1], []
    parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append(parameters.count))
    parameters.count = 9
    assert seen == [9]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("number", 2.0, ValueError),
        ("number", "0.5", TypeError),
        ("count", 1, ValueError),
        ("count", 2.5, TypeError),
        ("flag", 1, TypeError),
        ("flag", None, ValueError),
        ("text", None, ValueError),
        ("choice", "c", ValueError),
        ("path", "folder", TypeError),
        ("colour", "RED", TypeError),
        ("node", "vtkMRMLScalarVolumeNode1", TypeError),
        ("either", 3, TypeError),
        ("cuont", 3, AttributeError),
    ],
)
def test_wrong_values_are_refused(wrapper, name, value, error):
    with pytest.raises(error):
        setattr(wrapper[1], name, value)


def test_pairs_that_slicer_cannot_connect(wrapper):
    import qt

    parameters = wrapper[1]
    for name, widget in (("flag", qt.QLineEdit()), ("text", qt.QComboBox()), ("text", qt.QPlainTextEdit())):
        with pytest.raises(RuntimeError):
            parameters.connectParametersToGui({name: widget})


def test_disconnected_widgets_are_left_alone(wrapper):
    import qt

    parameters, box = wrapper[1], qt.QSpinBox()
    tag = parameters.connectParametersToGui({"count": box})
    parameters.disconnectGui(tag)
    parameters.count = 7
    assert box.value == 4
    box.value = 11
    assert parameters.count == 7


def test_a_disconnected_gui_is_let_go_of_from_5_12_on(slicer_version, wrapper):
    import qt

    parameters = wrapper[0](wrapper[1].parameterNode)
    gone = weakref.ref(parameters)
    parameters.disconnectGui(parameters.connectParametersToGui({"count": qt.QSpinBox()}))
    del parameters
    gc.collect()
    assert (gone() is None) == (slicer_version == "5.12")


def test_what_is_gone_from_the_node_comes_back_with_its_default(wrapper):
    parameters = wrapper[1]
    parameters.count = 7
    parameters.parameterNode.UnsetParameter("count")
    assert (parameters.count, parameters.parameterNode.GetParameter("count")) == (4, "4")


def test_names_that_the_wrapper_needs(slicer_host):
    from slicer.parameterNodeWrapper import isParameterNodeWrapper, parameterNodeWrapper

    class Wrong:
        default: int

    with pytest.raises(ValueError, match="default"):
        parameterNodeWrapper(Wrong)
    assert not isParameterNodeWrapper(Wrong)
