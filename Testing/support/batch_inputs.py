"""Small ultrasound volumes on disk, and what is wrong with some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from IoUSynthLib.files.volumes import write_volume
from IoUSynthLib.volume import Volume


def small_ultrasound(seed: int = 0) -> Volume:
    """A fan of 24x22x16 voxels with a lesion: the least that goes through the whole pipeline."""
    z, y, x = np.mgrid[:16, :22, :24].astype(np.float32)
    fan = (np.hypot(x - 12, y + 3) < 22) & (np.abs(x - 12) < 2 + 0.4 * y) & (z > 1) & (z < 14)
    array = np.where(fan, 20 + 40 * np.random.default_rng(seed).rayleigh(1.0, fan.shape), 0).astype(np.float32)
    array[np.hypot(np.hypot(x - 12, y - 12), z - 8) < 4] = 180.0
    return Volume(array, (1.0, 1.1, 1.2), (seed, 5.0, -4.0))


def write_inputs(folder: Path, count: int, bad: tuple[int, ...] = ()) -> list[Path]:
    """Write volumes named us-00.nrrd and so on; of those numbered ``bad``, one each is no image, empty, and cut off."""
    folder.mkdir()
    paths = [folder / f"us-{number:02}.nrrd" for number in range(count)]
    for number, path in enumerate(paths):
        write_volume(path, small_ultrasound(number))
    for number, kind in zip(bad, ("no image", "empty", "cut off"), strict=False):
        path = paths[number]
        if kind == "no image":
            path.write_text("hello")
        elif kind == "empty":
            write_volume(path, small_ultrasound().with_array(np.zeros((16, 22, 24), np.float32)))
        else:
            path.write_bytes(path.read_bytes()[:-200])
    return paths
