"""One evaluation for all methods: what they make of the cases of a cohort, against the truth.

Where it comes from is a source's business: :mod:`.from_files` reads what ``iousynth synthesize`` wrote,
:mod:`.from_pipeline` runs the pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import Case, read_case
from ..volume import InputError
from .scores import Row, by_phase, fidelity_scores, overlap_scores, summarize

#: Receives a line about the progress.
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Predicted:
    """What the methods that are compared make of a case, on its grid, (z, y, x).

    Attributes
    ----------
    images
        MRI in [-1, 1], NaN where there is no data, by contrast and method.
    labels
        0 background, 1 tumour, 2 cavity, by method.
    further
        Scores that only this source has.
    """

    images: Mapping[str, Mapping[str, np.ndarray]]
    labels: Mapping[str, np.ndarray]
    further: Mapping[str, float] = field(default_factory=dict)


def evaluate(
    cases: Mapping[Path, Row], predict: Callable[[Path, Case], Predicted], report: Report = print
) -> dict[str, Any]:
    """Score what a source makes of the cases of a simulated cohort.

    Parameters
    ----------
    cases
        What the rows of the result begin with, by the folder of the case.
    predict
        The source.
    report
        Receives a line a case.

    Returns
    -------
    dict
        ``simulated``: True; ``cases``: name, lesion and scores of each; ``summary``: of every score.

    Raises
    ------
    InputError
        A case is not complete.
    """
    rows: list[Row] = []
    for folder, about in cases.items():
        case, lesion = _read(folder)
        row = {"case": folder.name, **about, "lesion": lesion} | _scores(case, predict(folder, case))
        rows.append(row | by_phase(row))
        report(f"{folder.name}: scored ({len(rows)} of {len(cases)})")
    return {"simulated": True, "cases": rows, "summary": summarize(rows)}


def _read(folder: Path) -> tuple[Case, str]:
    """A case and the kind of its lesion."""
    try:
        case = read_case(folder)
        return case, str(case.parameters["lesion"]["kind"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: is not a complete case ({error}); simulate the cohort again") from error


def _scores(case: Case, predicted: Predicted) -> Row:
    scores: Row = {}
    for name, images in predicted.images.items():
        scores |= fidelity_scores(case, name, images)
    return scores | overlap_scores(case, predicted.labels) | predicted.further
