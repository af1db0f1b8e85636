"""The pipeline on the cases of a cohort, beside baselines and other segmenters, as a source of the evaluation.

This is where the tables of the shipped models' cards come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cases.case import Case, case_grid, read_parameters, target_image
from ..cases.index import describe_index, read_index
from ..constants import TARGETS
from ..models.bundle import DEFAULT_SEGMENTER, Bundle, load
from ..pipeline import SynthesisResult, synthesize
from ..preprocessing import normalize_ultrasound
from ..synthesis.segmentation import decide, outline
from .baselines import Baselines, fit_baselines
from .calibration import error_scores
from .evaluate import Predicted, Report, evaluate
from .outlining import labels_on, outline_baselines
from .phase import AFTER, BEFORE, phase_of
from .scores import STRUCTURES, predicted_image

#: What is added to the name of a segmenter that knows whether the resection has begun.
PHASE_KNOWN = "phase known"


@dataclass(frozen=True)
class Comparator:
    """A segmenter to compare with that of the pipeline.

    Attributes
    ----------
    bundle
        Its model.
    on_true_mri
        Whether it reads the true MRI, else the synthetic one.
    """

    bundle: Bundle
    on_true_mri: bool = False


def choose_cases(folders: Sequence[Path], count: int) -> list[Path]:
    """The first ``count`` cases, half of them after a resection as far as there are so many; in their order."""
    after = [folder for folder in folders if phase_of(read_parameters(folder), folder.name) == AFTER]
    before = [folder for folder in folders if folder not in after]
    chosen = after[: count // 2]
    return sorted([*before[: count - len(chosen)], *chosen])


def evaluate_pipeline(
    cohort: Path,
    comparators: Mapping[str, Comparator],
    *,
    count: int,
    model: str | None = None,
    report: Report = print,
) -> dict[str, Any]:
    """Run the pipeline on test cases and score it beside the baselines.

    Parameters
    ----------
    cohort
        Folder of a simulated cohort with the splits train and test.
    comparators
        Segmenters to compare with the pipeline's own overlay, by name.
    count
        Number of test cases, half of them after a resection.
    model
        Name or folder of the generator; the default one when None.
    report
        Receives a line a case.

    Returns
    -------
    dict
        As of :func:`.evaluate.evaluate`, with the head of each case.
    """
    training = read_index(cohort, "train")
    baselines = fit_baselines(training[: max(1, len(training) // 4)])
    folders = choose_cases(read_index(cohort, "test"), count)
    cases = {folder: {"head": read_parameters(folder)["head"]} for folder in folders}
    source = partial(_predict, model=model, baselines=baselines, comparators=comparators)
    simulated = describe_index(cohort).get("simulated", True)
    return evaluate(cases, lambda _folder, case: source(case), report, simulated=simulated)


def _predict(
    case: Case, *, model: str | None, baselines: Mapping[str, Baselines], comparators: Mapping[str, Comparator]
) -> Predicted:
    result = synthesize(case.images["ioUS"], model)
    labels, expected_dice = segmentations(case, result, comparators)
    labels |= outline_baselines(load(DEFAULT_SEGMENTER), replace(case, fan=result.valid), baselines)
    return Predicted(_images(case, result, baselines), labels, expected_dice | _uncertainty(case, result))


def _images(
    case: Case, result: SynthesisResult, baselines: Mapping[str, Baselines]
) -> dict[str, dict[str, np.ndarray]]:
    ultrasound, fan = normalize_ultrasound(case.images["ioUS"].array), case.fan.array > 0
    return {
        name: {
            "generator": predicted_image(result.images[name].array),
            **baselines[name].predictions(ultrasound, fan),
        }
        for name in TARGETS if name in baselines and name in case.images
    }  # fmt: skip


def segmentations(
    case: Case, result: SynthesisResult, comparators: Mapping[str, Comparator]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Labels by the pipeline and the comparators, with and without knowing whether the resection has begun.

    What reads no true MRI sees the field of view that the pipeline finds, which lacks black parts of the true one.

    Returns
    -------
    tuple of dict
        Labels by method, and the expected Dice of the pipeline's outlines.
    """
    found = replace(case, fan=result.valid)
    true = {target: target_image(case, target) for target in TARGETS}
    synthetic = {target: np.nan_to_num(predicted_image(result.images[target].array), nan=-1) for target in TARGETS}
    before_resection = phase_of(case.parameters) == BEFORE
    labels = {"overlay": result.segmentation.array}
    expected = {"overlay": result.report["expected_dice"]}
    for name, comparator in {"overlay": Comparator(load(DEFAULT_SEGMENTER)), **comparators}.items():
        bundle, seen, images = comparator.bundle, *((case, true) if comparator.on_true_mri else (found, synthetic))
        grid, probabilities = outline(bundle, case_grid(seen), images)
        if name not in labels:
            decision = decide(bundle, grid, probabilities, before_resection=False)
            labels[name] = labels_on(seen, grid, decision.probabilities)
        known = f"{name}, {PHASE_KNOWN}"
        labels[known], expected[known] = labels[name], expected.get(name, {})
        if before_resection:
            decision = decide(bundle, grid, probabilities, before_resection=True)
            labels[known], expected[known] = labels_on(seen, grid, decision.probabilities), decision.expected_dice
    return labels, {
        f"expected Dice/{name}/{structure}": expected[name].get(structure, float("nan"))
        for name in ("overlay", f"overlay, {PHASE_KNOWN}")
        for structure in STRUCTURES
    }


def _uncertainty(case: Case, result: SynthesisResult) -> dict[str, float]:
    """What the expected error is worth, over both contrasts."""
    inside = (case.fan.array > 0) & (result.valid.array > 0)
    images = {name: predicted_image(volume.array) for name, volume in result.images.items()}
    error = np.mean([np.abs(images[t] - target_image(case, t))[inside] for t in TARGETS], axis=0) / 2
    scores = error_scores(result.uncertainty.array[inside], error)
    return {f"uncertainty/{name}": value for name, value in scores.items()}
