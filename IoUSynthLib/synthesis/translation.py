"""MRI of one contrast to MRI of another: from the input's grid to the network's and back, without ultrasound."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..constants import OUTSIDE
from ..input_checks import check_input
from ..models.bundle import Bundle
from ..preprocessing import (
    SCALINGS,
    axial,
    bounding_box,
    crop,
    field_of_view,
    resample_inside,
    resample_like,
    to_intensity,
)
from ..progress import PartProgress
from ..volume import InputError, Volume
from .generate import generate
from .grid import NetworkGrid, from_network_grid


@dataclass(frozen=True, eq=False)
class Translation:
    """What a generator makes of an MRI, on the MRI's grid.

    Attributes
    ----------
    images
        By contrast, float32: 0 is no data, else 1 to 1000.
    valid
        uint8: 1 in the brain, or whatever of the head the MRI shows.
    grid
        The network's, in words and figures.
    """

    images: dict[str, Volume]
    valid: Volume
    grid: dict[str, object]


def check_translates(generator: Bundle) -> str:
    """The contrast that a generator reads.

    Raises
    ------
    InputError
        It makes no MRI of MRI.
    """
    if generator.kind != "generator":
        raise InputError(f"{generator.path}: is a {generator.kind}, but a generator is needed; choose another model")
    if len(generator.inputs) > 1 or "ioUS" in generator.inputs:
        raise InputError(f"{generator.path}: reads {', '.join(generator.inputs)}; use iousynth synthesize with it")
    return generator.inputs[0]


def translate(
    volume: Volume, generator: Bundle, *, device: str = "auto", progress: PartProgress = lambda fraction: None
) -> Translation:
    """Make MRI of MRI.

    The input is prepared as ``iousynth prepare --pairs`` prepares a case: axial slices, scaled as the bundle says,
    cropped to the brain; it is interpolated only where its voxels are not those that the network has learned from.

    Parameters
    ----------
    volume
        Of the contrast that the generator reads, as in the cohort that it learned from: without the skull where that
        had none.
    generator
        A model for which :func:`check_translates` holds.
    device, progress
        As in :func:`.generate.generate`.

    Raises
    ------
    InputError
        The volume or the model cannot be used.
    """
    check_translates(generator)
    turned = axial(check_input(volume))
    brain = field_of_view(turned.array)
    if not brain.any():
        raise InputError("input volume: holds no image; give an MRI with a brain in it")
    box = bounding_box(brain, margin=1)
    cropped, inside = crop(turned, box), brain[box]
    scaled = cropped.with_array(SCALINGS[generator.scaling](turned.array)[box])
    image, valid = scaled, inside
    if not np.allclose(cropped.spacing, generator.spacing, rtol=1e-3):
        (image,), valid = resample_inside([scaled], generator.spacing, inside)
    image = image.with_array(np.where(valid, image.array, OUTSIDE).astype(np.float32))
    grid = NetworkGrid(image, valid, bounding_box(np.ones_like(valid)), "patient", None)
    images = {}
    for name, made in generate(generator, grid, device=device, progress=progress).images.items():
        whole = np.zeros(turned.array.shape, np.float32)
        whole[box] = np.where(inside, to_intensity(from_network_grid(made, grid, cropped)), 0)
        images[name] = _as_given(turned.with_array(whole), volume)
    seen = _as_given(turned.with_array(brain.astype(np.uint8)), volume)
    return Translation(images, seen, grid.describe())


def _as_given(turned: Volume, volume: Volume) -> Volume:
    """Voxels with axial slices in the order of the input, of which they are the same."""
    return replace(resample_like(turned, volume, nearest=True), warnings=())
