"""From a finished run to a bundle, which says what is known of the run and what its maker states, and no more.

This is ``iousynth models export``, for the runs of every preset.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..generators.recipe import PUBLISHED
from ..models.bundle import (
    FAMILIARITY_FILE,
    NETWORK_FILE,
    REFINER_FILE,
    REFINER_TORCHSCRIPT_FILE,
    TORCHSCRIPT_FILE,
    load,
)
from ..models.write import Provenance, new_bundle, write_bundle
from ..volume import InputError
from .calibration import read_calibration
from .export import export_onnx, export_torchscript
from .familiarity import copy_familiarity, renew_familiarity
from .preset import Preset, Stage
from .presets import PRESETS
from .run_folder import BUNDLE, FinishedRun
from .unified import Unified
from .unified_export import FromSubset, export_unified

#: Where a bundle keeps the networks of a run's stages.
_FILES = ((NETWORK_FILE, TORCHSCRIPT_FILE), (REFINER_FILE, REFINER_TORCHSCRIPT_FILE))


def run(options: argparse.Namespace) -> int:
    """Export a run and print a line about the bundle.

    Parameters
    ----------
    options
        ``run_folder``, the folder that ``iousynth train`` wrote; ``output``, the bundle to make; ``cohort``, what it
        was trained on, where that has moved, or None; ``licence``, the text of the weights' licence or None; and what
        their maker states: ``weights_version``, ``authors``, ``citation``, ``trained_on`` and ``generator``.

    Raises
    ------
    InputError
        There is no such run, it is not finished so far as to have weights, the licence cannot be read, or the output is
        there already.
    """
    provenance = Provenance(
        version=options.weights_version, authors=options.authors, citation=options.citation,
        training_data=options.trained_on, generator=options.generator,
    )
    licence = "" if options.licence is None else _read_text(options.licence)
    difference = export_run(
        options.run_folder, options.output, provenance=provenance, licence=licence, cohort=options.cohort
    )
    print(f"{options.output}: exported; ONNX Runtime, TorchScript and torch differ by {difference:.1e} at most")
    first = FinishedRun.read(options.run_folder).preset.first
    if _encoder(first) and not (options.output / FAMILIARITY_FILE).is_file():
        print(
            f"{options.output}: cannot tell an ultrasound that is unlike what it learned from, since the run's cohort "
            "is not where it was, or too small; say where it is with --cohort"
        )
    return 0


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"{file}: cannot be read ({reason}); give the text of the licence") from error


def export_run(
    folder: Path,
    output: Path,
    *,
    preset: Preset | None = None,
    provenance: Provenance | None = None,
    licence: str = "",
    torchscript: bool = True,
    cohort: Path | None = None,
) -> float:
    """Write a run's best averaged networks as a bundle, ONNX and TorchScript, and compare both with torch.

    A diffusion network is exported within its sampler. In 2D+3D-refine the bundle holds the 2D network and the refiner.

    Parameters
    ----------
    folder
        Folder of the run.
    output
        The bundle to make; its name becomes the model's.
    preset
        What was trained; what the run says of itself by default.
    provenance, licence
        As :func:`describe_run` takes them.
    torchscript
        Whether the bundle holds the networks as TorchScript, too: for other programs, or to run where the ONNX is taken
        out.
    cohort
        What the run was trained on, where that has moved. How it looks to a generator is measured
        (:mod:`.familiarity`), so that inputs can be compared with it; the run keeps the answer for later exports.

    Returns
    -------
    float
        Largest absolute difference of the files to torch.

    Raises
    ------
    InputError
        As :func:`run`.
    """
    finished = FinishedRun.read(folder, preset)
    with new_bundle(output) as bundle:
        difference = max(_export(finished, bundle, torchscript))
        describe_run(finished, bundle, provenance=provenance, licence=licence)
        alone = bool(finished.record.get("patient"))  # sweeps of one head do not say what is familiar
        if (_encoder(finished.preset.first) and not alone) or cohort is not None:
            renew_familiarity(finished, load(bundle), cohort)
            describe_run(finished, bundle, provenance=provenance, licence=licence)
    return difference


def _export(finished: FinishedRun, bundle: Path, torchscript: bool) -> Iterator[float]:
    """Write the networks of all stages, and yield by how much they differ from torch."""
    for stage, names in zip(finished.preset.stages, _FILES, strict=False):
        made = finished.folder / stage.folder / BUNDLE
        if stage is not finished.preset.last and made.is_dir():  # when it predicted what the refiner learned from
            for name in names:
                shutil.copyfile(made / name, bundle / name)
            continue
        onnx, script = (bundle / name for name in names)
        network, window = finished.network(stage), _windows(stage, finished.window(stage))["window"]
        free = bool(stage.traits.windows)
        if isinstance(stage, Unified):
            present, outputs = stage.places(stage.bundle_inputs), stage.places(stage.bundle_outputs)
            yield export_unified(
                network, onnx, images=len(stage.images), outputs=outputs, window=window, present=present
            )
            if torchscript:
                yield export_torchscript(FromSubset(network, present, outputs), len(present), script, size=window)
            continue
        yield export_onnx(
            network, stage.channels, onnx, size_multiple=stage.traits.size_multiple, size=None if free else window,
            dimensions=stage.dimensions, half=stage.traits.half, encoder=_encoder(stage),
        )
        if torchscript:
            yield export_torchscript(network, stage.channels, script, size=window, encoder=_encoder(stage))


def _encoder(stage: Stage) -> tuple[str, ...]:
    """The modules by which inputs are compared: of generators that can do with the ultrasound alone."""
    needed = set(stage.inputs) - set(stage.details.get("optional", ()))
    return stage.traits.encoder if stage.kind == "generator" and needed == {"ioUS"} else ()


def describe_run(
    finished: FinishedRun,
    bundle: Path,
    *,
    provenance: Provenance | None = None,
    licence: str = "",
    results: Mapping[str, str] | None = None,
    card: str = "",
) -> Path:
    """Write metadata, card and licence of a run's bundle, whose networks are there.

    Parameters
    ----------
    finished
        The run.
    bundle
        Folder of the bundle.
    provenance
        What the weights' maker states; what it leaves out of the training is what the run has kept.
    licence, results, card
        As in :func:`.models.write.write_bundle`.
    """
    first, last = finished.preset.first, finished.preset.last
    known = {"preset": finished.preset.name, "recipe": finished.preset.recipe}
    section = describe_stage(first, finished.window(first)) | known
    section |= {name: finished.record[name] for name in ("scaling", "patient") if finished.record.get(name)}
    if last is not first:
        section["refiner"] = {**_windows(last, finished.window(last)), "inputs": list(last.inputs)}
    copy_familiarity(finished.folder, bundle)
    return write_bundle(
        bundle, {**section, **read_calibration(finished.folder)}, description=describe_network(finished.preset),
        origin=_origin(finished), provenance=_completed(provenance or Provenance(), finished), licence=licence,
        results=results, card=card,
    )


def describe_stage(stage: Stage, window: Sequence[int]) -> dict[str, Any]:
    """What a trained network is and how it is run, as metadata say it; ``window`` is the size that it learned from."""
    return {
        "kind": stage.kind,
        "regime": stage.regime,
        "spacing": list(stage.voxels),
        "slice_axes": list(stage.slice_axes),
        **_windows(stage, window),
        "inputs": list(stage.bundle_inputs),
        "outputs": list(stage.bundle_outputs),
        **stage.details,
    }


def _windows(stage: Stage, window: Sequence[int]) -> dict[str, Any]:
    traits = stage.traits
    fusion = {"fusion_scale": traits.fusion_scale} if traits.fusion_scale and stage.slice_axes else {}
    if traits.windows:
        size = {"window": list(traits.windows[stage.dimensions]), "size_multiple": traits.size_multiple}
        return {**size, "overlap": traits.overlap, **fusion}
    size = {"window": list(window), "size_multiple": 1, "padding": "window"}
    return {**size, "overlap": traits.overlap, "blending": traits.blending, **fusion}


def describe_network(preset: Preset) -> str:
    """What a preset's network is, in a few words."""
    stage = preset.last
    if stage.kind == "segmenter":
        return "3D U-Net"
    if stage.family == "unet":
        return f"{preset.regime} U-Net, predictions of three slicing directions fused"
    return f"{stage.family} in {preset.regime} for {' and '.join(stage.targets)}"


def _origin(finished: FinishedRun) -> str:
    """How the weights were made, as the run has kept it."""
    sentence = f"Trained with the preset `{finished.preset.name}` of IoUSynth"
    sentence += ", in the published recipe" if finished.preset.recipe == PUBLISHED else ""
    stage, initial = finished.record["stages"][-1], finished.record.get("initial")
    if "recipe" in stage:
        sentence += f": {stage['recipe']}; {stage['steps']} steps"
    known = PRESETS.get(finished.preset.name)
    if known is not None and finished.preset.last.size != known.last.size:
        sentence += "; networks of another size than the preset's"
    return f"{sentence}. It began with the weights of {initial}." if initial else f"{sentence}."


def _completed(provenance: Provenance, finished: FinishedRun) -> Provenance:
    """What the maker states, and of the training what the run has kept where that says nothing."""
    cohort = finished.record.get("cohort") or {}
    seen = cohort.get("training_range", {}) if "ioUS" in finished.preset.first.inputs else {}
    return replace(
        provenance,
        training_data=provenance.training_data or _cohort_in_words(cohort, finished.record),
        training_range=provenance.training_range or seen,
        citation=provenance.citation or finished.preset.last.traits.citation,
        generator=provenance.generator or finished.record.get("generator") or "",
    )


def _cohort_in_words(cohort: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The cases, how many volumes of real ultrasound lent their texture, and in how many a cavity was painted."""
    if not cohort:
        return ""
    real, painted = record.get("real_ultrasound", 0), record.get("painted", 0)
    lent = [f"with the texture of {_counted(real, 'volume')} of real ultrasound"] if real else []
    lent += [f"with {_counted(painted, 'case')} of cavities painted into real ultrasound"] if painted else []
    cases = _counted(cohort["cases"].get("train", 0), "case")
    if not cohort.get("simulated", True):
        prepared = f"{cases} for training of a prepared cohort of {_counted(cohort['heads'], 'patient')}"
        return ", ".join([prepared, *lent])
    heads = _counted(cohort["heads"], "head") + (f" (seed {cohort['seed']})" if "seed" in cohort else "")
    return ", ".join([f"{cases} for training of a simulated cohort of {heads}", *(lent or ["no real ultrasound"])])


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
