"""A cohort on disk of a case for training and one for validation, cubes of 40 voxels of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from IoUSynthLib.cases.case import Case, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.volume import Volume


def write_noise_cohort(folder: Path) -> Path:
    """Write it, and return its folder."""
    rng = np.random.default_rng(0)
    fan = np.zeros((40, 40, 40), np.uint8)
    fan[4:-4, 4:-4, 4:-4] = 1
    entries = []
    for number, split in enumerate(("train", "validation")):
        images = {
            "ioUS": Volume((rng.uniform(20, 255, fan.shape) * fan).astype(np.uint8)),
            "T2w": Volume(rng.integers(0, 1000, fan.shape).astype(np.int16)),
            "FLAIR": Volume(rng.integers(0, 1000, fan.shape).astype(np.int16)),
        }
        labels = Volume((rng.integers(0, 3, fan.shape) * fan).astype(np.uint8))
        write_case(Case(images, labels, Volume(fan), {"simulated": True}), folder / f"case-{number:04d}")
        entries.append({"name": f"case-{number:04d}", "head": "noise", "split": split})
    write_index(folder, entries, seed=0)
    return folder
