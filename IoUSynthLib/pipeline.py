"""The main job without a host: an ultrasound volume in, synthetic MRI with outlines and uncertainty out."""

from __future__ import annotations

import contextlib
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import NOTICE, __version__, preprocessing, segmentation
from .bundle import DEFAULT_GENERATOR, DEFAULT_SEGMENTER, Bundle, load
from .inference import Session, open_session, predict
from .volume import InputError, Volume, check_input

#: Stages of the work and the overall fraction at which each begins.
STAGES = {"checking": 0.0, "preparing": 0.03, "synthesizing": 0.1, "segmenting": 0.6, "finishing": 0.92}

#: Expected errors above this fraction of the intensity range are called high.
HIGH_UNCERTAINTY = 0.15

#: Smallest uncertainty that is written, because 0 means "no data".
_SMALLEST_UNCERTAINTY = 1e-4

Progress = Callable[[str, float], None]


@dataclass
class SynthesisResult:
    """What :func:`synthesize` returns; every volume lies on the input's grid.

    Attributes
    ----------
    images
        ``T2w`` and ``FLAIR`` (those the model predicts), float32: 0 is no data, else 1 to 1000.
    uncertainty
        float32: expected absolute error as a fraction of the intensity range; 0 is no data.
    segmentation
        uint8: 0 background, 1 tumour, 2 resection cavity.
    valid
        uint8: 1 inside the ultrasound fan.
    report
        Model, checksum, versions, device, seconds, volumes, quality, warnings, and a summary in one line.
    """

    images: dict[str, Volume]
    uncertainty: Volume
    segmentation: Volume
    valid: Volume
    report: dict[str, Any]


class _Clock:
    """Tells the caller which stage has begun and how far it is, and keeps the seconds of each."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        ends = [*list(STAGES.values())[1:], 1.0]
        begin, end = STAGES[name], ends[list(STAGES).index(name)]
        self._tell(name, begin)
        started = time.perf_counter()
        yield lambda fraction: self._tell(name, begin + fraction * (end - begin))
        self.seconds[name] = round(time.perf_counter() - started, 3)

    def _tell(self, name: str, fraction: float) -> None:
        if self.progress is not None:
            self.progress(name, fraction)


@dataclass
class _Prepared:
    """The input as the network sees it, and how to come back."""

    fan: np.ndarray  # bool, on the input's grid
    box: preprocessing.Box  # of the fan, on the input's grid
    frame: Volume  # grid of that box
    grid: Volume  # the ultrasound at the model's spacing, normalised to [-1, 1]
    valid: np.ndarray  # bool, on that grid


def synthesize(
    volume: Volume,
    model: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> SynthesisResult:
    """Predict T2w and FLAIR, their uncertainty, tumour and resection cavity from an ultrasound volume.

    Parameters
    ----------
    volume
        Reconstructed 3D ultrasound, at or near 0 outside the fan. It is not changed.
    model
        Name or folder of a generator; the default is :data:`bundle.DEFAULT_GENERATOR`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called with the stage and the overall fraction in [0, 1]; may raise :class:`inference.Cancelled`.

    Raises
    ------
    InputError
        The volume, the model or the device cannot be used; one line with cause and remedy.
    """
    clock = _Clock(progress)
    with clock.stage("checking"):
        check_input(volume)
        generator, segmenter = _load_models(model)
        sessions = [open_session(bundle, device) for bundle in (generator, segmenter)]
    with clock.stage("preparing"):
        prepared = _prepare(volume, generator)
    with clock.stage("synthesizing") as tell:
        predicted = _generate(sessions[0], generator, prepared, tell)
    with clock.stage("segmenting") as tell:
        probabilities = _segment(sessions[1], segmenter, prepared, predicted, tell)
    with clock.stage("finishing") as tell:
        result = _finish(volume, prepared, predicted, probabilities)
    _report(result, volume, prepared, (generator, segmenter), {"requested": device, "used": sessions[0].device}, clock)
    if progress is not None:
        progress("finishing", 1.0)
    return result


def _load_models(model: str | Path | None) -> tuple[Bundle, Bundle]:
    generator, segmenter = load(model or DEFAULT_GENERATOR), load(DEFAULT_SEGMENTER)
    for bundle, kind in ((generator, "generator"), (segmenter, "segmenter")):
        if bundle.kind != kind:
            raise InputError(f"{bundle.path}: is a {bundle.kind}, but a {kind} is needed; choose another model")
    if generator.inputs != ("ioUS",):
        raise InputError(f"{generator.path}: needs {', '.join(generator.inputs)}, not just ioUS; choose another model")
    if "log_error" not in generator.outputs:
        raise InputError(f"{generator.path}: does not predict its own error (log_error); choose another model")
    missing = set(segmenter.inputs) - {"ioUS", *generator.outputs}
    if missing:
        raise InputError(
            f"{generator.path}: does not predict {', '.join(sorted(missing))}, which the segmenter {segmenter.name} "
            "needs; choose another model"
        )
    if segmenter.spacing != generator.spacing:
        raise InputError(f"{segmenter.path}: works at another voxel size than {generator.name}; choose another model")
    return generator, segmenter


def _prepare(volume: Volume, generator: Bundle) -> _Prepared:
    fan = preprocessing.field_of_view(volume.array)
    frame, box = preprocessing.crop_to_mask(volume, fan, margin=1)
    turned = generator.frame == "patient"
    grid = preprocessing.resample_to_spacing(frame, generator.spacing, fan[box], turned)
    share = preprocessing.resample_to_spacing(frame.with_array(fan[box]), generator.spacing, None, turned)
    valid = share.array >= 0.5
    if not valid.any():
        raise InputError("input volume: the ultrasound fan is smaller than a voxel of the model; check the spacing")
    return _Prepared(fan, box, frame, grid.with_array(preprocessing.normalize_ultrasound(grid.array)), valid)


def _generate(
    session: Session, generator: Bundle, prepared: _Prepared, tell: Callable[[float], None]
) -> dict[str, np.ndarray]:
    """Return the generator's outputs on the model's grid: images in [-1, 1], and the expected error in these units."""
    error_channel = generator.outputs.index("log_error")

    def activate(prediction: np.ndarray) -> np.ndarray:
        prediction = np.clip(prediction, -20.0, 20.0)  # an error beyond e^20 has no meaning, but would overflow
        prediction[:, error_channel] = np.exp(prediction[:, error_channel])
        return prediction

    values = predict(session, prepared.grid.array[None], prepared.valid, generator, activate, tell)
    named = dict(zip(generator.outputs, values, strict=True))
    error = named.pop("log_error")
    images = {name: np.clip(array, -1.0, 1.0) for name, array in named.items()}
    return {**images, "error": error}


def _segment(
    session: Session,
    segmenter: Bundle,
    prepared: _Prepared,
    predicted: dict[str, np.ndarray],
    tell: Callable[[float], None],
) -> np.ndarray:
    """Return weighted probabilities (3, z, y, x) of background, tumour and cavity on the model's grid."""
    outside = np.float32(-1.0)
    images = {"ioUS": prepared.grid.array, **predicted}
    stack = np.stack([np.where(prepared.valid, images[name], outside) for name in segmenter.inputs])
    probabilities = predict(session, stack, prepared.valid, segmenter, segmentation.softmax, tell)
    return segmentation.weighted(probabilities, segmenter.class_weights)


def _finish(
    volume: Volume, prepared: _Prepared, predicted: dict[str, np.ndarray], probabilities: np.ndarray
) -> SynthesisResult:
    """Bring everything back to the input's grid."""
    fan = prepared.fan[prepared.box]

    def back(array: np.ndarray) -> np.ndarray:
        extended = prepared.grid.with_array(extend(array, prepared.valid))
        return preprocessing.resample_like(extended, prepared.frame).array

    def embed(array: np.ndarray) -> Volume:
        whole = np.zeros(volume.array.shape, dtype=array.dtype)
        whole[prepared.box] = np.where(fan, array, 0).astype(array.dtype)
        return Volume(whole, volume.spacing, volume.origin, volume.direction)

    error = np.clip(back(predicted["error"]) / 2.0, _SMALLEST_UNCERTAINTY, 1.0)
    labels = segmentation.labels_from_probabilities(
        np.stack([back(probability) for probability in probabilities]), fan, volume.voxel_volume_ml
    )
    return SynthesisResult(
        images={
            name: embed(preprocessing.to_intensity(back(array))) for name, array in predicted.items() if name != "error"
        },
        uncertainty=embed(error.astype(np.float32)),
        segmentation=embed(labels),
        valid=embed(fan.astype(np.uint8)),
        report={},
    )


def extend(array: np.ndarray, valid: np.ndarray, steps: int = 3) -> np.ndarray:
    """Continue an image beyond its valid voxels by means of neighbours, so that interpolation at the rim sees no edge.

    Parameters
    ----------
    array
        (z, y, x); voxels outside ``valid`` are not looked at.
    valid
        (z, y, x) bool.
    steps
        How many voxels to go.
    """
    import SimpleITK as sitk

    result = np.where(valid, array, 0).astype(np.float32)
    known = valid.astype(np.float32)
    for _ in range(steps):
        total, weight = (sitk.GetArrayFromImage(sitk.Mean(sitk.GetImageFromArray(a), [1] * 3)) for a in (result, known))
        fresh = (known == 0) & (weight > 1e-6)
        result[fresh] = total[fresh] / weight[fresh]
        known[fresh] = 1.0
    return result


def _report(
    result: SynthesisResult,
    volume: Volume,
    prepared: _Prepared,
    models: tuple[Bundle, Bundle],
    device: dict[str, str],
    clock: _Clock,
) -> None:
    fan = result.valid.array > 0
    uncertainty = result.uncertainty.array[fan]
    quality = {
        "fan_ml": round(float(fan.sum()) * volume.voxel_volume_ml, 1),
        "mean_uncertainty": round(float(uncertainty.mean()), 4),
        "high_uncertainty_fraction": round(float((uncertainty > HIGH_UNCERTAINTY).mean()), 4),
        "high_uncertainty_threshold": HIGH_UNCERTAINTY,
    }
    plausible, reason = preprocessing.looks_like_ultrasound(volume, prepared.fan)
    warnings = [] if plausible else [f"The input does not look like ultrasound: {reason}"]
    seconds = {**clock.seconds, "total": round(sum(clock.seconds.values()), 3)}
    volumes = segmentation.volumes_ml(result.segmentation.array, volume.voxel_volume_ml)
    result.report.update(
        synthetic=True,
        notice=NOTICE,
        model=models[0].describe(),
        segmenter=models[1].describe(),
        versions=versions(),
        device=device,
        input=_describe_input(volume),
        warnings=warnings,
        notes=list(volume.notes),
        seconds=seconds,
        peak_memory_mib=peak_memory_mib(),
        volumes_ml=volumes,
        quality=quality,
        summary=_summary(volumes, quality, seconds["total"], device["used"], len(warnings)),
    )


def _describe_input(volume: Volume) -> dict[str, Any]:
    return {
        "size": list(volume.size),
        "spacing_mm": list(volume.spacing),
        "origin_lps_mm": list(volume.origin),
        "direction_lps": volume.direction.ravel().tolist(),
        "minimum": float(volume.array.min()),
        "maximum": float(volume.array.max()),
    }


def _summary(volumes: dict[str, float], quality: dict[str, float], seconds: float, device: str, warnings: int) -> str:
    line = (
        f"Tumour {volumes['tumour']:.1f} ml, resection cavity {volumes['cavity']:.1f} ml; "
        f"expected error {quality['mean_uncertainty']:.0%} of the intensity range, "
        f"high in {quality['high_uncertainty_fraction']:.0%} of the {quality['fan_ml']:.0f} ml fan; "
        f"{seconds:.1f} s on the {'GPU' if device == 'cuda' else 'CPU'}"
    )
    return f"{line}; {warnings} warning{'s' if warnings > 1 else ''}" if warnings else line


def versions() -> dict[str, str]:
    """Return the versions of everything that computes."""
    import SimpleITK as sitk

    from .inference.session import load_runtime

    return {
        "iousynth": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": load_runtime().__version__,
        "SimpleITK": sitk.Version.VersionString(),
    }


def peak_memory_mib() -> float | None:
    """Return the largest resident size of this process so far, or None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(size / (1024.0**2 if sys.platform == "darwin" else 1024.0), 1)
