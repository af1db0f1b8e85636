"""Readers: PLUS sequences with chains of transforms, folders of frames and poses, and what is wrong with others."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from support.sequences import COLUMNS, ROWS, frames_of, numbers, poses, rotation, write_plus

from IoUSynthLib.reconstruction import read_sweep
from IoUSynthLib.volume import InputError

RAS_OF_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

#: A calibration as real ones are: axes exchanged, 0.5 mm pixels, an offset.
CALIBRATION = np.array([[0, 0, 0.5, 11], [-0.5, 0, 0, 40], [0, -0.5, 0, -7], [0, 0, 0, 1]], dtype=float)


def reference_to_tracker(number: int) -> np.ndarray:
    """The patient moves during the sweep."""
    matrix = rotation(1, 3.0 * number) @ rotation(0, 140)
    matrix[:3, 3] = 200 + number, -80, 30
    return matrix


def chain(number: int, pose: np.ndarray) -> dict[str, str]:
    """Fields of a frame whose image lies at the LPS pose in the reference's frame."""
    to_tracker = reference_to_tracker(number)
    probe = to_tracker @ RAS_OF_LPS @ pose @ np.linalg.inv(CALIBRATION)
    return {
        "ProbeToTrackerTransform": numbers(probe),
        "ProbeToTrackerTransformStatus": "OK",
        "ReferenceToTrackerTransform": numbers(to_tracker),
        "ReferenceToTrackerTransformStatus": "OK",
        "Timestamp": f"{number / 10:.3f}",
        "ImageStatus": "OK",
    }


@pytest.fixture
def truth() -> tuple[np.ndarray, np.ndarray]:
    image_to_world = poses(6, 2.0)
    return frames_of(image_to_world), image_to_world


@pytest.fixture
def calibration(tmp_path):
    path = tmp_path / "device.xml"
    path.write_text(
        '<PlusConfiguration version="2.1"><CoordinateDefinitions>'
        f'<Transform From="Image" To="Probe" Matrix="{numbers(CALIBRATION)}" Error="1.2"/>'
        f'<Transform From="Phantom" To="Reference" Matrix="{numbers(rotation(2, 50))}"/>'
        "</CoordinateDefinitions></PlusConfiguration>"
    )
    return path


@pytest.mark.parametrize("suffix", [".igs.mha", ".igs.nrrd", ".seq.nrrd"])
@pytest.mark.parametrize("text", [False, True])
def test_a_chain_of_transforms_leads_to_lps(suffix, text, truth, calibration, tmp_path):
    frames, image_to_world = truth
    path = write_plus(tmp_path / f"s{suffix}", frames, [chain(n, pose) for n, pose in enumerate(image_to_world)])
    if text:
        calibration = tmp_path / "image_to_probe.txt"
        np.savetxt(calibration, CALIBRATION)
    sweep = read_sweep(path, calibration)
    np.testing.assert_array_equal(sweep.frames, frames)
    np.testing.assert_allclose(sweep.image_to_world @ [0, 0, 0, 1], image_to_world @ [0, 0, 0, 1], atol=1e-4)
    np.testing.assert_allclose(sweep.image_to_world[:, :, :2], image_to_world[:, :, :2], atol=1e-6)
    assert sweep.notes == ("Placed in the frame Reference of the tracking, taken as RAS.",)


def direct(frames: np.ndarray, image_to_world: np.ndarray, name: str = "ImageToReferenceTransform") -> list[dict]:
    return [{name: numbers(RAS_OF_LPS @ pose), f"{name}Status": "OK"} for pose in image_to_world]


@pytest.mark.parametrize(("orientation", "flip"), [("MF", (1, 1)), ("UFA", (1, -1)), ("MN", (-1, 1)), ("UN", (-1, -1))])
def test_orientations_become_marked_far(orientation, flip, truth, tmp_path):
    frames, image_to_world = truth
    stored = frames[:, :: flip[0], :: flip[1]]
    path = write_plus(tmp_path / "s.mha", stored, direct(frames, image_to_world), orientation)
    fan = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
    fan[3:20, 5:30] = 255
    sitk.WriteImage(
        sitk.GetImageFromArray(np.ascontiguousarray(fan[:: flip[0], :: flip[1]])), str(tmp_path / "fan.png")
    )
    sweep = read_sweep(path, fan=tmp_path / "fan.png")
    np.testing.assert_array_equal(sweep.frames, frames)
    np.testing.assert_array_equal(sweep.fan, fan > 0)
    np.testing.assert_allclose(sweep.image_to_world, image_to_world, atol=1e-6)


def test_frames_out_of_sight_are_left_out(truth, tmp_path):
    frames, image_to_world = truth
    fields = direct(frames, image_to_world)
    fields[1]["ImageToReferenceTransformStatus"] = "INVALID"
    fields[4]["ImageStatus"] = "INVALID"
    sweep = read_sweep(write_plus(tmp_path / "s.mha", frames, fields))
    np.testing.assert_array_equal(sweep.frames, frames[[0, 2, 3, 5]])
    assert "2 of 6 frames left out: not tracked (INVALID)." in sweep.notes


def test_anatomical_frames_come_before_the_tracker(truth, tmp_path):
    frames, image_to_world = truth
    fields = direct(frames, image_to_world)
    for field in fields:
        field["ReferenceToTrackerTransform"] = numbers(rotation(0, 90))
    path = write_plus(tmp_path / "s.mha", frames, fields, None)
    assert read_sweep(path).notes[0].startswith("Placed in the frame Reference")
    assert read_sweep(path).notes[1] == "Image orientation not stated, taken as MF."
    odd = write_plus(tmp_path / "odd.mha", frames, direct(frames, image_to_world, "ImageToStealthTransform"))
    assert "frame Stealth" in read_sweep(odd).notes[0]


def folder(path, frames: np.ndarray, matrices: np.ndarray, readme: str = ""):
    path.mkdir()
    np.save(path / "frames_u8.npy", frames)
    np.save(path / "poses_4x4.npy", matrices)
    if readme:
        (path / "README.md").write_text(readme)
    return path


def test_a_folder_of_frames_and_poses(truth, tmp_path):
    frames, image_to_world = truth
    sweep = read_sweep(folder(tmp_path / "scaled", frames, image_to_world))
    np.testing.assert_allclose(sweep.image_to_world, image_to_world)
    # Rigid: origin in the middle of the frame, y up.
    rigid = np.tile(np.eye(4), (6, 1, 1))
    rigid[:, 2, 3] = np.arange(6)
    for path, spacing in (
        (folder(tmp_path / "told", frames, rigid, "640x480 pixels, pixel 0.25 mm, convex"), None),
        (folder(tmp_path / "given", frames, rigid), 0.25),
    ):
        sweep = read_sweep(path, pixel_spacing=spacing)
        corner = sweep.image_to_world[2] @ [0, 0, 0, 1]
        np.testing.assert_allclose(corner, [-0.25 * (COLUMNS - 1) / 2, 0.25 * (ROWS - 1) / 2, 2, 1])
        last = sweep.image_to_world[2] @ [COLUMNS - 1, ROWS - 1, 0, 1]
        np.testing.assert_allclose(last[:2], -corner[:2])


def test_other_pixel_types(truth, tmp_path):
    frames, image_to_world = truth
    sweep = read_sweep(folder(tmp_path / "float", frames / 1.0, image_to_world))
    np.testing.assert_array_equal(sweep.frames, frames)
    sweep = read_sweep(folder(tmp_path / "large", frames * np.uint16(100), image_to_world))
    assert sweep.frames.max() == 255
    assert "scaled from a maximum" in sweep.notes[-1]
    with pytest.raises(InputError, match="RF data"):
        read_sweep(folder(tmp_path / "rf", frames.astype(np.int16) - 100, image_to_world))


def test_what_is_wrong_is_named(truth, calibration, tmp_path):
    frames, image_to_world = truth
    chained = [chain(n, pose) for n, pose in enumerate(image_to_world)]
    no_calibration = write_plus(tmp_path / "a.mha", frames, chained)
    with pytest.raises(InputError, match=r"a\.mha: nothing says .*ProbeToTracker.*--calibration"):
        read_sweep(no_calibration)
    no_poses = write_plus(tmp_path / "b.mha", frames, [{"Timestamp": "1", "ImageStatus": "OK"}] * 6)
    with pytest.raises(InputError, match="no poses; record the sequence with the tracker"):
        read_sweep(no_poses)
    lost = [{key: "INVALID" if key.endswith("Status") else value for key, value in field.items()} for field in chained]
    with pytest.raises(InputError, match="no frame was tracked"):
        read_sweep(write_plus(tmp_path / "c.mha", frames, lost), calibration)
    one = direct(frames, image_to_world)
    with pytest.raises(InputError, match="fewer than 2 frames"):
        read_sweep(write_plus(tmp_path / "d.mha", frames[:1], one[:1]))
    with pytest.raises(InputError, match="identical"):
        read_sweep(write_plus(tmp_path / "e.mha", frames, one[:1] * 6))
    with pytest.raises(InputError, match="image orientation is FM"):
        read_sweep(write_plus(tmp_path / "f.mha", frames, one, "FM"))
    sitk.WriteImage(sitk.GetImageFromArray(frames), str(tmp_path / "volume.nrrd"))
    with pytest.raises(InputError, match=r"volume\.nrrd: is not a tracked sequence"):
        read_sweep(tmp_path / "volume.nrrd")
    (tmp_path / "text.mha").write_text("no image")
    with pytest.raises(InputError, match="its header is not complete"):
        read_sweep(tmp_path / "text.mha")
    with pytest.raises(InputError, match="no such file"):
        read_sweep(tmp_path / "absent.mha")
    with pytest.raises(InputError, match=r"text\.mha: holds no transform of Image"):
        read_sweep(no_calibration, tmp_path / "text.mha")
    with pytest.raises(InputError, match=r"text\.mha: is no image"):
        read_sweep(no_calibration, calibration, fan=tmp_path / "text.mha")


def test_what_is_wrong_with_a_folder_is_named(truth, calibration, tmp_path):
    frames, image_to_world = truth
    rigid = np.tile(np.eye(4), (6, 1, 1))
    rigid[:, 0, 3] = np.arange(6)
    with pytest.raises(InputError, match=r"rigid .* --pixel-spacing"):
        read_sweep(folder(tmp_path / "a", frames, rigid))
    with pytest.raises(InputError, match="leave the pixel spacing out"):
        read_sweep(folder(tmp_path / "b", frames, image_to_world), pixel_spacing=0.2)
    with pytest.raises(InputError, match="leave the calibration out"):
        read_sweep(tmp_path / "b", calibration)
    with pytest.raises(InputError, match=r"holds 0 files frames\*\.npy"):
        read_sweep(tmp_path)
    with pytest.raises(InputError, match=r"poses of shape \(5, 4, 4\)"):
        read_sweep(folder(tmp_path / "c", frames, rigid[:5]), pixel_spacing=0.2)
    with pytest.raises(InputError, match="not numbers"):
        read_sweep(folder(tmp_path / "d", frames, rigid.astype(str)))
    (tmp_path / "b" / "poses_4x4.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match="save it again"):
        read_sweep(tmp_path / "b")
