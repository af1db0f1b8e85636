"""The patient's axes as the ultrasound node sees them: through linear transforms, not through others."""

from __future__ import annotations

import numpy as np
import pytest
from support.scene import displacement_grid, linear, nested

from IoUSynthLib.volume import Volume

SPACING = (0.9, 0.9, 2.0)


def places(node, direction, spacing):
    """Where steps along the axes of a grid in a node's own frame (LPS) lead in the world (RAS)."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetParentTransformNode().GetMatrixTransformToWorld(matrix)
    turn = np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])
    return turn @ np.diag([-1, -1, 1]) @ (direction * spacing)


def test_without_an_mri_the_worlds_axes_are_the_patients(scene, ultrasound_node):
    from IoUSynthLib.mrml.transforms import patient_grid

    grid, notes = patient_grid(ultrasound_node, None, SPACING)
    assert np.allclose(grid.direction, np.eye(3))
    ultrasound_node.SetAndObserveTransformNodeID(nested(scene).GetID())
    grid, notes = patient_grid(ultrasound_node, None, SPACING)
    assert notes == ()
    assert np.allclose(places(ultrasound_node, grid.direction, grid.spacing), np.diag([-1, -1, 1]) * SPACING)


def test_the_mri_lies_where_its_own_transform_puts_it(scene, ultrasound_node, ultrasound, add):
    """A sagittal MRI under a registration, seen from an ultrasound under a tracker: still its axial slices."""
    from IoUSynthLib.mrml.transforms import patient_grid

    stored = np.eye(3)[:, [1, 2, 0]]  # i to the back, j up, k to the left
    mri = add(Volume(np.ones((4, 5, 6), np.float32), (1.0, 1.1, 3.0), (5, 6, 7), stored), "Preop T2w")
    registration = linear(scene, "Registration", [0, 0, 1, 4, 1, 0, 0, 5, 0, 1, 0, 6, 0, 0, 0, 1])
    mri.SetAndObserveTransformNodeID(registration.GetID())
    ultrasound_node.SetAndObserveTransformNodeID(nested(scene).GetID())
    grid, notes = patient_grid(ultrasound_node, mri, SPACING)
    assert notes == ()
    assert np.allclose(grid.spacing, (3.0, 1.0, 1.1))  # left, back, up
    own = np.eye(3)  # in the MRI's own frame, whatever the registration makes of it
    expected = places(mri, own, (3.0, 1.0, 1.1))
    assert np.allclose(places(ultrasound_node, grid.direction, grid.spacing), expected)


def test_an_ultrasound_whose_voxel_size_is_in_a_transform_is_seen_from_the_world(scene, ultrasound_node):
    from IoUSynthLib.mrml.transforms import patient_grid

    scale = linear(scene, "ImageToReference", [0, -0.5, 0, 0, 0.5, 0, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 1])
    ultrasound_node.SetAndObserveTransformNodeID(scale.GetID())
    grid, _ = patient_grid(ultrasound_node, None, SPACING)
    assert np.allclose(grid.spacing, SPACING)
    assert np.allclose(grid.direction, np.eye(3))


def test_a_transform_that_shears_gives_the_nearest_right_angles(scene, ultrasound_node, ultrasound, add):
    from IoUSynthLib.mrml.transforms import patient_grid

    mri = add(Volume(np.ones((4, 5, 6), np.float32), (1.0, 1.0, 2.0)), "Preop T2w")
    shear = linear(scene, "Affine", [1.5, 0.1, 0, 0, 0, 1.5, 0, 0, 0, 0, 1.5, 0, 0, 0, 0, 1])
    mri.SetAndObserveTransformNodeID(shear.GetID())
    grid, _ = patient_grid(ultrasound_node, mri, SPACING)
    assert np.allclose(grid.direction.T @ grid.direction, np.eye(3))
    assert np.allclose(grid.spacing, (1.5, 1.5, 3.0), rtol=0.01)


@pytest.mark.parametrize("with_mri", [False, True])
def test_through_other_transforms_the_model_keeps_its_own_grid(scene, ultrasound_node, ultrasound, add, with_mri):
    from IoUSynthLib.mrml.transforms import patient_grid

    mri = add(ultrasound, "Preop T2w") if with_mri else None
    ultrasound_node.SetAndObserveTransformNodeID(displacement_grid(scene).GetID())
    grid, notes = patient_grid(ultrasound_node, mri, SPACING)
    assert grid is None
    assert "Non-linear transforms lie between" in notes[0]
    assert ('"Preop T2w"' in notes[0]) == with_mri
    if with_mri:  # both under the same one: nothing lies between them
        mri.SetAndObserveTransformNodeID(ultrasound_node.GetTransformNodeID())
        grid, notes = patient_grid(ultrasound_node, mri, SPACING)
        assert (grid is None, notes) == (False, ())
