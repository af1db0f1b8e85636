"""Registration and download of sample data from file:// addresses, with their checksums."""

import hashlib

import numpy as np
import pytest


@pytest.fixture
def sample(slicer_host, tmp_path):
    """A registered data set of one volume; returns the arguments of its registration."""
    import SampleData
    import slicer

    volume = slicer.util.addVolumeFromArray(np.arange(24.0).reshape(2, 3, 4))
    assert slicer.util.saveNode(volume, str(tmp_path / "sample.nrrd"))
    slicer.mrmlScene.RemoveNode(volume)
    digest = hashlib.sha256((tmp_path / "sample.nrrd").read_bytes()).hexdigest()
    arguments = {
        "category": "Testing",
        "sampleName": f"Sample {tmp_path.name}",
        "uris": (tmp_path / "sample.nrrd").as_uri(),
        "fileNames": f"{tmp_path.name}.nrrd",
        "nodeNames": "Sample",
        "checksums": f"SHA256:{digest}",
    }
    SampleData.SampleDataLogic.registerCustomSampleDataSource(**arguments)
    return arguments


def test_a_sample_is_downloaded_and_loaded(sample):
    import SampleData
    import slicer

    nodes = SampleData.SampleDataLogic().downloadSamples(sample["sampleName"])
    assert [node.GetName() for node in nodes] == ["Sample"]
    assert slicer.util.arrayFromVolume(nodes[0]).max() == 23


def test_the_same_sample_is_registered_once(sample):
    import SampleData

    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataSource(**sample)
    names = [source.sampleName for source in logic.sampleDataSourcesByCategory("Testing")]
    assert names.count(sample["sampleName"]) == 1


def test_a_wrong_checksum_is_refused(sample):
    import SampleData

    sample.update(sampleName="Wrong", fileNames="wrong.nrrd", checksums="SHA256:" + 64 * "0")
    SampleData.SampleDataLogic.registerCustomSampleDataSource(**sample)
    with pytest.raises(ValueError, match="SHA256"):
        SampleData.SampleDataLogic().downloadSamples("Wrong")


def test_lists_of_different_length_are_refused(sample):
    import SampleData

    sample.update(uris=["file:///a", "file:///b"], fileNames=["a", "b"], nodeNames=["a"], checksums=None)
    with pytest.raises(ValueError, match="length"):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(**sample)
