"""Volumes between two processes: voxels in files of a folder that both see, everything else in an entry for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..volume import Volume


def write(folder: Path, name: str, volume: Volume) -> dict[str, Any]:
    """Write the voxels into a file of the folder and return the entry: where and what they are."""
    array = np.ascontiguousarray(volume.array)
    array.tofile(folder / name)  # left to the system's cache: waiting for the disk would hold Slicer up
    entry = {"file": name, "shape": list(array.shape), "type": array.dtype.str, "notes": list(volume.notes)}
    return {**entry, "warnings": list(volume.warnings), **geometry(volume)}


def geometry(volume: Volume) -> dict[str, Any]:
    """Where a volume lies, for JSON; its voxels stay behind."""
    return {
        "spacing": list(volume.spacing),
        "origin": list(volume.origin),
        "direction": volume.direction.ravel().tolist(),
    }


def read(folder: Path, entry: Mapping[str, Any]) -> Volume:
    """Copy the voxels of an entry out of their file, so that the file can go."""
    array = np.zeros(entry["shape"], dtype=entry["type"])
    if array.size:
        array[...] = np.memmap(folder / entry["file"], dtype=array.dtype, mode="r", shape=array.shape)
    notes, warnings = tuple(entry["notes"]), tuple(entry["warnings"])
    return Volume(array, entry["spacing"], entry["origin"], entry["direction"], notes=notes, warnings=warnings)


def remove(folder: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Remove the files of entries, as far as they are there."""
    for entry in entries.values():
        (folder / entry["file"]).unlink(missing_ok=True)
