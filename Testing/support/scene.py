"""Nodes of the scene: transforms that a tracker or a registration makes, and what must not change."""

from __future__ import annotations

import numpy as np


def snapshot(node):
    """Everything of an input node that must stay bit-identical."""
    import slicer
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    elements = [matrix.GetElement(row, column) for row in range(4) for column in range(4)]
    array = slicer.util.arrayFromVolume(node)
    return array.tobytes(), array.dtype.str, elements, node.GetSpacing(), node.GetOrigin(), node.GetTransformNodeID()


def world_points(node, indices):
    """World coordinates of voxels, through all parents."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    points = []
    for index in indices:
        world = [0.0, 0.0, 0.0]
        node.TransformPointToWorld(matrix.MultiplyPoint((*index, 1.0))[:3], world)
        points.append(world)
    return np.array(points)


def linear(scene, name, elements):
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(elements)
    node.SetMatrixTransformToParent(matrix)
    return node


def nested(scene):
    """Two linear transforms, one under the other."""
    outer = linear(scene, "ReferenceToRas", [0, -1, 0, 30, 1, 0, 0, -20, 0, 0, 1, 7, 0, 0, 0, 1])
    inner = linear(scene, "ImageToReference", [1, 0, 0, 5, 0, 0.6, -0.8, 6, 0, 0.8, 0.6, -7, 0, 0, 0, 1])
    inner.SetAndObserveTransformNodeID(outer.GetID())
    return inner


def thin_plate(scene):
    """A thin-plate spline: brain shift above the tracker."""
    import vtk

    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    rng = np.random.default_rng(1)
    for point in rng.uniform(-80, 80, (12, 3)):
        source.InsertNextPoint(*point)
        target.InsertNextPoint(*(point + rng.normal(0, 4, 3)))
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", "BrainShift")
    node.SetAndObserveTransformToParent(spline)
    return node


def displacement_grid(scene):
    """A dense displacement field."""
    import slicer
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(9, 9, 9)
    image.SetSpacing(30, 30, 30)
    image.SetOrigin(-120, -120, -120)
    field = np.random.default_rng(2).normal(0, 3, (9**3, 3))
    image.GetPointData().SetScalars(numpy_to_vtk(field, deep=True))
    transform = slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(image)
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Displacement")
    node.SetAndObserveTransformToParent(transform)
    return node
