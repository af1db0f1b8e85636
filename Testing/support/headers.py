"""Image files byte by byte: what other programs write, and what befalls files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SMALL = np.arange(6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
STRAIGHT = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def nifti(path: Path, rows: list[float], spacing: tuple, sform: int = 1, size: tuple = (8, 7, 6)) -> Path:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(size), *size, *[1] * (7 - len(size)))
    struct.pack_into("<2h", header, 70, 16, 32)
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    struct.pack_into("<2h", header, 252, 1 - sform, sform)
    struct.pack_into("<12f", header, 280, *rows)
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + np.resize(SMALL, np.prod(size)).astype("<f4").tobytes())
    return path


def metaimage(path: Path, matrix: str = "1 0 0 0 1 0 0 0 1", spacing: str = "1 1 1", more: str = "") -> Path:
    head = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"TransformMatrix = {matrix}\nOffset = 0 0 0\nElementSpacing = {spacing}\nDimSize = 8 7 6\n"
        f"ElementType = MET_FLOAT\n{more}"
        "ElementDataFile = LOCAL\n"
    )
    path.write_bytes(head.encode() + SMALL.tobytes())
    return path


def nrrd(path: Path, directions: str, kinds: str = "", sizes: str = "8 7 6") -> Path:
    dimension = len(sizes.split())
    head = (
        f"NRRD0004\ntype: float\ndimension: {dimension}\nsizes: {sizes}\nendian: little\nencoding: raw\n"
        f"space: left-posterior-superior\nspace directions: {directions}\nspace origin: (0,0,0)\n{kinds}\n"
    )
    path.write_bytes(head.encode() + np.resize(SMALL, np.prod([int(n) for n in sizes.split()])).tobytes())
    return path
