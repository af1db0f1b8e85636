"""Markdown tables of an evaluation on simulated cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from ..constants import TARGETS
from ..outputs.markdown import markdown_table
from ..synthesis.segmentation import DOUBTFUL_BELOW

if TYPE_CHECKING:  # scores needs scikit-image
    from .scores import Row, Summary

_STRUCTURES = ("tumour", "tumour before resection", "residual tumour", "cavity")
# Columns of the fidelity table: metric, heading, decimals.
_METRICS = (
    ("PSNR", "PSNR dB", 2), ("LPIPS", "LPIPS", 3), ("SSIM fan", "SSIM in the fan", 3), ("SSIM", "SSIM whole slice", 3),
    ("MAE", "MAE", 3),
)  # fmt: skip


def fidelity_table(summary: Summary) -> str:
    """Generator and baselines, a row each and target; mean and 95 % interval, a dash where a metric is absent."""
    rows = []
    for key in summary:
        target, method, *_ = key.split("/")
        if target in TARGETS and (target, method) not in rows:
            rows.append((target, method))
    headings = ["target", "method", *(heading for _, heading, _ in _METRICS)]
    return markdown_table(headings, [
        [target, method, *(_cell(summary, f"{target}/{method}/{metric}", digits) for metric, _, digits in _METRICS)]
        for target, method in rows
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
        cells = [method, *(_cell(summary, f"Dice/{method}/{s}", 3) for s in _STRUCTURES)]
        for structure in ("tumour", "cavity"):
            entry = summary.get(f"false ml/{method}/{structure}")
            cells.append("-" if entry is None else f"{entry['median']:.2f} (n={entry['n']})")
        rows.append(cells)
    return markdown_table(headings, rows)


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
    rows = [[key.split("/")[1], _cell(summary, key, 2)] for key in summary if key.startswith("uncertainty/")]
    return markdown_table(["measure", "mean (95 % interval)"], rows)


def _cell(summary: Summary, key: str, digits: int) -> str:
    if key not in summary:
        return "-"
    entry = summary[key]
    if "low" not in entry:
        return f"{entry['mean']:.{digits}f} (n={entry['n']})"
    return f"{entry['mean']:.{digits}f} ({entry['low']:.{digits}f} to {entry['high']:.{digits}f})"
