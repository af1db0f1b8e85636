"""What several runs of ``iousynth evaluate`` have left on disk, as the experiments of one report."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import TARGETS
from ..files.tables import read_csv
from ..volume import InputError
from .pictures import PICTURES
from .protocol import PRESENT
from .results import METHOD
from .scores import STRUCTURES, Row, Summary, group_by_phase, mean_of_known, summarize
from .statistics import LEAST_REAL
from .timing import TIMING, read_timing

_SCORES, _SUMMARY = "scores.csv", "summary.json"
_REMEDY = "give a folder that `iousynth evaluate` has written"
#: What the experiments of a report have in common, and what to do where they have not.
_SHARED = {
    "simulated": "report simulated and real cases apart", "protocol": "evaluate it again",
    "input": "report images of ultrasound and of each contrast of MRI apart",
}  # fmt: skip
#: Names of presets, as `iousynth train` has them: family, regime, contrasts.
_NAME = re.compile(r"(?P<family>.+?)-(?P<regime>2d\+3d(-refine|-post)?|2\.5d|2d|3d)(-t2w?)?([-+]flair)?", re.IGNORECASE)
_REGIMES = {"2d": "2D", "2.5d": "2.5D", "3d": "3D", "2d+3d": "2D + 3D-refine"}
#: Family of the trivial baselines, which stand in every table and in no ranking or correlation.
BASELINE = "baseline"
ALL = "all phases"


@dataclass(frozen=True, eq=False)
class Experiment:
    """The scores of one method.

    Attributes
    ----------
    name
        Unique in a report.
    family, regime
        By the name; the regime is "-" of one that names none.
    rows
        A row a study: ``case``, ``head``, ``phase``, what is known of the patient, and scores as
        ``contrast/metric``, ``region/contrast/metric`` and ``metric/structure``; where the real MRI was outlined also
        ``real Dice/structure`` and, where that is above 0.1, ``utility Dice/structure``, the same of NSD.
    timing
        What :func:`.timing.time_model` found, or nothing.
    pictures
        Where :mod:`.pictures` of its cases are, if there are any.
    """

    name: str
    family: str
    regime: str
    rows: Sequence[Row]
    timing: Mapping[str, Any] = field(default_factory=dict)
    pictures: Path | None = None

    @cached_property
    def targets(self) -> str:
        """Which contrasts it predicts."""
        found = [target for target in TARGETS if any(key.startswith(f"{target}/") for row in self.rows for key in row)]
        return " + ".join(found) + " only" * (len(found) == 1) or "-"

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """The summary of :data:`ALL` studies and of those of each phase."""
        phases = group_by_phase(self.rows)
        return {ALL: summarize(self.rows), **{phase: summarize(rows) for phase, rows in phases.items()}}


@dataclass(frozen=True, eq=False)
class Results:
    """All that a report is made of.

    Attributes
    ----------
    experiments, baselines
        What was given, and the baselines that were scored beside it.
    real
        The outlines on the acquired MRI, where they were given.
    simulated
        Whether the cases are; None where nobody said it.
    protocol
        How they were scored, the fields of :class:`.protocol.Protocol`.
    missing
        What the evaluations had no data for, in words.
    left_out
        What was meant to be scored and was not, and why.
    source
        What the images were made of: ioUS, or a contrast of MRI.
    """

    experiments: Sequence[Experiment]
    baselines: Sequence[Experiment]
    real: Experiment | None
    simulated: bool | None
    protocol: dict[str, Any]
    missing: Sequence[str]
    left_out: Sequence[tuple[str, str]] = ()
    source: str = "ioUS"

    @property
    def studies(self) -> list[Row]:
        """A row for each study that any experiment was scored on."""
        rows = {str(row["case"]): row for experiment in self.experiments for row in experiment.rows}
        return [rows[case] for case in sorted(rows)]


def read_scores(folders: dict[str, Path], *, real: Path | None = None) -> Results:
    """Read the results of experiments.

    Parameters
    ----------
    folders
        Of ``iousynth evaluate``, by the name of the experiment.
    real
        Of the same cohort's acquired MRI, outlined by the same segmenter.

    Raises
    ------
    InputError
        A folder holds no scores, or they are of other data or another protocol than the first one's.
    """
    about = {name: _summary(folder) for name, folder in folders.items()}
    first, *others = about
    for name in others:
        for key, remedy in _SHARED.items():
            if about[name][key] != about[first][key]:
                raise InputError(f"{folders[name]}: was scored on other terms than {first} ({key}); {remedy}")
    outlined = None if real is None else Experiment("acquired MRI", "acquired MRI", "-", _methods(real)[METHOD])
    found = {name: _methods(folder) for name, folder in folders.items()}
    baselines = _baselines(found)
    experiments = [
        Experiment(
            name, *_family(name), beside(found[name][METHOD], outlined),
            timing=read_timing(folder / TIMING), pictures=folder / PICTURES,
        )
        for name, folder in folders.items()
    ]  # fmt: skip
    missing = [f"{name}: {line}" for name in about for line in about[name].get("missing", ())]
    return Results(
        experiments, [Experiment(name, BASELINE, name, beside(rows, outlined)) for name, rows in baselines.items()],
        outlined, about[first]["simulated"], about[first]["protocol"], missing, source=about[first]["input"],
    )  # fmt: skip


def _summary(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
        if content["simulated"] not in (True, False, None):
            raise ValueError(f"simulated is {content['simulated']}")
        return {"input": "ioUS", **content, "protocol": dict(content["protocol"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / _SUMMARY}: cannot be read ({error}); {_REMEDY}") from error


def _family(name: str) -> tuple[str, str]:
    """Family and regime that a name tells.

    Examples
    --------
    >>> _family("swin-pix2pix-2d+3d-refine-t2w-flair"), _family("ours")
    (('swin-pix2pix', '2D + 3D-refine'), ('ours', '-'))
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return name, "-"
    return match["family"], _REGIMES[re.sub("-(refine|post)", "", match["regime"].lower())]


def _methods(folder: Path) -> dict[str, list[Row]]:
    """The rows of ``scores.csv`` for each method, without its name in the columns."""
    path = folder / _SCORES
    rows = read_csv(path, ("case", "head", "phase"))
    columns = {name: name.split("/") for name in rows[0] if name.count("/") > 1}
    methods = list(dict.fromkeys(parts[-2] for parts in columns.values()))
    if METHOD not in methods:
        raise InputError(f"{path}: has no scores of a {METHOD}; {_REMEDY}")
    try:
        return {
            method: [
                {key: text for key, text in row.items() if "/" not in key}
                | {"/".join((*parts[:-2], parts[-1])): float(row[name] or "nan")
                   for name, parts in columns.items() if parts[-2] == method}
                for row in rows
            ]
            for method in methods
        }  # fmt: skip
    except ValueError as error:
        raise InputError(f"{path}: holds a score that is no number ({error}); {_REMEDY}") from error


def _baselines(found: Mapping[str, Mapping[str, Sequence[Row]]]) -> dict[str, list[Row]]:
    """The baselines that experiments were scored beside, by name: one row a study with all that any of them knows.

    The same baseline stands beside several experiments, of which each may have other contrasts or studies. Where its
    scores differ, as of other cases for training, the later one stays by itself and is named after its experiment.
    """
    joined: dict[str, dict[str, Row]] = {}
    for experiment, methods in found.items():
        for method, rows in methods.items():
            if method == METHOD:
                continue
            known = joined.get(method, {})
            differs = any(_differ(known.get(str(row["case"]), {}), row) for row in rows)
            into = joined.setdefault(f"{method} of {experiment}" if differs else method, {})
            for row in rows:
                earlier = into.get(str(row["case"]), {}).items()
                into[str(row["case"])] = row | {key: value for key, value in earlier if not _unknown(value)}
    return {method: list(rows.values()) for method, rows in joined.items()}


def _differ(one: Row, other: Row) -> bool:
    """Whether two rows of a study contradict each other in a score that both know."""
    both = [(one[key], other[key]) for key in one.keys() & other.keys() if "/" in key]
    return any(not np.isclose(*pair, rtol=1e-4) for pair in both if not any(map(_unknown, pair)))


def _unknown(value: str | float) -> bool:
    return isinstance(value, float) and np.isnan(value)


def beside(rows: Sequence[Row], real: Experiment | None) -> list[Row]:
    """Rows with the scores of the outline on the real MRI of each study, and the ratio to them (2.7)."""
    truth = {} if real is None else {row["case"]: row for row in real.rows}
    return [row | _ratios(row, truth[row["case"]]) if row["case"] in truth else row for row in rows]


def _ratios(row: Row, real: Row) -> Row:
    found: Row = {}
    for metric in ("Dice", "NSD"):
        for key in (f"{metric}/{structure}" for structure in (*STRUCTURES, "lesion", PRESENT)):
            if key in row and key in real:
                found[f"real {key}"] = real[key]
                found[f"utility {key}"] = row[key] / real[key] if real[key] > LEAST_REAL else float("nan")
        if f"utility {metric}/{PRESENT}" in found:  # ratios are taken class by class
            ratios = [found.get(f"utility {metric}/{structure}", np.nan) for structure in STRUCTURES]
            found[f"utility {metric}/{PRESENT}"] = mean_of_known(ratios)
    return found
