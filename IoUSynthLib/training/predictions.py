"""Synthetic MRI of a cohort, which segmenters learn from as they will see it in the operating room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..inference import open_session, predict
from ..preprocessing import normalize_ultrasound
from ..simulation.case import read_case
from ..simulation.mri import TARGETS


def predict_cohort(
    folders: Sequence[Path],
    generator: Bundle,
    output: Path,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``<case>_T2w.npy`` and ``<case>_FLAIR.npy`` (float16 in [-1, 1]) of every case; files that are there stay.

    Parameters
    ----------
    folders
        Folders of simulated cases on the generator's voxel size.
    generator
        The bundle to run.
    output
        Folder to write to.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called with the number of cases that are ready and the number of all.
    """
    output.mkdir(parents=True, exist_ok=True)
    session = open_session(generator, device)
    for number, folder in enumerate(folders, start=1):
        if not (output / f"{folder.name}_{TARGETS[-1]}.npy").exists():
            case = read_case(folder)
            image = normalize_ultrasound(case.images["ioUS"].array)[None]
            values = dict(zip(generator.outputs, predict(session, image, case.fan.array > 0, generator), strict=True))
            for target in TARGETS:
                np.save(output / f"{folder.name}_{target}.npy", np.clip(values[target], -1, 1).astype(np.float16))
        if progress:
            progress(number, len(folders))
