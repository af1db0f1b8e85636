"""The real MRML scene, a tracked ultrasound node in it, and a result as the pipeline would return it."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def scene(slicer_host):
    """The scene of the stand-in, empty."""
    import slicer

    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)  # Slicer's own scene always has one
    return slicer.mrmlScene


@pytest.fixture
def result_of():
    """Return a function that makes a SynthesisResult on the grid of a volume, with a lesion and a cavity in it."""
    from IoUSynthLib.pipeline import SynthesisResult

    def make(volume):
        valid = volume.array > 0
        ramp = np.linspace(1, 1000, valid.size, dtype=np.float32).reshape(valid.shape)
        labels = np.zeros(valid.shape, np.uint8)
        center = [size // 2 for size in valid.shape]
        labels[center[0] - 3 : center[0] + 5, center[1] - 5 : center[1] + 5, center[2] - 4 : center[2] + 6] = 1
        labels[center[0] + 1 : center[0] + 3, center[1] - 2 : center[1] + 3, center[2] - 2 : center[2] + 3] = 2
        report = {
            "synthetic": True,
            "notice": "SYNTHETIC - NOT ACQUIRED",
            "model": {"name": "ious2mr-2.5d", "version": "0.1.0", "sha256": "ab12", "licence": "Apache-2.0"},
            "segmenter": {"name": "lesion-3d", "version": "0.2.0", "sha256": "cd34", "licence": "Apache-2.0"},
            "versions": {"onnxruntime": "1.20", 'odd "text"': "a;b%3B:c <&>"},
            "device": {"requested": "auto", "used": "CPU"},
        }
        return SynthesisResult(
            images={"T2w": volume.with_array(ramp * valid), "FLAIR": volume.with_array((1001 - ramp) * valid)},
            uncertainty=volume.with_array((valid * 0.1).astype(np.float32)),
            segmentation=volume.with_array(labels),
            valid=volume.with_array(valid.astype(np.uint8)),
            report=report,
        )

    return make


@pytest.fixture
def ultrasound_node(scene, ultrasound):
    """The ultrasound of the fixture ``ultrasound`` as an oblique node named "Case"."""
    return add_volume(scene, ultrasound, "Case")


def add_volume(scene, volume, name, class_name="vtkMRMLScalarVolumeNode"):
    """Add a Volume to the scene, LPS to RAS."""
    import slicer
    import vtk

    node = scene.AddNewNodeByClass(class_name, name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.array))
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy((np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_lps).ravel())
    node.SetIJKToRASMatrix(matrix)
    return node


@pytest.fixture
def add(scene):
    """Return :func:`add_volume` for the scene."""
    return lambda volume, name, **kwargs: add_volume(scene, volume, name, **kwargs)
