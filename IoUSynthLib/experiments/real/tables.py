"""Tables of what was measured on real patients: a row for each, and medians."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ...constants import TARGETS
from ...outputs.markdown import markdown_table
from ..agreement import MEASURES
from ..agreement import table as agreement_table
from .measures import RIM_VOXELS
from .starts import METHODS

#: What stands above each table.
TEXTS = {
    "registration": """### Registration

Mean distance of the landmarks in mm (TRE). "rigid fit" is what the best rigid fit of the landmarks themselves leaves.
The random starts shift the MRI by 3 to 10 mm and turn it by up to 5 degrees. The verdict is `register`'s own; where it
says failed, the MRI stays where it was.""",
    "fidelity": f"""### Fidelity

Inside the fan less {RIM_VOXELS} voxels, the MRI at its place by a rigid fit of the landmarks: Pearson's correlation r,
and PSNR for a range of 1 after the straight line (gain and offset) that brings the image nearest to the MRI. The line
also turns an image upside down where that helps, so that r alone says whether bright is bright. A constant and the
monotone map know the answer: they are fitted to this MRI. A synthesis is worth something where it beats them and the
smoothed ultrasound.""",
    "other contrasts": """### Against T1w, or another contrast, where there is neither T2w nor FLAIR

Correlation with sign: T2w and FLAIR show other things than T1w, so that it need be neither high nor positive.""",
    "expected error": """### Expected error

Rank correlation (Spearman) of the error that the model expects with the true absolute error after the best straight
line: 1 where it knows where it errs, 0 where it does not.""",
    "outlines": """### Outlines of the tumour

Dice with what somebody drew, where that is at hand. z: mean of the MRI inside the outline less that in the rest of the
fan, in standard deviations of the rest; FLAIR shows most tumours bright.""",
    "edges and sheets": """### Edges and sheets

What can be asked without an MRI: whether synthetic MRI follows the ultrasound.
`python -m IoUSynthLib.experiments agreement` says what each column means.""",
}
#: Headings, keys and decimals of the figures of each table; the keys before them name a row.
_NAMES = {
    "registration": ("patient", "MRI", "by", "model"), "fidelity": ("patient", "contrast", "image", "model"),
    "other contrasts": ("patient", "contrast", "image", "model"), "expected error": ("patient", "contrast", "model"),
    "outlines": ("patient", "model"),
}  # fmt: skip
_DECIMALS = {"PSNR dB": 2, "tumour ml": 1, "LPIPS": 3, "starts": 0}
_ABSENT = "-"

Row = dict[str, Any]
Found = Mapping[str, Mapping[str, Any]]


def rows_of(patients: Found) -> dict[str, list[Row]]:
    """Rows of every table but the last, patient by patient, medians of two or more patients at the end."""
    makers: dict[str, Callable[[str, Mapping[str, Any]], Iterable[Row]]] = {
        "registration": _registration, "fidelity": _fidelity, "other contrasts": _other_contrasts,
        "expected error": _expected_error, "outlines": _outlines,
    }  # fmt: skip
    rows = {}
    for table, make in makers.items():
        measured = [row for name, found in patients.items() for row in make(name, found)]
        rows[table] = measured + medians(measured, _NAMES[table])
    return rows


def medians(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The medians of all figures over the patients, of rows that otherwise have the same names."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names[1:] if name != "MRI"), []).append(row)
    found = []
    for same in (rows for rows in groups.values() if len(rows) > 1):
        row = {name: same[0][name] if name != "MRI" else _ABSENT for name in names}
        row["patient"] = f"median of {len(same)}"
        for key in dict.fromkeys(key for one in same for key in one):
            values = [one[key] for one in same if isinstance(one.get(key), float)]
            row |= {key: float(np.median(values))} if len(values) > 1 and key not in names else {}
        found.append(row)
    return found


def text_of(patients: Found, rows: Mapping[str, Sequence[Row]]) -> str:
    """All tables that have rows, with what they mean."""
    parts = []
    for table, measured in rows.items():
        if measured:
            columns = list(dict.fromkeys(key for row in measured for key in row))
            cells = [[_cell(row.get(column), column) for column in columns] for row in measured]
            parts += [TEXTS[table], markdown_table(columns, cells)]
    edges = _edges(patients)
    if edges:
        parts += [TEXTS["edges and sheets"], agreement_table(edges)]
    return "\n\n".join(parts)


def _cell(value: Any, column: str) -> str:
    if value is None or value == "":
        return _ABSENT
    return f"{value:.{_DECIMALS.get(column, 2)}f}" if isinstance(value, float) else str(value)


def _registration(patient: str, found: Mapping[str, Any]) -> list[Row]:
    runs = found.get("registration", [])
    rows = []
    for by in METHODS:
        for model in dict.fromkeys(run["model"] for run in runs if run["by"] == by):
            same = [run for run in runs if run["by"] == by and run["model"] == model]
            row = {"patient": patient, "MRI": " ".join(found["mri"]), "by": by, "model": model}
            rows.append(row | {"rigid fit": found["rigid fit mm"]} | _from_starts(same))
    return rows


def _from_starts(runs: Sequence[Mapping[str, Any]]) -> Row:
    """TRE from the given start, and from the random ones; a verdict for each where there are verdicts."""
    given, *others = sorted(runs, key=lambda run: run["start"])
    row: Row = {"given start": given["before_mm"], "from it": given["after_mm"], "its verdict": _verdict(given)}
    if others:
        after = [run["after_mm"] for run in others]
        row["random starts"] = f"{len(others)}, {np.median([run['before_mm'] for run in others]):.2f} before"
        row |= {"from them, median": float(np.median(after)), "best": min(after), "worst": max(after)}
        verdicts = [_verdict(run) for run in others]
        row["their verdicts"] = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts) if v)
    return row


def _verdict(run: Mapping[str, Any]) -> str:
    return "refused" if "refused" in run else run.get("verdict", "")


def _fidelity(patient: str, found: Mapping[str, Any]) -> list[Row]:
    return [
        {**names, "r": scores.get("r"), "PSNR dB": scores["PSNR"]}
        | ({"LPIPS": scores["LPIPS"]} if "LPIPS" in scores else {})
        for names, scores in _compared(patient, found) if names["contrast"] in TARGETS
    ]  # fmt: skip


def _other_contrasts(patient: str, found: Mapping[str, Any]) -> list[Row]:
    compared = [pair for pair in _compared(patient, found) if pair[0]["contrast"] not in TARGETS]
    return [{**names, "r": scores["r"]} for names, scores in compared if "r" in scores]


def _compared(patient: str, found: Mapping[str, Any]) -> list[tuple[Row, Mapping[str, float]]]:
    """Names and scores of all images that were compared with acquired MRI: of the models first, then baselines."""
    pairs = []
    for contrast, others in found.get("baselines", {}).items():
        for model, measured in found["models"].items():
            for name, scores in measured["fidelity"][contrast]["synthetic"].items():
                names = {"patient": patient, "contrast": contrast, "image": f"synthetic {name}", "model": model}
                pairs.append((names, scores))
        for name, scores in others.items():
            pairs.append(({"patient": patient, "contrast": contrast, "image": name, "model": _ABSENT}, scores))
    return pairs


def _expected_error(patient: str, found: Mapping[str, Any]) -> list[Row]:
    return [
        {"patient": patient, "contrast": contrast, "model": model, "rank correlation": scores["uncertainty"]}
        for model, measured in found["models"].items()
        for contrast, scores in measured.get("fidelity", {}).items() if "uncertainty" in scores
    ]  # fmt: skip


def _outlines(patient: str, found: Mapping[str, Any]) -> list[Row]:
    rows = []
    for model, measured in found["models"].items():
        outline = measured["outline"]
        row = {"patient": patient, "model": model, "outlined by": outline["on"], "tumour ml": float(outline["ml"])}
        row["expected Dice"] = outline.get("expected Dice")
        row["doubtful"] = ("yes" if outline["doubtful"] else "no") if outline["ml"] else "nothing outlined"
        row |= {"Dice": outline["Dice"]} if "Dice" in outline else {}
        rows.append(row | {f"z in {name}": value for name, value in outline.get("z", {}).items()})
    return rows


def _edges(patients: Found) -> dict[str, dict[str, list[float]]]:
    """A source for each patient and model, and one for all patients of a model, as the agreement's table takes them."""
    measured: dict[str, dict[str, Mapping[str, float]]] = {}
    for patient, found in patients.items():
        for model, values in found["models"].items():
            if "edges" in values:
                measured.setdefault(model, {})[patient] = values["edges"]
    sources = {}
    for model, by_patient in measured.items():
        chosen = {f"{patient}, {model}": [values] for patient, values in by_patient.items()}
        if len(by_patient) > 1:
            chosen[f"all, {model}"] = list(by_patient.values())
        for source, values in chosen.items():
            sources[source] = {name: [one[name] for one in values if name in one] for name in MEASURES}
    return sources
