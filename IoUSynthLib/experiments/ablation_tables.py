"""The tables of an ablation: every variant on the simulated test cases, beside the whole, and on real ultrasound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constants import TARGETS
from ..evaluation.fidelity import confidence_interval
from ..outputs.markdown import markdown_table
from ..simulation.parts import PARTS

#: Name under which the variants' predictions are scored.
METHOD = "generator"
#: Measures of :mod:`..evaluation.agreement` that are shown, which need no MRI.
REAL_MEASURES = ("edges", "streaks", "FLAIR against ultrasound")
# Columns of the fidelity table: metric, heading, decimals.
_METRICS = (("PSNR", "PSNR dB", 2), ("SSIM fan", "SSIM in the fan", 3), ("MAE", "MAE", 4), ("LPIPS", "LPIPS", 3))

_TEXT = """# What each part of the simulator brings

The same small network, trained for {steps} steps on {cases} simulated cases of the same heads and seeds, with the whole
simulator and without one part:

{parts}

## On simulated test cases

Of the whole simulator, n = {tests}, of heads that training never saw; the accuracy is that on simulated data. In
brackets the 95 % interval of the mean paired difference from the whole.

{fidelity}

## On real ultrasound

Without an MRI to compare with. Edges: rank correlation of the gradients of T2w and ultrasound, higher is better.
Streaks: about 1 when T2w is drawn along the axes of the grid no more than the ultrasound is. FLAIR against ultrasound:
near -1 or 1 the image only repeats the ultrasound.

{real}
"""


def tables(results: dict[str, dict], cases: int, steps: int) -> str:
    """Markdown of all variants.

    Parameters
    ----------
    results
        By variant, the whole simulator first: ``without``; ``cases``, rows of ``target/method/metric``, None where
        absent; ``real``, measures by volume.
    cases, steps
        Size of each training.
    """
    first = next(iter(results.values()))
    removed = [part for result in results.values() for part in result["without"]]
    return _TEXT.format(
        steps=steps, cases=cases, tests=len(first["cases"]), parts="\n".join(f"- {p}: {PARTS[p]}" for p in removed),
        fidelity=_fidelity(results), real=_real(results),
    )  # fmt: skip


def _fidelity(results: dict[str, dict]) -> str:
    names = [(target, *metric) for target in TARGETS for metric in _METRICS]
    whole = next(iter(results.values()))["cases"]
    rows = [
        [variant, *(_cell(result["cases"], whole, f"{t}/{METHOD}/{m}", digits=digits) for t, m, _, digits in names)]
        for variant, result in results.items()
    ]
    return markdown_table(["variant", *(f"{target} {heading}" for target, _, heading, _ in names)], rows)


def _cell(rows: Sequence[dict], whole: Sequence[dict], key: str, *, digits: int) -> str:
    """Mean, and the interval of the paired difference where there are two or more pairs."""
    pairs = [(row[key], other[key]) for row, other in zip(rows, whole, strict=True)]
    pairs = [pair for pair in pairs if None not in pair]
    if not pairs:
        return "-"
    values, others = np.array(pairs, dtype=float).T
    mean = f"{values.mean():.{digits}f}"
    if rows is whole or len(pairs) < 2:
        return mean
    low, high = confidence_interval(values - others)
    return f"{mean} ({low:+.{digits}f} to {high:+.{digits}f})"


def _real(results: dict[str, dict]) -> str:
    columns = [(volume, measure) for volume in next(iter(results.values()))["real"] for measure in REAL_MEASURES]
    rows = [[variant, *(f"{result['real'][v][m]:.2f}" for v, m in columns)] for variant, result in results.items()]
    return markdown_table(["variant", *(f"{volume}: {measure}" for volume, measure in columns)], rows)
