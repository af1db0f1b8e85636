"""The tables of a report on several experiments, as those of the ioUS-to-MR benchmark (arXiv 2606.00630): of 2 to 14
what the results allow, by phase and structure throughout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ..constants import TARGETS
from .calibration import EXPECTED_ERROR
from .from_scores import ALL, BASELINE, Experiment, Results
from .protocol import PRESENT
from .scores import Row, Summary, group_by_phase
from .statistics import correlation, holm, mann_whitney, patient_interval, ranked, retention
from .tables import METRICS, OUTLINED, compared
from .timing import SIDE, SLICES, TIMED, WARM_UP

#: Name of the table of what is not in a report.
LEFT_OUT = "left_out"
#: Rows of a leaderboard, and of that of a region.
_TOP, _TOP_OF_REGION = 10, 5
#: So many experiments are shown by phase and by group of patients, the best by the score that is shown.
MOST_SHOWN = 8
#: Fewest experiments over which figures are correlated, and fewest patients of a group that is compared.
FEWEST_EXPERIMENTS, _FEWEST_OF_GROUP = 5, 2
_GROUPS = {
    "grade": (
        (re.compile(r"(who|grade|\s)*(1|2|i|ii)\b|low|lgg", re.I), "low grade"),
        (re.compile(r"(who|grade|\s)*(3|4|iii|iv)\b|high|hgg", re.I), "high grade"),
    ),
    "reoperation": ((re.compile("n|0|false", re.I), "first operation"), (re.compile("y|1|true", re.I), "reoperation")),
}  # fmt: skip
#: Names of the groups that patients are compared by.
STRATA = {key: tuple(name for _, name in groups) for key, groups in _GROUPS.items()}
#: What is known of a study and its patient.
_ABOUT = ("phase", "lesion", "grade", "histology", "idh", "reoperation")
_MODEL = ("family", "regime", "contrasts")


@dataclass(frozen=True)
class Table:
    """A table in words.

    Attributes
    ----------
    name
        Of its files, without suffix.
    title, note
        Above and below it.
    headings, rows
        As many cells in each row as there are headings.
    """

    name: str
    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def all_tables(results: Results) -> list[Table]:
    """The tables that there are data for."""
    tables = [
        left_out(results), cohort_table(results), *(fidelity(results, target) for target in TARGETS),
        *leaderboards(results), regions(results), outlines(results), *(strata(results, key) for key in _GROUPS),
        comparisons(results), correlations(results), calibration(results), expected_dice(results), footprint(results),
    ]  # fmt: skip
    return [table for table in tables if table.rows]


def phases_of(rows: Sequence[Row]) -> dict[str, Sequence[Row]]:
    """All rows where there is more than one phase, and those of each."""
    groups = group_by_phase(rows)
    return {ALL: rows, **groups} if len(groups) > 1 else groups


def means(experiments: Sequence[Experiment], key: str, phase: str = ALL) -> dict[str, dict[str, float]]:
    """Summary of a score of each experiment that has it, by name; of all studies, or of those of a phase."""
    found = {experiment.name: experiment.summaries.get(phase, {}) for experiment in experiments}
    return {name: summary[key] for name, summary in found.items() if key in summary}


def scored(experiments: Sequence[Experiment], key: str) -> bool:
    """Whether any study has a score."""
    return any(np.isfinite(row.get(key, np.nan)) for experiment in experiments for row in experiment.rows)


def best_by(results: Results, key: str) -> list[Experiment]:
    """The experiments that are the best by a score, the best first."""
    found = {name: entry["mean"] for name, entry in means(results.experiments, key).items()}
    known = {experiment.name: experiment for experiment in results.experiments}
    return [known[name] for name in ranked(found, key.split("/")[-1])[:MOST_SHOWN]]


def metrics_of(results: Results) -> list[tuple[str, str, int]]:
    """Metrics of fidelity with heading and decimals; of the two SSIM that which fits where images were compared."""
    left_out = "SSIM fan" if results.protocol.get("region") == "crop" else "SSIM"
    return [metric for metric in METRICS if metric[0] != left_out]


def interval(entry: Mapping[str, float] | None, digits: int) -> str:
    """Mean and interval in words, a dash where there is none."""
    if entry is None:
        return "-"
    text = f"{entry['mean']:.{digits}f}"
    return f"{text} ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})" if "low" in entry else text


def model(experiment: Experiment) -> list[str]:
    """What a row of a table begins with."""
    return [experiment.family, experiment.regime, experiment.targets]


def label(experiment: Experiment) -> str:
    """Family, regime and contrasts in a line; of a baseline its name alone."""
    parts = [experiment.regime] if experiment.family == BASELINE else model(experiment)
    return ", ".join(part for part in parts if part != "-")


def group_of(row: Row, key: str) -> str:
    """Low or high grade, first operation or reoperation; empty where it is not known."""
    text = str(row.get(key) or "").strip()
    return next((name for pattern, name in _GROUPS[key] if pattern.match(text)), "")


# Tables ---------------------------------------------------------------------------------------------------------------


def left_out(results: Results) -> Table:
    """What was meant to be scored and was not."""
    return Table(LEFT_OUT, "What was left out, and why", ["what", "why"], results.left_out)


def cohort_table(results: Results) -> Table:
    """The patients, as table 12."""
    patients: dict[str, list[Row]] = {}
    for row in chain.from_iterable(group_by_phase(results.studies).values()):
        patients.setdefault(str(row["head"]), []).append(row)
    known = [key for key in _ABOUT if any(row.get(key) for row in results.studies)]
    rows = [
        [name, *(", ".join(dict.fromkeys(str(row.get(key) or "-") for row in own)) for key in known)]
        for name, own in sorted(patients.items())
    ]
    return Table("cohort", "Who was studied", ["head" if results.simulated else "patient", *known], rows)


def fidelity(results: Results, target: str) -> Table:
    """Image quality of a contrast: family, regime and phase by metric, as tables 2 to 4 and 9."""
    experiments = [*results.experiments, *results.baselines]
    metrics = [metric for metric in metrics_of(results) if scored(experiments, f"{target}/{metric[0]}")]
    rows = []
    for experiment in experiments if metrics else ():
        for phase in phases_of(experiment.rows):
            entries = [experiment.summaries[phase].get(f"{target}/{metric}") for metric, *_ in metrics]
            if any(entries):
                cells = [interval(entry, digits) for entry, (*_, digits) in zip(entries, metrics, strict=True)]
                rows.append([*model(experiment), phase, str(max(e["n"] for e in entries if e)), *cells])
    return Table(
        f"fidelity_{target}", f"Image quality of the synthetic {target}: mean (95 % interval)",
        [*_MODEL, "phase", "studies", *(heading for _, heading, _ in metrics)], rows,
        "Higher PSNR and SSIM, lower MAE and LPIPS are better.",
    )  # fmt: skip


def leaderboards(results: Results) -> list[Table]:
    """The ten best by a metric, all studies and each phase apart, as tables 5 to 7; none of a single experiment."""
    tables = []
    for target in TARGETS if len(results.experiments) > 1 else ():
        for metric, heading, digits in metrics_of(results):
            rows = [
                row for phase in phases_of(results.studies)
                for row in _best(results, f"{target}/{metric}", phase, digits=digits)[:_TOP]
            ]  # fmt: skip
            headings = ["phase", "rank", *_MODEL, "studies", heading]
            name = f"top_{target}_{metric}".replace(" ", "_")
            tables.append(Table(name, f"The best by {heading}, synthetic {target}", headings, rows))
    return tables


def _best(results: Results, key: str, phase: str, *, digits: int) -> list[list[str]]:
    found, models = means(results.experiments, key, phase), {e.name: model(e) for e in results.experiments}
    order = ranked({name: entry["mean"] for name, entry in found.items()}, key.split("/")[-1])
    return [
        [phase, str(rank), *models[name], str(found[name]["n"]), interval(found[name], digits)]
        for rank, name in enumerate(order, 1)
    ]


def regions(results: Results) -> Table:
    """The best in and around the lesion by SSIM, each region and phase apart, as table 8."""
    keys = dict.fromkeys(
        tuple(key.split("/")[:2]) for e in results.experiments for row in e.rows for key in row if " mm/" in key
    )
    models, rows = {e.name: e for e in results.experiments}, []
    for region, target in keys:
        for phase in phases_of(results.studies):
            found = {
                m: means(results.experiments, f"{region}/{target}/{m}", phase) for m in ("SSIM", "PSNR", "LPIPS")
            }
            order = ranked({name: entry["mean"] for name, entry in found["SSIM"].items()}, "SSIM")[:_TOP_OF_REGION]
            rows += [
                [region, target, phase, str(rank), *model(models[name]), str(found["SSIM"][name]["n"]),
                 *(interval(found[m].get(name), digits) for m, digits in (("SSIM", 3), ("PSNR", 2), ("LPIPS", 3)))]
                for rank, name in enumerate(order, 1)
            ]  # fmt: skip
    headings = ["region", "contrast", "phase", "rank", *_MODEL, "studies", "SSIM", "PSNR dB", "LPIPS"]
    outside = results.protocol.get("roi")
    note = {"zero": "What lies in a crop outside its region is 0 in both images, as published.",
            "masked": "What lies in a crop outside its region does not count for SSIM."}.get(outside, "")  # fmt: skip
    return Table("regions", "Image quality in and around the lesion, the best by SSIM", headings, rows, note)


def by_utility(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Experiments by what segmenters make of them, the best first, as in table 11.

    That is by the mean of the utility ratios of Dice and NSD of tumour and cavity, which tells the published order; by
    that of Dice and NSD themselves where no outline on the real MRI was given.
    """
    kinds = ("utility Dice", "utility NSD")
    if not any(scored(experiments, f"{kind}/{structure}") for kind in kinds for structure in OUTLINED):
        kinds = ("Dice", "NSD")

    def key(experiment: Experiment) -> float:
        found = (means([experiment], f"{kind}/{structure}") for kind in kinds for structure in OUTLINED[:2])
        values = [entry["mean"] for entries in found for entry in entries.values()]
        return float(np.mean(values)) if values else -np.inf

    return sorted(experiments, key=key, reverse=True)


def outlines(results: Results) -> Table:
    """How well tumour, cavity, lesion and present classes are outlined on the synthetic MRI, as table 11."""
    known = [*([results.real] if results.real else []), *by_utility(results.experiments), *results.baselines]
    rows = [
        [*model(experiment), structure, phase, *cells]
        for experiment in known
        for structure in OUTLINED
        for phase, own in phases_of(experiment.rows).items()
        if (cells := _outline(own, experiment.summaries[phase], structure))
    ]
    headings = [
        *_MODEL, "structure", "phase", "studies", "utility ratio, Dice", "utility ratio, NSD", "retention, Dice",
        "Dice", "NSD at 2 mm", "HD95 mm, median", "not found", "false ml, median",
    ]  # fmt: skip
    note = (
        "Utility ratio: mean over studies of the score on the synthetic by that on the acquired MRI, where the latter "
        "is above 0.1. Retention: mean score on the synthetic by mean score on the acquired MRI, another figure. A "
        "structure that is there and was not found has Dice 0 and no HD95. Present classes: mean over tumour and "
        "cavity, as far as they are there, within a study; their ratios are those of each, averaged."
    )
    return Table("outlines", "Outlines of tumour, cavity and lesion", headings, rows, note)


def _outline(rows: Sequence[Row], summary: Summary, structure: str) -> list[str]:
    dice, false = summary.get(f"Dice/{structure}"), summary.get(f"false ml/{structure}")
    if dice is None and false is None:
        return []
    missed, distance = summary.get(f"missed/{structure}"), summary.get(f"HD95/{structure}")
    kept = retention(*([row.get(f"{kind}Dice/{structure}", np.nan) for row in rows] for kind in ("", "real ")))
    return [
        str(dice["n"] if dice else 0),
        *(interval(summary.get(f"utility {metric}/{structure}"), 2) for metric in ("Dice", "NSD")),
        "-" if np.isnan(kept) else f"{kept:.2f}",
        *(interval(summary.get(f"{metric}/{structure}"), 3) for metric in ("Dice", "NSD")),
        f"{distance['median']:.1f}" if distance else "-",
        f"{round(missed['mean'] * missed['n'])} of {missed['n']}" if missed else "-",
        f"{false['median']:.2f} (n={false['n']})" if false else "-",
    ]


def measures(results: Results) -> list[tuple[str, str, int]]:
    """Scores that groups of patients are compared by, with heading and decimals: fidelity, outlines, utility."""
    found = [
        (f"{target}/{metric}", f"{target} {heading}", digits)
        for target in TARGETS
        for metric, heading, digits in metrics_of(results)
    ]
    found += [(f"{kind}/{s}", f"{kind} {s}", 2) for kind in ("Dice", "utility Dice", "utility NSD") for s in OUTLINED]
    return [measure for measure in found if scored(results.experiments, measure[0])]


def strata(results: Results, key: str) -> Table:
    """Two groups of patients compared, by phase, as tables 13 and 14."""
    names, rows, p_values = STRATA[key], [], []
    for score, heading, digits in measures(results):
        for experiment in best_by(results, score):
            for phase, own in phases_of(experiment.rows).items():
                found = _two_groups(own, key, score)
                if found:
                    cells = [f"{found['mean'][n]:.{digits}f} ({found['n'][n]})" for n in names]
                    rows.append([*model(experiment), heading, phase, *cells])
                    p_values.append(found["p"])
    headings = [*_MODEL, "score", "phase", *(f"{name} (patients)" for name in names), "Mann-Whitney p", "Holm p"]
    return Table(
        f"strata_{key}", f"Patients compared: {' and '.join(names)}", headings, _with_p(rows, p_values),
        f"Of each score the best {MOST_SHOWN} at most. Means of patients' means; two-sided tests on patients, not on "
        "studies. Holm corrects for all rows of this table.",
    )  # fmt: skip


def _two_groups(rows: Sequence[Row], key: str, score: str) -> dict | None:
    """Means of two groups of patients and their test; None where one of them has too few."""
    known = [row for row in rows if group_of(row, key) and np.isfinite(row.get(score, np.nan))]
    patients = {str(row["head"]): group_of(row, key) for row in known}
    names = STRATA[key]
    if min(list(patients.values()).count(name) for name in names) < _FEWEST_OF_GROUP:
        return None
    own = {p: np.mean([row[score] for row in known if row["head"] == p]) for p in patients}
    mean = {name: float(np.mean([own[p] for p in own if patients[p] == name])) for name in names}
    return {"mean": mean, **mann_whitney([r[score] for r in known], [str(r["head"]) for r in known], patients)}


def comparisons(results: Results) -> Table:
    """The best by each metric against all others on the studies that both have, Wilcoxon's test with Holm."""
    rows = []
    for target in TARGETS:
        for metric, heading, digits in metrics_of(results):
            rows += against_best(results, f"{target}/{metric}", f"{target} {heading}", digits=digits)
    for structure in OUTLINED[:2]:
        rows += against_best(results, f"Dice/{structure}", f"Dice {structure}", digits=3)
    headings = ["score", "the best", "against", "difference (95 % interval)", "studies", "Wilcoxon p", "Holm p"]
    return Table(
        "comparisons", "The best against the others", headings, rows,
        "Difference of the other from the best on the same studies; intervals from drawing patients 2000 times; Holm "
        "corrects within a score. The best was chosen on these very studies.",
    )  # fmt: skip


def against_best(results: Results, key: str, heading: str, *, digits: int) -> list[list[str]]:
    """Rows of :func:`comparisons` for one score, baselines included."""
    found = {name: entry["mean"] for name, entry in means(results.experiments, key).items()}
    if not found:
        return []
    best = ranked(found, key.split("/")[-1])[0]
    known = {e.name: {row["case"]: row for row in e.rows} for e in (*results.experiments, *results.baselines)}
    rows, p_values = [], []
    for name in (name for name in known if name != best):
        cases = [case for case in known[best] if case in known[name]]
        pairs = np.array([[known[n][case].get(key, np.nan) for case in cases] for n in (name, best)])
        if np.isfinite(pairs).all(0).any():
            patients = [str(known[best][case]["head"]) for case in cases]
            difference, count, p = compared(pairs, patients, digits)
            rows.append([heading, best, name, difference, str(count)])
            p_values.append(p)
    return _with_p(rows, p_values)


def _with_p(rows: Sequence[Sequence[str]], p_values: Sequence[float]) -> list[list[str]]:
    """Rows with p-values as they are and after Holm's correction."""
    return [
        [*row, *("-" if np.isnan(p) else f"{p:.2g}" for p in pair)]
        for row, *pair in zip(rows, p_values, holm(p_values), strict=True)
    ]


# What models know of themselves, and what they cost -------------------------------------------------------------------


def calibration(results: Results) -> Table:
    """The expected error of images against the true one, by phase."""
    prefix, rows = f"{EXPECTED_ERROR}/", []
    columns = (("expected over true error", 2), ("rank correlation", 2), ("error saved by dropping a fifth", 2))
    for experiment in results.experiments:
        for phase in phases_of(experiment.rows):
            entries = [experiment.summaries[phase].get(prefix + name) for name, _ in columns]
            if any(entries):
                cells = [interval(entry, digits) for entry, (_, digits) in zip(entries, columns, strict=True)]
                rows.append([*model(experiment), phase, str(max(e["n"] for e in entries if e)), *cells])
    headings = [*_MODEL, "phase", "studies", *(name for name, _ in columns)]
    return Table(
        "calibration", "Does the expected error tell the true one?", headings, rows,
        "Within the ultrasound's fan, mean over studies. Expected over true error: 1 where it is right in the mean, "
        "below 1 where a model thinks too well of its images. Rank correlation: of voxels.",
    )  # fmt: skip


def expected_dice(results: Results) -> Table:
    """The Dice that is told with outlines against the true one, by structure and phase."""
    rows = [
        [*model(experiment), structure, phase, *cells]
        for experiment in results.experiments
        for structure in OUTLINED[:2]
        for phase, own in phases_of(experiment.rows).items()
        if (cells := _told_and_true(own, structure))
    ]
    headings = [*_MODEL, "structure", "phase", "studies", "expected Dice", "true Dice", "mean absolute difference"]
    return Table(
        "expected_dice", "Does the expected Dice of outlines tell the true one?", headings, rows,
        "Of studies in which the structure is there and something was outlined as such.",
    )  # fmt: skip


def _told_and_true(rows: Sequence[Row], structure: str) -> list[str]:
    pairs = np.array([[row.get(f"{kind}/{structure}", np.nan) for kind in ("expected Dice", "Dice")] for row in rows])
    pairs = pairs[np.isfinite(pairs).all(1)]
    if not len(pairs):
        return []
    return [str(len(pairs)), *(f"{value:.2f}" for value in (*pairs.mean(0), np.abs(pairs[:, 0] - pairs[:, 1]).mean()))]


def footprint(results: Results) -> Table:
    """Parameters, time and memory, as table 10."""
    rows = []
    for experiment in results.experiments:
        timing, cases = experiment.timing, experiment.summaries[ALL]
        seconds, memory = cases.get("run/seconds"), cases.get("run/MiB")
        if timing or seconds:
            count, products, gpu = (timing.get(key) for key in ("parameters", "multiplications", "gpu_mib"))
            rows.append([
                *model(experiment), f"{count / 1e6:.2f}" if count else "-",
                f"{products / 1e9:,.0f}" if products else "-", timing.get("device", "-"),
                f"{timing['seconds']:.2f}" if timing else "-", f"{gpu / 1024:.2f}" if gpu else "-",
                interval(seconds, 1), f"{memory['mean'] / 1024:.2f}" if memory else "-",
            ])  # fmt: skip
    headings = [
        *_MODEL, "parameters, millions", "multiplications, billions / volume", "device", "networks: s / volume",
        "GPU memory, GiB", "pipeline: s / case", "peak memory of the program, GiB",
    ]  # fmt: skip
    return Table(
        "footprint", "Parameters, time and memory", headings, rows,
        f"Networks: the median of {TIMED} runs after {WARM_UP} to warm up, times {SLICES} axial slices or the windows "
        f"of {SIDE} voxels along each axis, as published; a multiplication with its addition is two FLOPs. Pipeline: "
        "all that was done for a case of this cohort, with all slice axes, outlines and files. A judge (D) "
        "takes no part in it and is not in a model's files.",
    )  # fmt: skip


# Correlations over experiments ----------------------------------------------------------------------------------------


def correlations(results: Results) -> Table:
    """Fidelity against what segmenters make of it, over experiments: pooled and within families, as figure 7B."""
    rows = []
    for outcome, heading in outcomes(results):
        for target in TARGETS:
            for metric, name, _ in metrics_of(results):
                rows += _correlated(results.experiments, f"{target}/{metric}", outcome, [f"{target} {name}", heading])
    headings = [
        "image quality", "outcome", "experiments", "Pearson (95 % interval)", "p", "Spearman", "p",
        "Pearson within families", "p", "Spearman within families", "p",
    ]  # fmt: skip
    return Table(
        "correlations", "Does image quality tell how well outlines turn out?", headings, rows,
        "Over the means of experiments, baselines left out; intervals from drawing patients. Families differ in more "
        "than image quality: a correlation that vanishes within families is one between families.",
    )  # fmt: skip


def outcomes(results: Results) -> list[tuple[str, str]]:
    """Scores of outlines that fidelity is held against, and their names: utility ratios where they are known."""
    kinds = ("utility Dice", "utility NSD") if results.real else ("Dice", "NSD")
    keys = [f"{kind}/{structure}" for kind in kinds for structure in (*OUTLINED[:2], PRESENT)]
    return [(key, key.replace("/", " ")) for key in keys if scored(results.experiments, key)]


def _correlated(experiments: Sequence[Experiment], first: str, second: str, names: list[str]) -> list[list[str]]:
    """A row of :func:`correlations`; none of too few experiments."""
    both = [e for e in experiments if scored([e], first) and scored([e], second)]
    if len(both) < FEWEST_EXPERIMENTS:
        return []
    patients = {str(row["case"]): str(row["head"]) for e in both for row in e.rows}
    scores = np.full((2, len(both), len(patients)), np.nan)
    for number, experiment in enumerate(both):
        found = {str(row["case"]): row for row in experiment.rows}
        for at, key in enumerate((first, second)):
            scores[at, number] = [found.get(case, {}).get(key, np.nan) for case in patients]
    low, high = patient_interval(lambda drawn: _pearson(scores, drawn), list(patients.values()))
    pooled, families = _coefficients(correlation(*np.nanmean(scores, 2))), [e.family for e in both]
    pooled[0] += f" ({low:.2f} to {high:.2f})"
    enough = len(both) - len(set(families)) >= 2
    within = _coefficients(correlation(*np.nanmean(scores, 2), families)) if enough else ["-"] * 4
    return [[*names, str(len(both)), *pooled, *within]]


def _coefficients(found: Mapping[str, float]) -> list[str]:
    """Both coefficients, each with its p-value, in words."""
    return [
        text for name in ("pearson", "spearman") for text in (f"{found[name]:.2f}", f"{found[f'{name} p']:.2g}")
    ]


def _pearson(scores: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Of the means over the studies of each draw, (draws,), of two scores, (2, experiments, studies); NaN where an
    experiment has none of them.
    """
    known = np.isfinite(scores)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = (np.where(known, scores, 0) @ drawn.T) / (known @ drawn.T)
        first, second = means - means.mean(1, keepdims=True)
        return (first * second).sum(0) / np.sqrt((first**2).sum(0) * (second**2).sum(0))
