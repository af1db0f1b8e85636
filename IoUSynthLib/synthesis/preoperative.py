"""The patient's preoperative MRI as second input of a generator: what of it the network sees, and what it changes.

Ultrasound tells where things are today, the MRI what they look like. An MRI that lies wrong, or is another patient's,
must not be believed: a generator that is given one runs without it, too, and where the two results are too far apart,
the one of ultrasound alone is shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files.transforms import matrix_of
from ..input_checks import check_input
from ..models.bundle import Bundle
from ..preprocessing import gaussian_mean, normalize_preoperative, resample_like
from ..progress import PartProgress, part_of
from ..volume import InputError, Volume
from .acquired import LEAST_COVERED, check_is_mri, covered_by
from .generate import Generated
from .grid import NetworkGrid
from .spread import Sampling, draw

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Images with and without MRI may differ by this fraction of the intensity range, in the mean over the fan. It does not
#: tell right MRI from wrong, but the worst of another patient's lay above it, and one in ten of right ones
#: (``Resources/Models/ious-mri2mr-2.5d/docs/README.md``): what is left out costs a gain, what is not a wrong image.
MOST_DISAGREEMENT = 0.05
#: They disagree about the tissue of a place where they differ by more than this fraction after smoothing by a Gaussian
#: of this standard deviation, which leaves edges and texture out; smaller places are not marked.
_OTHER_TISSUE, _SMOOTHING_MM, _SMALLEST_ML = 0.15, 1.5, 0.2


@dataclass(frozen=True, eq=False)
class Preoperative:
    """MRI of the patient from before the operation, and where it lies.

    Attributes
    ----------
    images
        By contrast: ``T2w``, ``ceT1`` or ``FLAIR``.
    transform
        From LPS points of the ultrasound to LPS points of the MRI, as ``iousynth register`` writes it; the identity
        when None.
    names
        What reports and messages call each image and, under ``transform``, the transform; may be left out.
    doubts
        What speaks against the transform, in words for the report.
    """

    images: Mapping[str, Volume]
    transform: sitk.Transform | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against trusting transform and images as they were read, in words for the report."""
        of_images = (f"{name} MRI: {text}" for name, image in self.images.items() for text in image.warnings)
        return (*self.doubts, *of_images)

    def describe(self) -> dict[str, Any]:
        """Return what a report says of it: names, checksums and places of the images, and the transform."""
        images = {
            contrast: {
                "name": self.names.get(contrast, ""), "sha256": image_sha256(image), "size": list(image.size),
                "ijk_to_lps": image.ijk_to_lps.tolist(),
            }
            for contrast, image in self.images.items()
        }  # fmt: skip
        matrix = np.eye(4) if self.transform is None else matrix_of(self.transform)
        kind = "linear" if matrix is not None else self.transform.GetName()
        return {
            "images": images,
            "transform": {
                "name": self.names.get("transform", ""), "kind": kind,
                "ultrasound_to_mri_lps": None if matrix is None else matrix.tolist(),
            },
        }  # fmt: skip

    def checked(self, ultrasound: Volume, generator: Bundle) -> Preoperative:
        """Return it with backgrounds of 0.

        Raises
        ------
        InputError
            The generator reads no such contrast, or an image cannot be used or is the ultrasound itself.
        """
        check_contrasts(self.images, generator)
        images = {}
        for contrast, image in self.images.items():
            name = f"{contrast} MRI"
            images[contrast] = check_input(image, name)
            check_is_mri(images[contrast], ultrasound, name, transform=self.transform)
        return replace(self, images=images)


@dataclass(frozen=True, eq=False)
class Comparison:
    """How far images with and without MRI are apart, on a generator's grid.

    Attributes
    ----------
    difference
        (z, y, x) absolute difference, the mean over contrasts, as a fraction of the intensity range.
    places
        (z, y, x) bool: where the two disagree about tissue.
    disagreement
        Mean difference over the fan.
    """

    difference: np.ndarray
    places: np.ndarray
    disagreement: float


@dataclass(frozen=True, eq=False)
class Alternatives:
    """Images of ultrasound alone and, where there is MRI, images of both.

    Attributes
    ----------
    shown
        Those to be shown.
    other
        The others; None without MRI.
    comparison
        Of the two.
    report
        Which contrasts were used, why others were not, and figures; empty where no MRI was given.
    """

    shown: Generated
    other: Generated | None = None
    comparison: Comparison | None = None
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Contribution:
    """What MRI has changed in the images of a result, all on the input's grid.

    Attributes
    ----------
    used
        Whether the result's images were made with MRI.
    other
        By contrast the images that are not the result's: of ultrasound alone where MRI was used, else with it.
    difference
        float32: absolute difference of the two, the mean over contrasts, as a fraction of the intensity range; 0 is no
        data.
    places
        uint8: 1 where the two disagree about tissue.
    """

    used: bool
    other: dict[str, Volume]
    difference: Volume
    places: Volume

    def pair(self, images: dict[str, Volume]) -> tuple[dict[str, Volume], dict[str, Volume]]:
        """Return the images of ultrasound alone and those with MRI, of which ``images`` are the result's."""
        return (self.other, images) if self.used else (images, self.other)


def image_sha256(image: Volume) -> str:
    """Return the SHA-256 of an image: of its voxels as float32, x fastest, and of its place to a micrometre."""
    place = np.round(image.ijk_to_lps, 3) + 0.0  # no negative zero
    digest = hashlib.sha256(place.astype("<f8").tobytes() + np.array(image.size, "<i8").tobytes())
    digest.update(np.ascontiguousarray(image.array, dtype="<f4"))
    return digest.hexdigest()


def check_patient(generator: Bundle, given: Collection[str]) -> list[str]:
    """Refuse a model that was personalised for one patient beside the MRI of another.

    Parameters
    ----------
    generator
        The model.
    given
        SHA-256 of all MRI that the run has of its patient (:func:`image_sha256`).

    Returns
    -------
    list of str
        A warning where there is no MRI by which it could be told.

    Raises
    ------
    InputError
        There is MRI, and none of it is what the model was personalised on.
    """
    if not generator.patient:
        return []
    if not given:
        return [
            f"{generator.name} is for one patient alone, and whether this is the one cannot be told without the MRI "
            "that it was personalised on: show that MRI beside the ultrasound (--preoperative)"
        ]
    if not set(given) & set(generator.patient.values()):
        raise InputError(
            f"{generator.name}: was personalised on other MRI than this patient's; choose another model, or give one "
            "of the very files that it was made of"
        )
    return []


def check_contrasts(contrasts: Mapping[str, Any], generator: Bundle) -> None:
    """Raise :class:`InputError` for a contrast that a generator does not read beside ultrasound."""
    unread = next((contrast for contrast in contrasts if contrast not in generator.optional), None)
    if unread is None:
        return
    if not generator.optional:
        raise InputError(f"{unread} MRI: {generator.name} reads ultrasound alone; choose a model that reads MRI, too")
    read = ", ".join(generator.optional)
    raise InputError(f"{unread} MRI: {generator.name} reads {read} beside ultrasound; leave it out")


def synthesize_both(
    generator: Bundle,
    grid: NetworkGrid,
    preoperative: Preoperative | None,
    *,
    sampling: Sampling | None = None,
    device: str = "auto",
    progress: PartProgress = lambda fraction: None,
) -> Alternatives:
    """Make images of ultrasound alone and, where there is MRI, of both, and choose.

    Parameters
    ----------
    generator
        The model.
    grid
        Its grid, with the ultrasound.
    preoperative
        MRI that was checked, if there is any.
    sampling, device, progress
        As for :func:`.spread.draw`.
    """
    seen, left_out = ({}, {}) if preoperative is None else on_grid(preoperative, grid)
    share = 0.5 if seen else 1.0
    alone = draw(generator, grid, sampling, device=device, progress=part_of(progress, 0.0, share))
    if preoperative is None:
        return Alternatives(alone)
    report = {"used": False, "contrasts": list(seen), "why_not": "; ".join(left_out.values())}
    if not seen:
        return Alternatives(alone, report=report)
    both = draw(
        generator, grid, sampling, preoperative=seen, device=device, progress=part_of(progress, share, 1.0)
    )
    comparison = compare(alone.images, both.images, grid)
    used = comparison.disagreement <= MOST_DISAGREEMENT
    if not used:
        report["why_not"] = (
            f"the images with MRI differ from those of ultrasound alone by {comparison.disagreement:.1%} of the "
            f"intensity range, at most {MOST_DISAGREEMENT:.0%} is believed; is it registered, and of this patient?"
        )
    report |= {
        "used": used,
        "disagreement": round(comparison.disagreement, 4),
        "most_disagreement": MOST_DISAGREEMENT,
        "disagreeing_ml": round(float(comparison.places.sum()) * grid.image.voxel_volume_ml, 2),
    }
    shown, other = (both, alone) if used else (alone, both)
    return Alternatives(shown, other, comparison, report)


def on_grid(preoperative: Preoperative, grid: NetworkGrid) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Resample MRI onto the grid of a generator, once, and scale it.

    Returns
    -------
    tuple of dict
        By contrast what the network sees, (z, y, x) float32 in [-1, 1], -1 where there is no data; and why others are
        left out.
    """
    seen, left_out = {}, {}
    for contrast, image in preoperative.images.items():
        inside = grid.valid & covered_by({contrast: image}, grid.image, preoperative.transform)
        covered = float(inside.sum() / grid.valid.sum())
        if covered < LEAST_COVERED:
            left_out[contrast] = f"the {contrast} MRI covers only {covered:.0%} of the ultrasound"
            continue
        resampled = resample_like(image, grid.image, transform=preoperative.transform).array
        scaled = normalize_preoperative(resampled, inside)
        if scaled.min() == scaled.max():
            left_out[contrast] = f"the {contrast} MRI holds no image where the ultrasound is"
        else:
            seen[contrast] = scaled
    return seen, left_out


def compare(without: Mapping[str, np.ndarray], with_mri: Mapping[str, np.ndarray], grid: NetworkGrid) -> Comparison:
    """Compare images (z, y, x) in [-1, 1] of ultrasound alone with those of ultrasound and MRI, by contrast."""
    changes = [(with_mri[name] - without[name]) / 2 for name in without]
    difference = np.mean([np.abs(change) for change in changes], axis=0, dtype=np.float32)
    spacing = grid.image.spacing
    smooth = [np.abs(gaussian_mean(change, grid.valid, spacing, sigma=_SMOOTHING_MM)) for change in changes]
    places = _large(np.max(smooth, axis=0) > _OTHER_TISSUE, grid.image.voxel_volume_ml)
    return Comparison(difference, places, float(difference[grid.valid].mean()))


def _large(mask: np.ndarray, voxel_volume_ml: float) -> np.ndarray:
    """The connected pieces of a mask that are large enough to be marked."""
    import SimpleITK as sitk

    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True))
    kept = np.bincount(pieces.ravel()) * voxel_volume_ml >= _SMALLEST_ML
    kept[0] = False
    return kept[pieces]


def warnings_of(report: Mapping[str, Any]) -> list[str]:
    """Return what is to be warned of where MRI was given, by :attr:`Alternatives.report`."""
    if not report:
        return []
    if not report["used"]:
        return [f"the preoperative MRI was not used, the images are of ultrasound alone: {report['why_not']}"]
    warnings = [f"not used: {report['why_not']}"] if report["why_not"] else []
    if report["disagreeing_ml"]:
        warnings.append(
            f"with and without the preoperative MRI the images disagree about {report['disagreeing_ml']:.1f} ml of "
            "tissue, which is marked: look at the ultrasound there"
        )
    return warnings
