"""Two folders of plain files, predictions and references that are named alike, as a source of the evaluation.

A name ends with what the file is: ``CASE_T2w``, ``CASE/FLAIR``, ``CASE-seg``; an image whose name says no contrast is
MRI, and a map of nothing but 0, 1 and 2 is an outline whatever it is called. Beside the references may lie a mask
(``CASE_mask``), outside which nothing counts, and the ultrasound (``CASE_us``), which is a baseline.

Nobody says in which scale the images are. Those within [-1, 1] are taken as they are, those within [0, 1] are stretched
to that, and all others are normalised by eq. 2 of the ioUS-to-MR benchmark (arXiv 2606.00630), file by file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import PARAMETERS, UNLABELLED, Case, from_network_range
from ..cases.index import INDEX
from ..constants import FREQUENCY, SPREAD
from ..files.names import is_volume, role_of_name
from ..files.paths import case_name
from ..files.volumes import read_volume
from ..preprocessing import normalize_mri, normalize_ultrasound, resample_like
from ..volume import InputError, Volume
from .baselines import AS_IT_IS
from .evaluate import Predicted, Report, lesion_of, score_case
from .outlining import NOTHING
from .phase import phase_of
from .protocol import CONTRASTS, Protocol
from .results import METHOD, missing_cases, name_some
from .scores import Row, by_phase, summarize

_OUTLINE, _MASK, _ULTRASOUND, _OTHER = "segmentation", "mask", "ultrasound", "MRI"
_SCORED = (*CONTRASTS, _OUTLINE)
# Geometry in a NIfTI header is rounded to float32.
_GRID_TOLERANCE = 1e-3
#: How far networks may lead beyond [-1, 1] or [0, 1], and interpolation below 0, as a part of the maximum.
_BEYOND, _BELOW = 0.5, 0.1
#: What stands before the last part of a name, and that.
_LAST = re.compile(r"(?:(.*)[-_/])?([^-_/]*)", re.DOTALL)
_PHASE = re.compile(r"[-_/ ](pre|post)([-_ ]?op)?$", re.IGNORECASE)

#: A file by its case and what it is.
Key = tuple[str, str]


@dataclass
class _Gaps:
    """What is missing or was assumed, in words, and of which files."""

    files: dict[str, list[str]] = field(default_factory=dict)

    def add(self, text: str, *names: str) -> None:
        self.files.setdefault(text, []).extend(names)

    def sentences(self) -> list[str]:
        return [f"{text}: {name_some(names)} ({len(names)})." for text, names in self.files.items() if names]


def is_plain(reference: Path) -> bool:
    """Tell whether a folder holds images, but is no cohort, not even one that has lost its index."""
    if not reference.is_dir() or (reference / INDEX).exists() or any(reference.glob(f"*/{PARAMETERS}")):
        return False
    return any(is_volume(path) for path in reference.rglob("*"))


def evaluate_folders(
    predictions: Path,
    reference: Path,
    report: Report = print,
    *,
    protocol: Protocol | None = None,
    baselines: bool = False,
) -> dict[str, Any]:
    """Score what two folders have in common, and name what they have not.

    Parameters
    ----------
    predictions, reference
        Folders with NIfTI, NRRD or MetaImage files, at any depth; see the module. Both files of a pair lie on one grid.
    report
        Receives a line a case.
    protocol
        How cases are scored.
    baselines
        Score the ultrasound beside the references, where it lies there, and an empty outline, too.

    Returns
    -------
    dict
        As of :func:`.from_files.evaluate_files`; ``simulated`` is None, because nobody says it.

    Raises
    ------
    InputError
        Nothing is named alike, or a file is damaged or does not fit; one line with cause and remedy.
    """
    protocol, gaps = protocol or Protocol(), _Gaps()
    predicted, true = _files(predictions), _files(reference)
    pairs = [key for key in true if key[1] in _SCORED and key in predicted]
    wanted = [key for key in true if key[1] in _SCORED]
    if not pairs:
        example = true[wanted[0]].name if wanted else "CASE_T2w.nii.gz"
        raise InputError(f"{predictions}: has no file named as one of {reference}, such as {example}; name both alike")
    gaps.add("Reference without a prediction", *(true[key].name for key in wanted if key not in predicted))
    gaps.add("Prediction without a reference", *(predicted[key].name for key in predicted if _lacks(key, true)))
    cases = list(dict.fromkeys(case for case, _ in pairs))
    rows: list[Row] = []
    for case in cases:
        kinds = [kind for name, kind in pairs if name == case]
        source = _Source(case, predicted, true, gaps, baselines=baselines)
        rows.append(_row(source, kinds, protocol))
        report(f"{case}: scored ({len(rows)} of {len(cases)})")
    missing = [case for case in dict.fromkeys(case for case, _ in wanted) if case not in cases]
    if missing:
        report(missing_cases(missing, len(missing) + len(cases)))
    return {
        "simulated": None, "cases": rows, "summary": summarize(rows), "protocol": protocol, "not_predicted": missing,
        "missing": gaps.sentences(),
    }  # fmt: skip


def _lacks(key: Key, true: Mapping[Key, Path]) -> bool:
    """Whether a prediction has no reference; what is there to be looked at only needs none."""
    return key[1] in _SCORED and key not in true and not key[0].endswith(("uncertainty", SPREAD, FREQUENCY))


# Names ----------------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> dict[Key, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with images")
    found: dict[Key, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if is_volume(path)):
        key = meaning(path.relative_to(folder).with_name(case_name(path)).as_posix())
        if key in found:
            raise InputError(f"{path}: could be the {key[1]} of {key[0]}, and so could {found[key]}; keep one of them")
        found[key] = path
    return found


def meaning(name: str) -> Key:
    """The case and what its file is, by the file's name in its folder, without suffix.

    Examples
    --------
    >>> meaning("P1-pre_T2w"), meaning("P1/ioUS_FLAIR"), meaning("P1-post-seg"), meaning("P1-post")
    (('P1-pre', 'T2w'), ('P1', 'FLAIR'), ('P1-post', 'segmentation'), ('P1-post', 'MRI'))
    """
    case, last = _LAST.fullmatch(name).groups()
    role = role_of_name(last)
    kind = {"labels": _OUTLINE, "none": _MASK if last.lower() in ("mask", "fan") else ""}.get(role, role)
    if not kind:
        return name, _OTHER
    before = _LAST.fullmatch(case or "")
    if kind != _ULTRASOUND and role_of_name(before[2]) == _ULTRASOUND:  # as synthesize names what it makes of it
        case = before[1]
    return case or "case", kind


# Cases ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """The files of a case, read when they are asked for."""

    case: str
    predicted: Mapping[Key, Path]
    true: Mapping[Key, Path]
    gaps: _Gaps
    baselines: bool

    def pair(self, kind: str) -> tuple[Volume, Volume]:
        """Prediction and reference, on one grid."""
        files = self.predicted[self.case, kind], self.true[self.case, kind]
        prediction, truth = (read_volume(file, labels=kind == _OUTLINE) for file in files)
        if not prediction.same_grid(truth, _GRID_TOLERANCE):
            raise InputError(f"{files[0]}: lies on another grid than {files[1]}; resample it onto that")
        return prediction, truth

    def beside(self, kind: str, grid: Volume, *, labels: bool = True) -> np.ndarray | None:
        """What lies beside the references, on the grid of one of them."""
        path = self.true.get((self.case, kind))
        if path is None:
            return None
        volume = read_volume(path, labels=labels)
        if volume.same_grid(grid, _GRID_TOLERANCE):
            return volume.array
        return resample_like(volume, grid, nearest=labels).array


def _row(source: _Source, kinds: list[str], protocol: Protocol) -> Row:
    """Name and phase of a case, and its scores."""
    outlines = {kind: source.pair(kind) for kind in kinds if _is_outline(source, kind)}
    if len(outlines) > 1:
        names = ", ".join(source.true[source.case, kind].name for kind in outlines)
        raise InputError(f"{names}: are all outlines of {source.case}; keep one of them")
    scores: Row = {}
    lesion = "unknown"
    for prediction, truth in outlines.values():
        case = _case(source, truth, {}, labels=_checked(truth, source))
        methods = {METHOD: _checked(prediction, source)}
        methods |= {NOTHING: np.zeros(truth.array.shape, np.uint8)} if source.baselines else {}
        scores |= score_case(case, Predicted({}, methods), protocol)
        lesion = lesion_of(case)
    for contrast in (kind for kind in kinds if kind not in outlines):
        scores |= _fidelity(source, contrast, protocol)
    if not outlines:
        source.gaps.add("No outline to compare with, no Dice", source.case)
    if len(outlines) == len(kinds):
        source.gaps.add("No MRI to compare with, no fidelity", source.case)
    phase = phase_of({"simulated": False}, source.case)
    about = {"case": source.case, "head": _PHASE.sub("", source.case), "split": "test", "phase": phase}
    row = {**about, "lesion": lesion, **scores}
    return row | by_phase(row)


def _is_outline(source: _Source, kind: str) -> bool:
    """Whether a reference is an outline, by its name or, where that says nothing, by its values."""
    if kind != _OTHER:
        return kind == _OUTLINE
    return bool(np.isin(read_volume(source.true[source.case, kind]).array, (0, 1, 2)).all())


def _checked(volume: Volume, source: _Source) -> np.ndarray:
    if not np.isin(volume.array, (0, 1, 2)).all():
        raise InputError(
            f"{source.case}: an outline holds other values than 0 (background), 1 (tumour) and 2 (cavity); recode it"
        )
    return volume.array.astype(np.uint8)


def _case(source: _Source, grid: Volume, images: Mapping[str, np.ndarray], *, labels: np.ndarray | None) -> Case:
    """A case of references in [-1, 1]; without a mask everything counts, without an outline nobody has made one."""
    mask = source.beside(_MASK, grid)
    fan = np.ones(grid.array.shape, np.uint8) if mask is None else (mask > 0).astype(np.uint8)
    labels = np.full(fan.shape, UNLABELLED, np.uint8) if labels is None else labels
    volumes = {name: grid.with_array(1000 * from_network_range(image)) for name, image in images.items()}
    return Case(volumes, grid.with_array(labels), grid.with_array(fan), {"simulated": False})


def _fidelity(source: _Source, contrast: str, protocol: Protocol) -> Row:
    prediction, truth = source.pair(contrast)
    methods = {METHOD: _scaled(prediction, source.predicted[source.case, contrast], source.gaps)}
    ultrasound = source.beside(_ULTRASOUND, truth, labels=False) if source.baselines else None
    if ultrasound is not None:
        methods[AS_IT_IS] = normalize_ultrasound(ultrasound)
    elif source.baselines:
        source.gaps.add("No ultrasound beside the reference, no baseline of images", source.case)
    image = {contrast: _scaled(truth, source.true[source.case, contrast], source.gaps)}
    case = _case(source, truth, image, labels=source.beside(_OUTLINE, truth))
    scores = score_case(case, Predicted({contrast: methods}, {}), protocol)
    if (source.case, _MASK) in source.true:
        return scores
    source.gaps.add("No mask beside the reference, all of the image is compared", source.case)
    return {name: value for name, value in scores.items() if not name.endswith("/SSIM fan")}


def _scaled(volume: Volume, path: Path, gaps: _Gaps) -> np.ndarray:
    """An image in [-1, 1]; see the module."""
    low, high = float(volume.array.min()), float(volume.array.max())
    if low >= -1 - _BEYOND and high <= 1 + _BEYOND:
        return (volume.array if low < -_BELOW else 2 * volume.array - 1).astype(np.float32)
    if low < -_BELOW * high:
        found = f"ranges from {low:g} to {high:g}"
        raise InputError(f"{path}: {found}; give it in [-1, 1], in [0, 1], or as it was acquired, above 0")
    gaps.add("Normalised by eq. 2, because neither in [-1, 1] nor in [0, 1]", path.name)
    return normalize_mri(volume.array)
