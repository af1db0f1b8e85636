"""A cohort on disk of MRI to learn MRI from: cubes of smoothed noise as T1w, and T2w that is its inverse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage, stats

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.volume import Volume

EDGE = 40
SPACING = (1.0, 1.0, 1.0)


def write_pair_cohort(folder: Path, splits: tuple[str, ...] = ("train", "train", "validation", "test")) -> Path:
    """Write a case for each split, and return the folder."""
    rng = np.random.default_rng(0)
    fan = np.zeros((EDGE,) * 3, np.uint8)
    fan[3:-3, 3:-3, 3:-3] = 1
    entries = []
    for number, split in enumerate(splits):
        smooth = ndimage.gaussian_filter(rng.normal(size=fan.shape), 3)
        texture = stats.rankdata(smooth).reshape(fan.shape) / fan.size
        arrays = {"T1w": texture, "T2w": 1 - texture}
        images = {name: Volume((1100 * array * fan).astype(np.int16), SPACING) for name, array in arrays.items()}
        parameters = {
            "simulated": False, "input": "T1w", "targets": ["T2w"], "spacing_mm": list(SPACING), "scaling": "z-score",
            "head": f"P{number}",
        }
        write_case(Case(images, Volume(0 * fan, SPACING), Volume(fan, SPACING), parameters), folder / f"P{number}")
        entries.append({"name": f"P{number}", "head": f"P{number}", "split": split})
    write_index(folder, entries, simulated=False, seed=0)
    return folder
