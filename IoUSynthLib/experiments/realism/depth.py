"""Measures of real volumes whose frames are not published: grey levels, what changes with depth, how thin lines are.

The volumes are those of RESECT (Xiao et al. 2017, CC BY 4.0) that may be learned from; where the probe's face was is
found from the bright band in front of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...cases.case import read_case
from ...constants import VOXEL_MM
from ...files.volumes import read_volume
from ...outputs.markdown import markdown_table
from ...preprocessing import field_of_view, resample_inside
from ...simulation.face import find_face, known_face
from ...volume import Volume
from .measures import Measures, measure_volume

#: RESECT volumes that may be learned from; cases 2 and 24 are for measuring models only.
LEARNED = tuple(f"case{number:02d}" for number in (5, 6, 8, 12, 15, 21, 23, 25))
FOLDER, FILE = "resect_us", "us_before.nii.gz"
_SMALLEST_FAN_ML = 2.0
#: Depths in mm.
FACE, NEAR, DEEP = (0.0, 1.5), (5.0, 18.0), (34.0, 50.0)
#: Standard deviation in mm of the Gaussian that takes anatomy off the grain.
_DETREND = 1.5


def read_volumes(data: Path) -> dict[str, Volume]:
    """The volumes that may be learned from, at 0.8 mm, by name."""
    found = {}
    for path in (data / FOLDER / name / FILE for name in LEARNED):
        if path.is_file():
            volume = read_volume(path)
            (found[path.parent.name],), _ = resample_inside([volume], (VOXEL_MM,) * 3, field_of_view(volume.array))
    return found


def measure_volumes(volumes: dict[str, Volume]) -> dict[str, Measures]:
    """Measures of real volumes at 0.8 mm, by name."""
    measured = {}
    for name, volume in volumes.items():
        inside = field_of_view(volume.array)
        depth = find_face(volume.array, inside, VOXEL_MM).depth(volume.array.shape, VOXEL_MM)
        measured[name] = _measure(volume.array, inside, depth)
    return measured


def measure_simulated(folders: Sequence[Path]) -> list[Measures]:
    """Measures of simulated cases; those whose fan holds next to nothing are left out."""
    measured = []
    for folder in folders:
        case = read_case(folder)
        volume, inside = case.images["ioUS"], case.fan.array > 0
        if inside.sum() * volume.voxel_volume_ml >= _SMALLEST_FAN_ML:
            depth = known_face(case.parameters, volume).depth(volume.array.shape, VOXEL_MM)
            measured.append(_measure(volume.array, inside, depth))
    return measured


def _measure(array: np.ndarray, inside: np.ndarray, depth: np.ndarray) -> Measures:
    return {**measure_depths(array, inside, depth), **measure_volume(array, field_of_view(array))}


def compare(simulated: Sequence[Measures], real: dict[str, Measures]) -> list[dict[str, object]]:
    """A row a measure: median and range of the real volumes, median and 5 to 95 % of the simulated cases."""
    rows = []
    for name in next(iter(real.values())):
        known, made = (
            np.array([value for value in (measures[name] for measures in some) if np.isfinite(value)])
            for some in (real.values(), simulated)
        )
        if len(known) and len(made):
            rows.append({
                "measure": name,
                "real": [float(value) for value in (np.median(known), known.min(), known.max())],
                "simulated": [float(value) for value in (np.median(made), *np.percentile(made, (5, 95)))],
                "within": float(((made >= known.min()) & (made <= known.max())).mean()),
            })
    return rows


def table(rows: Sequence[dict]) -> str:
    """Markdown of :func:`compare`'s rows."""
    lines = []
    for row in rows:
        cells = [f"{middle:.3g} ({low:.3g} to {high:.3g})" for middle, low, high in (row["real"], row["simulated"])]
        lines.append([row["measure"], *cells, f"{row['within']:.2f}"])
    headings = ["measure", "real, median (range)", "simulated, median (5 to 95 %)", "simulated in the real range"]
    return markdown_table(headings, lines)


def measure_depths(array: np.ndarray, inside: np.ndarray, depth: np.ndarray) -> dict[str, float]:
    """Brightness and grain by depth, grey levels, and how thin bright structures are."""
    values = array.astype(np.float32)
    median = float(np.median(values[inside]))
    smooth = ndimage.gaussian_filter(values, _DETREND / VOXEL_MM)
    core = ndimage.binary_erosion(inside, iterations=3)
    bands = {name: inside & (depth >= low) & (depth < high)
             for name, (low, high) in {"face": FACE, "near": NEAR, "deep": DEEP}.items()}  # fmt: skip
    result = {"fan, ml": float(inside.sum() * VOXEL_MM**3 / 1000)}
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
