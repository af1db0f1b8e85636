"""The stand-in can stand for two versions of Slicer, and says for which it does."""

import sys

import pytest

import SlicerHost
from SlicerHost import version


def test_the_application_says_its_version(slicer_version):
    import SampleData
    import slicer

    assert f"{slicer.app.majorVersion}.{slicer.app.minorVersion}" == slicer_version
    assert slicer.app.applicationVersion == f"{slicer_version}.0"
    newest = slicer_version == "5.12"
    assert hasattr(slicer, "packaging") == ("slicer.packaging" in sys.modules) == newest
    assert hasattr(SampleData.SampleDataLogic, "registerCustomSampleDataCategory") == newest


def test_the_environment_chooses(monkeypatch):
    monkeypatch.setenv(version.VARIABLE, "5.10")
    SlicerHost.stand_for()
    assert version.current() == (5, 10, 0)
    monkeypatch.setenv(version.VARIABLE, "5.11")
    with pytest.raises(ValueError, match=r"not for 5\.11"):
        SlicerHost.stand_for()
    monkeypatch.undo()
    SlicerHost.stand_for()
