"""The main job without a host: an ultrasound volume in, synthetic MRI with outlines and uncertainty out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import preprocessing
from .inference import open_session
from .input_checks import check_input, check_ultrasound
from .models.bundle import DEFAULT_GENERATOR, DEFAULT_SEGMENTER, LOG_ERROR, Bundle, load, paired_generator
from .progress import PartProgress, Progress, StageProgress, part_of
from .synthesis import outlines
from .synthesis.acquired import check_is_mri, match, on_ultrasound
from .synthesis.generate import Generated, generate, run_network
from .synthesis.grid import Prepared, Sweep, back, coarsened, prepare, stacked
from .synthesis.report import describe_preprocessing, make_report
from .volume import InputError, Volume

#: Stages of the work and the overall fraction at which each begins.
STAGES = {"checking": 0.0, "preparing": 0.03, "synthesizing": 0.1, "segmenting": 0.6, "finishing": 0.92}

#: Smallest uncertainty that is written, because 0 means "no data".
_SMALLEST_UNCERTAINTY = 1e-4
#: What a report warns of when there must be a tumour, but none is seen.
FAINT_TUMOUR = (
    "no tumour stands out in this ultrasound; its most probable place is outlined, because nothing has been removed "
    "yet: compare it with the preoperative MRI, or, if something has been removed, take back the choice "
    "Before resection (--before-resection)"
)
#: Acquired MRI that has data for less of the fan than this is worth a warning.
_ALL_COVERED = 0.99
#: Outlines with an expected Dice below this are called doubtful: less of them is right than wrong.
DOUBTFUL_BELOW = 0.5


@dataclass(frozen=True, eq=False)
class Options:
    """What can be chosen of a run. It travels as it is from the panel, a script or the command line to here.

    Attributes
    ----------
    model
        Name or folder of a generator; the default is :data:`bundle.DEFAULT_GENERATOR`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    mr_grid
        The preoperative MRI's grid in the input's coordinates, with axial slices (:func:`preprocessing.axial` of the
        MRI); its voxels are not looked at. Only models in the patient's frame use it, such as the published ones:
        they were trained on ultrasound that was resampled to the patient's MRI.
    before_resection
        Whether nothing has been removed yet: then there is no cavity, and what looks like one is outlined as tumour;
        and there is a tumour, so that its most probable place is outlined, with a warning, where none stands out.
    """

    model: str | Path | None = None
    device: str = "auto"
    mr_grid: Volume | None = None
    before_resection: bool = False

    def describe(self) -> dict[str, Any]:
        """Return what a report says of them; model, device and grid it describes as they were found."""
        return {name: value for name, value in vars(self).items() if name not in ("model", "device", "mr_grid")}


@dataclass
class SynthesisResult:
    """What :func:`synthesize` returns; every volume lies on the input's grid.

    Attributes
    ----------
    images
        ``T2w`` and ``FLAIR`` (those the model predicts), float32: 0 is no data, else 1 to 1000.
    uncertainty
        float32: expected absolute error as a fraction of the intensity range; 0 is no data. None where the model does
        not predict its own error.
    segmentation
        uint8: 0 background, 1 tumour, 2 resection cavity.
    valid
        uint8: 1 inside the ultrasound fan.
    report
        Model, checksum, versions, device, seconds, volumes, quality, warnings, and a summary in one line.
    """

    images: dict[str, Volume]
    uncertainty: Volume | None
    segmentation: Volume
    valid: Volume
    report: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Decision:
    """What a segmenter's probabilities come to.

    Attributes
    ----------
    probabilities
        (3, z, y, x), weighted so that the most probable class is the one to show; need not sum to one.
    expected_dice
        Of the outlines of tumour and cavity that this gives, 0 to 1; without what is not outlined, and without what the
        segmenter's bundle says nothing of.
    faint
        Whether the tumour is no more than its most probable place (:func:`segmentation.with_tumour`).
    measured_on
        What the segmenter's bundle says that the Dice was measured on; may be empty.
    """

    probabilities: np.ndarray
    expected_dice: dict[str, float]
    faint: bool = False
    measured_on: str = ""

    @property
    def doubtful(self) -> list[str]:
        """Which outlines are more wrong than right, or may be."""
        return [name for name, dice in self.expected_dice.items() if dice < DOUBTFUL_BELOW]

    @property
    def warnings(self) -> list[str]:
        """What a report warns of."""
        source = f", as measured on {self.measured_on}" if self.measured_on else ""
        doubtful = [
            f"the outline of the {name} is doubtful (expected Dice {self.expected_dice[name]:.2f}{source}): compare it "
            "with the ultrasound and the preoperative MRI"
            for name in self.doubtful
            if not (name == "tumour" and self.faint)
        ]
        return [FAINT_TUMOUR, *doubtful] if self.faint else doubtful


@dataclass(frozen=True)
class Models:
    """The models of a run.

    Attributes
    ----------
    generator
        Makes the images that are shown.
    segmenter
        Outlines tumour and cavity.
    paired_generator
        The generator that the segmenter was trained with, where ``generator`` is another: its images are what the
        segmenter sees.
    """

    generator: Bundle
    segmenter: Bundle
    paired_generator: Bundle | None

    @property
    def kinds(self) -> list[str]:
        """The images of a result, as files and series call them."""
        return [*("uncertainty" if name == LOG_ERROR else name for name in self.generator.outputs), "segmentation"]

    def describe(self) -> dict[str, dict[str, str] | None]:
        """Return what a report says about them."""
        return {
            "model": self.generator.describe(),
            "segmenter": self.segmenter.describe(),
            # The generator that the outline was made with, where that is another than the model.
            "companion": self.paired_generator.describe() if self.paired_generator else None,
        }

    @property
    def networks(self) -> list[Bundle]:
        """All networks that run."""
        bundles = [self.generator, self.generator.refiner, self.paired_generator, self.segmenter]
        if self.paired_generator:
            bundles.append(self.paired_generator.refiner)
        return [bundle for bundle in bundles if bundle is not None]


def synthesize(
    volume: Volume,
    model: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    **choices: Any,
) -> SynthesisResult:
    """Predict T2w and FLAIR, their uncertainty, tumour and resection cavity from an ultrasound volume.

    Any generator may make the images. Tumour and cavity are always outlined on the images that the segmenter was
    trained on: where the model is another generator, the segmenter's paired one runs beside it, and the report says
    so.

    Parameters
    ----------
    volume
        Reconstructed 3D ultrasound, of one value outside the fan. It is not changed.
    model, device, choices
        See :class:`Options`; ``mr_grid`` and ``before_resection`` by name.
    progress
        Called with the stage and the overall fraction in [0, 1]; may raise :class:`inference.Cancelled`.

    Raises
    ------
    InputError
        The volume, the model or the device cannot be used; one line with cause and remedy.
    """
    return synthesize_with(volume, Options(model, device, **choices), progress)


def synthesize_with(
    volume: Volume,
    options: Options,
    progress: Progress | None = None,
    *,
    mri: Mapping[str, Volume] | None = None,
) -> SynthesisResult:
    """Do what :func:`synthesize` does, with what was chosen in one object.

    With ``mri``, acquired T2w, FLAIR or both of the same state of the brain and where the ultrasound lies, tumour and
    cavity are outlined on these instead of the synthetic images, whose scale they are given. What Dice is to be
    expected of that, nobody has measured.
    """
    clock = StageProgress(STAGES, progress)
    with clock.stage("checking"):
        volume = check_ultrasound(volume)
        models = load_models(options.model)
        mri = _check_mri(mri or {}, volume, models.segmenter)
        for bundle in models.networks:
            open_session(bundle, options.device)
    with clock.stage("preparing"):
        sweep = Sweep.of(volume)
        prepared = prepare(sweep, models.generator, options.mr_grid)
        outlining = prepare(sweep, models.paired_generator, options.mr_grid) if models.paired_generator else prepared
    with clock.stage("synthesizing") as part:
        share = 0.5 if models.paired_generator else 1.0
        predicted = generate(
            models.generator, prepared, device=options.device, with_error=True, progress=part_of(part, 0.0, share)
        )
        outlined = predicted.images
        if models.paired_generator:
            outlined = generate(
                models.paired_generator, outlining, device=options.device, progress=part_of(part, share, 1.0)
            ).images
    with clock.stage("segmenting") as part:
        if mri:
            outlining, outlined, volume = _with_acquired(mri, outlining, outlined, volume)
        outlining, probabilities = outline(models.segmenter, outlining, outlined, device=options.device, progress=part)
        decision = decide(models.segmenter, outlining, probabilities, before_resection=options.before_resection)
        if mri:  # what Dice is to be expected was measured on synthetic MRI
            decision = replace(decision, expected_dice={})
    with clock.stage("finishing"):
        result = _finish(sweep, prepared, predicted, outlining=outlining, decision=decision)
        if mri:
            result.segmentation = _within(result.segmentation, outlining)
    result.report.update(
        make_report(
            result, volume, models, device=_device_used(models, options), seconds=clock.seconds, decision=decision,
            mri=mri,
        ),
        grid=prepared.describe(),
        preprocessing=describe_preprocessing(sweep, prepared),
        inference=models.generator.describe_plan(),
        **options.describe(),
        seed=None,  # nothing is drawn: the noise of a diffusion is part of the network's file
    )  # fmt: skip
    clock.report("finishing", 1.0)
    return result


def _check_mri(mri: Mapping[str, Volume], ultrasound: Volume, segmenter: Bundle) -> dict[str, Volume]:
    """Acquired MRI that can be used: of contrasts that the segmenter reads, and none of it the ultrasound."""
    readable = [name for name in segmenter.inputs if name != "ioUS"]
    checked = {}
    for name, image in mri.items():
        if name not in readable:
            raise InputError(f"{name} MRI: {segmenter.name} reads {' and '.join(readable)}; leave it out")
        checked[name] = check_input(image, f"{name} MRI")
        check_is_mri(checked[name], ultrasound, f"{name} MRI")
    return checked


def _with_acquired(
    mri: Mapping[str, Volume], outlining: Prepared, images: dict[str, np.ndarray], volume: Volume
) -> tuple[Prepared, dict[str, np.ndarray], Volume]:
    """Put acquired MRI in the place of synthetic images, and what is in doubt of it into the input's warnings."""
    acquired = on_ultrasound(mri, outlining.image.with_array(outlining.valid.astype(np.uint8)))
    matched = {name: match(image, images[name], acquired.seen) for name, image in acquired.images.items()}
    doubts = [f"{name} MRI: {text}" for name, image in mri.items() for text in image.warnings]
    if acquired.covered < _ALL_COVERED:
        doubts.append(f"the MRI covers {acquired.covered:.0%} of the ultrasound; nothing is outlined elsewhere")
    volume = replace(volume, warnings=(*volume.warnings, *doubts))
    return replace(outlining, valid=acquired.seen), images | matched, volume


def _within(labels: Volume, outlining: Prepared) -> Volume:
    """Cut labels off where the segmenter saw nothing."""
    seen = outlining.image.with_array(outlining.valid.astype(np.uint8))
    return labels.with_array(labels.array * (preprocessing.resample_like(seen, labels, nearest=True).array > 0))


def _device_used(models: Models, options: Options) -> dict[str, str]:
    session = open_session(models.generator, options.device)
    used = {"requested": options.device, "used": session.device}
    return {**used, "unused": ", ".join(session.unused)} if session.unused else used


def load_models(model: str | Path | None) -> Models:
    """Find the models of a run, without opening them; the arguments and errors are those of :func:`synthesize`."""
    generator, segmenter = load(model or DEFAULT_GENERATOR), load(DEFAULT_SEGMENTER)
    for bundle, kind in ((generator, "generator"), (segmenter, "segmenter")):
        if bundle.kind != kind:
            raise InputError(f"{bundle.path}: is a {bundle.kind}, but a {kind} is needed; choose another model")
    if generator.inputs != ("ioUS",):
        raise InputError(f"{generator.path}: needs {', '.join(generator.inputs)}, not just ioUS; choose another model")
    paired = paired_generator(segmenter)
    # The details hold the checksum and all that decides how the network is run.
    return Models(generator, segmenter, None if paired.details == generator.details else paired)


def outline(
    segmenter: Bundle,
    prepared: Prepared,
    images: dict[str, np.ndarray],
    *,
    device: str = "auto",
    progress: PartProgress = lambda fraction: None,
) -> tuple[Prepared, np.ndarray]:
    """Find tumour and cavity on ultrasound and MRI, synthetic or not.

    Parameters
    ----------
    segmenter
        The model.
    prepared
        The ultrasound, and the grid of the images.
    images
        (z, y, x) in [-1, 1] by contrast.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called with the fraction done; may raise :class:`inference.Cancelled`.

    Returns
    -------
    tuple of Prepared and numpy.ndarray
        The segmenter's grid, and on it probabilities (3, z, y, x) of background, tumour and cavity.
    """
    prepared, images = coarsened(prepared, images, segmenter.spacing)
    stack = stacked(prepared, images, segmenter.inputs)
    return prepared, run_network(
        segmenter, stack, prepared, device=device, activation=outlines.softmax, progress=progress
    )


def decide(segmenter: Bundle, prepared: Prepared, probabilities: np.ndarray, *, before_resection: bool) -> Decision:
    """Choose from a segmenter's probabilities what to outline, and say how far to trust it.

    Parameters
    ----------
    segmenter
        The model, for its operating point.
    prepared, probabilities
        As :func:`outline` returns them.
    before_resection
        Whether nothing has been removed yet: then there is no cavity, and there is a tumour.
    """
    valid, voxel_volume_ml = prepared.valid, prepared.image.voxel_volume_ml
    weights, faint = segmenter.class_weights, False
    if before_resection:
        seen = outlines.without_cavity(outlines.weighted(probabilities, weights))
        shown, faint = outlines.with_tumour(seen, valid, prepared.image.spacing)
    else:
        seen = shown = outlines.weighted_by_phase(
            probabilities, valid, voxel_volume_ml,
            weights=weights, weights_with_cavity=segmenter.class_weights_with_cavity,
        )  # fmt: skip
    labels = outlines.labels_from_probabilities(shown, valid, voxel_volume_ml)
    expected_dice = {
        name: float(np.interp(confidence, *segmenter.expected_dice[name]))
        for name, confidence in outlines.confidences(seen, labels).items()
        if name in segmenter.expected_dice
    }
    return Decision(shown, expected_dice, faint, segmenter.expected_dice_measured_on)


def _finish(
    sweep: Sweep,
    prepared: Prepared,
    predicted: Generated,
    *,
    outlining: Prepared,
    decision: Decision,
) -> SynthesisResult:
    """Bring everything back to the input's grid."""
    fan = sweep.fan[sweep.box]
    returned = {name: back(array, prepared, sweep.frame) for name, array in predicted.images.items()}
    error = None
    if predicted.error is not None:
        error = back(predicted.error, prepared, sweep.frame)
        error = np.clip(error / 2.0, _SMALLEST_UNCERTAINTY, 1.0).astype(np.float32)
    labels = outlines.labels_from_probabilities(
        np.stack([back(probability, outlining, sweep.frame) for probability in decision.probabilities]),
        fan,
        sweep.volume.voxel_volume_ml,
    )
    return SynthesisResult(
        images={name: sweep.embed(preprocessing.to_intensity(array)) for name, array in returned.items()},
        uncertainty=None if error is None else sweep.embed(error),
        segmentation=sweep.embed(labels),
        valid=sweep.embed(fan.astype(np.uint8)),
        report={},
    )
