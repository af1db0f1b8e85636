"""What an evaluation leaves on disk: scores of each case, their summary, and a table of it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .scores import FEWEST_FOR_INTERVAL, Row
from .tables import fidelity_table, overlap_table

#: So many cases without a prediction are named.
_NAMED = 5


def write_results(evaluation: Mapping[str, Any], folder: Path) -> str:
    """Write ``scores.csv`` (a row a case), ``summary.json`` and ``table.md`` into a folder; return the table."""
    rows, summary, missing = (evaluation[key] for key in ("cases", "summary", "not_predicted"))
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows({name: "" if _is_nan(value) else value for name, value in row.items()} for row in rows)
    content = {"simulated": evaluation["simulated"], "cases": len(rows), "not_predicted": missing, "summary": summary}
    (folder / "summary.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = _table(rows, summary, missing)
    (folder / "table.md").write_text(text, encoding="utf-8")
    return text


def _is_nan(value: str | float) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _table(rows: Sequence[Row], summary: Mapping[str, Any], missing: Sequence[str]) -> str:
    lines = [
        f"Accuracy on simulated data, {len(rows)} case{'s' if len(rows) > 1 else ''}: mean (95 % Student-t interval, "
        f"of {FEWEST_FOR_INTERVAL} cases or more). SSIM over whole slices is inflated by the background; compare "
        "inside the fan."
    ]
    if missing:
        lines.append(missing_cases(missing, len(rows) + len(missing)))
    splits = sorted({str(row["split"]) for row in rows} - {"test"})
    if splits:
        lines.append(f"Not all of these heads were held out from training (split {', '.join(splits)}).")
    if any(name.endswith("/PSNR") for name in summary):
        lines += ["", fidelity_table(summary)]
        if not any(name.endswith("/LPIPS") for name in summary):
            lines.append("\nLPIPS is absent: its weights are not installed, or the slices are too small.")
    if any(name.startswith(("Dice/", "false ml/")) for name in summary):
        lines += ["", overlap_table(summary)]
    return "\n".join(lines) + "\n"


def missing_cases(missing: Sequence[str], count: int) -> str:
    """Say which of ``count`` cases have no prediction."""
    named = ", ".join(missing[:_NAMED]) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
    return f"{len(missing)} of {count} cases have no prediction and are not scored: {named}."


def write_json(evaluation: Mapping[str, Any], path: Path) -> None:
    """Write the evaluation as JSON; no figure is known to more than the five decimals that are kept."""
    rounded = {
        "cases": [_rounded(row) for row in evaluation["cases"]],
        "summary": {name: _rounded(values) for name, values in evaluation["summary"].items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**evaluation, **rounded}, indent=1) + "\n", encoding="utf-8")


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()}
