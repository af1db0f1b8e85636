"""Tumour and resection cavity by a segmenter: its probabilities, what is outlined of them, and how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..models.bundle import Bundle
from ..preprocessing import bounding_box, box_within, crop, resample_like
from ..progress import PartProgress
from . import outlines
from .generate import run_network
from .grid import FieldOfView, NetworkGrid, coarsened, extended_beyond_fan, stacked

#: What a report warns of when there must be a tumour, but none is seen.
NO_TUMOUR_SEEN = (
    f"no tumour above {outlines.FAINT_BELOW_ML:g} ml stands out: look for it in the preoperative MRI, or ask for a "
    "guess at its place (--probable-place)"
)
#: The same where that place is outlined.
FAINT_TUMOUR = (
    "no tumour stands out in this ultrasound; its most probable place is outlined, because that was asked for: compare "
    "it with the preoperative MRI, or, if something has been removed, take back the choice Before resection "
    "(--before-resection)"
)
#: Voxels that what is outlined depends on: so many are interpolated from, each continued by as many, and those between.
_REACH = 8
#: Outlines with an expected Dice below this are called doubtful: less of them is right than wrong.
DOUBTFUL_BELOW = 0.5


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
        Whether no tumour stands out where there must be one.
    place_outlined
        Whether its most probable place is outlined instead (:func:`.outlines.with_probable_place`).
    measured_on
        What the segmenter's bundle says that the Dice was measured on; may be empty.
    """

    probabilities: np.ndarray
    expected_dice: dict[str, float]
    faint: bool = False
    place_outlined: bool = False
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
        faint = [FAINT_TUMOUR if self.place_outlined else NO_TUMOUR_SEEN] if self.faint else []
        return [*faint, *doubtful]


def outline(
    segmenter: Bundle,
    grid: NetworkGrid,
    images: dict[str, np.ndarray],
    *,
    device: str = "auto",
    progress: PartProgress = lambda fraction: None,
) -> tuple[NetworkGrid, np.ndarray]:
    """Find tumour and cavity on ultrasound and MRI, synthetic or not.

    Parameters
    ----------
    segmenter
        The model.
    grid
        The ultrasound, and the grid of the images.
    images
        (z, y, x) in [-1, 1] by contrast.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called with the fraction done; may raise :class:`inference.Cancelled`.

    Returns
    -------
    tuple of NetworkGrid and numpy.ndarray
        The segmenter's grid, and on it probabilities (3, z, y, x) of background, tumour and cavity.
    """
    grid, images = coarsened(grid, images, segmenter.spacing)
    stack = stacked(grid, images, segmenter.inputs)
    return grid, run_network(
        segmenter, stack, grid, device=device, activation=outlines.softmax, progress=progress
    )


def decide(
    segmenter: Bundle, grid: NetworkGrid, probabilities: np.ndarray, *,
    before_resection: bool, probable_place: bool = False,
) -> Decision:
    """Choose from a segmenter's probabilities what to outline, and say how far to trust it.

    Parameters
    ----------
    segmenter
        The model, for its operating point.
    grid, probabilities
        As :func:`outline` returns them.
    before_resection
        Whether nothing has been removed yet: then there is no cavity, and there is a tumour.
    probable_place
        Whether that tumour's most probable place is outlined where none stands out.
    """
    valid, voxel_volume_ml = grid.valid, grid.image.voxel_volume_ml
    weights, faint, placed = segmenter.class_weights, False, False
    if before_resection:
        seen = shown = outlines.without_cavity(outlines.weighted(probabilities, weights))
        faint = not outlines.tumour_stands_out(seen, valid, voxel_volume_ml)
        if faint and probable_place:
            shown, placed = outlines.with_probable_place(seen, valid, grid.image.spacing)
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
    return Decision(shown, expected_dice, faint, placed, segmenter.expected_dice_measured_on)


def labels_within(field: FieldOfView, grid: NetworkGrid, probabilities: np.ndarray) -> np.ndarray:
    """Return what probabilities (3, z, y, x) on a segmenter's grid outline on the input's voxels.

    A mean of voxels in which background is most probable has it most probable, so that only the others and what is
    near them are looked at.

    Returns
    -------
    numpy.ndarray
        uint8 (z, y, x) within the box of the fan: 0 background, 1 tumour, 2 cavity.
    """
    labels = np.zeros(field.cropped.array.shape, np.uint8)
    outlined = grid.valid & (probabilities[1:].max(axis=0) > probabilities[0])
    if not outlined.any():
        return labels
    near = bounding_box(outlined, margin=_REACH)
    part = replace(grid, image=crop(grid.image, near), valid=grid.valid[near])
    box = box_within(field.cropped, part.image)
    place = crop(field.cropped, box)
    extended = extended_beyond_fan(probabilities[(slice(None), *near)], part)
    finer = np.stack([resample_like(one, place).array for one in extended])
    labels[box] = outlines.labels_from_probabilities(finer, field.fan[field.box][box], field.volume.voxel_volume_ml)
    return labels
