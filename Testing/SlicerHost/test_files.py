"""``slicer.util`` reads and writes files through the stand-in's input and output manager."""

import numpy as np
import pytest


def test_volume_and_segmentation_come_back(slicer_host, tmp_path):
    import slicer

    volume = slicer.util.addVolumeFromArray(np.arange(60.0).reshape(3, 4, 5), name="volume")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = segmentation.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 1:3, 1:4] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, identifier, volume)
    assert slicer.util.saveNode(volume, str(tmp_path / "volume.nrrd"))
    assert slicer.util.saveNode(segmentation, str(tmp_path / "segmentation.seg.nrrd"))
    slicer_host.reset_scene()
    volume = slicer.util.loadVolume(str(tmp_path / "volume.nrrd"))
    segmentation = slicer.util.loadSegmentation(str(tmp_path / "segmentation.seg.nrrd"))
    assert slicer.util.arrayFromVolume(volume).max() == 59
    found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "tumour", volume)
    assert np.array_equal(found, mask)


def test_transforms_and_scenes_come_back(slicer_host, tmp_path):
    import slicer

    matrix = np.eye(4)
    matrix[:3, 3] = 1, 2, 3
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "TrackerToRas")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    assert slicer.util.saveNode(transform, str(tmp_path / "TrackerToRas.h5"))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer_host.reset_scene()
    loaded = slicer.util.loadTransform(str(tmp_path / "TrackerToRas.h5"))
    assert np.allclose(slicer.util.arrayFromTransformMatrix(loaded), matrix)
    slicer_host.reset_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert slicer.util.getNode("TrackerToRas").IsA("vtkMRMLLinearTransformNode")


def test_a_missing_file_is_an_error(slicer_host, tmp_path):
    import slicer

    with pytest.raises(RuntimeError, match="does not exist"):
        slicer.util.loadVolume(str(tmp_path / "missing.nrrd"))
