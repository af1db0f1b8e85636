"""The shipped models on simulated cases of heads that training never saw: the tables of the model cards."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..cases.case import Case, prepared, read_case, read_parameters, target_image
from ..cases.index import read_index
from ..constants import TARGETS
from ..models.bundle import DEFAULT_SEGMENTER, Bundle, load
from ..pipeline import SynthesisResult, decide, outline, synthesize
from ..preprocessing import normalize_ultrasound
from ..synthesis.grid import Prepared, back
from ..synthesis.outlines import labels_from_probabilities
from .baselines import Floors, fit
from .scores import STRUCTURES, by_phase, fidelity_scores, overlap_scores, predicted_image, summarize

Report = Callable[[str], None]


def fit_floors(folders: Sequence[Path]) -> dict[str, Floors]:
    """Baselines of both targets, fitted on cases for training."""

    def pairs(target: str) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(normalize_ultrasound(c.images["ioUS"].array)[f], target_image(c, target)[f]) for c, f in cases]

    cases = [(case, case.fan.array > 0) for case in map(read_case, folders)]
    return {target: fit(pairs(target)) for target in TARGETS}


def choose_cases(folders: Sequence[Path], count: int) -> list[Path]:
    """The first ``count`` cases, half of them after a resection, as far as there are so many; in their order."""
    after = [folder for folder in folders if "cavity" in read_parameters(folder)["lesion"]["kind"]]
    before = [folder for folder in folders if folder not in after]
    return sorted([*before[: count - count // 2], *after[: count // 2]])


def evaluate(
    cohort: Path, model: str | None, arms: dict[str, tuple[Bundle, bool]], count: int, report: Report = print
) -> dict:
    """Run the pipeline on test cases and score it beside the baselines.

    Parameters
    ----------
    cohort
        Folder of a simulated cohort with the splits train and test.
    model
        Name or folder of the generator; the default one when None.
    arms
        Segmenters to compare with the pipeline's own overlay, by name; the flag says whether the segmenter reads
        the true MRI (else the synthetic one).
    count
        Number of test cases, half of them after a resection.
    report
        Receives a line a case.

    Returns
    -------
    dict
        ``cases``: name, head, lesion and scores of each; ``summary``: mean and 95 % interval of every score.
    """
    training = read_index(cohort, "train")
    floors = fit_floors(training[: max(1, len(training) // 4)])
    rows = []
    for folder in choose_cases(read_index(cohort, "test"), count):
        case = read_case(folder)
        result = synthesize(case.images["ioUS"], model)
        row = {"case": folder.name, "head": case.parameters["head"], "lesion": case.parameters["lesion"]["kind"]}
        row |= _fidelity(case, result, floors) | _overlap(case, result, arms) | _uncertainty(case, result)
        row |= by_phase(row)
        rows.append(row)
        report(f"{row['case']} {row['lesion']}: T2w PSNR {row['T2w/generator/PSNR']:.2f} dB")
    return {"simulated": True, "cases": rows, "summary": summarize(rows)}


def _fidelity(case: Case, result: SynthesisResult, floors: dict[str, Floors]) -> dict[str, float]:
    fan = case.fan.array > 0
    ultrasound = normalize_ultrasound(case.images["ioUS"].array)
    scores = {}
    for name in TARGETS:
        synthetic = predicted_image(result.images[name].array)
        methods = {"generator": synthetic, **floors[name].predictions(ultrasound, fan)}
        scores |= fidelity_scores(case, name, methods)
    return scores


def _overlap(case: Case, result: SynthesisResult, arms: dict[str, tuple[Bundle, bool]]) -> dict[str, float]:
    """Scores of the pipeline's overlay and of the arms, as they are and told whether the resection has begun.

    What reads no true MRI sees the field of view that the pipeline finds, which lacks black parts of the true one.
    """
    found = replace(case, fan=result.valid)
    true = {target: target_image(case, target) for target in TARGETS}
    synthetic = {target: np.nan_to_num(predicted_image(result.images[target].array), nan=-1) for target in TARGETS}
    before_resection = "cavity" not in case.parameters["lesion"]["kind"]
    labels = {"overlay": result.segmentation.array}
    expected = {"overlay": result.report["expected_dice"]}
    for name, (bundle, uses_true_mri) in {"overlay": (load(DEFAULT_SEGMENTER), False), **arms}.items():
        seen, images = (case, true) if uses_true_mri else (found, synthetic)
        grid, probabilities = outline(bundle, prepared(seen), images)
        if name not in labels:
            labels[name] = _labels(seen, grid, decide(bundle, grid, probabilities, False).probabilities)
        told = f"{name}, told the phase"
        labels[told], expected[told] = labels[name], expected.get(name, {})
        if before_resection:
            decision = decide(bundle, grid, probabilities, True)
            labels[told], expected[told] = _labels(seen, grid, decision.probabilities), decision.expected_dice
    return overlap_scores(case, labels) | {
        f"expected Dice/{name}/{structure}": expected[name].get(structure, float("nan"))
        for name in ("overlay", "overlay, told the phase")
        for structure in STRUCTURES
    }


def _labels(case: Case, grid: Prepared, probabilities: np.ndarray) -> np.ndarray:
    """Outlines within the field of view, on a case's grid."""
    returned = np.stack([back(probability, grid, case.labels) for probability in probabilities])
    return labels_from_probabilities(returned, case.fan.array > 0, case.labels.voxel_volume_ml)


def _uncertainty(case: Case, result: SynthesisResult) -> dict[str, float]:
    """Rank correlation of the expected with the true error, and what dropping the worst fifth of voxels gains."""
    from scipy.stats import spearmanr

    inside = (case.fan.array > 0) & (result.valid.array > 0)
    images = {name: predicted_image(volume.array) for name, volume in result.images.items()}
    error = np.mean([np.abs(images[t] - target_image(case, t))[inside] for t in TARGETS], axis=0) / 2
    expected = result.uncertainty.array[inside]
    kept = expected <= np.quantile(expected, 0.8)
    return {
        "uncertainty/rank correlation": float(spearmanr(expected[::7], error[::7]).statistic),
        "uncertainty/error saved by dropping a fifth": float(1 - error[kept].mean() / error.mean()),
        "uncertainty/expected over true error": float(expected.mean() / error.mean()),
    }


def write(evaluation: dict, path: Path) -> None:
    """Write the evaluation as JSON; no figure is known to more than the five decimals that are kept."""
    rounded = {
        "cases": [_rounded(row) for row in evaluation["cases"]],
        "summary": {name: _rounded(values) for name, values in evaluation["summary"].items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(evaluation | rounded, indent=1) + "\n")


def _rounded(row: dict) -> dict:
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()}
