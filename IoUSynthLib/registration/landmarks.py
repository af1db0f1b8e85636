"""Corresponding points of MRI and ultrasound, their files, and the target registration error (TRE).

Points are LPS millimetres, as everywhere outside the room ``mrml``. MNI ``.tag`` files are RAS; Slicer's say which.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..constants import RAS_TO_LPS
from ..volume import InputError

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Fewer landmarks than this say nothing about a registration.
FEWEST = 3
_FORMATS = "MNI .tag, Slicer .mrk.json or .fcsv"
#: Columns of a file that does not name them.
_FCSV_COLUMNS = ["id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID"]
#: Millimetres in the units that markups can have.
_UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001, "µm": 0.001}


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The points of one image.

    Attributes
    ----------
    points
        (n, 3) LPS mm; NaN for a point that is listed but not placed.
    labels
        Their names, n of them, empty where there is none.
    """

    points: np.ndarray
    labels: tuple[str, ...]

    @property
    def placed(self) -> np.ndarray:
        """Which points are placed, (n,) bool."""
        return np.isfinite(self.points).all(axis=1)


def read_landmarks(path: str | Path) -> list[np.ndarray]:
    """Read the landmarks of a file.

    Parameters
    ----------
    path
        MNI ``.tag`` with one or two volumes, Slicer ``.mrk.json`` or ``.fcsv``.

    Returns
    -------
    list of numpy.ndarray
        For each volume, or list of markups, (n, 3) LPS mm in the file's order, without those that are not placed.

    Raises
    ------
    InputError
        The file is missing, damaged, of another format, or has fewer than three points.
    """
    return [landmarks.points[landmarks.placed] for landmarks in _read(Path(path))]


def _read(path: Path) -> list[Landmarks]:
    readers = {".tag": _read_tag, ".json": _read_markups, ".fcsv": _read_fcsv}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: is no landmark file; give {_FORMATS}")
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the name") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    try:
        sets = readers[path.suffix.lower()](_text(content))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, csv.Error) as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: is a damaged landmark file ({reason}); export the landmarks again") from error
    for landmarks in sets:
        count = int(landmarks.placed.sum())
        if count < FEWEST:
            points = "1 point" if count == 1 else f"{count} points"
            raise InputError(f"{path}: has {points}, but a TRE needs at least {FEWEST}; mark more landmarks")
    return sets


def _text(content: bytes) -> str:
    """Text in UTF-8, or in Latin-1: letters beyond ASCII stand in comments and labels only."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_landmark_pairs(
    paths: Sequence[str | Path], warn: Callable[[str], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read corresponding landmarks of the MRI and of the ultrasound.

    Parameters
    ----------
    paths
        One ``.tag`` file whose first volume is the MRI and whose second is the ultrasound, as in RESECT, or a file of
        the MRI and a file of the ultrasound, which correspond by their order.
    warn
        Receives the warnings of :func:`pair`.

    Returns
    -------
    tuple of numpy.ndarray
        Of the MRI and of the ultrasound, (n, 3) LPS mm each.

    Raises
    ------
    InputError
        As :func:`read_landmarks`, or the counts differ.
    """
    sets = [landmarks for path in paths for landmarks in _read(Path(path))]
    names = " and ".join(str(path) for path in paths)
    if len(sets) != 2:
        raise InputError(
            f"{names}: landmarks of both MRI and ultrasound are needed; give one .tag of two volumes, or two files"
        )
    return pair(*sets, name=names, warn=warn)


def pair(
    moving: Landmarks, fixed: Landmarks, *, name: str = "landmarks", warn: Callable[[str], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Pair landmarks of the MRI and of the ultrasound by their numbers.

    Parameters
    ----------
    moving, fixed
        Of the MRI and of the ultrasound.
    name
        What messages call them.
    warn
        Receives a sentence where a landmark is left out because one of the two is not placed, and where labels
        contradict the order.

    Returns
    -------
    tuple of numpy.ndarray
        Of the MRI and of the ultrasound, (n, 3) LPS mm each.

    Raises
    ------
    InputError
        The lists differ in length, or fewer than three pairs are placed.
    """
    warn = warn or (lambda _sentence: None)
    counts = [_last_placed(landmarks) for landmarks in (moving, fixed)]
    if counts[0] > len(fixed.points) or counts[1] > len(moving.points):  # which is which cannot be told
        check_pairs(moving.points[: counts[0]], fixed.points[: counts[1]], name)
    common = min(len(moving.points), len(fixed.points))
    both = moving.placed[:common] & fixed.placed[:common]
    left_out = np.flatnonzero(~both[: max(counts)]) + 1
    if len(left_out):
        warn(f"Left out of the TRE, not placed in both images: landmark {', '.join(map(str, left_out))}.")
    for sentence in _contradictions(moving.labels, fixed.labels):
        warn(sentence)
    pairs = moving.points[:common][both], fixed.points[:common][both]
    check_pairs(*pairs, name)
    return pairs


def _last_placed(landmarks: Landmarks) -> int:
    """Number of the last point that is placed: Slicer lists one that is about to be."""
    return int(np.flatnonzero(landmarks.placed).max(initial=-1)) + 1


def _contradictions(moving: Sequence[str], fixed: Sequence[str]) -> list[str]:
    """What labels say against pairing by number: one that both have, once each, under different numbers."""
    once = [
        {label: number for number, label in enumerate(labels, 1) if label and labels.count(label) == 1}
        for labels in (tuple(moving), tuple(fixed))
    ]
    for label, number in once[0].items():
        if once[1].get(label, number) != number:
            return [
                f"The labels of the landmarks contradict their order ({label} is number {number} in the MRI and "
                f"{once[1][label]} in the ultrasound); they were paired by their order, so the TRE may be wrong."
            ]
    return []


def check_pairs(moving: np.ndarray, fixed: np.ndarray, name: str = "landmarks") -> None:
    """Raise :class:`InputError` when the landmarks of MRI and ultrasound cannot correspond."""
    if len(moving) != len(fixed):
        raise InputError(
            f"{name}: {len(moving)} landmarks of the MRI but {len(fixed)} of the ultrasound; mark the same in both"
        )
    if len(moving) < FEWEST:
        raise InputError(f"{name}: {len(moving)} pairs, but a TRE needs at least {FEWEST}; mark more landmarks")


def _read_tag(text: str) -> list[Landmarks]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("%")]
    header, found, body = re.sub(r"(?m)^\s*Points\s*=", "\0", "\n".join(lines), count=1).partition("\0")
    volumes = re.search(r"Volumes\s*=\s*(\d+)", header)
    if not text.startswith("MNI Tag Point File") or not found or volumes is None:
        raise ValueError("not an MNI tag point file")
    count = int(volumes[1])
    if count not in (1, 2):
        raise ValueError(f"{count} volumes")
    rows, labels = [], []
    for words, label in _tag_rows(body):
        if len(words) not in (3 * count, 3 * count + 3):  # weight, structure and patient may follow
            raise ValueError(f"{len(words)} numbers where a point has {3 * count}: {' '.join(words)}")
        rows.append([float(word) for word in words[: 3 * count]])
        labels.append(label)
    points = np.array(rows, dtype=np.float64).reshape(-1, 3 * count)
    _check_finite(points)
    return [Landmarks(part * RAS_TO_LPS, tuple(labels)) for part in np.split(points, count, axis=1)]


def _tag_rows(body: str) -> list[tuple[list[str], str]]:
    """Numbers and label of each point; a point ends with its label or its line."""
    kept: list[str] = []  # labels may hold anything, a semicolon too

    def keep(match: re.Match[str]) -> str:
        kept.append(match[1])
        return f" \0{len(kept) - 1}\n"

    body = re.sub(r'"([^"]*)"', keep, body)
    body = "\n".join(line.split("%")[0] for line in body.splitlines()).partition(";")[0]
    rows = []
    for line in body.splitlines():
        numbers, _, place = line.partition("\0")
        if re.search(r"\d,\d", numbers):
            raise ValueError("decimal commas; write numbers with points")
        if numbers.strip():
            rows.append((numbers.split(), kept[int(place)] if place else ""))
    return rows


def _read_markups(text: str) -> list[Landmarks]:
    lists = [_markup(markup) for markup in json.loads(text)["markups"]]
    if not lists:
        raise ValueError("no list of points")
    return lists


def _markup(markup: dict[str, Any]) -> Landmarks:
    units = markup.get("coordinateUnits") or "mm"
    unit = str(units[0] if isinstance(units, list) else units)
    if unit not in _UNITS:
        raise ValueError(f"coordinate units {unit}")
    scale = _to_lps(str(markup.get("coordinateSystem", "LPS"))) * _UNITS[unit]
    points, labels = [], []
    for point in markup["controlPoints"]:
        placed = point.get("positionStatus", "defined") == "defined" and point.get("position")
        points.append([float(value) for value in point["position"]] if placed else [np.nan] * 3)
        labels.append(str(point.get("label", "")))
        if placed:
            _check_finite(np.array(points[-1]))
    return Landmarks(np.array(points, dtype=np.float64).reshape(-1, 3) * scale, tuple(labels))


def _read_fcsv(text: str) -> list[Landmarks]:
    system, columns, rows, labels = "RAS", _FCSV_COLUMNS, [], []
    for line in text.splitlines():
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == "CoordinateSystem":
                system = value.strip()
            if key.strip() == "columns":
                columns = [name.strip() for name in re.split("[,;]", value)]
        elif line.strip():
            row = _fcsv_row(line, columns)
            rows.append([float(row[axis]) for axis in "xyz"])
            labels.append(row.get("label", ""))
    points = np.array(rows, dtype=np.float64).reshape(-1, 3)
    _check_finite(points)
    return [Landmarks(points * _to_lps(system), tuple(labels))]


def _fcsv_row(line: str, columns: list[str]) -> dict[str, str]:
    """The entries of a row by column; a spreadsheet may have written decimal commas, and semicolons between entries."""
    semicolons = line.count(";") >= 3
    words = next(csv.reader([line], delimiter=";" if semicolons else ","))
    if semicolons:
        words = [word.replace(",", ".") if name != "label" else word for name, word in _columns(columns, words)]
    row = dict(_columns(columns, words))
    flags = [row[name] for name in ("vis", "sel", "lock") if name in row]
    turned = [float(row[name]) for name in ("ow", "ox", "oy", "oz") if name in row]
    norm = float(np.linalg.norm(turned)) if turned else 0.0
    shifted = any(flag.strip() not in ("0", "1", "") for flag in flags) or min(norm, abs(norm - 1)) > 0.01
    if shifted or ("label" not in columns and len(words) == len(columns) + 3):
        raise ValueError("decimal commas, which cannot be told from those between the columns")
    return row


def _columns(columns: list[str], words: list[str]) -> list[tuple[str, str]]:
    """Each word with its column; what Slicer writes beyond the columns that it names has none."""
    names = [*columns, *(f"beyond {number}" for number in range(len(words) - len(columns)))]
    return list(zip(names, words, strict=False))


def _check_finite(points: np.ndarray) -> None:
    if not np.isfinite(points).all():
        raise ValueError("a landmark that is not finite; place it again")


def _to_lps(system: str) -> np.ndarray:
    """Signs that turn a Slicer coordinate system, by its name or its old number, into LPS."""
    if system in ("LPS", "1"):
        return np.ones(3)
    if system in ("RAS", "0"):
        return np.array(RAS_TO_LPS)
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

    Examples
    --------
    >>> moving, fixed = np.array([[0.0, 0, 0], [10, 0, 0]]), np.array([[3.0, 4, 0], [10, 0, 2]])
    >>> target_registration_errors(None, moving, fixed).tolist()
    [5.0, 2.0]
    """
    mapped = fixed if transform is None else np.array([transform.TransformPoint(point) for point in fixed.tolist()])
    return np.linalg.norm(mapped - moving, axis=1)


def fit_rigid(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """4x4 matrix of the rotation and shift that bring landmarks of the ultrasound nearest to those of the MRI.

    Least squares over the landmarks (Horn 1987, J. Opt. Soc. Am. A 4:629).

    Parameters
    ----------
    moving, fixed
        (n, 3) landmarks of the MRI and of the ultrasound, LPS mm.

    Examples
    --------
    >>> fixed = np.array([[0.0, 0, 0], [10, 0, 0], [0, 20, 0], [0, 0, 30]])
    >>> fit_rigid(fixed + [1, 2, 3], fixed)[:3, 3].round(6).tolist()
    [1.0, 2.0, 3.0]
    """
    import SimpleITK as sitk

    transform = sitk.LandmarkBasedTransformInitializer(
        sitk.VersorRigid3DTransform(), fixed.ravel().tolist(), moving.ravel().tolist()
    )
    mapped = [transform.TransformPoint(point) for point in [[0.0] * 3, *np.eye(3).tolist()]]
    matrix = np.eye(4)
    matrix[:3, 3] = mapped[0]
    matrix[:3, :3] = (np.array(mapped[1:]) - mapped[0]).T
    return matrix


def left_out_errors(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Distance in mm of each landmark from where the rigid fit of all others puts it: the TRE of :func:`fit_rigid`.

    The landmarks' own distances after the fit are smaller than its error elsewhere, because it was fitted to them.

    Parameters
    ----------
    moving, fixed
        (n, 3) landmarks of the MRI and of the ultrasound, LPS mm.

    Returns
    -------
    numpy.ndarray
        (n,), NaN of three landmarks: any two fit a rotation about the line through them.
    """
    count = len(fixed)
    if count <= FEWEST:
        return np.full(count, np.nan)
    errors = []
    for left_out in range(count):
        kept = np.arange(count) != left_out
        mapped = fit_rigid(moving[kept], fixed[kept]) @ [*fixed[left_out], 1.0]
        errors.append(np.linalg.norm(mapped[:3] - moving[left_out]))
    return np.array(errors)


def localization_error(errors: np.ndarray) -> float:
    """Root mean square in mm of the error with which landmarks were placed (FLE), by their distances after a rigid fit.

    Both images' errors together; what is not rigid, as brain shift is, counts as one. Fitzpatrick, West and Maurer
    1998, IEEE Trans. Med. Imaging 17:694, eq. 10: the mean squared distance is (1 - 2 / n) FLE squared.

    Examples
    --------
    >>> round(localization_error(np.full(8, 3.0)), 3)
    3.464
    """
    return float(np.sqrt((errors**2).mean() / (1 - 2 / len(errors))))


def summarise(errors: np.ndarray) -> dict[str, float]:
    """Return mean, largest and root mean square of errors in mm, rounded to 0.001 mm.

    Examples
    --------
    >>> summarise(np.array([3.0, 5.0]))
    {'mean_mm': 4.0, 'largest_mm': 5.0, 'rms_mm': 4.123}
    """
    values = {"mean": errors.mean(), "largest": errors.max(), "rms": np.sqrt((errors**2).mean())}
    return {f"{name}_mm": round(float(value), 3) for name, value in values.items()}
