"""What an evaluation leaves on disk: scores of each case, their summary, and a table of it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .pictures import PICTURES, write_pictures
from .protocol import ORIGINS, Protocol
from .scores import Row, Summary, columns_of, group_by_phase, summarize
from .statistics import FEWEST_FOR_INTERVAL, FEWEST_PAIRS
from .tables import (
    METRICS,
    NMSE,
    comparison_table,
    fidelity_table,
    methods_of,
    region_table,
    structure_table,
)

#: Name of the evaluated method in columns and tables.
METHOD = "prediction"
#: So many cases are named.
_NAMED = 5


def write_results(evaluation: Mapping[str, Any], folder: Path) -> str:
    """Write ``scores.csv`` (a row a case), ``summary.json``, ``table.md`` and, where there are any, ``pictures.npz``;
    return the table.

    Parameters
    ----------
    evaluation
        What :func:`.from_files.evaluate_files` returned.
    folder
        For the files; it is there.
    """
    rows = evaluation["cases"]
    with (folder / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns_of(rows))
        table.writeheader()
        table.writerows({name: "" if _is_nan(value) else value for name, value in row.items()} for row in rows)
    phases = group_by_phase(rows)
    content = {
        "simulated": evaluation["simulated"], "input": evaluation.get("input", "ioUS"),
        "protocol": asdict(evaluation["protocol"]), "cases": len(rows),
        "patients": _patients(rows), "not_predicted": evaluation["not_predicted"], "missing": evaluation["missing"],
        "summary": evaluation["summary"], "phases": {phase: summarize(found) for phase, found in phases.items()},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if evaluation.get("pictures"):
        write_pictures(folder / PICTURES, evaluation["pictures"])
    text = _table(evaluation, phases)
    (folder / "table.md").write_text(text, encoding="utf-8")
    return text


def _is_nan(value: str | float) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _table(evaluation: Mapping[str, Any], phases: Mapping[str, Sequence[Row]]) -> str:
    """Tables of each phase, and of all cases where there is more than one."""
    rows, missing = evaluation["cases"], evaluation["not_predicted"]
    lines = [_heading(rows, evaluation["simulated"]), *_what_counts(evaluation)]
    if missing:
        lines.append(missing_cases(missing, len(rows) + len(missing)))
    splits = sorted({str(row["split"]) for row in rows} - {"test"})
    if splits:
        lines.append(
            f"Not all of these heads were held out from training (split {', '.join(splits)})."
            if evaluation["simulated"] is not False
            else f"Not all are for testing (split {', '.join(splits)}): a model trained on this cohort has seen them."
        )
    lines += evaluation["missing"]
    groups = [(phase, found, summarize(found)) for phase, found in phases.items()]
    if len(groups) > 1:
        groups.append(("all phases", rows, evaluation["summary"]))
    for phase, found, summary in groups:
        heading = f"## {phase.capitalize()}, {_numbers(found, evaluation['simulated'])}"
        lines += ["", heading, *_tables(found, summary)]
    return "\n".join(lines) + "\n"


def _heading(rows: Sequence[Row], simulated: bool | None) -> str:
    return (
        f"Accuracy on {ORIGINS[simulated]}, {_numbers(rows, simulated)}: mean ± SD "
        f"(95 % Student-t interval), both of {FEWEST_FOR_INTERVAL} or more."
    )


def _numbers(rows: Sequence[Row], simulated: bool | None) -> str:
    """How many cases, or studies of how many patients."""
    count, patients = len(rows), _patients(rows)
    if simulated is not False:
        return f"{count} case{'s' if count > 1 else ''}"
    return f"{count} stud{'ies' if count > 1 else 'y'} of {patients} patient{'s' if patients > 1 else ''}"


def _patients(rows: Sequence[Row]) -> int:
    return len({row["head"] for row in rows})


def _what_counts(evaluation: Mapping[str, Any]) -> list[str]:
    protocol: Protocol = evaluation["protocol"]
    lines = ["SSIM over whole slices is inflated by the background; compare inside the fan."]
    if protocol.region == "crop":
        lines = ["The whole crop is scored, as published: no data outside the fan counts as an error."]
    if _has_regions(evaluation["summary"]):
        words = {"zero": "is 0 in both images, as published", "masked": "does not count for SSIM"}[protocol.roi]
        lines.append(f"In and around the lesion: what lies in a crop outside its region {words}.")
    if protocol.as_released:
        lines.append("HD95 and NSD as released: of all voxels, and without structures that were not found.")
    if evaluation["simulated"] is False:
        lines.append(
            "MRI has no scale of its own: a model that learned another than that of these patients, such as from "
            "simulated MRI, errs by that, too. What is left after the best straight line: "
            "`python -m IoUSynthLib.experiments real`."
        )
    return lines


def _has_regions(summary: Summary) -> bool:
    return any(" mm/" in name for name in summary)


def _tables(rows: Sequence[Row], summary: Summary) -> list[str]:
    """The tables of some cases, as far as there is anything in them."""
    lines = []
    if any(name.endswith("/PSNR") for name in summary):
        lines += ["", fidelity_table(summary, (*METRICS, NMSE))]
        if not any(name.endswith("/LPIPS") for name in summary):
            lines.append("\nLPIPS is absent: its weights are not installed, or the slices are too small.")
    if _has_regions(summary):
        lines += ["", region_table(summary)]
    if any(name.startswith(("Dice/", "false ml/")) for name in summary):
        lines += ["", structure_table(summary)]
    if len(rows) >= FEWEST_PAIRS and any(method != METHOD for _, method in methods_of(summary)):
        lines += ["", f"The {METHOD} less each baseline:", "", comparison_table(rows, summary, METHOD)]
    return lines


def missing_cases(missing: Sequence[str], count: int) -> str:
    """Say which of ``count`` cases have no prediction."""
    return f"{len(missing)} of {count} cases have no prediction and are not scored: {name_some(missing)}."


def name_some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


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
