"""Volumes that Slicer loaded from files that are damaged, contradict themselves, or are in another unit."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.volume import InputError, Volume


@pytest.fixture
def loaded(scene, tmp_path):
    """Write a volume, change the file's bytes, and load it as Slicer does."""
    import slicer

    def load(volume: Volume, name: str, change):
        write_volume(tmp_path / name, volume)
        (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
        return slicer.util.loadVolume(str(tmp_path / name))

    return load


def test_a_cut_file_is_refused_although_slicer_shows_it(loaded, ultrasound):
    from IoUSynthLib.mrml.read import assess_input, volume_from_node

    node = loaded(ultrasound, "case.nii.gz", lambda content: content[:-4000])
    quality = assess_input(node)
    assert quality.level == "unusable"
    assert quality.findings[0].startswith('volume "case": ')
    assert "is damaged: its compressed voxels end early" in quality.findings[0]
    with pytest.raises(InputError, match="end early"):
        volume_from_node(node)


def test_a_whole_file_is_taken_and_what_the_scene_changed_is_the_scenes(loaded, ultrasound, tmp_path):
    import slicer

    from IoUSynthLib.mrml.read import volume_from_node

    node = loaded(ultrasound, "case.nii.gz", lambda content: content)
    assert volume_from_node(node).warnings == ()
    slicer.util.updateVolumeFromArray(node, ultrasound.array + 0)
    (tmp_path / "case.nii.gz").write_bytes(b"of another program")
    assert np.array_equal(volume_from_node(node).array, ultrasound.array)


def test_a_second_placement_is_said(loaded, ultrasound):
    from IoUSynthLib.mrml.read import volume_from_node

    def move(content: bytes) -> bytes:
        moved = bytearray(content)
        struct.pack_into("<2h", moved, 252, 1, 2)
        struct.pack_into("<f", moved, 292, struct.unpack_from("<f", moved, 292)[0] + 30)
        return bytes(moved)

    warnings = volume_from_node(loaded(ultrasound, "case.nii", move)).warnings
    assert len(warnings) == 1
    assert "taken was the qform" in warnings[0]
    assert "30.0 mm elsewhere" in warnings[0]


def test_a_file_in_centimetres_is_refused_until_its_spacing_is_corrected(loaded, ultrasound):
    from IoUSynthLib.mrml.read import volume_from_node

    units = b'space units: "cm" "cm" "cm"\nspace origin'
    node = loaded(ultrasound, "case.nrrd", lambda content: content.replace(b"space origin", units, 1))
    with pytest.raises(InputError, match="in units of 10 mm, which Slicer takes for 1 mm; correct its spacing"):
        volume_from_node(node)
    node.SetSpacing(*np.multiply(node.GetSpacing(), 10))
    assert np.allclose(volume_from_node(node).spacing, np.multiply(ultrasound.spacing, 10))
