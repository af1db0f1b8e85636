"""Corresponding points of MRI and ultrasound, their files, and the target registration error (TRE).

Points are LPS millimetres, as everywhere outside the room ``mrml``. MNI ``.tag`` files are RAS; Slicer's say which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..volume import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Fewer landmarks than this say nothing about a registration.
FEWEST = 3
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_FORMATS = "MNI .tag, Slicer .mrk.json or .fcsv"


def read_landmarks(path: str | Path) -> list[np.ndarray]:
    """Read the landmarks of a file.

    Parameters
    ----------
    path
        MNI ``.tag`` with one or two volumes, Slicer ``.mrk.json`` or ``.fcsv``.

    Returns
    -------
    list of numpy.ndarray
        For each volume (n, 3) LPS mm, in the file's order; markups have one volume.

    Raises
    ------
    InputError
        The file is missing, damaged, of another format, or has fewer than three points.
    """
    path = Path(path)
    readers = {".tag": _read_tag, ".json": _read_markups, ".fcsv": _read_fcsv}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: is no landmark file; give {_FORMATS}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); export the landmarks again") from error
    sets = _parse(readers[path.suffix.lower()], text, path)
    if len(sets[0]) < FEWEST:
        points = "1 point" if len(sets[0]) == 1 else f"{len(sets[0])} points"
        raise InputError(f"{path}: has {points}, but a TRE needs at least {FEWEST}; mark more landmarks")
    return sets


def _parse(reader: Callable[[str], list[np.ndarray]], text: str, path: Path) -> list[np.ndarray]:
    try:
        sets = reader(text)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: is a damaged landmark file ({error}); export the landmarks again") from error
    if not all(np.isfinite(points).all() for points in sets):
        raise InputError(f"{path}: has a landmark that is not finite; place it again")
    return sets


def read_landmark_pairs(paths: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray]:
    """Read corresponding landmarks of the MRI and of the ultrasound.

    Parameters
    ----------
    paths
        One ``.tag`` file whose first volume is the MRI and whose second is the ultrasound, as in RESECT, or a file of
        the MRI and a file of the ultrasound, which correspond by their order.

    Returns
    -------
    tuple of numpy.ndarray
        Of the MRI and of the ultrasound, (n, 3) LPS mm each.

    Raises
    ------
    InputError
        As :func:`read_landmarks`, or the counts differ.
    """
    sets = [points for path in paths for points in read_landmarks(path)]
    names = " and ".join(str(path) for path in paths)
    if len(sets) != 2:
        raise InputError(
            f"{names}: landmarks of both MRI and ultrasound are needed; give one .tag of two volumes, or two files"
        )
    check_pairs(*sets, names)
    return sets[0], sets[1]


def check_pairs(moving: np.ndarray, fixed: np.ndarray, name: str = "landmarks") -> None:
    """Raise :class:`InputError` when the landmarks of MRI and ultrasound cannot correspond."""
    if len(moving) != len(fixed):
        raise InputError(
            f"{name}: {len(moving)} landmarks of the MRI but {len(fixed)} of the ultrasound; mark the same in both"
        )
    if len(moving) < FEWEST:
        raise InputError(f"{name}: {len(moving)} pairs, but a TRE needs at least {FEWEST}; mark more landmarks")


def _read_tag(text: str) -> list[np.ndarray]:
    header, found, body = text.partition("Points")
    if not text.startswith("MNI Tag Point File") or not found:
        raise ValueError("not an MNI tag point file")
    volumes = int(re.search(r"Volumes\s*=\s*(\d+)", header)[1])
    if volumes not in (1, 2):
        raise ValueError(f"{volumes} volumes")
    body = re.sub(r'"[^"]*"', "", body.partition("=")[2])  # labels may hold anything, a semicolon too
    lines = (line.split("%")[0] for line in body.splitlines())
    rows = [line.split() for line in "\n".join(lines).partition(";")[0].splitlines() if line.strip()]
    points = np.array([[float(word) for word in row[: 3 * volumes]] for row in rows], dtype=np.float64)
    return [part * _RAS_TO_LPS for part in np.split(points.reshape(-1, 3 * volumes), volumes, axis=1)]


def _read_markups(text: str) -> list[np.ndarray]:
    markup = json.loads(text)["markups"][0]
    placed = [point for point in markup["controlPoints"] if point.get("positionStatus", "defined") == "defined"]
    points = np.array([point["position"] for point in placed], dtype=np.float64).reshape(-1, 3)
    return [points * _to_lps(str(markup.get("coordinateSystem", "LPS")))]


def _read_fcsv(text: str) -> list[np.ndarray]:
    system, columns, rows = "RAS", ["id", "x", "y", "z"], []
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == "CoordinateSystem":
                system = value.strip()
            if key.strip() == "columns":
                columns = [name.strip() for name in value.split(",")]
        elif line.strip():
            words = line.split(",")
            rows.append([float(words[columns.index(axis)]) for axis in "xyz"])
    return [np.array(rows, dtype=np.float64).reshape(-1, 3) * _to_lps(system)]


def _to_lps(system: str) -> np.ndarray:
    """Signs that turn a Slicer coordinate system, by its name or its old number, into LPS."""
    if system in ("LPS", "1"):
        return np.ones(3)
    if system in ("RAS", "0"):
        return _RAS_TO_LPS
    raise ValueError(f"coordinate system {system}")


def target_registration_errors(
    transform: sitk.Transform | None, moving: np.ndarray, fixed: np.ndarray
) -> np.ndarray:
    """Distance in mm, for each landmark, of where a transform sends that of the ultrasound from that of the MRI.

    Parameters
    ----------
    transform
        From fixed to moving LPS points, as registration returns it; None for the identity.
    moving, fixed
        (n, 3) landmarks of the MRI and of the ultrasound.
    """
    mapped = fixed if transform is None else np.array([transform.TransformPoint(point) for point in fixed.tolist()])
    return np.linalg.norm(mapped - moving, axis=1)


def summarise(errors: np.ndarray) -> dict[str, float]:
    """Return mean, largest and root mean square of errors in mm, rounded to 0.001 mm."""
    values = {"mean": errors.mean(), "largest": errors.max(), "rms": np.sqrt((errors**2).mean())}
    return {f"{name}_mm": round(float(value), 3) for name, value in values.items()}
