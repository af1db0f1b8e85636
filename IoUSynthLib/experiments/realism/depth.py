"""Measures of real volumes whose frames are not published: grey levels, what changes with depth, how thin lines are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from ...files.volumes import read_volume
from ...preprocessing import field_of_view, resample_to_spacing
from ...volume import Volume

#: RESECT volumes that may be learned from; cases 2 and 24 are for measuring models only.
LEARNED = tuple(f"case{number:02d}" for number in (5, 6, 8, 12, 15, 21, 23, 25))
FILE = "us_before.nii.gz"
VOXEL = 0.8
#: Depths in mm.
FACE, NEAR, DEEP = (0.0, 1.5), (5.0, 18.0), (34.0, 50.0)
#: Standard deviation in mm of the Gaussian that takes anatomy off the grain.
_DETREND = 1.5


def read_volumes(data: Path) -> dict[str, Volume]:
    """The volumes that may be learned from, at 0.8 mm, by name."""
    found = {}
    for name in LEARNED:
        volume = read_volume(data / "resect_us" / name / FILE)
        found[name] = resample_to_spacing(volume, (VOXEL,) * 3, field_of_view(volume.array))
    return found


def measure_depths(array: np.ndarray, inside: np.ndarray, depth: np.ndarray) -> dict[str, float]:
    """Brightness and grain by depth, grey levels, and how thin bright structures are."""
    values = array.astype(np.float32)
    median = float(np.median(values[inside]))
    smooth = ndimage.gaussian_filter(values, _DETREND / VOXEL)
    core = ndimage.binary_erosion(inside, iterations=3)
    bands = {name: inside & (depth >= low) & (depth < high)
             for name, (low, high) in {"face": FACE, "near": NEAR, "deep": DEEP}.items()}  # fmt: skip
    result = {"fan, ml": float(inside.sum() * VOXEL**3 / 1000)}
    near = _median(values[bands["near"]])
    result["face over tissue"] = _median(values[bands["face"]]) / near
    result["deep over near tissue"] = _median(values[bands["deep"]]) / near
    for name in ("near", "deep"):
        use = bands[name] & core
        spread = 1.48 * _median(np.abs(values - smooth)[use])
        result[f"grain {name}"] = spread / max(float(values[use].mean()), 1.0) if use.any() else float("nan")
    for percentile in (2, 25, 75, 98):
        result[f"percentile {percentile} over median"] = float(np.percentile(values[inside], percentile)) / median
    tissue = core & (depth > FACE[1] + 2)
    hats = [(values - ndimage.grey_opening(values, (size,) * 3))[tissue] for size in (3, 5, 9)]
    result["share of thin bright voxels"] = float((hats[1] > 0.75 * median).mean())
    result["brightness in lines up to 1.6 of 6 mm"] = float(hats[0].mean() / hats[2].mean())
    result["brightness in lines up to 3.2 of 6 mm"] = float(hats[1].mean() / hats[2].mean())
    return result


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size > 200 else float("nan")
