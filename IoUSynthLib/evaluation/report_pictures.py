"""Pictures of a report: examples by all methods, as figure 3 of the benchmark, and a contact sheet of the best one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..constants import TARGETS
from ..outputs.drawing import Panel, Text, captioned, grid
from .from_scores import Experiment, Results
from .pictures import SYNTHETIC, read_pictures
from .report_tables import best_by, by_utility, label
from .scores import Row, group_by_phase

Panels = Mapping[str, Mapping[str, np.ndarray]]


def all_pictures(results: Results) -> dict[str, np.ndarray]:
    """Pictures, (rows, columns, 3) uint8, by name, as far as evaluations have kept any."""
    best = _best(results)
    found = read_pictures(best.pictures, {str(row["case"]) for row in best.rows})
    if not found:
        return {}
    return {"examples": _examples(results, best, found), "contact_sheet": _contact_sheet(best, found)}


def _best(results: Results) -> Experiment:
    """The experiment that segmenters make most of; without outlines, that of the highest PSNR."""
    for key in (f"{target}/PSNR" for target in TARGETS):
        if best_by(results, key):
            return [*by_utility(results.experiments), *best_by(results, key)][0]
    return results.experiments[0]


def _examples(results: Results, best: Experiment, found: Panels) -> np.ndarray:
    """One study of each phase: the input, acquired MRI, and below it what each experiment makes of it."""
    cases = [_typical(rows, found) for rows in group_by_phase(best.rows).values()]
    columns = [(case, target) for case in cases if case for target in TARGETS if target in found[case]]
    phases, source = {str(row["case"]): str(row["phase"]) for row in best.rows}, _source(found)
    titles = [[Text(case), Text(phases[case]), Text(f"{source}, then {target}")] for case, target in columns]
    rows = [[found[case][source] for case, _ in columns], [found[case][target] for case, target in columns]]
    captions = ["", "Acquired MRI (outlines: tumour yellow, cavity blue)"]
    for experiment in results.experiments:
        own = read_pictures(experiment.pictures, [case for case, _ in columns])
        images = [own.get(case, {}).get(f"{target} {SYNTHETIC}") for case, target in columns]
        if any(image is not None for image in images):
            rows.append(images)
            captions.append(f"Synthetic: {label(experiment)}")
    panels = captioned(rows, [Text("") for _ in columns], captions)
    panels[0] = [Panel(image, title) for image, title in zip(rows[0], titles, strict=True)]
    return grid(panels)


def _source(found: Panels) -> str:
    """What the first panel of each study is of."""
    return next(iter(next(iter(found.values()))))


def _typical(rows: Sequence[Row], found: Panels) -> str:
    """The pictured study whose PSNR is the median of those pictured; empty where there is none."""
    keys = [f"{target}/PSNR" for target in TARGETS]
    scores = {str(row["case"]): np.nan_to_num([row.get(key, np.nan) for key in keys], nan=-np.inf) for row in rows}
    pictured = sorted((case for case in scores if case in found), key=lambda case: tuple(scores[case]))
    return pictured[len(pictured) // 2] if pictured else ""


def _contact_sheet(experiment: Experiment, found: Panels) -> np.ndarray:
    """A row for each pictured study."""
    source, targets = _source(found), [target for target in TARGETS if any(target in own for own in found.values())]
    names = [source, *(name for target in targets for name in (target, f"{target} {SYNTHETIC}"))]
    phases = {str(row["case"]): row["phase"] for row in experiment.rows}
    rows = [[own.get(name) for name in names] for own in found.values()]
    titles = [Text(name if SYNTHETIC in name or name == source else f"{name} acquired") for name in names]
    return grid(captioned(rows, titles, [f"{case}, {phases.get(case, '')}" for case in found]))
