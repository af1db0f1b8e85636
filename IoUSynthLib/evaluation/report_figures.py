"""The figures of a report, as 4 to 9 of the ioUS-to-MR benchmark (arXiv 2606.00630), as far as there are data."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..constants import TARGETS
from .calibration import EDGES, EXPECTED_ERROR, bin_name
from .charts import Mark, heat_map, marks, scatter
from .from_scores import Experiment, Results
from .report_tables import (
    ALL,
    MOST_SHOWN,
    OUTLINED,
    STRATA,
    best_by,
    group_of,
    label,
    means,
    measures,
    metrics_of,
    outcomes,
    phases_of,
    scored,
)
from .scores import Row, summarize
from .statistics import LOWER_IS_BETTER


def all_figures(results: Results) -> dict[str, str]:
    """SVG by the name of the figure, in the order of the report."""
    figures = {}
    for target in TARGETS:
        for metric, heading, digits in metrics_of(results):
            key, name = f"{target}/{metric}", f"{target}_{metric}".replace(" ", "_")
            if scored(results.experiments, key):
                figures |= _of_score(results, key, f"{target}, {heading}", name=name, digits=digits)
    for structure in OUTLINED:
        for kind in ("Dice", "utility Dice", "utility NSD"):
            key = f"{kind}/{structure}"
            if scored(results.experiments, key):
                line = 1.0 if kind != "Dice" else _mean(results.real, key)
                name = f"{kind}_{structure}".replace(" ", "_")
                heading = kind.replace("utility", "Utility ratio,")
                figures[name] = _by_phase(results, key, f"{heading}, {structure}", reference=line)
    return {**figures, **_scatters(results), **_strata(results), **_calibrations(results)}


def _calibrations(results: Results) -> dict[str, str]:
    """Expected against true error in bins of the expected one, by phase."""
    figures = {}
    for experiment in results.experiments[:MOST_SHOWN]:
        points = {}
        for phase, summary in experiment.summaries.items():
            for low, high in pairwise(EDGES):
                name = f"{EXPECTED_ERROR}/{bin_name(low, high)}"
                told, true = (summary.get(f"{name} {kind}") for kind in ("expected", "true"))
                if told and true and phase != ALL:
                    share = summary[f"{name} share"]["mean"]
                    label = f"{phase}: {bin_name(low, high)} expected, {share:.0%} of the voxels, n={true['n']}"
                    points[label] = (phase, 100 * told["mean"], 100 * true["mean"])
        if points:
            axes = ("expected error, % of the range", "true error, % of the range")
            name = f"calibration_{experiment.name}"
            figures[name] = scatter(f"Expected error of {experiment.name}", points, axes=axes, diagonal=True)
    return figures


def _of_score(results: Results, key: str, title: str, *, name: str, digits: int) -> dict[str, str]:
    """Heat map, forest plot, and phases side by side of one metric (figures 4 to 6)."""
    better = "lower is better" if key.split("/")[-1] in LOWER_IS_BETTER else "higher is better"
    known = [*results.experiments, *results.baselines]
    found = means(known, key)
    rows = {label(e): [_as_mark(e.family, found[e.name])] for e in known if e.name in found}
    several = len(phases_of(results.studies)) > 1
    pooled = f"{title}, {ALL}" if several else title
    figures = {**_heat_maps(results, key, pooled, name=name, digits=digits)}
    figures[f"forest_{name}"] = marks(f"{pooled} ({better}), mean and 95 % interval", rows)
    if several:
        figures[f"phases_{name}"] = _by_phase(results, key, f"{title} ({better})")
    return figures


def _heat_maps(results: Results, key: str, title: str, *, name: str, digits: int) -> dict[str, str]:
    """One for the experiments of each choice of contrasts, where these are of several families and regimes."""
    figures, lower = {}, key.split("/")[-1] in LOWER_IS_BETTER
    for number, targets in enumerate(dict.fromkeys(e.targets for e in results.experiments)):
        own = [e for e in results.experiments if e.targets == targets and e.regime != "-"]
        found = means(own, key)
        cells = {(e.family, e.regime): found[e.name]["mean"] for e in own if e.name in found}
        if len({family for family, _ in cells}) > 1 and len({regime for _, regime in cells}) > 1:
            words = f"{title}, {targets}: the darker, the better"
            figures[f"heat_{name}_{number + 1}"] = heat_map(words, cells, digits=digits, lower_is_better=lower)
    return figures


def _as_mark(series: str, entry: dict[str, float]) -> Mark:
    return Mark(series, entry["mean"], entry.get("low"), entry.get("high"))


def _mean(experiment: Experiment | None, key: str) -> float | None:
    return means([experiment], key)[experiment.name]["mean"] if experiment and scored([experiment], key) else None


def _by_phase(results: Results, key: str, title: str, *, reference: float | None = None) -> str:
    rows = {}
    for experiment in (*best_by(results, key), *results.baselines):
        own = {phase: entries for phase, entries in experiment.summaries.items() if phase != ALL}
        found = [_as_mark(phase, entries[key]) for phase, entries in own.items() if key in entries]
        if found:
            rows[label(experiment)] = found
    if reference is not None:
        title += " (dashed: on real MRI)" if not results.simulated else " (dashed: on simulated MRI)"
    phases = [phase for phase in phases_of(results.studies) if phase != ALL]
    return marks(f"{title}, by phase", rows, bars=True, reference=reference, order=phases)


def _scatters(results: Results) -> dict[str, str]:
    """Fidelity against outcome over experiments (figure 7B)."""
    figures = {}
    for outcome, heading in outcomes(results):
        second = means(results.experiments, outcome)
        for target in TARGETS:
            for metric, words, _ in metrics_of(results):
                first = means(results.experiments, f"{target}/{metric}")
                points = {
                    e.name: (e.family, first[e.name]["mean"], second[e.name]["mean"])
                    for e in results.experiments if e.name in first and e.name in second
                }  # fmt: skip
                if len(points) > 2:
                    name = f"scatter_{outcome}_{target}_{metric}".replace("/", "_").replace(" ", "_")
                    figures[name] = scatter(heading, points, axes=(f"{target} {words}", heading))
    return figures


def _strata(results: Results) -> dict[str, str]:
    """Groups of patients side by side (figures 8 and 9): means of patients' means."""
    figures = {}
    for key, names in STRATA.items():
        for score, heading, _ in measures(results):
            rows = {label(e): _group_marks(e.rows, key, score, names) for e in best_by(results, score)}
            if any(len(row) == len(names) for row in rows.values()):
                name = f"strata_{key}_{score}".replace("/", "_").replace(" ", "_")
                figures[name] = marks(f"{heading}, {' and '.join(names)}", rows, bars=True, order=names)
    return figures


def _group_marks(rows: Sequence[Row], key: str, score: str, names: Sequence[str]) -> list[Mark]:
    found = []
    for name in names:
        patients: dict[str, list[float]] = {}
        for row in rows:
            if group_of(row, key) == name and np.isfinite(row.get(score, np.nan)):
                patients.setdefault(str(row["head"]), []).append(row[score])
        if patients:
            summary = summarize([{score: float(np.mean(own))} for own in patients.values()])
            found.append(_as_mark(name, summary[score]))
    return found
