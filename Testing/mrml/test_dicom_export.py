"""Nodes under transforms as DICOM series: where they lie when they are read back, and in whose frame of reference."""

from __future__ import annotations

import types

import numpy as np
import pytest
from support.scene import linear, nested, thin_plate

from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.outputs.dicom import _save
from IoUSynthLib.volume import Volume

pydicom = pytest.importorskip("pydicom")
FLIP = np.array([-1.0, -1.0, 1.0])


@pytest.fixture
def outputs(scene, ultrasound, add, result_of):
    """A result of a small part of the ultrasound."""
    from IoUSynthLib.mrml.write import add_result

    part = Volume(ultrasound.array[20:30, 20:32, 24:38], ultrasound.spacing, ultrasound.origin, ultrasound.direction)
    node = add(part, "Case ioUS")
    result = result_of(part)
    result.report["input"] = {"node": "Case ioUS", "voxels_sha256": "ef" * 32}
    return add_result(result, node)


def under(outputs, transform):
    for node in [*outputs.all(), outputs.images["T2w"].GetNodeReference("IoUSynth.input")]:
        node.SetAndObserveTransformNodeID(transform.GetID())


def world_lps(node, ijk):
    """Where a voxel lies, through all transforms."""
    import vtk

    matrix, world = vtk.vtkMatrix4x4(), [0.0, 0.0, 0.0]
    node.GetIJKToRASMatrix(matrix)
    node.TransformPointToWorld(matrix.MultiplyPoint((*ijk, 1.0))[:3], world)
    return FLIP * world


def export(outputs, folder, nodes=()):
    from IoUSynthLib.mrml.dicom_export import export_series

    return {path.name: path for path in export_series(outputs, folder, list(nodes))}


def value_at(volume, place):
    ijk = np.rint((np.linalg.inv(volume.ijk_to_lps) @ [*place, 1.0])[:3]).astype(int)
    return volume.array[tuple(ijk[::-1])]


VOXELS = [(2, 3, 4), (11, 9, 1), (5, 8, 8), (0, 11, 9)]


def test_rigid_transforms_change_the_geometry_alone(scene, outputs, tmp_path):
    import slicer

    under(outputs, nested(scene))
    folders = export(outputs, tmp_path)
    assert set(folders) == {f"Case_ioUS_{kind}_(synthetic)" for kind in ("T2w", "FLAIR", "uncertainty")}
    for kind, step in (("T2w", 0.02), ("uncertainty", 0.00002)):
        node = outputs.images.get(kind) or outputs.uncertainty
        read = read_volume(folders[f"Case_ioUS_{kind}_(synthetic)"])
        array = slicer.util.arrayFromVolume(node)
        assert sorted(read.size) == sorted(node.GetImageData().GetDimensions())
        for ijk in VOXELS:
            assert value_at(read, world_lps(node, ijk)) == pytest.approx(array[ijk[::-1]], abs=0.51 * step)
        corner = (read.ijk_to_lps @ [0, 0, 0, 1])[:3]
        corners = [world_lps(node, (0, 0, k)) for k in (0, array.shape[0] - 1)]
        assert min(np.abs(corner - place).max() for place in corners) < 1e-6


def test_a_bent_image_is_interpolated_where_it_lies(scene, outputs, tmp_path):
    import slicer

    node = outputs.images["T2w"]
    slicer.util.arrayFromVolume(node)[:] = 500.0
    slicer.util.arrayFromVolume(node)[:, :, :7] = 100.0
    under(outputs, thin_plate(scene))
    read = read_volume(export(outputs, tmp_path)["Case_ioUS_T2w_(synthetic)"])
    assert np.allclose(np.abs(read.direction), np.eye(3))
    for i, value in ((2, 100.0), (11, 500.0)):
        assert value_at(read, world_lps(node, (i, 5, 5))) == pytest.approx(value, abs=1.0)
    assert (read.array == 0).any(), "beyond the bent image there is no data"


def dicom_node(scene, add, folder, monkeypatch):
    """An MRI node as Slicer loads it from its database, and the header of its file."""
    import slicer

    mri = add(Volume(np.ones((4, 5, 6), np.float32), (2, 2, 2), (10.0, 20.0, 30.0)), "MRI")
    header = pydicom.Dataset()
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"
    header.PatientID, header.StudyInstanceUID, header.FrameOfReferenceUID = "17", "1.2.3", "1.2.9"
    header.ImagePositionPatient = [10, 20, 34]
    _save(header, folder / "mri.dcm")
    mri.SetAttribute("DICOM.instanceUIDs", "1.2.3.4 1.2.3.5")
    database = types.SimpleNamespace(fileForInstance={"1.2.3.4": str(folder / "mri.dcm")}.get)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    return mri


def test_lies_in_the_frame_of_reference_of_the_mri_wherever_that_was_moved(scene, outputs, add, tmp_path, monkeypatch):
    """A registration moved the MRI: the series lies where the image is seen on the MRI."""
    mri = dicom_node(scene, add, tmp_path, monkeypatch)
    moved = linear(scene, "Registration", [0, -1, 0, 12, 1, 0, 0, -8, 0, 0, 1, 3, 0, 0, 0, 1])
    mri.SetAndObserveTransformNodeID(moved.GetID())
    node = outputs.images["T2w"]
    ultrasound = node.GetNodeReference("IoUSynth.input")
    folder = export(outputs, tmp_path / "out", [ultrasound, mri])["Case_ioUS_T2w_(synthetic)"]
    header = pydicom.dcmread(folder / "0001.dcm")
    assert (header.PatientID, header.StudyInstanceUID, header.FrameOfReferenceUID) == ("17", "1.2.3", "1.2.9")
    import slicer

    to_world = slicer.util.arrayFromTransformMatrix(moved)
    in_mri = (np.linalg.inv(to_world) @ [*(FLIP * world_lps(node, VOXELS[0])), 1.0])[:3]
    array = slicer.util.arrayFromVolume(node)
    assert value_at(read_volume(folder), FLIP * in_mri) == pytest.approx(array[VOXELS[0][::-1]], abs=0.011)


def test_a_hardened_mri_lends_patient_and_study_only(scene, outputs, add, tmp_path, monkeypatch):
    mri = dicom_node(scene, add, tmp_path, monkeypatch)
    mri.SetOrigin(3.3, 4.4, 5.5)
    folder = export(outputs, tmp_path / "out", [mri])["Case_ioUS_T2w_(synthetic)"]
    header = pydicom.dcmread(folder / "0001.dcm")
    assert header.PatientID == "17"
    assert header.FrameOfReferenceUID != "1.2.9"


def test_another_case_of_the_same_name_is_not_replaced(scene, ultrasound, add, result_of, outputs, tmp_path):
    """Names that differ only in what no file system takes lead to one folder."""
    from IoUSynthLib.mrml.write import add_result

    export(outputs, tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.dcm")}
    part = Volume(ultrasound.array[22:32, 20:32, 24:38], ultrasound.spacing, ultrasound.origin, ultrasound.direction)
    result = result_of(part)
    result.report["input"] = {"node": "Case/ioUS", "voxels_sha256": "01" * 32}
    with pytest.raises(ValueError, match=r"Case_ioUS_T2w_.synthetic.: holds the series of another image"):
        export(add_result(result, add(part, "Case/ioUS")), tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.dcm")} == before
    for node in outputs.images.values():
        node.SetName("Both")
    with pytest.raises(ValueError, match="Both: would get more than one series"):
        export(outputs, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_to_export(scene, tmp_path):
    from IoUSynthLib.mrml.results import OutputNodes

    with pytest.raises(ValueError, match="synthesize MRI first"):
        export(OutputNodes(), tmp_path)
