"""The quality of an input before the run, in plain words: fine, look at this, or cannot be used, with the remedy.

Quick enough for a panel, because it looks at a coarse sample of the voxels: 0.05 s for 256x256x288 voxels on one core.
The report of a result says the same, from the same sample. NumPy only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .. import preprocessing
from ..input_checks import check_ultrasound
from ..volume import InputError, Volume

if TYPE_CHECKING:
    from ..models.bundle import Bundle

FINE, LOOK, UNUSABLE = "fine", "look", "unusable"

#: Most voxels of the sample along an axis.
_SAMPLE_SIDE = 64
#: Distance in mm at which neighbours are compared for the grain: two voxels of the model that ships.
_GRAIN_MM = 1.6
#: Voxels coarser than the model's by this factor have lost what it works with.
_COARSEST = 2.5
#: Voxels smaller than this, in mm, are none of ultrasound: a spacing in the wrong unit.
_FINEST_MM = 0.03
#: Lengths in mm between which the longest side of a sweep lies.
_LENGTHS_MM = (15.0, 250.0)
#: Share of empty voxels between others along an axis: 0.02 in RESECT case 4, 0.67 in RESECT's real sweep when its
#: frames are not joined, at most 0.26 in 95 of 100 simulated sweeps.
_LARGEST_HOLES = 0.4

#: More than any sweep with a burr-hole or craniotomy probe covers, and less than a brain.
_LARGEST_SWEEP_ML = 800.0
#: A grid filled further than this has no fan in it.
_FULLEST_GRID = 0.95
#: Share of voxels outside the fan that may differ from 0 (rounding of a compressed or resampled image).
_LARGEST_NOISE_SHARE = 0.2

#: What is compared with the model's training images: its name in words.
MEASURES = {"brightness": "brightness", "contrast": "contrast", "grain": "grain", "fan_ml": "size in ml"}


@dataclass(frozen=True)
class Quality:
    """What :func:`assess_quality` says.

    Attributes
    ----------
    level
        ``fine``, ``look`` or ``unusable``.
    findings
        What speaks against the input, each with cause and remedy; none if it is fine.
    measures
        ``spacing_mm`` (smallest and largest) and, unless it is unusable, what :func:`measure` gives.
    """

    level: str
    findings: tuple[str, ...] = ()
    measures: dict[str, float | tuple[float, float]] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The measures in words."""
        if self.level == UNUSABLE:
            return ""
        low, high = self.measures["spacing_mm"]
        voxels = f"{high:.2g}" if round(low, 2) == round(high, 2) else f"{low:.2g} to {high:.2g}"
        return (
            f"{self.measures['fan_ml']:.0f} ml of image, {self.measures['length_mm']:.0f} mm long, "
            f"voxels of {voxels} mm, {self.measures['empty']:.0%} of the grid empty"
        )


def assess_quality(volume: Volume, bundle: Bundle | None = None, name: str = "input volume") -> Quality:
    """Assess an input by its geometry and a sample of its voxels.

    Parameters
    ----------
    volume
        The input, ``[z, y, x]``, of any number type; it is neither changed nor copied.
    bundle
        The model it is meant for: its voxel size and, where the bundle tells (entry ``training_range``), what its
        training images were like.
    name
        What messages call the volume.
    """
    try:
        volume = check_ultrasound(volume, name)
    except InputError as error:
        return Quality(UNUSABLE, (str(error),))
    return assess_checked(volume, bundle)


def assess_checked(volume: Volume, bundle: Bundle | None = None) -> Quality:
    """Do as :func:`assess_quality` does, with a volume that :func:`.check_ultrasound` has returned."""
    sample = sampled(volume)
    fan = _hull(preprocessing.foreground(sample.array))
    measures = {
        "spacing_mm": (min(map(abs, volume.spacing)), max(map(abs, volume.spacing))),
        **measure(volume, sample, fan),
    }
    findings = (
        *_not_ultrasound(sample, fan),
        *_wrong_size(measures, bundle),
        *_holes(measures["holes"]),
        *_unlike_training(measures, bundle),
    )
    return Quality(LOOK if findings else FINE, findings, measures)


def sampled(volume: Volume) -> Volume:
    """Return every n-th voxel along each axis, at most 64 of them, without copying."""
    steps = [max(1, -(-length // _SAMPLE_SIDE)) for length in volume.array.shape]
    array = volume.array[tuple(slice(None, None, step) for step in steps)]
    return Volume(array, np.multiply(volume.spacing, steps[::-1]), volume.origin, volume.direction)


def measure(volume: Volume, sample: Volume | None = None, fan: np.ndarray | None = None) -> dict[str, float]:
    """Measure what an ultrasound volume looks like.

    Parameters
    ----------
    volume
        A volume that :func:`volume.check_input` accepts.
    sample, fan
        The volume :func:`sampled` and its hull, when they are known already.

    Returns
    -------
    dict
        ``fan_ml`` and ``length_mm`` of the image content; ``empty``, the share of the grid without content; ``holes``,
        the share of empty voxels between others along the axis with most of them; ``brightness`` and ``contrast``,
        mean and standard deviation of the content normalised by eq. 1 to [-1, 1]; ``grain``, 0 for a smooth image and
        1 for one whose voxels 1.6 mm apart have nothing in common.
    """
    sample = sampled(volume) if sample is None else sample
    fan = _hull(preprocessing.foreground(sample.array)) if fan is None else fan
    box = preprocessing.bounding_box(fan)
    sides = [(part.stop - part.start) * size for part, size in zip(box[::-1], sample.spacing, strict=True)]
    content = preprocessing.normalize_ultrasound(sample.array)[fan & (sample.array > 0)]
    middle = [
        (part.start + part.stop) // 2 * length // count
        for part, length, count in zip(box, volume.array.shape, sample.array.shape, strict=True)
    ]
    return {
        "fan_ml": float(fan.sum()) * sample.voxel_volume_ml,
        "length_mm": float(max(sides)),
        "empty": 1.0 - float(fan.mean()),
        "holes": _hole_share(volume, middle),
        "brightness": float(content.mean()),
        "contrast": float(content.std()),
        "grain": _grain(volume, middle, preprocessing.ultrasound_statistics(sample.array)),
    }


def looks_like_ultrasound(volume: Volume, fan: np.ndarray | None = None) -> tuple[bool, str]:
    """Tell whether a volume can be a reconstructed intraoperative ultrasound, and if not, why.

    Three things are looked at: the field of view holds less than 800 ml, it leaves part of the grid empty, and at
    least 80 % of the voxels outside it are exactly 0. Measured:

    =========================================  =========  ===========  =============
    volume                                     view, ml   grid filled  not 0 outside
    =========================================  =========  ===========  =============
    ultrasound, RESECT case 4                  83         0.06         0.000
    ultrasound, RESECT sweep, compounded here  195        0.25         0.067
    ultrasound, spine phantom of PlusLib       59         0.29         0.007
    head MRI, ReMIND 022, T1 and T2            3942-5621  0.33-0.53    0.217-0.252
    brain-extracted MRI, 6 of open_ms          1097-1139  0.15-0.16    0.000-0.001
    brain-extracted MRI, 8 of TCGA-LGG         1246-1603  0.14-0.18    0.000-0.002
    simulated ultrasound, 71 cases             135-672    0.13-0.63    0.000-0.065
    =========================================  =========  ===========  =============

    Parameters
    ----------
    volume
        The image.
    fan
        Its :func:`.preprocessing.field_of_view`, when that is known already.

    Returns
    -------
    tuple
        ``(True, "")``, or False and a sentence that names the measured value.
    """
    fan = preprocessing.field_of_view(volume.array) if fan is None else fan
    millilitres = float(fan.sum()) * volume.voxel_volume_ml
    if millilitres > _LARGEST_SWEEP_ML:
        return False, (
            f"the image content covers {millilitres:.0f} ml, an ultrasound sweep less than {_LARGEST_SWEEP_ML:.0f} ml; "
            "an MRI, or a wrong voxel spacing?"
        )
    filled = float(fan.mean())
    if filled > _FULLEST_GRID:
        return False, f"image content fills {filled:.0%} of the grid, a fan leaves part of it empty; a cropped MRI?"
    noise = float((volume.array[~fan] != 0).mean())
    if noise > _LARGEST_NOISE_SHARE:
        return False, f"{noise:.0%} of the voxels round the image content are not 0, as in the air round a head in MRI"
    return True, ""


def training_range(volumes: Iterable[Volume]) -> dict[str, list[float]]:
    """Return the lowest and highest of each of :data:`MEASURES`: the entry ``training_range`` of a bundle."""
    measured = [measure(volume) for volume in volumes]
    return {name: [round(limit([case[name] for case in measured]), 3) for limit in (min, max)] for name in MEASURES}


def _between(mask: np.ndarray, axis: int) -> np.ndarray:
    """Fill the mask between its first and its last voxel along an axis."""
    flipped = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis), axis)
    return np.maximum.accumulate(mask, axis) & flipped


def _hull(mask: np.ndarray) -> np.ndarray:
    """Return the voxels that lie between others along all three axes: the fan without what is dark or empty in it."""
    return _between(mask, 0) & _between(mask, 1) & _between(mask, 2)


def _middle_slices(volume: Volume, middle: list[int]) -> Iterable[tuple[np.ndarray, tuple[float, ...]]]:
    """Give the three slices through a voxel at full resolution, with the voxel sizes along their two axes."""
    for axis in range(3):
        sizes = tuple(abs(size) for other, size in enumerate(volume.spacing[::-1]) if other != axis)
        yield volume.array.take(middle[axis], axis=axis), sizes


def _hole_share(volume: Volume, middle: list[int]) -> float:
    """Return the share of empty voxels between others, along the axis and in the slice where it is largest."""
    shares = [0.0]
    for image, _sizes in _middle_slices(volume, middle):
        for axis in range(2):
            between = _between(image > 0, axis)
            if between.any():
                shares.append(float((image[between] == 0).mean()))
    return max(shares)


def _grain(volume: Volume, middle: list[int], limits: tuple[float, float] | None) -> float:
    """Return one minus the correlation of voxels 1.6 mm apart, the mean over three slices and their axes."""
    grains = []
    for image, sizes in _middle_slices(volume, middle) if limits else ():
        clipped, seen = np.clip(image.astype(np.float32), *limits), image > 0
        for axis, size in enumerate(sizes):
            step = max(1, round(_GRAIN_MM / size))
            here, there = np.moveaxis(clipped, axis, 0)[step:], np.moveaxis(clipped, axis, 0)[:-step]
            both = np.moveaxis(seen, axis, 0)[step:] & np.moveaxis(seen, axis, 0)[:-step]
            if both.sum() > 50 and min(here[both].std(), there[both].std()) > 0:
                grains.append(1.0 - float(np.corrcoef(here[both], there[both])[0, 1]))
    return float(np.mean(grains)) if grains else 0.0


def _not_ultrasound(sample: Volume, fan: np.ndarray) -> list[str]:
    plausible, reason = looks_like_ultrasound(sample, fan)
    if plausible:
        return []
    return [
        f"The input does not look like ultrasound: {_sentence(reason)} Choose the ultrasound volume, or correct "
        "its spacing."
    ]


def _sentence(reason: str) -> str:
    return reason if reason.endswith(("?", ".")) else f"{reason}."


def _wrong_size(measures: dict, bundle: Bundle | None) -> list[str]:
    findings = []
    (finest, coarsest), length = measures["spacing_mm"], measures["length_mm"]
    if bundle is not None and coarsest > _COARSEST * max(bundle.spacing):
        findings.append(
            f"Voxels of {coarsest:.2g} mm are coarse for the model, which works at {max(bundle.spacing):.2g} mm; "
            "reconstruct the volume with a smaller spacing."
        )
    low, high = _LENGTHS_MM
    if finest < _FINEST_MM or not low <= length <= high:
        findings.append(
            f"The image content is {length:.3g} mm long with voxels of {finest:.2g} mm, which no sweep of a brain is; "
            "set the spacing in mm where it was exported, or in 3D Slicer in the module Volumes."
        )
    return findings


def _holes(share: float) -> list[str]:
    if share <= _LARGEST_HOLES:
        return []
    return [f"{share:.0%} of the voxels between the frames are empty; reconstruct the volume with hole filling."]


def _unlike_training(measures: dict, bundle: Bundle | None) -> list[str]:
    """Compare with the range of the training images, if the model tells it."""
    ranges = (bundle.details.get("training_range") or {}) if bundle is not None else {}
    unlike = [
        f"{words} {measures[name]:.3g}, trained on {ranges[name][0]:.3g} to {ranges[name][1]:.3g}"
        for name, words in MEASURES.items()
        if name in ranges and not ranges[name][0] <= measures[name] <= ranges[name][1]
    ]
    if not unlike:
        return []
    return [
        f"Unlike the images that {bundle.name} was trained on ({'; '.join(unlike)}); trust the result less, or change "
        "gain and depth of the ultrasound."
    ]
