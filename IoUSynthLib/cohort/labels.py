"""What somebody has outlined, as labels 0 background, 1 tumour, 2 cavity: DICOM SEG, and label maps of any format.

DICOM SEG (PS3.3 A.51) is a frame for each slice that a segment is in, so that slices may be missing between and around
them. pydicom alone reads it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..constants import LABELS
from ..files.dicom import is_dicom, pydicom_module, read_header
from ..files.dicom_planes import Plane, planes_of_frames
from ..files.volumes import read_volume
from ..volume import InputError, Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: What an outline may be of: one structure, or both by the values or the names of its segments.
OUTLINES = ("labels", "tumour", "cavity")
#: ReMIND's structures tumor, tumor_residual and previous_resection_cavity, and how their codes call them.
_NAMES = {"cavity": re.compile(r"cavity|excision"), "tumour": re.compile(r"tumou?r|glioma|lesion")}
#: How far, as a part of the distance between slices, a frame may lie beside its slice.
_TOLERANCE = 0.1


def structure_of(name: str) -> str:
    """The structure that a name tells: tumour, cavity, or nothing.

    Examples
    --------
    >>> [structure_of(name) for name in ("tumor_residual", "previous_resection_cavity", "cerebrum")]
    ['tumour', 'cavity', '']
    """
    return next((structure for structure, names in _NAMES.items() if names.search(name.lower())), "")


def segments(header: Dataset) -> dict[int, str]:
    """The structure of each segment of a DICOM SEG, by its number; empty for another one than tumour and cavity.

    The only segment of a series takes its name from that of the series, where this tells it: ReMIND's are called
    ``tumor_residual seg - MR ref: 2D_AX_T2_BLADE``.
    """
    described = header.get("SegmentSequence") or []
    found = {int(segment.SegmentNumber): structure_of(_described(segment)) for segment in described}
    if len(found) == 1:
        named = structure_of(str(header.get("SeriesDescription", "")).partition(" seg ")[0])
        found = {number: named or structure for number, structure in found.items()}
    return found


def _described(segment: Dataset) -> str:
    codes = segment.get("SegmentedPropertyTypeCodeSequence") or []
    texts = [segment.get("SegmentLabel"), segment.get("SegmentDescription"), *(code.CodeMeaning for code in codes)]
    return " ".join(str(text) for text in texts if text)


def outline_of(header: Dataset) -> str:
    """What a DICOM SEG outlines: tumour, cavity, labels for both, or none of them."""
    found = sorted({structure for structure in segments(header).values() if structure})
    return "labels" if len(found) > 1 else next(iter(found), "none")


def read_labels(path: Path, outline: str) -> Volume:
    """Read what somebody has outlined.

    Parameters
    ----------
    path
        A DICOM SEG, or a label map in any format that :func:`.files.volumes.read_volume` reads.
    outline
        One of :data:`OUTLINES`. Of a map of one structure, all voxels above 0 are in it.

    Returns
    -------
    Volume
        uint8: 0 background, 1 tumour, 2 cavity. Of a DICOM SEG, the slices that its frames span.

    Raises
    ------
    InputError
        It cannot be read, or holds other values or segments.
    """
    header = read_header(path) if path.is_file() and is_dicom(path) else None
    if header is not None and header.get("Modality") == "SEG":
        return _read_segmentation(path, header, outline)
    volume = read_volume(path, labels=True)
    if outline != "labels":
        return volume.with_array(np.where(volume.array > 0, LABELS[outline], 0).astype(np.uint8))
    if not np.isin(volume.array, tuple(LABELS.values())).all():
        raise InputError(f"{path}: holds other values than 0 (background), 1 (tumour) and 2 (cavity); recode it")
    return volume.with_array(volume.array.astype(np.uint8))


def _read_segmentation(path: Path, header: Dataset, outline: str) -> Volume:
    found = segments(header)
    wanted = {number: name for number, name in found.items() if name and outline in ("labels", name)}
    if len(found) == 1 and outline != "labels":
        wanted = dict.fromkeys(found, outline)  # the table says so, whatever the file calls it
    if not wanted or header.get("SegmentationType") != "BINARY":
        what = "tumour or cavity" if outline == "labels" else outline
        raise InputError(f"{path}: holds no binary segment of the {what}; name the segments by what they are")
    try:
        frames = pydicom_module().dcmread(path).pixel_array.reshape(-1, int(header.Rows), int(header.Columns))
        planes, _, _ = planes_of_frames(header)
        volume, slices = _stack(planes, _distance(header))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    numbers = _segment_numbers(header, len(frames))
    for number in sorted(wanted, key=lambda number: LABELS[wanted[number]]):  # a cavity lies over the tumour round it
        for frame, index in zip(frames[numbers == number], slices[numbers == number], strict=True):
            volume.array[index][frame > 0] = LABELS[wanted[number]]
    return volume


def _segment_numbers(header: Dataset, count: int) -> np.ndarray:
    """The segment of each frame; of a file with one segment, which may say it nowhere, that one."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    frames = header.get("PerFrameFunctionalGroupsSequence") or [{}] * count
    named = [(groups.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence") or [None])[0]
             for groups in frames]  # fmt: skip
    first = next(iter(segments(header)), 1)
    return np.array([first if item is None else int(item.ReferencedSegmentNumber) for item in named])


def _distance(header: Dataset) -> float | None:
    """Distance in mm of the slices that were outlined, where the file says it."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    measures = (shared.get("PixelMeasuresSequence") or [{}])[0]
    distance = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
    return float(distance) if distance else None


def _stack(planes: list[Plane], step: float | None) -> tuple[Volume, np.ndarray]:
    """An empty volume over all slices that the frames lie in, with one more on either side, and the slice of each."""
    axes = planes[0].axes
    turned = max(np.abs(plane.axes - axes).max() for plane in planes)
    if turned > 1e-3 or np.abs(axes @ axes.T - np.eye(2)).max() > 1e-2:
        raise InputError("its frames are not parallel, or have no axes at right angles; export it again")
    normal = np.cross(*axes)
    positions = np.array([plane.position for plane in planes])
    depths = (positions - positions[0]) @ normal
    if step is None:
        step = min(np.diff(np.unique(depths.round(3))), default=1.0)
    first = positions[int(np.argmin(depths))]
    numbers = (depths - depths.min()) / step
    beside = positions - first - np.outer(depths - depths.min(), normal)
    if np.abs(numbers - numbers.round()).max() > _TOLERANCE or np.abs(beside).max() > _TOLERANCE * step:
        raise InputError("its frames lie in no regular grid; export it again")
    columns, rows = planes[0].size
    slices = numbers.round().astype(int) + 1
    array = np.zeros((slices.max() + 2, rows, columns), np.uint8)
    origin = first - step * normal
    spacing = (*planes[0].spacing, step)
    return Volume(array, spacing, tuple(origin), np.column_stack([*axes, normal])), slices
