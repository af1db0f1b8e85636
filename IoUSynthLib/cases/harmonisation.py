"""MRI of any scanner as unified networks read it, and as they learn to make it: harmonised (MMHVAE, section 4.4.1).

What is read is only scaled by its own extremes, so that a network has to cope with every contrast. What is learned is
brought to one scale by a line: the lowest value of the fan to 0, the median of the white matter to a reference.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..constants import OUTSIDE
from .case import Case

#: White matter on the scale from 0 to 1 by contrast. The stored text of the paper has lost its own values; with these,
#: fluid in T2w, oedema in FLAIR and enhancing tumour in ceT1 stay below 1.
REFERENCES = {"T2w": 0.25, "ceT1": 0.55, "FLAIR": 0.40}
#: Percentile that an input's scale ends at, and the value of its lowest voxel, as in the released code.
_HIGHEST, _LOWEST = 99.95, -255 / 256
_BINS = 128


def white_matter(case: Case, name: str) -> float:
    """Median of the white matter in an MRI, in the image's own units.

    Of simulated cases that have kept it, it is exact. The paper takes SynthSeg's labels; without them it is where the
    histogram of the fan is highest, because white matter is the most frequent tissue there.
    """
    known = case.parameters.get("white_matter", {})
    if name in known:
        return float(known[name])
    values = case.images[name].array[case.fan.array > 0]
    low, high = np.percentile(values, (0.5, 99.5))
    counts, edges = np.histogram(values, _BINS, (low, max(high, low + 1e-6)))
    best = int(ndimage.gaussian_filter1d(counts.astype(float), 3).argmax())
    return float(edges[best : best + 2].mean())


def harmonised(case: Case, name: str) -> np.ndarray:
    """An MRI as unified networks learn to make it, float32 (z, y, x) in [-1, 1], ``OUTSIDE`` outside the fan."""
    fan, image = case.fan.array > 0, case.images[name].array.astype(np.float32)
    if not fan.any():
        return np.full(fan.shape, OUTSIDE, np.float32)
    low = image[fan].min()
    reach = max(white_matter(case, name) - float(low), 1e-6)
    share = (image - low) * (REFERENCES[name] / reach)
    return np.where(fan, (2 * share - 1).clip(-1, 1), np.float32(OUTSIDE))


def scaled(case: Case, name: str) -> np.ndarray:
    """An MRI as unified networks read it: as above, but from its lowest to nearly its highest value in the fan."""
    fan, image = case.fan.array > 0, case.images[name].array.astype(np.float32)
    if not fan.any():
        return np.full(fan.shape, OUTSIDE, np.float32)
    low, high = np.percentile(image[fan], (0, _HIGHEST))
    share = ((image - low) / max(high - low, 1e-6)).clip(0, 1)
    return np.where(fan, _LOWEST + share * (1 - _LOWEST), OUTSIDE).astype(np.float32)
