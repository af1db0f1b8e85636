"""A report on the generator that ships, on the simulated cases that were held out from its training.

    python -m IoUSynthLib.experiments simulated-report -o DIR [--families COMPARISON.json]

The scores are those of the model's card, case by case (``docs/evaluation.json``); nothing is run. ``--families`` adds
those of ``families``, on cases of the same cohort. Pictures, regions and other models: ``iousynth benchmark``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..constants import TARGETS
from ..evaluation.from_scores import BASELINE, Experiment, Results, beside
from ..evaluation.phase import phase_of
from ..evaluation.scores import Row
from ..models.bundle import DEFAULT_GENERATOR, load
from ..outputs.case_files import staging_folder
from ..volume import InputError

#: Baselines of images, and what is outlined beside each of them.
_BASELINES = {"ioUS as it is": "ioUS alone", "mean of training": "", "monotone map": ""}
_NO_FAMILIES = "The benchmark's six families (`--families`); families.md has means of small networks."
_SMALL = (
    "The families at the published widths and lengths of training: here they have a quarter of the widths, or a third, "
    "and have learned for minutes on a processor, so that their figures say that they work, not how good they can get; "
    "families.md has their steps."
)


def shipped(evaluation: Mapping[str, Any], families: Mapping[str, Any] | None = None) -> Results:
    """The results of a report.

    Parameters
    ----------
    evaluation
        What :func:`.evaluation.from_pipeline.evaluate_pipeline` returned of simulated cases.
    families
        ``comparison.json`` of :mod:`.families`.
    """
    rows = evaluation["cases"]
    real = Experiment("acquired MRI", "simulated MRI", "-", _of(rows, outlines="true MRI"))
    own = Experiment(DEFAULT_GENERATOR, "ious2mr", "2.5D", beside(_of(rows, "generator", "overlay"), real))
    baselines = [
        Experiment(name, BASELINE, name, beside(_of(rows, name, outlines), real))
        for name, outlines in _BASELINES.items()
    ]
    others = [
        Experiment(name, name, about.get("regime", "-"), _of(families["cases"], name))
        for name, about in (families or {}).get("families", {}).items() if name != DEFAULT_GENERATOR
    ]
    missing = [_NO_FAMILIES]
    if families:
        missing = [] if families.get("published") else [_SMALL]
    return Results([own, *others], baselines, real, True, {"region": "fan"}, missing)


def _of(rows: Sequence[Row], images: str = "", outlines: str = "") -> list[Row]:
    """The scores of a method that makes images, of one that outlines, or of both, by case."""
    return [_about(row) | _scores(row, images, outlines) for row in rows]


def _about(row: Row) -> Row:
    known = {"split": "test", **{key: value for key, value in row.items() if "/" not in key}}
    return known | {"phase": phase_of({"simulated": True, "lesion": {"kind": row["lesion"]}})}


def _scores(row: Row, images: str, outlines: str) -> Row:
    found: Row = {}
    for key, value in row.items():
        kind, _, rest = key.partition("/")
        method, _, last = rest.rpartition("/")
        if (kind in TARGETS and method == images) or (kind not in TARGETS and method and method == outlines):
            found[f"{kind}/{last}"] = float(value)
        elif kind == "uncertainty" and outlines == "overlay":
            found[f"expected error/{rest}"] = float(value)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the report")
    parser.add_argument("--families", type=Path, metavar="FILE", help="comparison.json of the experiment families")


def run(options: argparse.Namespace) -> int:
    """Write the report, and print its sentences."""
    from ..evaluation.report import write_report

    results = shipped(
        _read(load(DEFAULT_GENERATOR).path / "docs" / "evaluation.json"),
        _read(options.families) if options.families else None,
    )
    with staging_folder(options.output) as staging:
        print(write_report(results, staging), end="")
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give what an experiment has written") from error
