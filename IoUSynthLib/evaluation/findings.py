"""What a report says in words: what was measured on whom, what the figures allow to say, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constants import TARGETS
from .baselines import AS_IT_IS
from .calibration import EXPECTED_ERROR
from .from_scores import Results
from .protocol import ORIGINS
from .report_tables import (
    FEWEST_EXPERIMENTS,
    OUTLINED,
    STRATA,
    Table,
    by_utility,
    group_of,
    interval,
    means,
    metrics_of,
    scored,
)
from .scores import Row, group_by_phase
from .statistics import holm, ranked, signed_rank

_SIGNIFICANT = 0.05
#: Cases of a head, in the mean, from which on it is said that they are not independent.
_MANY = 3


def measured(results: Results) -> list[str]:
    """Sentences on what was measured on whom."""
    studies, words = results.studies, [f"These figures are of {ORIGINS[results.simulated]}."]
    words[0] += " They say nothing about patients." * bool(results.simulated)
    patients = _patients(studies)
    words.append(
        f"{len(studies)} case{'s' * (len(studies) != 1)} of {patients} simulated head{'s' * (patients != 1)}"
        if results.simulated
        else f"{len(studies)} stud{'ies' if len(studies) != 1 else 'y'} of {patients} patient{'s' * (patients != 1)}"
    )
    phases = ", ".join(f"{len(rows)} {phase}" for phase, rows in group_by_phase(studies).items())
    count = len(results.experiments)
    words[-1] += f" ({phases})" if results.source == "ioUS" else ""
    words[-1] += f"; {count} experiment{'s' * (count != 1)} on synthetic MRI."
    if results.simulated and len(studies) > _MANY * patients:
        words.append("Intervals of means take studies for independent, so that those of so few heads are too narrow.")
    splits = sorted({str(row.get("split") or "test") for row in studies} - {"test"})
    if splits:
        words.append(f"Not all were held out from training (split {', '.join(splits)}).")
    if results.left_out:
        words.append(f"{len(results.left_out)} series, studies or predictions were left out, each named below.")
    inside = "inside the ultrasound's fan" if results.source == "ioUS" else "inside the brain"
    where = {"crop": "on the whole crop, as published", "fan": inside}
    words.append(f"Images were compared {where.get(results.protocol.get('region', ''), 'as the evaluation says')}.")
    return words


def findings(results: Results, tables: Sequence[Table]) -> list[str]:
    """The few sentences that the figures allow; ``tables`` are those of the report."""
    words = [sentence for structure in OUTLINED for sentence in _outlined(results, structure)]
    for target in TARGETS:
        for metric, heading, digits in metrics_of(results):
            words += _leader(results, f"{target}/{metric}", f"{heading} of the synthetic {target}", digits=digits)
    known = {table.name: table for table in tables}
    return words + [_groups(known[f"strata_{key}"], names) for key, names in STRATA.items() if f"strata_{key}" in known]


def _leader(results: Results, key: str, heading: str, *, digits: int) -> list[str]:
    """Which experiment leads, and how many of the others differ from it; how it stands to the ultrasound itself."""
    found, metric = means(results.experiments, key), key.split("/")[-1]
    if not found:
        return []
    best = ranked({name: entry["mean"] for name, entry in found.items()}, metric)[0]
    verb = "leads with" if len(found) > 1 else "has"
    words = f"By {heading}, {best} {verb} {interval(found[best], digits)}"
    phases = [(phase, means(results.experiments, key, phase).get(best)) for phase in group_by_phase(results.studies)]
    if len(phases) > 1:
        parts = (f"{entry['mean']:.{digits}f} {phase}" for phase, entry in phases if entry)
        words += f": {', '.join(parts)}"
    others = [name for name in found if name != best]
    p = holm([_p(results, key, best, name) for name in others])
    tested = [value for value in p if np.isfinite(value)]
    if tested:
        alike = sum(value >= _SIGNIFICANT for value in tested)
        words += f"; {alike} of {len(tested)} others cannot be told from it (Wilcoxon, Holm's p at least 0.05)"
    floors = means(results.baselines, key).items()
    floor = next(((name, entry) for name, entry in floors if name.endswith(AS_IT_IS.removeprefix("ioUS"))), None)
    words += f". {floor[0].replace('ioUS', 'The ultrasound')} has {interval(floor[1], digits)}." if floor else "."
    return [words]


def _p(results: Results, key: str, first: str, second: str) -> float:
    rows = {e.name: {row["case"]: row for row in e.rows} for e in results.experiments}
    cases = [case for case in rows[first] if case in rows[second]]
    return signed_rank(*([rows[name][case].get(key, np.nan) for case in cases] for name in (first, second)))["p"]


def _outlined(results: Results, structure: str) -> list[str]:
    """Dice of a structure by phase, of the experiment that segmenters make most of."""
    key = f"Dice/{structure}"
    known = [e for e in by_utility(results.experiments) if scored([e], key)]
    if not known:
        return []
    parts = []
    for phase in group_by_phase(known[0].rows):
        entry = known[0].summaries[phase].get(key)
        real = means([results.real], key, phase).get(results.real.name) if results.real else None
        if entry:
            kind = "simulated" if results.simulated else "acquired"
            beside = f", {interval(real, 2)} on the {kind} MRI" if real else ""
            parts.append(f"{interval(entry, 2)} {phase} (n={entry['n']}{beside})")
    return [f"Dice of the {structure} on the images of {known[0].name}: {'; '.join(parts)}."]


def _groups(table: Table, names: Sequence[str]) -> str:
    raw, corrected = (sum(float(row[at]) < _SIGNIFICANT for row in table.rows if row[at] != "-") for at in (-2, -1))
    return (
        f"{' against '.join(names).capitalize()}: {raw} of {len(table.rows)} comparisons have p below 0.05, "
        f"{corrected} after Holm's correction."
    )


def missing(results: Results) -> list[str]:
    """What the report lacks, why, and what would give it."""
    every, studies = (*results.experiments, *results.baselines), results.studies
    columns = {key for experiment in every for row in experiment.rows for key in row}
    lacks = {
        "Utility ratio and retention (table 11, figure 7): outlines on the acquired MRI; give their scores with --real":
            results.real is None,
        "Outlines (table 11): no segmentation was scored, or nobody has outlined the truth":
            not any(scored(every, f"Dice/{structure}") for structure in OUTLINED),
        "Regions (table 8): `iousynth evaluate --roi`": not any(" mm/" in key for key in columns),
        "Baselines: `iousynth evaluate --baselines`": not results.baselines,
        "LPIPS: the weights of its network were not installed when the scores were made, or the slices are too small":
            not any(scored(every, f"{target}/LPIPS") for target in TARGETS),
        f"Correlations (figure 7): they take {FEWEST_EXPERIMENTS} experiments, or there are no outlines":
            len(results.experiments) < FEWEST_EXPERIMENTS,
        "Time and memory of the networks alone (table 10): `iousynth evaluate --timing MODEL`":
            not any(experiment.timing for experiment in results.experiments),
        "Pictures (figure 3) and contact sheet: the scores are of an earlier version; evaluate again":
            not any(experiment.pictures and experiment.pictures.is_file() for experiment in results.experiments),
        "Calibration of the expected error: no model predicts one, or the scores are of an earlier version":
            not any(key.startswith(EXPECTED_ERROR) for key in columns),
    }  # fmt: skip
    lacks |= {
        f"Synthetic {target}: not predicted, or not acquired": not scored(every, f"{target}/PSNR") for target in TARGETS
    }
    for key, names in STRATA.items() if not results.simulated else ():
        unknown = sorted({str(row["head"]) for row in studies if not group_of(row, key)})
        found = {group_of(row, key) for row in studies}
        text = f"{' and '.join(names)} (tables 13 and 14)".capitalize()
        lacks[f"{text}: not known of patients; `iousynth prepare --clinical`"] = len(found - {""}) == 0
        lacks[f"{text}: not known of {len(unknown)} patients, who are left out"] = bool(unknown) and len(found) > 1
    words = [f"{text}." for text, lacking in lacks.items() if lacking]
    return [*words, *_not_shared(results), *results.missing]


def _not_shared(results: Results) -> list[str]:
    """Experiments that were not scored on all studies, whose means then are of others than the rest's."""
    count = len(results.studies)
    fewer = [f"{e.name} ({len(e.rows)})" for e in results.experiments if len(e.rows) < count]
    return [f"Not scored on all {count} studies, so that means compare with care: {', '.join(fewer)}."] if fewer else []


def _patients(rows: Sequence[Row]) -> int:
    return len({row["head"] for row in rows})
