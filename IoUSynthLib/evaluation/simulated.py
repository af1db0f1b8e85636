"""The shipped models on simulated cases of heads that training never saw: the tables of the model cards."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..inference import open_session, predict
from ..pipeline import SynthesisResult, synthesize
from ..preprocessing import normalize_ultrasound
from ..segmentation import LABELS, labels_from_probabilities, softmax, weighted
from ..simulation.case import Case, read_case, to_network_range
from ..simulation.cohort import read_index
from ..simulation.mri import TARGETS
from .fidelity import confidence_interval, dice, score
from .floors import Floors, fit

Report = Callable[[str], None]


def fit_floors(folders: Sequence[Path]) -> dict[str, Floors]:
    """Baselines of both targets, fitted on cases for training."""

    def pairs(target: str) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(normalize_ultrasound(c.images["ioUS"].array)[f], _target(c, target)[f]) for c, f in cases]

    cases = [(case, case.fan.array > 0) for case in map(read_case, folders)]
    return {target: fit(pairs(target)) for target in TARGETS}


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
        Number of test cases.
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
    for folder in read_index(cohort, "test")[:count]:
        case = read_case(folder)
        result = synthesize(case.images["ioUS"], model)
        row = {"case": folder.name, "head": case.parameters["head"], "lesion": case.parameters["lesion"]["kind"]}
        row |= _fidelity(case, result, floors) | _overlap(case, result, arms) | _uncertainty(case, result)
        row |= by_phase(row)
        rows.append(row)
        report(f"{row['case']} {row['lesion']}: T2w PSNR {row['T2w/generator/PSNR']:.2f} dB")
    return {"simulated": True, "cases": rows, "summary": summarize(rows)}


def summarize(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Mean, 95 % Student-t interval and number of the finite values of every numeric column."""
    summary = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows if isinstance(row[name], float) and np.isfinite(row[name])])
        if len(values) > 1:
            low, high = confidence_interval(values)
            summary[name] = {
                "mean": float(values.mean()), "median": float(np.median(values)), "low": low, "high": high,
                "n": len(values),
            }
    return summary


def by_phase(row: dict) -> dict[str, float]:
    """The tumour Dice of a case again, as that of a tumour before resection or of residual tumour beside a cavity."""
    phase = "residual tumour" if "residual" in row["lesion"] else "tumour before resection"
    names = [name for name in row if name.startswith("Dice/") and name.endswith("/tumour")]
    return {
        f"{name.removesuffix('tumour')}{other}": row[name] if other == phase else float("nan")
        for name in names
        for other in ("tumour before resection", "residual tumour")
    }


def _target(case: Case, name: str) -> np.ndarray:
    return to_network_range(case.images[name].array.astype(np.float32) / 1000)


def _synthetic(result: SynthesisResult, name: str) -> np.ndarray:
    """The pipeline's image in the networks' range; voxels without data are NaN."""
    array = result.images[name].array
    return np.where(array > 0, array / 500 - 1, np.nan)


def _fidelity(case: Case, result: SynthesisResult, floors: dict[str, Floors]) -> dict[str, float]:
    fan = case.fan.array > 0
    ultrasound = normalize_ultrasound(case.images["ioUS"].array)
    scores = {}
    for name in TARGETS:
        target = np.where(fan, _target(case, name), -1)
        synthetic = np.where(fan, np.nan_to_num(_synthetic(result, name), nan=-1), -1)
        for method, prediction in {"generator": synthetic, **floors[name].predictions(ultrasound, fan)}.items():
            scores |= {f"{name}/{method}/{k}": v for k, v in score(prediction, target, fan).items()}
    return scores


def _overlap(case: Case, result: SynthesisResult, arms: dict[str, tuple[Bundle, bool]]) -> dict[str, float]:
    fan = case.fan.array > 0
    truth = np.where(fan, case.labels.array, 0)
    labels = {"overlay": result.segmentation.array}
    for name, (bundle, uses_true_mri) in arms.items():
        images = {"ioUS": normalize_ultrasound(case.images["ioUS"].array)}
        for target in TARGETS:
            synthetic = np.nan_to_num(_synthetic(result, target), nan=-1)
            images[target] = np.where(fan, _target(case, target) if uses_true_mri else synthetic, -1)
        stack = np.stack([images[channel] for channel in bundle.inputs]).astype(np.float32)
        probabilities = weighted(predict(open_session(bundle), stack, fan, bundle, softmax), bundle.class_weights)
        labels[name] = labels_from_probabilities(probabilities, fan, case.labels.voxel_volume_ml)
    scores = {}
    for method, predicted in labels.items():
        for structure, value in LABELS.items():
            if structure == "background":
                continue
            present = bool((truth == value).any())
            found = (predicted == value) & fan
            if present:
                scores[f"Dice/{method}/{structure}"] = dice(found, truth == value)
            else:
                scores[f"false ml/{method}/{structure}"] = float(found.sum() * case.labels.voxel_volume_ml)
    names = [f"{kind}/{m}/{s}" for m in labels for s in LABELS if s != "background" for kind in ("Dice", "false ml")]
    return {name: scores.get(name, float("nan")) for name in names}


def _uncertainty(case: Case, result: SynthesisResult) -> dict[str, float]:
    """Rank correlation of the expected with the true error, and what dropping the worst fifth of voxels gains."""
    from scipy.stats import spearmanr

    inside = (case.fan.array > 0) & (result.valid.array > 0)
    error = np.mean([np.abs(_synthetic(result, t) - _target(case, t))[inside] for t in TARGETS], axis=0) / 2
    expected = result.uncertainty.array[inside]
    kept = expected <= np.quantile(expected, 0.8)
    return {
        "uncertainty/rank correlation": float(spearmanr(expected[::7], error[::7]).statistic),
        "uncertainty/error saved by dropping a fifth": float(1 - error[kept].mean() / error.mean()),
        "uncertainty/expected over true error": float(expected.mean() / error.mean()),
    }


def write(evaluation: dict, path: Path) -> None:
    """Write the evaluation as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(evaluation, indent=1) + "\n")
