"""What a segmenter outlines on images of a case: other models' images, the true MRI, or baselines of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..cases.case import Case, case_grid
from ..constants import OUTSIDE
from ..models.bundle import Bundle
from ..preprocessing import normalize_ultrasound
from ..synthesis.grid import NetworkGrid, from_network_grid
from ..synthesis.outlines import labels_from_probabilities
from ..synthesis.segmentation import decide, outline
from .baselines import AS_IT_IS, MATCHED, MEAN, Baselines

#: The outline of one who calls nothing.
NOTHING = "nothing"


def outline_baselines(
    segmenter: Bundle, case: Case, fitted: Mapping[str, Baselines]
) -> dict[str, np.ndarray]:
    """What a segmenter of synthetic MRI outlines where it gets ultrasound in its place, and an empty outline.

    These are the floors of the ioUS-to-MR benchmark's released study: the ultrasound, normalised by eq. 1, as it is and
    with its histogram matched to the MRI for training. A segmenter that also reads the ultrasound as such still gets
    it. The mean of training in the place of the MRI shows what it makes of that alone.

    Parameters
    ----------
    segmenter
        Its model.
    case
        Its ultrasound and fan.
    fitted
        Baselines by contrast; of a contrast that is missing here, only the ultrasound as it is can take the place.

    Returns
    -------
    dict
        Labels on the case's grid, (z, y, x), 0 background, 1 tumour, 2 cavity, by method.
    """
    fan, ultrasound = case.fan.array > 0, normalize_ultrasound(case.images["ioUS"].array)
    contrasts = [name for name in segmenter.inputs if name != "ioUS"]
    images = {AS_IT_IS: dict.fromkeys(contrasts, np.where(fan, ultrasound, np.float32(OUTSIDE)))}
    if set(contrasts) <= set(fitted):
        made = {name: fitted[name].predictions(ultrasound, fan) for name in contrasts}
        images |= {method: {name: made[name][method] for name in contrasts} for method in (MATCHED, MEAN)}
    labels = {}
    for method, own in images.items():
        grid, probabilities = outline(segmenter, case_grid(case), own)
        decision = decide(segmenter, grid, probabilities, before_resection=False)
        labels[method] = labels_on(case, grid, decision.probabilities)
    return {**labels, NOTHING: np.zeros_like(case.labels.array)}


def labels_on(case: Case, grid: NetworkGrid, probabilities: np.ndarray) -> np.ndarray:
    """Outlines within the field of view, on a case's grid, of (3, z, y, x) probabilities on a network's."""
    returned = np.stack([from_network_grid(probability, grid, case.labels) for probability in probabilities])
    return labels_from_probabilities(returned, case.fan.array > 0, case.labels.voxel_volume_ml)
