"""The main job without a host: an ultrasound volume in, synthetic MRI with outlines and uncertainty out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import preprocessing
from .constants import LABELS
from .inference import open_session
from .input_checks import check_input, check_ultrasound
from .models.bundle import (
    DEFAULT_GENERATOR,
    DEFAULT_SEGMENTER,
    DEFAULT_WITH_MRI,
    LOG_ERROR,
    Bundle,
    load,
    paired_generator,
)
from .parallel import beside
from .progress import PartProgress, Progress, StageProgress, part_of
from .synthesis.acquired import check_is_mri, match, on_ultrasound
from .synthesis.echo import mark_no_echo, no_echo_within
from .synthesis.familiarity import compare
from .synthesis.generate import Generated, generate
from .synthesis.grid import FieldOfView, NetworkGrid, extended_beyond_fan, network_grid
from .synthesis.preoperative import Alternatives, Contribution, Preoperative, check_patient, synthesize_both
from .synthesis.report import describe_input, describe_preprocessing, make_report
from .synthesis.segmentation import decide, labels_within, outline
from .synthesis.spread import Sampling, Spread, as_outlined, check_sampling, describe_spread, deviation
from .volume import InputError, Volume

#: Stages of the work and the overall fraction at which each begins.
STAGES = {"checking": 0.0, "preparing": 0.03, "synthesizing": 0.1, "segmenting": 0.6, "finishing": 0.92}

#: Smallest uncertainty or difference that is written, because 0 means "no data".
_SMALLEST = 1e-4
#: Acquired MRI that has data for less of the fan than this is worth a warning.
_ALL_COVERED = 0.99


@dataclass(frozen=True, eq=False)
class Options:
    """What can be chosen of a run. It travels as it is from the panel, a script or the command line to here.

    Attributes
    ----------
    model
        Name or folder of a generator; the default is :data:`bundle.DEFAULT_GENERATOR`, and with MRI from before the
        operation :data:`bundle.DEFAULT_WITH_MRI`.
    device
        ``auto``, ``cpu`` or ``cuda``.
    mr_grid
        The preoperative MRI's grid in the input's coordinates, with axial slices (:func:`preprocessing.axial` of the
        MRI); its voxels are not looked at. Only models in the patient's frame use it, such as the published ones:
        they were trained on ultrasound that was resampled to the patient's MRI.
    before_resection
        Whether nothing has been removed yet: then there is no cavity, and what looks like one is outlined as tumour;
        and there is a tumour, so that a report warns where none stands out.
    probable_place
        Whether the most probable place of a tumour is outlined, with a warning, where none stands out before a
        resection.
    samples
        How many samples are drawn of a generator that draws, 1 to 16 (:mod:`.synthesis.spread`); the images are their
        mean. 0 leaves it at the image that the generator makes anyway.
    seed
        Of these samples.
    temperature
        Factor of the deviations that they are drawn with; what the generator's bundle says by default.
    mri_sha256
        Checksums of MRI that is known to be the patient's (:func:`.synthesis.preoperative.image_sha256`), for a model
        that was personalised for one patient: it is refused where there are some, and none is of its MRI.
    """

    model: str | Path | None = None
    device: str = "auto"
    mr_grid: Volume | None = None
    before_resection: bool = False
    probable_place: bool = False
    samples: int = 0
    seed: int = 0
    temperature: float | None = None
    mri_sha256: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return what a report says of them; model, device and grid it describes as they were found."""
        said = {name: value for name, value in vars(self).items() if name not in ("model", "device", "mr_grid")}
        said["mri_sha256"] = list(self.mri_sha256)
        return said if self.samples else said | {"seed": None, "temperature": None}

    def sampling(self, generator: Bundle) -> Sampling | None:
        """Return how samples are drawn; the errors are those of :func:`.spread.check_sampling`."""
        return check_sampling(generator, self.samples, seed=self.seed, temperature=self.temperature)


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
        uint8: 1 inside the ultrasound fan, 2 where it carries no echo, so that whatever an image shows there was made
        up; 0 outside.
    report
        Model, checksum, versions, device, seconds, volumes, quality, warnings, why the images are muted if they are,
        what preoperative MRI contributed, and a summary in one line.
    contribution
        The images that were not taken, of ultrasound alone or with MRI, and how they differ; None where the model was
        given no MRI that lies where the ultrasound is.
    spread
        How samples differ; None where fewer than two were drawn.
    """

    images: dict[str, Volume]
    uncertainty: Volume | None
    segmentation: Volume
    valid: Volume
    report: dict[str, Any]
    contribution: Contribution | None = None
    spread: Spread | None = None


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
    *,
    preoperative: Preoperative | None = None,
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
        See :class:`Options`; ``mr_grid``, ``before_resection``, ``samples`` and so on by name.
    progress
        Called with the stage and the overall fraction in [0, 1]; may raise :class:`inference.Cancelled`.
    preoperative
        The patient's MRI, registered, for a model that reads it beside ultrasound. The images are made without it, too,
        and where the two are too far apart, those of ultrasound alone are the result.

    Raises
    ------
    InputError
        The volume, the model or the device cannot be used; one line with cause and remedy.

    Examples
    --------
    >>> from IoUSynthLib import read_volume
    >>> result = synthesize(read_volume("us.nrrd"), before_resection=True)  # doctest: +SKIP
    >>> result.images["T2w"], result.report["quality"]  # doctest: +SKIP
    """
    return synthesize_with(volume, Options(model, device, **choices), progress, preoperative=preoperative)


def synthesize_with(
    volume: Volume,
    options: Options,
    progress: Progress | None = None,
    *,
    mri: Mapping[str, Volume] | None = None,
    preoperative: Preoperative | None = None,
) -> SynthesisResult:
    """Do what :func:`synthesize` does, with what was chosen in one object.

    With ``mri``, acquired T2w, FLAIR or both of the same state of the brain and where the ultrasound lies, tumour and
    cavity are outlined on these instead of the synthetic images, whose scale they are given. What Dice is to be
    expected of that, nobody has measured.
    """
    clock = StageProgress(STAGES, progress)
    with clock.stage("checking"):
        volume = check_ultrasound(volume)
        models = load_models(options.model, with_mri=preoperative is not None)
        sampling = options.sampling(models.generator)
        if sampling is not None and mri:
            raise InputError("samples: tell nothing of outlines on acquired MRI; leave samples or MRI out")
        mri = _check_mri(mri or {}, volume, models.segmenter)
        given = preoperative and preoperative.describe()  # before its background is set to 0: that tells it again
        if preoperative is not None:
            preoperative = preoperative.checked(volume, models.generator)
            volume = replace(volume, warnings=(*volume.warnings, *preoperative.warnings))
        known = [image["sha256"] for image in given["images"].values()] if given else []
        doubts = check_patient(models.generator, [*options.mri_sha256, *known])
        volume = replace(volume, warnings=(*volume.warnings, *doubts))
        for bundle in models.networks:
            open_session(bundle, options.device)
    with clock.stage("preparing"):
        described = beside(describe_input, volume, models.generator)
        field = FieldOfView.of(volume)
        grid = network_grid(field, models.generator, options.mr_grid)
        outline_grid = grid
        if models.paired_generator:
            outline_grid = network_grid(field, models.paired_generator, options.mr_grid)
        silent = beside(no_echo_within, field, grid)
        judge, judged = models.generator, grid
        if models.generator.patient and models.paired_generator:  # it has seen one head, and knows nothing of others
            judge, judged = models.paired_generator, outline_grid
        familiarity = compare(open_session(judge, options.device), judged, judge)
    with clock.stage("synthesizing") as part:
        count = 1 if sampling is None else sampling.count
        share = count / (count + 1) if models.paired_generator else 1.0
        predicted = synthesize_both(
            models.generator, grid, preoperative, sampling=sampling, device=options.device,
            progress=part_of(part, 0.0, share),
        )  # fmt: skip
        finished = beside(_images, field, grid, predicted.shown)
        outlined = predicted.shown.images
        if models.paired_generator:
            outlined = generate(
                models.paired_generator, outline_grid, device=options.device, progress=part_of(part, share, 1.0)
            ).images
    with clock.stage("segmenting") as part:
        if mri:
            outline_grid, outlined, volume = _with_acquired(mri, outline_grid, images=outlined, volume=volume)
        samples = predicted.shown.samples if options.samples > 1 else ()
        if samples and models.paired_generator:
            samples = as_outlined(samples, grid, outline_grid=outline_grid, outlined=outlined)
        others, of_samples = [outlined | sample for sample in samples], outline_grid
        share = 1 / (1 + len(samples))
        outline_grid, probabilities = outline(
            models.segmenter, outline_grid, outlined, device=options.device, progress=part_of(part, 0.0, share)
        )
        decision = decide(
            models.segmenter, outline_grid, probabilities,
            before_resection=options.before_resection, probable_place=options.probable_place,
        )  # fmt: skip
        if mri:  # what Dice is to be expected was measured on synthetic MRI
            decision = replace(decision, expected_dice={})
        frequency = _tumour_frequency(
            field, of_samples, others, models=models, options=options, progress=part_of(part, share, 1.0)
        )
    with clock.stage("finishing"):
        labels = labels_within(field, outline_grid, decision.probabilities)
        images, uncertainty = finished()
        result = SynthesisResult(
            images, uncertainty, field.embed(labels),
            valid=field.embed(mark_no_echo(field.fan[field.box], silent(), labels)),
            report={},
            contribution=_contribution(field, grid, predicted),
        )  # fmt: skip
        drawn = {} if sampling is None else sampling.describe()
        if samples:
            apart = deviation(predicted.shown.samples)
            (extended,) = extended_beyond_fan([apart], grid)
            result.spread = Spread(_fraction(extended, field), field.embed(frequency))
            mean = float(apart[grid.valid].mean())
            drawn |= describe_spread(result.spread, result.segmentation, mean_deviation=mean)
        if mri:
            result.segmentation = _within(result.segmentation, outline_grid)
    input_described, findings = described()
    result.report.update(
        make_report(
            result, volume, models, described=input_described, findings=findings, device=_device_used(models, options),
            seconds=clock.seconds, decision=decision, mri=mri, familiarity=familiarity, contribution=predicted.report,
            spread=drawn,
        ),
        grid=grid.describe(),
        preprocessing=describe_preprocessing(field, grid),
        inference=models.generator.describe_plan(),
        **options.describe(),
    )  # fmt: skip
    if given is not None:
        result.report["input"]["preoperative_mri"] = given
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
    mri: Mapping[str, Volume], outline_grid: NetworkGrid, *, images: dict[str, np.ndarray], volume: Volume
) -> tuple[NetworkGrid, dict[str, np.ndarray], Volume]:
    """Put acquired MRI in the place of synthetic images, and what is in doubt of it into the input's warnings."""
    acquired = on_ultrasound(mri, outline_grid.image.with_array(outline_grid.valid.astype(np.uint8)))
    matched = {name: match(image, images[name], acquired.seen) for name, image in acquired.images.items()}
    doubts = [f"{name} MRI: {text}" for name, image in mri.items() for text in image.warnings]
    if acquired.covered < _ALL_COVERED:
        doubts.append(f"the MRI covers {acquired.covered:.0%} of the ultrasound; nothing is outlined elsewhere")
    volume = replace(volume, warnings=(*volume.warnings, *doubts))
    return replace(outline_grid, valid=acquired.seen), images | matched, volume


def _within(labels: Volume, outline_grid: NetworkGrid) -> Volume:
    """Cut labels off where the segmenter saw nothing."""
    seen = outline_grid.image.with_array(outline_grid.valid.astype(np.uint8))
    return labels.with_array(labels.array * (preprocessing.resample_like(seen, labels, nearest=True).array > 0))


def _device_used(models: Models, options: Options) -> dict[str, str]:
    session = open_session(models.generator, options.device)
    used = {"requested": options.device, "used": session.device, "runtime": session.runtime}
    return {**used, "unused": ", ".join(session.unused)} if session.unused else used


def load_models(model: str | Path | None, *, with_mri: bool = False) -> Models:
    """Find the models of a run, without opening them.

    Parameters
    ----------
    model
        As for :func:`synthesize`, whose errors these are.
    with_mri
        Whether there is MRI to be read beside the ultrasound, for which the default is another.
    """
    default = DEFAULT_WITH_MRI if with_mri else DEFAULT_GENERATOR
    generator, segmenter = load(model or default), load(DEFAULT_SEGMENTER)
    for bundle, kind in ((generator, "generator"), (segmenter, "segmenter")):
        if bundle.kind != kind:
            raise InputError(f"{bundle.path}: is a {bundle.kind}, but a {kind} is needed; choose another model")
    if not generator.needs_ultrasound_alone:
        remedy = "choose another model" if "ioUS" in generator.inputs else "use iousynth translate, or another model"
        raise InputError(f"{generator.path}: needs {', '.join(generator.inputs)}, not just ioUS; {remedy}")
    paired = paired_generator(segmenter)
    # The details hold the checksum and all that decides how the network is run.
    return Models(generator, segmenter, None if paired.details == generator.details else paired)


def _images(field: FieldOfView, grid: NetworkGrid, shown: Generated) -> tuple[dict[str, Volume], Volume | None]:
    """Images and uncertainty on the input's grid."""
    errors = [] if shown.error is None else [shown.error / 2.0]
    extended = extended_beyond_fan([*shown.images.values(), *errors], grid)
    images = {name: _intensity(image, field) for name, image in zip(shown.images, extended, strict=False)}
    return images, _fraction(extended[-1], field) if errors else None


def _tumour_frequency(
    field: FieldOfView,
    grid: NetworkGrid,
    samples: Sequence[dict[str, np.ndarray]],
    *,
    models: Models,
    options: Options,
    progress: PartProgress,
) -> np.ndarray:
    """In how many samples a voxel of the fan's box is tumour, each outlined as the result is; nothing is guessed."""
    frequency = np.zeros(field.fan[field.box].shape, np.uint8)
    for number, images in enumerate(samples):
        part = part_of(progress, number / len(samples), (number + 1) / len(samples))
        seen, probabilities = outline(models.segmenter, grid, images, device=options.device, progress=part)
        decision = decide(models.segmenter, seen, probabilities, before_resection=options.before_resection)
        frequency += labels_within(field, seen, decision.probabilities) == LABELS["tumour"]
    return frequency


def _contribution(field: FieldOfView, grid: NetworkGrid, predicted: Alternatives) -> Contribution | None:
    """What MRI has changed, on the input's grid."""
    if predicted.other is None:
        return None
    other, comparison = predicted.other.images, predicted.comparison
    arrays = [comparison.places.astype(np.float32), comparison.difference, *other.values()]
    places, difference, *images = extended_beyond_fan(arrays, grid)
    return Contribution(
        used=predicted.report["used"],
        other={name: _intensity(image, field) for name, image in zip(other, images, strict=True)},
        difference=_fraction(difference, field),
        places=field.embed((preprocessing.resample_like(places, field.cropped).array > 0.5).astype(np.uint8)),
    )


def _intensity(image: Volume, field: FieldOfView) -> Volume:
    """An image in [-1, 1] as it is handed out, on the input's grid."""
    return field.embed(preprocessing.to_intensity(preprocessing.resample_like(image, field.cropped).array))


def _fraction(image: Volume, field: FieldOfView) -> Volume:
    """A fraction of the intensity range as it is handed out, on the input's grid: above 0 in the fan."""
    return field.embed(preprocessing.resample_like(image, field.cropped).array.clip(_SMALLEST, 1.0))
