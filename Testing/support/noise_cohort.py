"""A cohort on disk of a case for training and one for validation, cubes of 40 voxels of noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from IoUSynthLib.cases.case import PREOPERATIVE, Case, write_case
from IoUSynthLib.cases.index import write_index
from IoUSynthLib.volume import Volume


def write_noise_cohort(folder: Path, preoperative: Sequence[str] = ()) -> Path:
    """Write it, with these contrasts from before the operation, and return its folder."""
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
        parameters: dict = {"simulated": True}
        if preoperative:
            parameters["preoperative"] = list(preoperative)
            for name in (*preoperative, "tissues"):
                values = rng.integers(1, 18 if name == "tissues" else 1000, fan.shape)
                images[f"{PREOPERATIVE}{name}"] = Volume(values.astype(np.int16))
        write_case(Case(images, labels, Volume(fan), parameters), folder / f"case-{number:04d}")
        entries.append({"name": f"case-{number:04d}", "head": "noise", "split": split})
    write_index(folder, entries, seed=0)
    return folder
