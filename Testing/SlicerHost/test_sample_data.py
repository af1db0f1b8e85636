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


@pytest.mark.parametrize("wrong", ["checksum", "address", "contents"])
def test_what_cannot_be_had_is_left_out(sample, tmp_path, wrong):
    import SampleData

    address = sample["uris"]
    (tmp_path / "other.nrrd").write_text("no volume")
    uris = {"address": (tmp_path / "none.nrrd").as_uri(), "contents": (tmp_path / "other.nrrd").as_uri()}
    sample.update(
        sampleName=f"Partly {wrong} {tmp_path.name}",
        uris=[uris.get(wrong, address), address],
        fileNames=[f"wrong-{wrong}-{tmp_path.name}.nrrd", sample["fileNames"]],
        nodeNames=["Wrong", "Right"],
        checksums=["SHA256:" + 64 * "0" if wrong == "checksum" else None, sample["checksums"]],
    )
    SampleData.SampleDataLogic.registerCustomSampleDataSource(**sample)
    nodes = SampleData.SampleDataLogic().downloadSamples(sample["sampleName"])
    assert [node.GetName() for node in nodes] == ["Right"]


def test_lists_of_different_length_are_refused(sample):
    import SampleData

    sample.update(uris=["file:///a", "file:///b"], fileNames=["a", "b"], nodeNames=["a"], checksums=None)
    with pytest.raises(ValueError, match="length"):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(**sample)
