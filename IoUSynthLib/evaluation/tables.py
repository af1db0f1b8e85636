"""Markdown tables of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from ..outputs.markdown import markdown_table
from ..synthesis.segmentation import DOUBTFUL_BELOW
from .protocol import CONTRASTS, PRESENT
from .statistics import FEWEST_FOR_INTERVAL, holm, patient_interval, signed_rank

if TYPE_CHECKING:  # scores needs scikit-image
    from .scores import Row, Summary

_STRUCTURES = ("tumour", "tumour before resection", "residual tumour", "cavity")
#: Columns of the fidelity table: metric, heading, decimals.
METRICS = (
    ("PSNR", "PSNR dB", 2), ("LPIPS", "LPIPS", 3), ("SSIM fan", "SSIM in the fan", 3), ("SSIM", "SSIM whole slice", 3),
    ("MAE", "MAE", 3),
)  # fmt: skip
MSE, NMSE = ("MSE", "MSE", 4), ("NMSE", "NMSE", 3)
#: Those that methods are compared by.
_COMPARED = METRICS[:3]
#: What is outlined; both together, the lesion; the mean of those that are there; columns of their table with decimals.
OUTLINED = ("tumour", "cavity", "lesion", PRESENT)
_OUTLINE_METRICS = (("Dice", 3), ("NSD", 3), ("HD95", 1))


def methods_of(summary: Summary) -> dict[tuple[str, str], None]:
    """Pairs of a contrast and a method whose images were scored, in order."""
    pairs = (tuple(key.split("/")[:2]) for key in summary)
    return dict.fromkeys(pair for pair in pairs if pair[0] in CONTRASTS)


def fidelity_table(summary: Summary, metrics: Sequence[tuple[str, str, int]] = METRICS) -> str:
    """Generator and baselines, a row each and target; mean, SD where it is known and 95 % interval, a dash where a
    metric is absent.
    """
    return markdown_table(["target", "method", *(heading for _, heading, _ in metrics)], [
        [target, method, *(cell(summary, f"{target}/{method}/{metric}", digits) for metric, _, digits in metrics)]
        for target, method in methods_of(summary)
    ])


def overlap_table(summary: Summary) -> str:
    """Dice of tumour and cavity where there is one, false volume where there is none; a row for each input."""
    methods = list(dict.fromkeys(key.split("/")[1] for key in summary if key.startswith(("Dice/", "false ml/"))))
    headings = [
        "segmented from", "all tumour Dice", "before resection", "residual", "cavity Dice", "false tumour, median ml",
        "false cavity, median ml",
    ]
    rows = []
    for method in methods:
        cells = [method, *(cell(summary, f"Dice/{method}/{s}", 3) for s in _STRUCTURES)]
        for structure in ("tumour", "cavity"):
            entry = summary.get(f"false ml/{method}/{structure}")
            cells.append("-" if entry is None else f"{entry['median']:.2f} (n={entry['n']})")
        rows.append(cells)
    return markdown_table(headings, rows)


def region_table(summary: Summary) -> str:
    """Fidelity in and around the lesion: a row for each region, target and method."""
    rows = list(dict.fromkeys(tuple(key.split("/")[:3]) for key in summary if " mm/" in key))
    headings = ["region", "target", "method", "PSNR dB", "LPIPS", "SSIM", "MAE", "NMSE"]
    columns = (("PSNR", 2), ("LPIPS", 3), ("SSIM", 3), ("MAE", 3), ("NMSE", 3))
    return markdown_table(headings, [
        [*row, *(cell(summary, f"{'/'.join(row)}/{metric}", digits) for metric, digits in columns)] for row in rows
    ])


def structure_table(summary: Summary) -> str:
    """How well each structure is outlined where it is there, and what is outlined where it is not."""
    outlines = ("Dice/", "false ml/")
    pairs = list(dict.fromkeys(tuple(key.split("/")[1:]) for key in summary if key.startswith(outlines)))
    rows = []
    for method, structure in (pair for name in OUTLINED for pair in pairs if pair[1] == name):
        missed, false = (summary.get(f"{metric}/{method}/{structure}") for metric in ("missed", "false ml"))
        rows.append([
            structure, method,
            *(cell(summary, f"{metric}/{method}/{structure}", digits) for metric, digits in _OUTLINE_METRICS),
            "-" if missed is None else f"{round(missed['mean'] * missed['n'])} of {missed['n']}",
            "-" if false is None else f"{false['median']:.2f} (n={false['n']})",
        ])  # fmt: skip
    headings = ["structure", "segmented from", "Dice", "NSD at 2 mm", "HD95 mm", "not found", "false, median ml"]
    return markdown_table(headings, rows)


def comparison_table(rows: Sequence[Row], summary: Summary, method: str) -> str:
    """A method against each of the others: mean difference, its interval by drawing patients, Wilcoxon's test.

    Parameters
    ----------
    rows
        Scores of the cases.
    summary
        Of the same.
    method
        The one whose scores the others' are taken from.
    """
    patients, lines, p_values = [str(row["head"]) for row in rows], [], []
    for target, other in methods_of(summary):
        for metric, heading, digits in _COMPARED if other != method else ():
            keys = (f"{target}/{name}/{metric}" for name in (method, other))
            pairs = np.array([[row.get(key, np.nan) for row in rows] for key in keys])
            if np.isfinite(pairs).all(0).any():
                difference, count, p = compared(pairs, patients, digits)
                lines.append([target, other, heading, difference, count])
                p_values.append(p)
    headings = ["target", "against", "metric", "difference (95 % interval, patients)", "n", "Wilcoxon p", "Holm p"]
    return markdown_table(headings, [
        [*line, *("-" if np.isnan(p) else f"{p:.2g}" for p in pair)]
        for line, *pair in zip(lines, p_values, holm(p_values), strict=True)
    ])


def compared(pairs: np.ndarray, patients: Sequence[str], digits: int) -> tuple[str, int, float]:
    """Difference of two methods with its interval, in words, the number of pairs, and p."""
    test = signed_rank(*pairs)
    finite = np.flatnonzero(np.isfinite(pairs).all(0))
    difference, chosen = (pairs[0] - pairs[1])[finite], [patients[index] for index in finite]
    text = f"{test['difference']:+.{digits}f}"
    if len(set(chosen)) >= FEWEST_FOR_INTERVAL:
        low, high = patient_interval(lambda drawn: drawn @ difference / drawn.sum(1), chosen)
        text += f" ({low:+.{digits}f} to {high:+.{digits}f})"
    return text, len(finite), test["p"]


def trust_table(rows: Sequence[Row]) -> str:
    """What the expected Dice of outlines is worth: against the true Dice, which is 0 where nothing was to outline."""
    headings = [
        "outline", "n", "rank correlation with the true Dice", "expected, mean", "true, mean", "doubtful: n",
        "true, mean", "not doubtful: n", "true, mean", "true below 0.3",
    ]
    table = []
    for key in (name for name in rows[0] if name.startswith("expected Dice/")):
        _, method, structure = key.split("/")
        outlined = [row for row in rows if np.isfinite(row[key])]
        expected = np.array([row[key] for row in outlined])
        true = np.nan_to_num([row[f"Dice/{method}/{structure}"] for row in outlined])
        doubtful = expected < DOUBTFUL_BELOW
        correlation = stats.spearmanr(expected, true).statistic
        cells = [f"{structure}, {method}", len(outlined)]
        cells += [f"{value:.2f}" for value in (correlation, expected.mean(), true.mean())]
        for group in (doubtful, ~doubtful):
            cells += [str(group.sum()), f"{true[group].mean():.2f}" if group.any() else "-"]
        cells.append(str((true[~doubtful] < 0.3).sum()))
        table.append(cells)
    return markdown_table(headings, table)


def uncertainty_table(summary: Summary) -> str:
    """What the error estimate is worth."""
    rows = [[key.split("/")[1], cell(summary, key, 2)] for key in summary if key.startswith("uncertainty/")]
    return markdown_table(["measure", "mean (95 % interval)"], rows)


def cell(summary: Summary, key: str, digits: int) -> str:
    """Mean, SD and 95 % interval of a score, the number of cases where these are too few, a dash where it is absent."""
    if key not in summary:
        return "-"
    entry = summary[key]
    if "low" not in entry:
        return f"{entry['mean']:.{digits}f} (n={entry['n']})"
    spread = f" ± {entry['sd']:.{digits}f}" if "sd" in entry else ""
    return f"{entry['mean']:.{digits}f}{spread} ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})"
