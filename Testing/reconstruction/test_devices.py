"""A bright ball in sweeps as other programs write them comes to lie at its place, or the file is refused by name."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.sequences import numbers, rotation, write_plus

from IoUSynthLib import cli
from IoUSynthLib.reconstruction import read_sweep, reconstruct
from IoUSynthLib.volume import InputError

COUNT, ROWS, COLUMNS, PIXEL_MM = 16, 48, 60, 0.5
START = rotation(2, 25) @ rotation(0, -40)
START[:3, 3] = 30, -15, 55
CALIBRATION = np.diag([PIXEL_MM, PIXEL_MM, PIXEL_MM, 1.0])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def probe(number: int) -> np.ndarray:
    """Rigid pose of the probe in the reference's frame, RAS mm; 1 mm a frame."""
    pose = START.copy()
    pose[:3, 3] += number * START[:3, 2]
    return pose


def placed(number: int) -> np.ndarray:
    return probe(number) @ CALIBRATION


BALL = (placed(8) @ [33, 25, 0, 1])[:3]


def ball_frames() -> np.ndarray:
    n, y, x = np.indices((COUNT, ROWS, COLUMNS))
    frames = np.random.default_rng(0).integers(30, 90, n.shape)
    frames[np.hypot(np.hypot((x - 33) * PIXEL_MM, (y - 25) * PIXEL_MM), n - 8) < 4] = 250
    return frames.astype(np.uint8)


def sequence(
    path: Path, pose: Callable[[int], np.ndarray] = placed, name: str = "ImageToReferenceTransform", **others: object
) -> Path:
    """Write the ball's frames; a value of ``others`` is a text, or makes one of the number of the frame."""
    fields = []
    for n in range(COUNT):
        extra = {key: value(n) if callable(value) else value for key, value in others.items()}
        fields.append({name: numbers(pose(n)), f"{name}Status": "OK"} | extra)
    return write_plus(path, ball_frames(), fields)


def rewritten(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    header, end, pixels = path.read_bytes().partition(b"ElementDataFile")
    for old, new in changes:
        assert old in header
        header = header.replace(old, new)
    path.write_bytes(header + end + pixels)
    return path


def off(sweep) -> float:
    """How far, in mm, the ball lies from its place."""
    volume, _ = reconstruct(sweep, 0.5)
    k, j, i = np.nonzero(volume.array > 200)
    assert len(i) * volume.voxel_volume_ml == pytest.approx(4 / 3 * np.pi * 4**3 / 1000, rel=0.15)
    return float(np.linalg.norm((volume.ijk_to_lps @ [i.mean(), j.mean(), k.mean(), 1])[:3] - LPS[:3, :3] @ BALL))


RIGHT = {
    "as PLUS writes it": lambda path: sequence(path),
    "pixel size in the header, too": lambda path: rewritten(
        sequence(path), (b"Spacing = 1 1 1", b"Spacing = 0.5 0.5 1")
    ),
    "pixel size with each frame, too": lambda path: sequence(path, ElementSpacing="0.5 0.5 1"),
    "rigid, pixel size with each frame": lambda path: sequence(path, probe, ElementSpacing="0.5 0.5 1"),
    "rigid, pixel size in the header": lambda path: rewritten(
        sequence(path, probe), (b"Spacing = 1 1 1", b"Spacing = 0.5 0.5 1")
    ),
    "calibration in the header": lambda path: rewritten(
        sequence(path, probe, "ProbeToReferenceTransform"),
        (b"ElementType", f"CalibrationTransform = {numbers(CALIBRATION)} \nElementType".encode()),
    ),
    "lower case": lambda path: sequence(path, ImageToReferenceTransformStatus="ok", ImageStatus="valid"),
    "decimal comma": lambda path: rewritten(sequence(path), *[(b".", b",")]),
    "inverse by its name": lambda path: sequence(path, lambda n: np.linalg.inv(placed(n)), "ReferenceToImageTransform"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_the_ball_lies_at_its_place(case, tmp_path):
    assert off(read_sweep(RIGHT[case](tmp_path / "s.igs.mha"))) < 0.05


def test_a_pixel_size_in_the_header_of_an_nrrd(tmp_path):
    path = sequence(tmp_path / "s.igs.nrrd", probe)
    with pytest.raises(InputError, match="hold no pixel size"):
        read_sweep(path)
    path.write_bytes(path.read_bytes().replace(b"(1,0) (0,1)", b"(0.5,0) (0,0.5)"))
    assert off(read_sweep(path)) < 0.05


def test_frames_keep_their_poses_where_numbers_have_gaps(tmp_path):
    path = sequence(tmp_path / "s.igs.mha")
    changes = [(f"Frame{n:04d}".encode(), f"Frame{3 * n + 1:04d}".encode()) for n in reversed(range(COUNT))]
    sweep = read_sweep(rewritten(path, *changes))
    assert off(sweep) < 0.05
    assert "Its frames are numbered 1 to 46, 30 numbers missing: taken in this order." in sweep.notes
    lines = [line for line in path.read_bytes().partition(b"ElementDataFile")[0].split(b"\n") if b"Frame0007" in line]
    with pytest.raises(InputError, match="holds 16 images, but fields of 15 frames, numbered 1 to 46"):
        read_sweep(rewritten(path, *[(line + b"\n", b"") for line in lines]))


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (np.eye(4), "3 of 16 frames left out: not tracked, their transform is the identity."),
        (np.zeros((4, 4)), "3 of 16 frames left out: not tracked."),
        (np.full((4, 4), np.nan), "3 of 16 frames left out: not tracked."),
        (np.full((4, 4), -3.697314e28), "3 of 16 frames left out: not tracked."),
    ],
)
def test_lost_frames_without_a_status_are_left_out(lost, said, tmp_path):
    sweep = read_sweep(sequence(tmp_path / "s.igs.mha", lambda n: lost if n in (0, 1, 2) else placed(n)))
    assert said in sweep.notes
    assert off(sweep) < 0.05


def test_a_sweep_relative_to_its_first_frame_keeps_it(tmp_path):
    def relative(number):
        return np.linalg.inv(probe(0)) @ probe(number)

    sweep = read_sweep(sequence(tmp_path / "s.igs.mha", relative, ElementSpacing="0.5 0.5 1"))
    assert len(sweep.frames) == COUNT


def test_statuses_that_are_not_good_are_named(tmp_path):
    words = ("MISSING", "OUT_OF_VIEW", "OK", "TOOL_OK")
    path = sequence(tmp_path / "s.mha", ImageToReferenceTransformStatus=lambda n: words[n % 4])
    assert "8 of 16 frames left out: not tracked (MISSING, OUT_OF_VIEW)." in read_sweep(path).notes
    with pytest.raises(InputError, match=r"no frame was tracked \(their status is MISSING, not OK\)"):
        read_sweep(sequence(tmp_path / "t.mha", ImageToReferenceTransformStatus="MISSING"))


REFUSED = {
    "its ImageToReferenceTransform has 30 -15 55 1 as its last row, not 0 0 0 1": lambda path: sequence(
        path, lambda n: placed(n if n else 0).T
    ),
    r"hold no pixel size; give it with --pixel-spacing": lambda path: sequence(path, probe),
    r"hold pixels of 0\.5 x 0\.5 mm, its ElementSpacing says 0\.2 x 0\.2": lambda path: sequence(
        path, ElementSpacing="0.2 0.2 1"
    ),
    r"its pixel size changes from 0\.4 to 0\.5 mm": lambda path: sequence(
        path, probe, ElementSpacing=lambda n: "0.5 0.5 1" if n < 9 else "0.4 0.4 1"
    ),
    r"frames of 0\.03 x 0\.024 mm": lambda path: sequence(path, lambda n: np.diag([1e-3, 1e-3, 1e-3, 1]) @ placed(n)),
    r"the poses move by 0\.015 mm in all; give them in mm": lambda path: sequence(
        path, lambda n: np.hstack([placed(n)[:, :3], np.array([*placed(n)[:3, 3] / 1000, 1])[:, None]])
    ),
    "lacks CompressedDataSize": lambda path: rewritten(
        sequence(path), (b"CompressedData = False", b"CompressedData = True")
    ),
    "signed 8-bit numbers": lambda path: rewritten(sequence(path), (b"MET_UCHAR", b"MET_CHAR")),
}


@pytest.mark.parametrize("cause", REFUSED)
def test_what_cannot_be_placed_is_refused(cause, tmp_path, capfd):
    path = REFUSED[cause](tmp_path / "s.igs.mha")
    with pytest.raises(InputError, match=cause) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", ["cut", "checksum"])
def test_a_damaged_file_is_one_line(damage, tmp_path, capfd):
    path = sequence(tmp_path / "s.igs.mha")
    header, _, pixels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    body = bytearray(zlib.compress(pixels))
    if damage == "checksum":
        body[len(body) // 2 : len(body) // 2 + 40] = bytes(40)
    size = f"CompressedData = True\nCompressedDataSize = {len(body)}".encode()
    header = header.replace(b"CompressedData = False", size)
    body = body if damage == "checksum" else body[:-200]
    path.write_bytes(header + b"ElementDataFile = LOCAL\n" + body)
    assert cli.main(["reconstruct", str(path), "-o", str(tmp_path / "a.nrrd")]) == 2
    error = capfd.readouterr().err
    assert "damaged" in error or "ends early" in error or "cut off" in error
    assert [file.name for file in tmp_path.iterdir()] == ["s.igs.mha"]


def test_a_pixel_size_by_hand(tmp_path):
    assert off(read_sweep(sequence(tmp_path / "s.igs.mha", probe), pixel_spacing=0.5)) < 0.05
    with pytest.raises(InputError, match="leave the pixel spacing out"):
        read_sweep(sequence(tmp_path / "t.igs.mha"), pixel_spacing=0.5)


CALIBRATIONS = {
    "decimal commas": "\n".join(" ".join(f"{v:.4f}" for v in row) for row in CALIBRATION).replace(".", ","),
    "MATLAB": "[" + "; ".join(", ".join(f"{v:.4f}" for v in row) for row in CALIBRATION) + "]",
    "commas": ",".join(f"{v:.4f}" for v in CALIBRATION.ravel()),
    "XML": '<?xml version="1.0" encoding="utf-16"?><PlusConfiguration><CoordinateDefinitions><Transform From="Image" '
    f'To="Probe" Matrix="{numbers(CALIBRATION)}"/></CoordinateDefinitions></PlusConfiguration>',
}


@pytest.mark.parametrize("kind", CALIBRATIONS)
def test_calibrations_of_other_programs(kind, tmp_path):
    path = sequence(tmp_path / "s.igs.mha", probe, "ProbeToReferenceTransform")
    (tmp_path / "c.txt").write_bytes(CALIBRATIONS[kind].encode("utf-16" if kind == "XML" else "utf-8"))
    assert off(read_sweep(path, tmp_path / "c.txt")) < 0.05


def test_calibrations_that_are_refused(tmp_path):
    path = sequence(tmp_path / "s.igs.mha", probe, "ProbeToReferenceTransform")
    for text, cause in (
        ("#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n", "is a transform file of ITK"),
        (numbers(placed(0).T), "its matrix has 30 -15 55 1 as its last row"),
    ):
        (tmp_path / "c.txt").write_text(text)
        with pytest.raises(InputError, match=rf"c\.txt: {cause}"):
            read_sweep(path, tmp_path / "c.txt")


def folder(path: Path, poses: list[np.ndarray], readme: str = "", frames: np.ndarray | None = None) -> Path:
    path.mkdir()
    np.save(path / "frames.npy", ball_frames() if frames is None else frames)
    np.save(path / "poses.npy", np.array(poses))
    (path / "README.md").write_text(readme)
    return path


def test_poses_in_a_folder(tmp_path):
    poses = [LPS @ placed(n) for n in range(COUNT)]
    assert off(read_sweep(folder(tmp_path / "a", poses))) < 0.05
    assert off(read_sweep(folder(tmp_path / "b", poses, frames=ball_frames() / 255.0))) < 0.05
    lost = [np.eye(4) if n in (1, 2) else pose for n, pose in enumerate(poses)]
    sweep = read_sweep(folder(tmp_path / "c", lost))
    assert off(sweep) < 0.05
    assert sweep.notes == ("2 of 16 frames left out: not tracked, their transform is the identity.",)
    with pytest.raises(InputError, match=r"pose 1 has -30 15 55 1 as its last row, not 0 0 0 1 \(transposed"):
        read_sweep(folder(tmp_path / "d", [pose.T for pose in poses]))


@pytest.mark.parametrize("readme", ["Pixel size: 0,5 mm", "pixel spacing = 500 um, depth 24.0 mm", "pixel 0.05 cm"])
def test_a_pixel_size_in_words(readme, tmp_path):
    middle = np.eye(4)
    middle[:2, 3] = -PIXEL_MM * (COLUMNS - 1) / 2, -PIXEL_MM * (ROWS - 1) / 2
    up = [LPS @ probe(n) @ np.linalg.inv(middle) @ np.diag([1, -1, -1, 1]) for n in range(COUNT)]
    assert off(read_sweep(folder(tmp_path / "a", up, readme))) < 0.05


def test_two_pixel_sizes_in_words_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"README.md names pixels of 0\.2 and 0\.3 mm; give --pixel-spacing"):
        read_sweep(folder(tmp_path / "a", [probe(n) for n in range(COUNT)], "pixel 0.3 mm, later pixel 0.2 mm"))


def test_doubtful_poses_are_said(tmp_path, capsys):
    inverse = folder(tmp_path / "inverse", [np.linalg.inv(LPS @ placed(n)) for n in range(COUNT)])
    assert cli.main(["reconstruct", str(inverse), "-o", str(tmp_path / "a.nrrd")]) == 0
    assert "Warning: Only 12% of the box round the sweep holds data" in capsys.readouterr().out
    far = [LPS @ placed(n + 60 * (n > 9)) for n in range(COUNT)]
    (jump,) = reconstruct(read_sweep(folder(tmp_path / "jump", far)), 1.0)[0].warnings
    assert "Between frames 10 and 11 the pose jumps by 61 mm, otherwise by 1.0 mm: was the tracking lost" in jump
    usual = read_sweep(folder(tmp_path / "usual", [LPS @ placed(n) for n in range(COUNT)]))
    assert reconstruct(usual)[0].warnings == ()
