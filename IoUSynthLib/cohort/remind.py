"""ReMIND as TCIA gives it (Juvekar et al., Scientific Data 2024), or another tree of DICOM, as a table.

What the collection says of itself, which was looked up in programs that read it:

- Two studies a patient, ``Preop`` and ``Intraop``, both of the same made-up date: only the description tells them
  apart. Where other trees have no such descriptions, and a patient has MRI of two dates, the later is intraoperative.
- Ultrasound is named ``US_pre_dura``, ``US_post_dura`` and ``US_pre_imri``. The benchmark (arXiv 2606.00630, section
  2.1) takes the first, with the preoperative MRI, as *pre*, and the last, with the intraoperative MRI, as *post*; that
  after the opening of the dura is in neither.
- Outlines (DICOM SEG) are named ``tumor_residual seg - MR ref: 2D_AX_T2_BLADE``, by the structure and the series that
  it was drawn on.

Nothing is guessed: of two T2w of a phase, both are in doubt.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..constants import TARGETS
from ..files.dicom import check_series, is_dicom, read_header
from ..files.names import contrast_of_name, has_agent, is_volume
from ..volume import InputError
from .labels import OUTLINES, outline_of
from .table import USED, Row

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_PHASES = {"pre": re.compile(r"pre[ _-]?op"), "post": re.compile(r"intra[ _-]?op")}
_ULTRASOUND = {"uspredura": "pre", "uspostdura": "", "uspreimri": "post"}
_REFERENCE = re.compile(r" seg - MR ref:? *(.+)$")
#: Names of the benchmark's released label maps: study, then -mr-, -mri- or, misspelled once, -mir-.
_RELEASED = re.compile(r"^(?P<patient>.+?)-(?P<phase>pre|post)(?![a-z])", re.IGNORECASE)


def find_series(tree: Path, *, label_maps: Path | None = None) -> list[Row]:
    """Every DICOM series below a folder as a row of the table, and what is missing as a row without a path.

    Parameters
    ----------
    tree
        Folder of the download.
    label_maps
        Folder of the benchmark's released maps (0 background, 1 tumour, 2 cavity), which lie in the frame of the
        ultrasound and take the place of the outlines in DICOM.

    Raises
    ------
    InputError
        The folder is missing, or holds no DICOM.
    """
    if not tree.is_dir():
        raise InputError(f"{tree}: no such folder; give the folder that TCIA's download made")
    folders = sorted(path for path in (tree, *tree.rglob("*")) if path.is_dir())
    copies: dict[str, list[frozenset[str]]] = defaultdict(list)
    rows = [row for folder in folders for row in _rows(folder, tree, copies)]
    if not rows:
        raise InputError(f"{tree}: holds no DICOM; give the folder that TCIA's download made")
    rows = _with_references(_with_phases(_without_copies(rows, copies)))
    rows = _in_doubt(rows if label_maps is None else _with_label_maps(rows, label_maps))
    return sorted([*rows, *_missing(rows)], key=lambda row: (row.patient, row.phase, row.contrast, row.path))


# A folder ------------------------------------------------------------------------------------------------------------


def _rows(folder: Path, tree: Path, copies: dict[str, list[frozenset[str]]]) -> list[Row]:
    """The series of a folder; the identifiers of their images are added to ``copies``, by series, in the same order."""
    series, broken = _headers(folder)
    if broken and not series:
        place = folder.relative_to(tree)
        return [Row(place.parts[0] if place.parts else "", "", "", place.as_posix(), _short(broken, folder))]
    rows = []
    for uid, files in series.items():
        copies[uid].append(frozenset(str(header.get("SOPInstanceUID", "")) for header in files.values()))
        file, header = next(iter(files.items()))
        row = _row(header, file if len(files) == 1 else folder, tree)
        doubts = [*broken, *_wrong(files, folder)]
        if len(series) > 1 and len(files) > 1:
            doubts.append("shares its folder with other series; move it into one of its own")
        if not row.patient:
            doubts.append("names no patient; write one beside it")
        rows.append(replace(row, doubt=_short(doubts, folder)))
    return rows


def _headers(folder: Path) -> tuple[dict[str, dict[Path, Dataset]], list[str]]:
    """The headers of a folder's images by series and file, and what is wrong with files that are broken."""
    series: dict[str, dict[Path, Dataset]] = {}
    broken = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            header = read_header(file)
            if header is None and file.suffix.lower() == ".dcm" and not is_dicom(file):
                raise InputError(f"{file}: is no DICOM, or damaged; copy or export it again")
        except InputError as error:
            broken.append(str(error))
        else:
            if header is not None:
                series.setdefault(str(header.get("SeriesInstanceUID", "")), {})[file] = header
    return series, broken


def _row(header: Dataset, path: Path, tree: Path) -> Row:
    references = header.get("ReferencedSeriesSequence") or []
    return Row(
        patient=str(header.get("PatientID", "")),
        phase="",
        contrast=_contrast(header),
        path=path.relative_to(tree).as_posix(),
        modality=str(header.get("Modality", "")),
        series=str(header.get("SeriesDescription", "")),
        study=str(header.get("StudyDescription", "")),
        date=str(header.get("StudyDate", "")),
        series_uid=str(header.get("SeriesInstanceUID", "")),
        study_uid=str(header.get("StudyInstanceUID", "")),
        reference=str(references[0].get("SeriesInstanceUID", "")) if references else "",
    )


def _contrast(header: Dataset) -> str:
    modality = header.get("Modality")
    if modality == "US":
        return "ultrasound"
    if modality == "SEG":
        return outline_of(header)
    name = str(header.get("SeriesDescription", ""))
    contrast = contrast_of_name(name)
    if contrast == "T1w" and has_agent(name):
        return "ceT1" if modality == "MR" else "none"
    return "none" if modality != "MR" else "MRI" if contrast == "none" else contrast


def _wrong(files: dict[Path, Dataset], folder: Path) -> list[str]:
    """What is wrong with the geometry of a series; outlines are looked at when they are read."""
    if next(iter(files.values())).get("Modality") == "SEG":
        return []
    try:
        check_series(files, folder)
    except InputError as error:
        return [str(error)]
    return []


def _short(messages: Iterable[str], folder: Path) -> str:
    """One text of messages, which need not name the folder that stands in the same row."""
    return "; ".join(messages).replace(f"{folder}{os.sep}", "").replace(f"{folder}: ", "")


# All rows together ----------------------------------------------------------------------------------------------------


def _doubting(row: Row, doubt: str) -> Row:
    return replace(row, doubt="; ".join(text for text in (row.doubt, doubt) if text))


def _without_copies(rows: list[Row], copies: Mapping[str, list[frozenset[str]]]) -> list[Row]:
    """Put copies of a series in doubt, and both where they differ."""
    first: dict[str, Row] = {}
    result = []
    for row in rows:
        kept = first.setdefault(row.series_uid, row)
        found = copies.get(row.series_uid, [])
        if not row.series_uid or len(found) < 2:
            result.append(row)
        elif len(set(found)) > 1:
            result.append(_doubting(row, f"{len(found)} folders hold different images of this series; keep one"))
        else:
            result.append(row if row is kept else _doubting(row, f"is a copy of {kept.path}"))
    return result


def _with_phases(rows: list[Row]) -> list[Row]:
    result = []
    for row in rows:
        if row.contrast == "ultrasound":
            name = re.sub("[^a-z]", "", row.series.lower())
            phase = _ULTRASOUND.get(name)
            doubt = "its name tells no phase; write pre (intact dura) or post (after the resection) beside it"
        else:
            phase = _study_phase(row, rows)
            doubt = "neither description nor date of its study tells the phase; write pre or post beside it"
        unknown = phase is None and row.contrast in ("ultrasound", *TARGETS)
        result.append(replace(_doubting(row, doubt) if unknown else row, phase=phase or ""))
    return result


def _study_phase(row: Row, rows: Iterable[Row]) -> str | None:
    """Phase of a study with MRI: by its description, else as the earlier or the later of two."""
    told = [phase for phase, names in _PHASES.items() if names.search(row.study.lower())]
    if told:
        return told[0] if len(told) == 1 else None
    scans = (other for other in rows if (other.patient, other.modality) == (row.patient, "MR"))
    dates = sorted({(scan.date, scan.study_uid) for scan in scans})
    if len(dates) != 2 or dates[0][0] == dates[1][0] or not dates[0][0]:
        return None
    return {dates[0][1]: "pre", dates[1][1]: "post"}.get(row.study_uid)


def _with_references(rows: list[Row]) -> list[Row]:
    """Give outlines the phase of the series that they were drawn on."""
    return [_with_reference(row, rows) if row.contrast in OUTLINES else row for row in rows]


def _with_reference(row: Row, rows: Iterable[Row]) -> Row:
    found = [other for other in rows if row.reference and other.series_uid == row.reference]
    named = _REFERENCE.search(row.series)
    if not found and named:
        here = [other for other in rows if (other.study_uid, other.modality) == (row.study_uid, "MR")]
        found = [other for other in here if other.series == named[1].strip()]
    known = {other.series_uid: other for other in reversed(found)}
    if len(known) != 1:
        return _doubting(row, f"{len(known) or 'none'} of the series here could be the one that it was drawn on")
    (reference,) = known.values()
    row = replace(row, reference=reference.series_uid, phase=reference.phase)
    if reference.doubt:
        row = _doubting(row, f"the series that it was drawn on is in doubt ({reference.path})")
    return _doubting(row, "is of the target of the operation alone") if "target" in row.series.lower() else row


def _with_label_maps(rows: list[Row], folder: Path) -> list[Row]:
    """Add the released maps of the studies that there are; outlines in DICOM of these are of no phase then."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one with the released label maps")
    maps, phases = [], {(row.patient, row.phase) for row in rows}
    for path in sorted(path for path in folder.rglob("*") if is_volume(path)):
        name = _RELEASED.match(path.name)
        if name and (name["patient"], name["phase"]) in phases:
            maps.append(Row(name["patient"], name["phase"], "labels", str(path.resolve()), reference="ultrasound"))
    mapped = {(row.patient, row.phase) for row in maps}
    return [
        replace(row, phase="") if row.contrast in OUTLINES and (row.patient, row.phase) in mapped else row
        for row in rows
    ] + maps  # fmt: skip


def _in_doubt(rows: list[Row]) -> list[Row]:
    """Put images in doubt of which a phase has several that could be the one to use."""

    def kind(row: Row) -> tuple[str, str, str]:
        return row.patient, row.phase, row.contrast

    counts = Counter(kind(row) for row in rows if row.phase and not row.doubt and row.contrast in USED)
    return [
        _doubting(row, f"one of {counts[kind(row)]} {row.contrast} of this phase; empty this cell of the one to use")
        if not row.doubt and counts[kind(row)] > 1 else row
        for row in rows
    ]  # fmt: skip


def _missing(rows: list[Row]) -> list[Row]:
    """A row without a path for ultrasound and T2w that a phase of a patient lacks; FLAIR need not be."""
    found = []
    for patient in sorted({row.patient for row in rows if row.patient}):
        for phase in ("pre", "post"):
            there = {row.contrast for row in rows if (row.patient, row.phase) == (patient, phase)}
            if there & {"ultrasound", *TARGETS}:
                found += [
                    Row(patient, phase, contrast, "", "is missing")
                    for contrast in ("ultrasound", "T2w") if contrast not in there
                ]  # fmt: skip
    return found
