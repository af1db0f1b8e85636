"""The module's real panel in the stand-in, with tiny models."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

MODULE = Path(__file__).resolve().parents[2] / "IoUSynth" / "IoUSynth.py"


@pytest.fixture(autouse=True)
def same_library():
    """Put the library back that a reload of the module has thrown out: the tests hold on to it."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "IoUSynthLib"}
    yield
    if before and sys.modules.get("IoUSynthLib") is not before["IoUSynthLib"]:
        for name in [name for name in sys.modules if name.split(".")[0] == "IoUSynthLib"]:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture
def scene(slicer_host):
    """The scene of the stand-in, empty."""
    import slicer

    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)  # Slicer's own scene always has one
    return slicer.mrmlScene


@pytest.fixture
def panel(scene, slicer_host, tiny_models):
    """The widget of the module, opened."""
    slicer_host.load_module(MODULE)
    yield slicer_host.open_module("IoUSynth")
    slicer_host.unload_module("IoUSynth")


@pytest.fixture
def add(scene):
    """Return a function that adds a Volume to the scene as a node."""
    import slicer
    import vtk

    def add_volume(volume, name):
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.array))
        matrix = vtk.vtkMatrix4x4()
        matrix.DeepCopy((np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_lps).ravel())
        node.SetIJKToRASMatrix(matrix)
        return node

    return add_volume


@pytest.fixture
def case(add, ultrasound, panel):
    """An ultrasound node, selected in the panel."""
    node = add(ultrasound, "Case ioUS")
    panel.ui.inputSelector.setCurrentNode(node)
    return node
