"""What a result says about itself: models, versions, device, seconds, volumes, quality, warnings."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__, preprocessing
from ..constants import NOTICE
from ..volume import Volume
from . import outlines
from .echo import NO_ECHO
from .preoperative import warnings_of
from .quality import assess_checked
from .spread import tumour_words
from .trust import HIGH_UNCERTAINTY, reasons_to_mute

if TYPE_CHECKING:
    from ..models.bundle import Bundle
    from ..pipeline import Models, SynthesisResult
    from .grid import FieldOfView, NetworkGrid
    from .segmentation import Decision

#: A larger share of the fan without echo than this is worth a warning.
_SILENT = 0.25


def describe_input(volume: Volume, generator: Bundle) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what a report says of an input that has been checked, and what speaks against giving it to a generator."""
    described = {
        "voxels_sha256": voxels_sha256(volume),
        "size": list(volume.size),
        "spacing_mm": list(volume.spacing),
        "origin_lps_mm": list(volume.origin),
        "direction_lps": volume.direction.ravel().tolist(),
        "minimum": float(volume.array.min()),
        "maximum": float(volume.array.max()),
    }
    return described, assess_checked(volume, generator).findings


def make_report(
    result: SynthesisResult,
    volume: Volume,
    models: Models,
    *,
    described: Mapping[str, Any],
    findings: Sequence[str],
    device: dict[str, str],
    seconds: dict[str, float],
    decision: Decision,
    mri: Mapping[str, Volume],
    familiarity: Mapping[str, float] | None = None,
    contribution: Mapping[str, Any] | None = None,
    spread: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a result in words and numbers that JSON can hold.

    Parameters
    ----------
    result
        Images, uncertainty, segmentation and fan; its own report is not looked at.
    volume
        The input.
    models
        What made it.
    described, findings
        The input (:func:`describe_input`).
    device
        Which was requested, which was used and by which runtime, and the providers that ought to have been and were
        not, if any.
    seconds
        Of each stage.
    decision
        What the outlines were made of, for how far to trust them.
    mri
        Acquired MRI that the outlines were made on, by contrast; empty where all of it was synthetic.
    familiarity
        How far the ultrasound is from those that the generator has learned from (:func:`.familiarity.compare`).
    contribution
        What preoperative MRI contributed (:attr:`.preoperative.Alternatives.report`); empty where none was given.
    spread
        How samples differ (:func:`.spread.describe_spread`); empty where none were drawn.
    """
    fan = result.valid.array > 0
    volumes = outlines.volumes_ml(result.segmentation.array, volume.voxel_volume_ml)
    # A speck on the segmenter's voxels may not be left on the input's.
    shown = {name: dice for name, dice in decision.expected_dice.items() if volumes[name]}
    decision = replace(decision, expected_dice=shown)
    quality = _quality(result, fan, voxel_volume_ml=volume.voxel_volume_ml, model=models.generator.name)
    muted = reasons_to_mute(familiarity, quality.get("mean_uncertainty"), models.generator.name)
    of_mri = warnings_of(contribution or {})
    warnings = [*volume.warnings, *findings, *muted.values(), *_silence(quality), *of_mri, *decision.warnings]
    if "unused" in device:
        warnings.append(
            f"{device['unused']} was asked for and is not in use: this ran on the {device['used'].upper()}; the check "
            "before surgery (doctor) says why"
        )
    total = round(sum(seconds.values()), 3)
    return {
        "synthetic": True,
        "notice": NOTICE,
        **models.describe(),
        "versions": versions(device["runtime"]),
        "device": device,
        "input": {**described, **({"mri": describe_mri(mri)} if mri else {})},
        "warnings": warnings,
        "notes": list(volume.notes),
        "seconds": {**seconds, "total": total},
        "peak_memory_mib": peak_memory_mib(),
        "volumes_ml": volumes,
        "expected_dice": {name: round(dice, 2) for name, dice in shown.items()},
        "doubtful": decision.doubtful,
        "familiarity": None if familiarity is None else dict(familiarity),
        "muted": list(muted),
        "contribution": dict(contribution) if contribution else None,
        "spread": dict(spread) if spread else None,
        "quality": quality,
        "summary": _summary(
            volumes, decision.doubtful, quality, muted=list(muted),
            on=_outlined_on(models, mri), contribution=contribution or {}, spread=spread or {}, seconds=total,
            device=device, warnings=len(warnings),
        ),
    }  # fmt: skip


def _outlined_on(models: Models, mri: Mapping[str, Volume]) -> str:
    """Say which images the outlines were made on, where these are not the ones that the result holds."""
    parts = [f"the images of {models.paired_generator.name}"] if models.paired_generator else []
    parts += [f"acquired {' and '.join(mri)}"] if mri else []
    return f" (outlined on {' and '.join(parts)})" if parts else ""


def _quality(result: SynthesisResult, fan: np.ndarray, *, voxel_volume_ml: float, model: str) -> dict[str, Any]:
    silent = float((result.valid.array[fan] == NO_ECHO).mean()) if fan.any() else 0.0
    quality: dict[str, Any] = {"fan_ml": round(float(fan.sum()) * voxel_volume_ml, 1), "no_echo": round(silent, 3)}
    if result.uncertainty is None:
        return {**quality, "uncertainty": f"not estimated: {model} does not predict its own error"}
    uncertainty = result.uncertainty.array[fan]
    return {
        **quality,
        "mean_uncertainty": round(float(uncertainty.mean()), 4),
        "high_uncertainty_fraction": round(float((uncertainty > HIGH_UNCERTAINTY).mean()), 4),
        "high_uncertainty_threshold": HIGH_UNCERTAINTY,
    }


def _silence(quality: Mapping[str, Any]) -> list[str]:
    """Warn of an ultrasound much of which carries no echo."""
    if quality["no_echo"] <= _SILENT:
        return []
    return [
        f"no echo comes from {quality['no_echo']:.0%} of the fan (its depth, or a shadow): grey stripes lie where "
        "all that the images show is made up; sweep again with less depth, a lower frequency or better contact"
    ]


def describe_preprocessing(field: FieldOfView, grid: NetworkGrid) -> dict[str, Any]:
    """Return what was done to the input before the generator saw it, in numbers with which it can be done again."""
    return {
        "foreground_above_share_of_maximum": preprocessing.FOREGROUND_FRACTION,
        "fan_box_ijk": [[int(part.start), int(part.stop)] for part in reversed(field.box)],
        "resampled_to_mm": list(grid.image.spacing),
        "percentiles": list(preprocessing.ULTRASOUND_PERCENTILES),
        "intensities_at_percentiles": list(grid.percentiles) if grid.percentiles else None,
        "normalized_to": [-1.0, 1.0],
        "mri_intensities_up_to": preprocessing.INTENSITY_RANGE,
    }


def voxels_sha256(volume: Volume) -> str:
    """Return the SHA-256 of the voxels as float32, x fastest: it names an input wherever it is stored."""
    return hashlib.sha256(np.ascontiguousarray(volume.array, dtype="<f4")).hexdigest()


def describe_mri(mri: Mapping[str, Volume]) -> dict[str, Any]:
    """Return voxels and place of MRI, by contrast."""
    return {name: {"voxels_sha256": voxels_sha256(image), **describe_place(image)} for name, image in mri.items()}


def describe_place(volume: Volume) -> dict[str, Any]:
    """Return where a volume lies."""
    return {"size": list(volume.size), "ijk_to_lps": volume.ijk_to_lps.tolist()}


def _summary(
    volumes: dict[str, float],
    doubtful: Sequence[str],
    quality: dict[str, Any],
    *,
    muted: Sequence[str],
    on: str,
    contribution: Mapping[str, Any],
    spread: Mapping[str, Any],
    seconds: float,
    device: Mapping[str, str],
    warnings: int,
) -> str:
    doubt = dict.fromkeys(doubtful, " (doubtful outline)")
    tumour = f"Tumour {volumes['tumour']:.1f} ml{doubt.get('tumour', '')}"
    if not volumes["tumour"]:
        tumour = "No tumour outlined, which does not rule one out"
    parts = [f"{tumour}, resection cavity {volumes['cavity']:.1f} ml{doubt.get('cavity', '')}{on}"]
    if "mean_uncertainty" in quality:
        parts.append(
            f"expected error {quality['mean_uncertainty']:.0%} of the intensity range, "
            f"high in {quality['high_uncertainty_fraction']:.0%} of the {quality['fan_ml']:.0f} ml fan"
        )
    else:
        parts.append(f"expected error {quality['uncertainty']}; {quality['fan_ml']:.0f} ml fan")
    if contribution:
        parts.append(_contributed(contribution))
    if spread:
        parts.append(_drawn(spread))
    if round(quality["no_echo"], 2):
        parts.append(f"no echo from {quality['no_echo']:.0%} of it")
    if muted:
        parts.append(f"images muted ({' and '.join(muted)})")
    unit = "GPU" if device["used"] == "cuda" else "CPU"
    parts.append(f"{seconds:.1f} s on the {unit} ({device['runtime']})")
    if warnings:
        parts.append(f"{warnings} warning{'s' if warnings > 1 else ''}")
    return "; ".join(parts)


def _contributed(contribution: Mapping[str, Any]) -> str:
    """Say whether preoperative MRI was used."""
    if not contribution["used"]:
        return "preoperative MRI not used"
    return (
        f"with preoperative {' and '.join(contribution['contrasts'])}, which changed the images by "
        f"{contribution['disagreement']:.1%}"
    )


def _drawn(spread: Mapping[str, Any]) -> str:
    """Say how samples differ."""
    if spread["samples"] == 1:
        return f"one sample (seed {spread['seed']})"
    differing = f"samples differ by {spread['mean_deviation']:.1%} of the intensity range"
    return f"{tumour_words(spread)} (seed {spread['seed']}), {differing}"


def add_warnings(report: dict[str, Any], warnings: Sequence[str]) -> None:
    """Say more in the report of a registration: in its warnings and in its summary."""
    if not warnings:
        return
    report["warnings"] = [*report["warnings"], *warnings]
    report["summary"] = " ".join([report["summary"], *warnings])


def versions(runtime: str = "") -> dict[str, str]:
    """Return the versions of everything that computes; of PyTorch where the ``runtime`` of a session is TorchScript."""
    import SimpleITK as sitk

    from ..inference.session import load_runtime

    scripted = {"torch": metadata.version("torch")} if runtime == "TorchScript" else {}
    return {
        "iousynth": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": load_runtime().__version__,
        "SimpleITK": sitk.Version.VersionString(),
        **scripted,
    }


def peak_memory_mib() -> float | None:
    """Return the largest resident size of this process so far, or None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / (1024.0**2 if sys.platform == "darwin" else 1024.0), 1)
