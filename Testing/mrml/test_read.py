"""Nodes to Volume."""

from __future__ import annotations

import numpy as np
import pytest
from support.scene import snapshot

from IoUSynthLib.volume import Volume


def test_is_lps_in_the_own_frame_whatever_the_parent(scene, ultrasound, ultrasound_node):
    import vtk

    from IoUSynthLib.mrml.read import volume_from_node

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "ReferenceToRas")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([0, -1, 0, 30, 1, 0, 0, -20, 0, 0, 1, 7, 0, 0, 0, 1])
    transform.SetMatrixTransformToParent(matrix)
    ultrasound_node.SetAndObserveTransformNodeID(transform.GetID())
    before = snapshot(ultrasound_node)

    volume = volume_from_node(ultrasound_node)

    assert np.array_equal(volume.array, ultrasound.array)
    assert volume.array.dtype == np.float32
    assert volume.same_grid(ultrasound)
    volume.array[:] = 0  # a copy: the node does not feel it
    assert snapshot(ultrasound_node) == before


def under(scene, node, elements):
    """Put a node under a linear transform of 16 elements, row by row."""
    import vtk

    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "ImageToReference")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.ravel(elements).tolist())
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


@pytest.fixture
def live(scene, ultrasound, add):
    """The ultrasound with its voxel size in the transform above it, as it comes over OpenIGTLink."""
    from IoUSynthLib.volume import Volume

    node = add(Volume(ultrasound.array, direction=np.diag([-1, -1, 1])), "Live ioUS")
    under(scene, node, np.diag([-1, -1, 1, 1]) @ ultrasound.ijk_to_lps)
    return node


def test_voxel_size_in_a_transform_is_measured_in_the_world(live, ultrasound):
    from IoUSynthLib.mrml.read import assess_input, volume_from_node
    from IoUSynthLib.synthesis.quality import assess_quality

    volume = volume_from_node(live)
    assert volume.same_grid(ultrasound)
    assert np.array_equal(volume.array, ultrasound.array)
    assert volume.warnings == ()
    assert assess_input(live).summary == assess_quality(ultrasound).summary


def test_frame_of_a_sequence_has_the_transforms_of_its_proxy(scene, live, ultrasound, add):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.mrml.transforms import parents

    chain = list(parents(live))
    live.SetAndObserveTransformNodeID(None)
    assert volume_from_node(live).spacing == (1, 1, 1)
    assert volume_from_node(live, chain).same_grid(ultrasound)


def test_affine_registration_above_an_input_is_said_with_its_factor(scene, ultrasound, ultrasound_node):
    from IoUSynthLib.mrml.read import assess_input, volume_from_node

    under(scene, ultrasound_node, [1.1, 0, 0, 3, 0, 0.9, 0, 4, 0, 0, 1, 5, 0, 0, 0, 1])
    volume = volume_from_node(ultrasound_node)
    assert volume.same_grid(ultrasound)
    assert "shear it and stretch its volume by 0.990" in volume.warnings[0]
    assert assess_input(ultrasound_node).level != "unusable"


def test_input_that_has_a_voxel_size_in_no_frame_is_refused(scene, ultrasound_node):
    from IoUSynthLib.mrml.read import assess_input, check_measurable
    from IoUSynthLib.volume import InputError

    under(scene, ultrasound_node, np.diag([2.0, 0.5, 1.0, 1.0]))
    with pytest.raises(InputError, match="scale and shear it; harden them and resample"):
        check_measurable(ultrasound_node)
    assert "scale and shear" in assess_input(ultrasound_node).findings[0]


def test_signed_bytes_are_refused_and_a_background_is_grounded(scene, ultrasound, add):
    import slicer

    from IoUSynthLib.mrml.read import assess_input, volume_from_node

    signed = add(ultrasound, "bytes")
    slicer.util.updateVolumeFromArray(signed, ultrasound.array.astype(np.uint8).view(np.int8))
    assert "signed bytes" in assess_input(signed).findings[0]
    assert "signed bytes" in volume_from_node(signed).warnings[0], "an MRI is only doubted"
    offset = add(ultrasound.with_array(ultrasound.array + 20), "offset")
    assert np.allclose(volume_from_node(offset).array, ultrasound.array, atol=1e-4)
    assert assess_input(offset).level == assess_input(add(ultrasound, "plain")).level


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_becomes_luminance_with_a_note(scene, ultrasound, add, channels):
    from IoUSynthLib.mrml.read import volume_from_node

    gray = ultrasound.array.astype(np.uint8)
    colored = np.repeat(gray[..., None], channels, axis=-1)
    node = add(ultrasound, "colour", class_name="vtkMRMLVectorVolumeNode")
    import slicer

    slicer.util.updateVolumeFromArray(node, colored)
    volume = volume_from_node(node)
    assert np.allclose(volume.array, gray, atol=1e-3)
    assert "luminance" in volume.notes[0]


def test_frame_of_a_sequence_is_named(scene, ultrasound_node):
    import slicer

    from IoUSynthLib.mrml.read import volume_from_node

    logic = slicer.vtkSlicerSequencesLogic()
    logic.SetMRMLScene(scene)  # registers the node classes
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Recording")
    for value in ("0", "1", "2"):
        sequence.SetDataNodeAtValue(ultrasound_node, value)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Recording browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    logic.UpdateAllProxyNodes()
    browser.SetSelectedItemNumber(1)
    logic.UpdateProxyNodesFromSequences(browser)
    notes = volume_from_node(browser.GetProxyNode(sequence)).notes
    assert notes == ('Frame 2 of 3 of the sequence "Recording browser".',)


def no_voxels(scene, add, volume):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "bad")


def label_map(scene, add, volume):
    return add(volume.with_array(volume.array.astype(np.uint8)), "bad", class_name="vtkMRMLLabelMapVolumeNode")


def constant(scene, add, volume):
    return add(volume.with_array(np.full_like(volume.array, 7)), "bad")


def not_a_number(scene, add, volume):
    array = volume.array.copy()
    array[30, 30, 30] = np.nan
    return add(volume.with_array(array), "bad")


def infinite(scene, add, volume):
    array = volume.array.copy()
    array[30, 30, 30] = np.inf
    return add(volume.with_array(array), "bad")


def single_slice(scene, add, volume):
    from IoUSynthLib.volume import Volume

    return add(Volume(volume.array[20:21], volume.spacing), "bad")


def sheared(scene, add, volume):
    import vtk

    node = add(volume, "bad")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
    node.SetIJKToRASMatrix(matrix)
    return node


def zero_spacing(scene, add, volume):
    node = add(volume, "bad")
    node.SetSpacing(0.7, 0.0, 0.7)
    return node


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (no_voxels, "has no voxels"),
        (label_map, "label map"),
        (constant, "every voxel"),
        (not_a_number, "NaN"),
        (infinite, "infinite"),
        (single_slice, "single slice"),
        (sheared, "sheared"),
        (zero_spacing, "spacing"),
    ],
)
def test_refuses_with_cause_and_remedy_in_one_line(scene, add, ultrasound, make, cause):
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.volume import InputError

    node = make(scene, add, ultrasound)
    with pytest.raises(InputError, match=cause) as error:
        volume_from_node(node)
    assert str(error.value).startswith('volume "bad": ')
    assert ";" in str(error.value)
    assert "\n" not in str(error.value)


def test_refuses_no_node():
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.volume import InputError

    with pytest.raises(InputError, match="none is selected"):
        volume_from_node(None)


@pytest.mark.parametrize(
    ("names", "ultrasound_name", "mri_name"),
    [
        (["MRI T1", "preop_T2w", "Case4-US-before"], "Case4-US-before", "preop_T2w"),
        (["ioUS 1", "ioUS 2", "FLAIR", "t1c"], "ioUS 2", "FLAIR"),
        (["recvol_Reference"], "recvol_Reference", None),
        (["T2w", "FLAIR"], None, "T2w"),
        (["Focus", "Brain MR"], "Focus", "Brain MR"),
        (["t2_spc_da-fl", "T2star", "t2_tse_spin_echo", "io-us"], "io-us", "t2_tse_spin_echo"),
        (["Intraop Ultrasound", "newer volume"], "Intraop Ultrasound", None),
        ([], None, None),
    ],
)
def test_guesses_the_volumes_by_name(scene, names, ultrasound_name, mri_name):
    from IoUSynthLib.mrml.read import guess_inputs

    nodes = [scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in names]
    made = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "ioUS T2w (synthetic)")
    made.SetAttribute("IoUSynth.Synthetic", "true")
    guessed = guess_inputs([*nodes, made])
    assert tuple(node and node.GetName() for node in guessed) == (ultrasound_name, mri_name)


# --- Before a run -----------------------------------------------------------------------------------------------------


def test_a_node_is_assessed_without_a_copy(scene, ultrasound, add):
    from IoUSynthLib.mrml.read import assess_input
    from IoUSynthLib.synthesis.quality import assess_quality

    array = ultrasound.array.astype(np.uint8)
    node = add(Volume(array, ultrasound.spacing, ultrasound.origin), "Case")
    assert assess_input(node).measures == assess_quality(Volume(array, ultrasound.spacing)).measures
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Nothing")
    assert assess_input(empty).findings == ('volume "Nothing": has no voxels; load it again or choose another volume',)
    labels = add(ultrasound, "Labels", class_name="vtkMRMLLabelMapVolumeNode")
    assert "is a label map" in assess_input(labels).findings[0]


def test_an_image_of_ours_is_no_input(scene, ultrasound, ultrasound_node, result_of):
    from IoUSynthLib.mrml.read import assess_input
    from IoUSynthLib.mrml.write import add_result

    outputs = add_result(result_of(ultrasound), ultrasound_node)
    quality = assess_input(outputs.images["T2w"])
    assert quality.level == "unusable"
    assert "was made by IoUSynth, not acquired; choose the ultrasound volume" in quality.findings[0]


def test_a_colour_volume_is_assessed_by_a_sample(scene, ultrasound, add):
    import slicer

    from IoUSynthLib.mrml.read import assess_input

    node = add(ultrasound, "Colour", class_name="vtkMRMLVectorVolumeNode")
    slicer.util.updateVolumeFromArray(node, np.repeat(ultrasound.array[..., None], 3, axis=3).astype(np.uint8))
    grey = add(ultrasound.with_array(ultrasound.array.astype(np.uint8)), "Grey")
    colour, expected = assess_input(node), assess_input(grey)
    assert colour.level == expected.level == "fine"
    assert colour.measures["fan_ml"] == pytest.approx(expected.measures["fan_ml"], rel=0.02)
