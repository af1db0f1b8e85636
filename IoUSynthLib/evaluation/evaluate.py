"""One evaluation for all methods: what they make of the cases of a cohort, against the truth.

Where it comes from is a source's business: :mod:`.from_files` reads what ``iousynth synthesize`` wrote,
:mod:`.from_folders` plain files that are named alike, :mod:`.from_pipeline` runs the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import Case, read_case
from ..volume import InputError
from .phase import phase_of
from .protocol import Protocol
from .scores import STRUCTURES, Row, by_phase, fidelity_scores, outlined, overlap_scores, region_scores, summarize
from .surface import structure_masks

#: Receives a line about the progress.
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Predicted:
    """What the methods that are compared make of a case, on its grid, (z, y, x).

    Attributes
    ----------
    images
        MRI in [-1, 1], NaN where there is no data, by contrast and method; of contrasts that the case has.
    labels
        0 background, 1 tumour, 2 cavity, by method.
    further
        Scores that only this source has.
    """

    images: Mapping[str, Mapping[str, np.ndarray]]
    labels: Mapping[str, np.ndarray]
    further: Mapping[str, float] = field(default_factory=dict)


def evaluate(
    cases: Mapping[Path, Row],
    predict: Callable[[Path, Case], Predicted],
    report: Report = print,
    *,
    simulated: bool = True,
    protocol: Protocol | None = None,
) -> dict[str, Any]:
    """Score what a source makes of the cases of a cohort.

    Parameters
    ----------
    cases
        What the rows of the result begin with, by the folder of the case; ``phase`` is what the index says of it.
    predict
        The source.
    report
        Receives a line a case.
    simulated
        Whether the cases are, which the result says.
    protocol
        How they are scored.

    Returns
    -------
    dict
        ``simulated``; ``cases``: name, phase, lesion, which is unknown of patients whom nobody has outlined, and scores
        of each; ``summary``: of every score.

    Raises
    ------
    InputError
        A case is not complete.
    """
    rows: list[Row] = []
    for folder, about in cases.items():
        case, known = _read(folder, str(about.get("phase", "")), simulated)
        row = {"case": folder.name, **about, **known}
        row |= score_case(case, predict(folder, case), protocol or Protocol())
        rows.append(row | by_phase(row))
        report(f"{folder.name}: scored ({len(rows)} of {len(cases)})")
    return {"simulated": simulated, "cases": rows, "summary": summarize(rows)}


def _read(folder: Path, stated: str, simulated: bool) -> tuple[Case, Row]:
    """A case, and its phase and lesion."""
    try:
        case = read_case(folder)
        phase = phase_of(case.parameters, stated, folder.name)
        return case, {"phase": phase, "lesion": lesion_of(case)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "simulate" if simulated else "prepare"
        raise InputError(f"{folder}: is not a complete case ({error}); {remedy} the cohort again") from error


def lesion_of(case: Case) -> str:
    """Kind of a simulated lesion; of a patient's what was outlined, "unknown" where nobody has."""
    if case.parameters.get("simulated", True):
        return str(case.parameters["lesion"]["kind"])
    if not outlined(case):
        return "unknown"
    masks = structure_masks(case.labels.array)
    return " and ".join(name for name in STRUCTURES if masks[name].any()) or "none"


def score_case(case: Case, predicted: Predicted, protocol: Protocol) -> Row:
    """All scores of what the methods make of a case."""
    scores: Row = {}
    for name, images in predicted.images.items():
        scores |= fidelity_scores(case, name, images, region=protocol.region)
        scores |= region_scores(case, name, images, protocol) if protocol.roi else {}
    return scores | overlap_scores(case, predicted.labels, protocol) | predicted.further
