"""What is measured of a synthesis beside acquired MRI and outlines of the same patient.

MRI has no scale of its own. Synthetic and acquired MRI are compared after the straight line (gain and offset) that
brings one nearest to the other, and by Pearson's correlation, which needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage, stats

from ...constants import LABELS, TARGETS
from ...evaluation import perceptual
from ...evaluation.baselines import MONOTONE_MAP, fit
from ...evaluation.fidelity import dice, lpips
from ...evaluation.scores import predicted_image
from ...pipeline import SynthesisResult
from ...preprocessing import normalize_ultrasound
from ...volume import Volume
from .patients import Patient

#: Voxels this near to the rim of the fan are left out.
RIM_VOXELS = 3
#: Standard deviation in mm of the Gaussian that smooths the ultrasound.
SMOOTH_MM = 1.5
#: What synthetic MRI is compared with; the last two know the answer's mean or its best monotone map.
SMOOTHED, CONSTANT = f"ultrasound, smoothed by {SMOOTH_MM} mm", "a constant"
MONOTONE = f"best {MONOTONE_MAP} of the ultrasound"

Scores = dict[str, float]


def inside(patient: Patient) -> np.ndarray:
    """Where synthetic and acquired MRI are compared, bool (z, y, x): the fan less its rim, where the MRI has data."""
    return (ndimage.distance_transform_edt(patient.fan.array) > RIM_VOXELS) & patient.reference.seen


def straightened(image: np.ndarray, target: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The image times a gain plus an offset, least squares to the target inside a mask, all (z, y, x)."""
    x, y = (array[where].astype(np.float64) for array in (image, target))
    gain = np.mean((x - x.mean()) * (y - y.mean())) / x.var() if x.var() > 0 else 0.0
    return gain * (image - x.mean()) + y.mean()


def fidelity(image: np.ndarray, target: np.ndarray, where: np.ndarray) -> Scores:
    """Scores of an image against acquired MRI.

    Parameters
    ----------
    image
        (z, y, x), of any scale.
    target
        (z, y, x) in [-1, 1].
    where
        (z, y, x) bool: where they are compared.

    Returns
    -------
    dict
        ``r``, Pearson's correlation, absent for a constant; ``PSNR`` in dB for a range of 1, as in
        :mod:`IoUSynthLib.evaluation.fidelity`, after the best straight line; where its weights are at hand ``LPIPS``,
        after that line, too, -1 outside.
    """
    fitted = straightened(image, target, where)
    scores: Scores = {}
    if np.ptp(image[where]) > 0:
        scores["r"] = float(np.corrcoef(image[where], target[where])[0, 1])
    error = np.mean(np.square((fitted - target)[where] / 2))
    scores["PSNR"] = float(-10 * np.log10(max(error, 1e-10)))
    if perceptual.load() is not None:
        seen = [np.where(where, array.clip(-1, 1), -1).astype(np.float32) for array in (fitted, target)]
        distance = lpips(*seen)
        scores |= {"LPIPS": distance} if np.isfinite(distance) else {}
    return scores


def baselines(ultrasound: Volume, fan: np.ndarray, *, target: np.ndarray, where: np.ndarray) -> dict[str, np.ndarray]:
    """Images that any synthesis must beat, (z, y, x) by name.

    Parameters
    ----------
    ultrasound
        On cubic voxels.
    fan
        (z, y, x) bool.
    target, where
        See :func:`fidelity`: the constant and the monotone map are fitted to the answer itself.
    """
    echo = normalize_ultrasound(ultrasound.array)
    sigma = SMOOTH_MM / ultrasound.spacing[0]
    weight = ndimage.gaussian_filter(fan.astype(np.float32), sigma).clip(1e-6)
    smoothed = ndimage.gaussian_filter(np.where(fan, echo, 0), sigma) / weight
    fitted = fit([(echo[where], target[where])])
    return {
        SMOOTHED: smoothed,
        CONSTANT: np.full(echo.shape, fitted.mean),
        MONOTONE: fitted.predictions(echo, fan)[MONOTONE_MAP],
    }


def compare_baselines(patient: Patient) -> dict[str, dict[str, Scores]]:
    """Scores of the baselines, by contrast of the acquired MRI and name."""
    where, fan = inside(patient), patient.fan.array > 0
    return {
        contrast: {
            name: fidelity(image, target, where)
            for name, image in baselines(patient.ultrasound, fan, target=target, where=where).items()
        }
        for contrast, target in patient.reference.images.items()
    }


def compare(patient: Patient, result: SynthesisResult) -> dict[str, Any]:
    """Fidelity of synthetic MRI, and what its expected error is worth.

    Returns
    -------
    dict
        By contrast of the acquired MRI: ``synthetic``, by synthetic contrast the scores; of the same contrast where it
        is synthesized, else of each. ``uncertainty``, where the contrast is the same and the model predicts its error:
        rank correlation (Spearman) of the expected with the true absolute error after the best straight line.
    """
    where = inside(patient)
    images = {name: np.nan_to_num(predicted_image(image.array), nan=-1) for name, image in result.images.items()}
    found: dict[str, Any] = {}
    for contrast, target in patient.reference.images.items():
        same = {contrast} if contrast in TARGETS else set(images)
        scores = {name: fidelity(image, target, where) for name, image in images.items() if name in same}
        found[contrast] = {"synthetic": scores}
        if contrast in images and result.uncertainty is not None:
            error = np.abs(straightened(images[contrast], target, where) - target)[where]
            correlation = stats.spearmanr(result.uncertainty.array[where], error).statistic
            found[contrast]["uncertainty"] = float(correlation)
    return found


def outlined(patient: Patient, result: SynthesisResult) -> dict[str, Any]:
    """What is outlined as tumour, and how it fits what others outlined and what the acquired MRI shows.

    Returns
    -------
    dict
        ``ml``; ``expected Dice`` and whether it is ``doubtful``, as the report says; ``on``, the segmenter, and the
        model whose images it saw where these are not the result's; ``Dice`` with the outline of others, inside the
        fan; ``z``, by acquired contrast: mean inside the outline less mean in the rest of the fan, in standard
        deviations of that rest. What cannot be told is absent.
    """
    report, fan = result.report, patient.fan.array > 0
    tumour = (result.segmentation.array == LABELS["tumour"]) & fan
    found: dict[str, Any] = {
        "ml": report["volumes_ml"]["tumour"], "doubtful": "tumour" in report["doubtful"], "on": _outlined_on(report),
    }
    if "tumour" in report["expected_dice"]:
        found["expected Dice"] = report["expected_dice"]["tumour"]
    if patient.tumour is not None and (patient.tumour & fan).any():
        found["Dice"] = dice(tumour, patient.tumour & fan)
    if patient.reference is not None:
        images, seen = patient.reference.images, fan & patient.reference.seen
        scores = {name: standard_score(image, tumour & seen, seen) for name, image in images.items()}
        found["z"] = {name: value for name, value in scores.items() if value is not None}
    return found


def standard_score(image: np.ndarray, chosen: np.ndarray, fan: np.ndarray) -> float | None:
    """Mean of the chosen voxels less that of the others of a fan, in standard deviations of the others, or None."""
    rest = fan & ~chosen
    if not chosen.any() or not rest.any() or image[rest].std() == 0:
        return None
    return float((image[chosen].mean() - image[rest].mean()) / image[rest].std())


def _outlined_on(report: Mapping[str, Any]) -> str:
    parts = [report["segmenter"]] + ([report["companion"]] if report["companion"] else [])
    return " on the images of ".join(f"{model['name']} {model['version']}".strip() for model in parts)
