"""Several samples of a generator that draws: how far they are apart, and in how many of them there is tumour.

A diffusion, or a variational auto-encoder at a temperature, makes another image of the same ultrasound with other
noise. Where its samples differ it has not decided. That says nothing of an error that all of them share, and nobody has
calibrated it: it is for research.

A sample has the same noise in all windows of a volume; where a generator cuts slices along several axes, what is fused
to one image was drawn for each of them, so that samples differ less than single slices do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..constants import LABELS
from ..inference import open_session
from ..models.bundle import HOTTEST, Bundle, list_bundles
from ..progress import PartProgress, part_of
from ..volume import InputError, Volume
from .acquired import match
from .generate import Generated, generate
from .grid import NetworkGrid, from_network_grid

#: Samples that can be drawn of an ultrasound.
MOST_SAMPLES = 16


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn.

    Attributes
    ----------
    count
        How many, 1 to :data:`MOST_SAMPLES`.
    seed
        Of all random numbers: the first samples of a seed are the same ones, however many are drawn.
    temperature
        Factor of the deviations; None where the generator has no such factor.
    """

    count: int
    seed: int
    temperature: float | None

    def describe(self) -> dict[str, Any]:
        """Return what a report says of it."""
        return {"samples": self.count, "seed": self.seed, "temperature": self.temperature}


@dataclass(frozen=True, eq=False)
class Spread:
    """How samples differ, on the input's grid.

    Attributes
    ----------
    deviation
        float32: standard deviation over the samples, the mean over contrasts, as a fraction of the intensity range; 0
        is no data.
    frequency
        uint8: in how many samples a voxel is tumour.
    """

    deviation: Volume
    frequency: Volume


def check_sampling(
    generator: Bundle, samples: int, *, seed: int = 0, temperature: float | None = None
) -> Sampling | None:
    """Return how samples of a generator are drawn; None where none are wanted.

    Raises
    ------
    InputError
        The generator draws nothing or has no temperature, or a number is out of its range.
    """
    if not 0 <= samples <= MOST_SAMPLES:
        raise InputError(f"samples {samples}: must be from 1 to {MOST_SAMPLES}, or 0 to draw none")
    if not samples:
        return None
    if not generator.draws:
        known = [bundle.name for bundle in list_bundles() if bundle.kind == "generator" and bundle.draws]
        remedy = f"choose one that draws: {', '.join(known)}" if known else "train MMHVAE or SynDiff (train --list)"
        raise InputError(
            f"samples {samples}: {generator.name} draws nothing, all would be alike; leave the samples out, or {remedy}"
        )
    if temperature is not None and generator.temperature is None:
        raise InputError(f"temperature {temperature:g}: {generator.name} has none; leave it out, and choose a seed")
    if temperature is not None and not 0 <= temperature <= HOTTEST:
        raise InputError(f"temperature {temperature:g}: must be from 0 to {HOTTEST:g}")
    return Sampling(samples, seed, generator.temperature if temperature is None else temperature)


def draw(
    generator: Bundle,
    grid: NetworkGrid,
    sampling: Sampling | None,
    *,
    preoperative: Mapping[str, np.ndarray] | None = None,
    device: str = "auto",
    progress: PartProgress = lambda fraction: None,
) -> Generated:
    """Make the image that a generator makes anyway, or samples and their mean.

    The mean is what is shown: no sample is more right than another, it has the least squared error that is to be
    expected, and the standard deviation is about it. Where samples differ, it is blurred.

    Parameters
    ----------
    sampling
        How samples are drawn; None for none.
    generator, grid, preoperative, device, progress
        As for :func:`.generate.generate`.
    """
    if sampling is None:
        return generate(
            generator, grid, preoperative=preoperative, device=device, with_error=True, progress=progress
        )
    session, made = open_session(generator, device), []
    for number in range(sampling.count):
        made.append(generate(
            generator, grid, preoperative=preoperative, device=device, with_error=True,
            session=session.sampled((sampling.seed, number), sampling.temperature),
            progress=part_of(progress, number / sampling.count, (number + 1) / sampling.count),
        ))  # fmt: skip
    samples = tuple(one.images for one in made)
    images = {name: np.mean([sample[name] for sample in samples], axis=0) for name in generator.images}
    errors = [one.error for one in made if one.error is not None]
    return Generated(images, np.mean(errors, axis=0) if errors else None, samples)


def deviation(samples: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Standard deviation over two samples or more, each (z, y, x) in [-1, 1] by contrast: (z, y, x), as a fraction of
    the intensity range, the mean over contrasts.
    """
    of_contrasts = [np.std([sample[name] for sample in samples], axis=0, ddof=1) for name in samples[0]]
    return np.mean(of_contrasts, axis=0, dtype=np.float32) / 2


def as_outlined(
    samples: Sequence[Mapping[str, np.ndarray]],
    grid: NetworkGrid,
    *,
    outline_grid: NetworkGrid,
    outlined: Mapping[str, np.ndarray],
) -> list[dict[str, np.ndarray]]:
    """Bring samples to the grid and the scale of the images that a segmenter reads.

    Parameters
    ----------
    samples
        On ``grid``, (z, y, x) by contrast.
    grid
        The generator's.
    outline_grid, outlined
        The grid of the generator that the segmenter has learned from, and its images. All samples of a contrast get
        mean and spread of its image by one linear map, so that what they differ in remains (:func:`.acquired.match`).
    """
    matched: list[dict[str, np.ndarray]] = [{} for _ in samples]
    for name in samples[0]:
        moved = np.stack([from_network_grid(sample[name], grid, outline_grid.image) for sample in samples])
        alike = match(
            moved, np.broadcast_to(outlined[name], moved.shape), np.broadcast_to(outline_grid.valid, moved.shape)
        )
        for sample, image in zip(matched, alike, strict=True):
            sample[name] = np.where(outline_grid.valid, image, 0).astype(np.float32)
    return matched


def describe_spread(spread: Spread, segmentation: Volume, *, mean_deviation: float) -> dict[str, Any]:
    """Return what a report says of how samples differ, beside :meth:`Sampling.describe`.

    Parameters
    ----------
    spread
        It.
    segmentation
        What is outlined on the result.
    mean_deviation
        Mean of :func:`deviation` over the fan.

    Returns
    -------
    dict
        That mean; ``most``, the highest frequency anywhere; and ``outlined``, of each outlined tumour, the largest
        first, its volume and the frequency of its median voxel.
    """
    return {
        "mean_deviation": round(mean_deviation, 4),
        "most": int(spread.frequency.array.max()),
        "outlined": _outlined(segmentation, spread.frequency.array),
    }


def _outlined(segmentation: Volume, frequency: np.ndarray) -> list[dict[str, Any]]:
    import SimpleITK as sitk

    tumour = sitk.GetImageFromArray((segmentation.array == LABELS["tumour"]).astype(np.uint8))
    pieces = sitk.GetArrayFromImage(sitk.RelabelComponent(sitk.ConnectedComponent(tumour, False)))
    return [
        {
            "ml": round(float((pieces == number).sum()) * segmentation.voxel_volume_ml, 3),
            "samples": int(np.median(frequency[pieces == number])),
        }
        for number in range(1, int(pieces.max()) + 1)
    ]


def tumour_words(report: Mapping[str, Any]) -> str:
    """Say of two samples or more in how many there is tumour, by what a report says of them.

    Examples
    --------
    >>> tumour_words({"samples": 8, "most": 8, "outlined": [{"ml": 12.3, "samples": 6}]})
    'tumour in 6 of 8 samples'
    >>> tumour_words({"samples": 8, "most": 2, "outlined": []})
    'tumour nowhere in more than 2 of 8 samples'
    """
    found = report["outlined"]
    if not found:
        return f"tumour nowhere in more than {report['most']} of {report['samples']} samples"
    return f"{'largest ' if len(found) > 1 else ''}tumour in {found[0]['samples']} of {report['samples']} samples"
