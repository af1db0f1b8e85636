"""Sweeps whose every value is known, and a writer of PLUS sequence files that shares no code with the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from IoUSynthLib.reconstruction import Sweep

ROWS, COLUMNS, PIXEL_MM = 44, 52, 0.5


def pattern(points: np.ndarray) -> np.ndarray:
    """Smooth brightness from 18 to 238 at LPS points (..., 3); no two axes alike, no mirror symmetry."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 128 + 50 * np.sin(x / 7 + 0.3) + 35 * np.cos(y / 5 - 1.0) + 25 * np.sin((z + 0.5 * x) / 4)


def rotation(axis: int, degrees: float) -> np.ndarray:
    """A 4x4 rotation about a coordinate axis."""
    first, second = [other for other in range(3) if other != axis]
    matrix, angle = np.eye(4), np.radians(degrees)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def poses(count: int = 24, step: float = 0.7) -> np.ndarray:
    """Oblique poses with irregular steps and a tilt of 10 degrees from the first to the last."""
    rng = np.random.default_rng(5)
    positions = np.cumsum(step * rng.uniform(0.5, 1.5, count))
    start = rotation(2, 25) @ rotation(0, -35)
    start[:3, 3] = 12.0, -31.0, 45.0
    result = []
    for number, position in enumerate(positions):
        move = rotation(0, 10 * number / count - 5)
        move[:3, 3] = 0.1 * position, -0.2 * position, position
        result.append(start @ move @ np.diag([PIXEL_MM, PIXEL_MM, PIXEL_MM, 1.0]))
    return np.array(result)


def frames_of(image_to_world: np.ndarray, shape: tuple[int, int] = (ROWS, COLUMNS)) -> np.ndarray:
    """Frames (n, rows, columns) that show :func:`pattern`."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pixels = np.stack([columns, rows, 0 * rows, 1 + 0 * rows], axis=-1)
    points = np.einsum("nab,rcb->nrca", image_to_world, pixels)[..., :3]
    return np.rint(pattern(points)).astype(np.uint8)


def known_sweep(**choices: object) -> Sweep:
    """A sweep over :func:`pattern`; the whole frame is fan."""
    image_to_world = poses()
    choices = {"fan": np.ones((ROWS, COLUMNS), dtype=bool), **choices}
    return Sweep(frames_of(image_to_world), image_to_world, **choices)


def write_plus(path: Path, frames: np.ndarray, fields: list[dict[str, str]], orientation: str | None = "MFA") -> Path:
    """Write a PLUS sequence, as MetaImage or NRRD by its suffix; ``fields`` holds the fields of each frame."""
    count, rows, columns = frames.shape
    lines, equals = [], " = "
    if path.suffix == ".mha":
        lines += ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
        lines += ["CompressedData = False", f"DimSize = {columns} {rows} {count}", "ElementSpacing = 1 1 1"]
        lines += ["ElementType = MET_UCHAR", "Kinds = domain domain list"]
        lines += [f"UltrasoundImageOrientation = {orientation}"] if orientation else []
    else:
        equals = ":="
        lines += ["NRRD0004", "type: uint8", "dimension: 3", "space dimension: 2", f"sizes: {columns} {rows} {count}"]
        lines += ["space directions: (1,0) (0,1) none", "kinds: domain domain list", "endian: little", "encoding: raw"]
        lines += ["space origin: (0,0)"]
        lines += [f"ultrasound image orientation:={orientation}"] if orientation else []
    for number, frame in enumerate(fields):
        lines += [f"Seq_Frame{number:04d}_{name}{equals}{value}" for name, value in frame.items()]
    lines += ["ElementDataFile = LOCAL"] if path.suffix == ".mha" else [""]
    path.write_bytes(("\n".join(lines) + "\n").encode() + frames.astype(np.uint8).tobytes())
    return path


def numbers(matrix: np.ndarray) -> str:
    """A matrix as PLUS writes it."""
    return " ".join(f"{value:.9g}" for value in matrix.ravel())
