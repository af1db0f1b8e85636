"""Where the slices of a DICOM series or the frames of an enhanced file lie, and the regular grid that they make up.

Written positions are rounded, to two decimals by many exporters and anonymisers. What a grid misses by less than the
tolerance is taken for that; what differs by more, a tilted gantry, a missing slice, a sweep by hand, is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..volume import InputError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: How far, in mm and as a part of the length of the stack, a slice may lie beside the grid.
_TOLERANCE_MM, _TOLERANCE = 0.1, 1e-3

#: Largest angle in degrees between slices, and largest difference of pixel sizes, that count as equal.
_SAME_ANGLE, _SAME_SPACING = 0.2, 5e-3

#: What may tell apart the images that one series holds of the same place.
_DIFFERENCES = (
    "EchoTime", "EchoNumbers", "TemporalPositionIdentifier", "AcquisitionNumber", "AcquisitionTime", "ImageType",
)  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """A slice or frame.

    Attributes
    ----------
    name
        Its file, or which frame it is.
    size
        Columns and rows.
    spacing
        Distance in mm of pixels along a row and down a column.
    position
        LPS mm of the centre of the first pixel, shape (3,).
    axes
        LPS directions along a row and down a column, shape (2, 3).
    marks
        What may tell it apart from another of the same place, by DICOM's keywords.
    """

    name: str
    size: tuple[int, int]
    spacing: np.ndarray
    position: np.ndarray
    axes: np.ndarray
    marks: dict[str, str]


@dataclass(frozen=True)
class Grid:
    """A stack of planes: their order, and the geometry of the volume that they are in that order."""

    order: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray


# From headers ---------------------------------------------------------------------------------------------------------


def plane_of_slice(header: Dataset, name: str) -> Plane:
    """Return where the single frame of a file lies.

    Raises
    ------
    InputError
        It has no position, orientation or pixel size.
    """
    position, axes = _numbers(header, "ImagePositionPatient", 3), _numbers(header, "ImageOrientationPatient", 6)
    if position is None or axes is None:
        raise InputError("its DICOM slices have no position (2D+t?); reconstruct them into a volume first")
    spacing = _pixel_spacing(header)
    if spacing is None:
        raise InputError(f"{name} has no pixel size; export the series with its geometry")
    marks = {keyword: str(header.get(keyword, "")) for keyword in _DIFFERENCES}
    return Plane(name, (int(header.Columns), int(header.Rows)), spacing, position, axes.reshape(2, 3), marks)


def planes_of_frames(header: Dataset) -> tuple[list[Plane], tuple[str, ...], tuple[str, ...]]:
    """Return where the frames of a file lie, in the order of its frames, and notes and warnings about that.

    The place of each frame is looked up in its own functional groups, then in the shared ones. Ultrasound that has no
    place in the patient is placed by the matrix to the table (of the tracking), or else in coordinates of its own.

    Raises
    ------
    InputError
        Nothing says where they lie.
    """
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    count = int(header.get("NumberOfFrames") or 1)
    if not frames:
        return _stacked_frames(header, count), (), ()
    if len(frames) != count:
        raise InputError(f"holds {count} frames, but says where {len(frames)} lie; export it again")
    for kind in ("Patient", "Volume"):
        found = [_placed_frame(header, kind, groups=groups, shared=shared) for groups in frames]
        if all(place is not None for place in found):
            break
    else:
        raise InputError("its frames have no position; export it with its geometry, as a series or NRRD")
    size = int(header.Columns), int(header.Rows)
    planes = [Plane(f"frame {number + 1}", size, *place, {}) for number, place in enumerate(found)]
    if kind == "Volume":
        return _from_volume_frame(planes, header)
    estimated = header.get("PatientFrameOfReferenceSource") == "ESTIMATED"
    return planes, (), ("Its place in the patient is an estimate, says the file.",) if estimated else ()


def _placed_frame(
    header: Dataset, kind: str, *, groups: Dataset, shared: Dataset | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return pixel size, position and axes of a frame in the coordinates of the patient or of the volume."""
    suffix = "" if kind == "Patient" else "Volume"
    values = []
    for sequence, keyword, count in (
        ("PixelMeasuresSequence", "PixelSpacing", 2),
        (f"PlanePosition{suffix}Sequence", f"ImagePosition{kind}", 3),
        (f"PlaneOrientation{suffix}Sequence", f"ImageOrientation{kind}", 6),
    ):
        items = [group[sequence][0] for group in (groups, shared) if group is not None and group.get(sequence)]
        values.append(_numbers(items[0], keyword, count) if items else None)
    spacing, position, axes = values
    spacing = _pixel_spacing(header) if spacing is None else spacing[::-1]
    if spacing is None or position is None or axes is None:
        return None
    return spacing, position, axes.reshape(2, 3)


def _from_volume_frame(planes: list[Plane], header: Dataset) -> tuple[list[Plane], tuple[str, ...], tuple[str, ...]]:
    """Bring planes from the volume's own coordinates (PS3.3 C.8.24.2) to those of the table, where these are known."""
    matrix = _numbers(header, "VolumeToTableMappingMatrix", 16)
    if matrix is None:
        doubt = "The file does not say where its volume lies in the patient: the coordinates are those of the volume."
        return planes, (), (doubt,)
    matrix = matrix.reshape(4, 4)
    rotation = matrix[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-2 or np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise InputError("its matrix from the volume to the table is not rigid; export it again")
    note = "Placed by the file's matrix from the volume to the table or tracking, whose axes are taken as LPS."
    moved = [
        Plane(p.name, p.size, p.spacing, rotation @ p.position + matrix[:3, 3], p.axes @ rotation.T, p.marks)
        for p in planes
    ]
    return moved, (note,), ()


def _stacked_frames(header: Dataset, count: int) -> list[Plane]:
    """Return frames that the header places as one stack, without a place for each."""
    spacing, between = _pixel_spacing(header), _numbers(header, "SpacingBetweenSlices", 1)
    position, axes = _numbers(header, "ImagePositionPatient", 3), _numbers(header, "ImageOrientationPatient", 6)
    if spacing is None or between is None or position is None or axes is None:
        raise InputError(
            "does not say how large its voxels are or where its frames lie; export it with its geometry, as a series "
            "or NRRD"
        )
    axes = axes.reshape(2, 3)
    step = np.cross(*axes) * between
    size = int(header.Columns), int(header.Rows)
    return [Plane(f"frame {k + 1}", size, spacing, position + k * step, axes, {}) for k in range(count)]


def _pixel_spacing(header: Dataset) -> np.ndarray | None:
    """Return the distance in mm of pixels along a row and down a column; ultrasound may give it by regions, in cm."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = _numbers(header, keyword, 2)
        if spacing is not None:
            return spacing[::-1]
    regions = header.get("SequenceOfUltrasoundRegions") or []
    if len(regions) != 1 or any(regions[0].get(f"PhysicalUnits{axis}Direction") != 3 for axis in "XY"):
        return None
    steps = [_numbers(regions[0], f"PhysicalDelta{axis}", 1) for axis in "XY"]
    return None if any(step is None for step in steps) else 10.0 * np.abs(np.concatenate(steps))


def _numbers(header: Dataset, keyword: str, count: int) -> np.ndarray | None:
    """Return the numbers of an attribute; None where it is absent or empty."""
    try:
        value = header.get(keyword)
        numbers = np.atleast_1d(np.array([] if value is None else value, dtype=np.float64))
    except (ValueError, TypeError) as error:
        raise InputError(f"its {keyword} is not made of numbers; export it again") from error
    if numbers.size not in (0, count) or not np.isfinite(numbers).all():
        raise InputError(f"its {keyword} is {value}, not {count} numbers; export it again")
    return numbers if numbers.size else None


# The grid -------------------------------------------------------------------------------------------------------------


def regular_grid(planes: Sequence[Plane]) -> Grid:
    """Find the order in which planes are a regular grid, and that grid, the nearest to their rounded positions.

    Raises
    ------
    InputError
        They differ in size, pixel size or orientation, several share a place, some are missing, or they are sheared.
    """
    axes = _common_axes(planes)
    _check_alike(planes)
    direction = _right_angled(axes)
    positions = np.array([plane.position for plane in planes])
    order = np.argsort(positions @ direction[:, 2], kind="stable")
    steps = np.diff(positions[order] @ direction[:, 2])
    if len(planes) < 2:
        raise InputError("is a single slice; give a reconstructed 3D ultrasound volume")
    usual = float(np.median(steps))
    _check_one_each([planes[number] for number in order], steps)
    if steps.max() > 1.5 * usual:
        gap = int(np.argmax(steps))
        names = " and ".join(planes[number].name for number in order[gap : gap + 2])
        raise InputError(
            f"its DICOM slices are missing or unevenly spaced ({steps[gap]:.3g} mm between {names}, else {usual:.3g} "
            "mm); export the whole series again"
        )
    origin, spacing = _fit(positions[order], direction[:, 2])
    across = np.median([plane.spacing for plane in planes], axis=0)
    return Grid(order, (*map(float, across), spacing), tuple(map(float, origin)), direction)


def _fit(positions: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, float]:
    """Return first position and distance of the stack of slices that lies nearest to sorted positions (n, 3)."""
    numbers = np.arange(len(positions)) - (len(positions) - 1) / 2
    middle, step = positions.mean(axis=0), numbers @ positions / (numbers @ numbers)
    spacing = float(step @ normal)
    length = spacing * (len(positions) - 1)
    tolerance = _TOLERANCE_MM + _TOLERANCE * length
    if np.linalg.norm(step - spacing * normal) * (len(positions) - 1) > tolerance:
        raise InputError("its DICOM slices are sheared (tilted stack); resample it to a regular grid first")
    beside = positions - middle - numbers[:, None] * spacing * normal
    if np.linalg.norm(beside, axis=1).max() > tolerance:
        raise InputError("its DICOM slices are missing or unevenly spaced; export the whole series again")
    return middle + numbers[0] * spacing * normal, spacing


def _common_axes(planes: Sequence[Plane]) -> np.ndarray:
    """Return the axes (2, 3) that the planes share; refuse those that are turned."""
    axes = np.median([plane.axes for plane in planes], axis=0)
    if np.abs(axes @ axes.T - np.eye(2)).max() < 0.1:  # else there is no orientation that most have
        turned = np.array([_degrees(plane.axes, axes) for plane in planes])
        others = [plane.name for plane, angle in zip(planes, turned, strict=True) if angle > _SAME_ANGLE]
        if not others:
            return axes
        if len(others) <= 0.2 * len(planes) and turned.max() > 5:
            raise InputError(
                f"{_few(others)}: lies at another angle than the other slices (a localizer?); move it into a folder of "
                "its own"
            )
    first = max(_degrees(plane.axes, planes[0].axes) for plane in planes)
    if first <= _SAME_ANGLE:  # all alike, at no right angle
        return axes
    raise InputError(
        f"its DICOM slices are turned against each other, by up to {first:.2g} degrees (several views, or a sweep by "
        "hand); give a series of parallel slices, or reconstruct the sweep into a volume first"
    )


def _degrees(axes: np.ndarray, others: np.ndarray) -> float:
    """Return the larger of the angles between two pairs of axes."""
    cosines = (axes * others).sum(axis=1) / np.linalg.norm(axes, axis=1) / np.linalg.norm(others, axis=1)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1)).max()))


def _right_angled(axes: np.ndarray) -> np.ndarray:
    """Return the right-handed direction matrix nearest to rounded axes (2, 3) of a plane."""
    if np.abs(axes @ axes.T - np.eye(2)).max() > 1e-2:
        raise InputError("its image orientation is no pair of axes at right angles; export it again")
    left, _, right = np.linalg.svd(axes, full_matrices=False)
    row, column = left @ right
    return np.column_stack([row, column, np.cross(row, column)])


def _check_alike(planes: Sequence[Plane]) -> None:
    """Refuse planes of different sizes or pixel sizes."""
    sizes = Counter(plane.size for plane in planes)
    if len(sizes) > 1:
        usual = sizes.most_common(1)[0][0]
        other = next(plane for plane in planes if plane.size != usual)
        raise InputError(
            f"its DICOM slices differ in size: {other.name} has {other.size[0]} x {other.size[1]} pixels, others "
            f"{usual[0]} x {usual[1]}; move what does not belong to the volume into a folder of its own"
        )
    spacings = np.array([plane.spacing for plane in planes])
    if spacings.min() <= 0:
        raise InputError("has a pixel size of zero; set a positive pixel spacing in mm and save it again")
    low, high = spacings.min(axis=0), spacings.max(axis=0)
    if (high / low - 1).max() > _SAME_SPACING:
        raise InputError(
            f"its DICOM slices differ in pixel size, {low.min():.4g} to {high.max():.4g} mm; give a series of slices "
            "that are alike"
        )


def _check_one_each(planes: Sequence[Plane], steps: np.ndarray) -> None:
    """Refuse several images of the same place, and say what tells them apart; the planes are sorted."""
    together = steps < 1e-3
    if not together.any():
        return
    first = int(np.argmax(together))
    one, other = planes[first], planes[first + 1]
    differing = [key for key in one.marks if one.marks[key] != other.marks[key]]
    if together.all():
        raise InputError("all its DICOM slices lie at the same place (2D+t?); reconstruct them into a volume first")
    why = "".join(f", which differ in {key} ({one.marks[key]}, {other.marks[key]})" for key in differing[:1])
    raise InputError(
        f"holds several images of the same place, such as {one.name} and {other.name}{why}: echoes, moments or kinds "
        "of data in one series; export one 3D volume of it"
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
