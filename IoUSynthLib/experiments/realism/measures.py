"""How close simulated ultrasound is to real ultrasound: speckle, loss with depth, black share, texture.

Measured are frames in polar coordinates (the beams side by side) and reconstructed volumes as the networks see them.
Real and simulated images go through the same functions. The frames of a simulated case are read back from its volume
along the planes of the sweep, and so are those of the real sweep, so that both have passed through a reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...outputs.markdown import markdown_table
from ...preprocessing import field_of_view, normalize_ultrasound
from ...volume import Volume
from . import data

#: Below this value of 255 a pixel counts as black.
BLACK = 3.0
#: Depths in mm below the probe's face between which speckle is measured.
NEAR = (12.0, 22.0)
DEEP = (30.0, 40.0)
#: Gaussian in mm that separates speckle from anatomy.
SPECKLE_DETREND = 1.5
#: Speckle is measured where the local mean is above this value of 255, since a black floor has none.
SPECKLE_FLOOR = 15.0
#: Normalised intensity below which a voxel of a volume is near black.
NEAR_BLACK = 0.02
PERCENTILES = (25, 50, 75, 95, 99)
QUANTILES = (10, 25, 50, 75, 90)
LAGS = (1, 2, 4)

Measures = dict[str, float]


@dataclass(frozen=True, eq=False)
class PolarFrames:
    """Frames of a fan probe, beams side by side.

    Attributes
    ----------
    array
        (frames, lines, samples), 0 to 255; NaN where there is no data.
    radii
        Distance of the samples from the virtual apex in mm, equally spaced, (samples,).
    angles
        Angles of the lines in radians, equally spaced, (lines,).
    """

    array: np.ndarray
    radii: np.ndarray
    angles: np.ndarray


def half_width(frames: np.ndarray, axis: int, *, step: float, smoothing: Sequence[float]) -> float:
    """Lag at which the autocorrelation of the speckle falls to one half, in the unit of ``step``.

    The envelope of speckle through a Gaussian point spread function of standard deviation s has an autocorrelation
    close to exp(-d^2 / (2 s^2)), so that the half-width is 1.18 s (Wagner et al. 1983, IEEE Trans. Sonics Ultrason.
    30:156). The local mean is taken off first, which shortens long correlations.

    Parameters
    ----------
    frames
        (frames, lines, samples), 0 to 255; NaN where there is no data.
    axis
        1 for lateral, 2 for axial.
    step
        Distance between neighbours along the axis.
    smoothing
        Standard deviations in lines and samples of the Gaussian that gives the local mean.

    Returns
    -------
    float
        NaN where the autocorrelation does not fall below one half, or without enough tissue.
    """
    valid = np.isfinite(frames)
    weight = ndimage.gaussian_filter(valid.astype(np.float32), (0, *smoothing))
    mean = ndimage.gaussian_filter(np.where(valid, frames, 0).astype(np.float32), (0, *smoothing))
    mean = mean / np.maximum(weight, 1e-3)
    use = valid & (weight > 0.8) & (mean > SPECKLE_FLOOR)
    if use.sum() < 500:
        return float("nan")
    residual = np.where(use, frames - mean, 0)
    count = frames.shape[axis]
    previous = 1.0
    for lag in range(1, count // 2):
        first, second = (np.take(use, range(a, count - lag + a), axis) for a in (0, lag))
        left, right = (np.take(residual, range(a, count - lag + a), axis) for a in (0, lag))
        both = first & second
        if both.sum() < 200:
            return float("nan")
        scale = np.sqrt(np.square(left[both]).mean() * np.square(right[both]).mean())
        correlation = float((left * right)[both].mean() / max(scale, 1e-12))
        if correlation < 0.5:
            return (lag - 1 + (previous - 0.5) / (previous - correlation)) * step
        previous = correlation
    return float("nan")


def speckle(frames: PolarFrames) -> Measures:
    """Axial and lateral half-width of the speckle in mm, near (12 to 22 mm below the face) and deep (30 to 40 mm)."""
    depth = frames.radii - frames.radii[0]
    step, turn = frames.radii[1] - frames.radii[0], frames.angles[1] - frames.angles[0]
    result = {}
    for name, (low, high) in {"near": NEAR, "deep": DEEP}.items():
        band = (depth >= low) & (depth < high)
        if band.sum() < 8:
            continue
        part, arc = frames.array[..., band], turn * frames.radii[band].mean()
        widths = {"axial": (2, step), "lateral": (1, arc)}
        smoothing = (SPECKLE_DETREND / arc, SPECKLE_DETREND / step)
        for direction, (axis, unit) in widths.items():
            result[f"speckle half-width {direction} {name}, mm"] = half_width(
                part, axis, step=unit, smoothing=smoothing
            )
    return result


def brightness(frames: PolarFrames) -> Measures:
    """Mean brightness of eight equal parts of the depth, relative to the brightest of them."""
    parts = np.array([_mean(part) for part in np.array_split(frames.array, 8, axis=2)])
    parts = parts / max(float(np.nanmax(parts)), 1e-6) if np.isfinite(parts).any() else parts
    return {f"brightness of depth octile {n + 1}": float(v) for n, v in enumerate(parts)}


def grey_levels(frames: PolarFrames) -> Measures:
    """Share of black pixels (below 3 of 255) in the fan, and percentiles of the others.

    All but the highest percentile are relative to it, since files do not all keep the machine's grey levels.
    """
    values = frames.array[np.isfinite(frames.array)]
    bright = values[values >= BLACK]
    percentiles = np.percentile(bright, PERCENTILES) if bright.size else np.full(len(PERCENTILES), np.nan)
    highest = f"foreground percentile {PERCENTILES[-1]}"
    relative = {
        f"foreground percentile {p} over {PERCENTILES[-1]}": float(v / percentiles[-1])
        for p, v in zip(PERCENTILES[:-1], percentiles[:-1], strict=True)
    }
    share = float((values < BLACK).mean()) if values.size else float("nan")
    return {"black share of the fan": share, **relative, highest: float(percentiles[-1])}


def measure_frames(frames: PolarFrames) -> Measures:
    """Every measure of frames."""
    return {**speckle(frames), **brightness(frames), **grey_levels(frames)}


def texture_correlation(image: np.ndarray, inside: np.ndarray, lag: int) -> float:
    """Correlation of voxels ``lag`` apart, both inside, mean of the three axes."""
    values = []
    for axis in range(3):
        count = image.shape[axis]
        first, second = ([slice(None)] * 3 for _ in range(2))
        first[axis], second[axis] = slice(0, count - lag), slice(lag, count)
        both = inside[tuple(first)] & inside[tuple(second)]
        if both.sum() > 100:
            values.append(np.corrcoef(image[tuple(first)][both], image[tuple(second)][both])[0, 1])
    return float(np.mean(values)) if values else float("nan")


def measure_volume(array: np.ndarray, inside: np.ndarray) -> Measures:
    """Quantiles, near-black share and texture of a volume, normalised as for the networks, then to [0, 1].

    Parameters
    ----------
    array
        Ultrasound [z, y, x] at 0.8 mm, any scale, at or near 0 outside the fan.
    inside
        Its field of view.
    """
    image = (normalize_ultrasound(array) + 1) / 2
    if not inside.any():
        raise ValueError("the volume holds no ultrasound")
    quantiles = np.quantile(image[inside], [q / 100 for q in QUANTILES])
    result = {f"volume quantile {q} %": float(v) for q, v in zip(QUANTILES, quantiles, strict=True)}
    result["near-black share of the volume"] = float((image[inside] < NEAR_BLACK).mean())
    return result | {f"texture correlation at {lag} voxels": texture_correlation(image, inside, lag) for lag in LAGS}


def polar_slices(
    array: np.ndarray, inside: np.ndarray, planes: Sequence[np.ndarray], *, radii: np.ndarray, angles: np.ndarray
) -> PolarFrames:
    """Read frames back from a volume along planes.

    Parameters
    ----------
    array
        Volume [z, y, x], 0 to 255.
    inside
        Where it has data.
    planes
        4x4 matrices from (lateral, depth from the apex, 0, 1) in mm to the array's (i, j, k, 1).
    radii, angles
        As in :class:`PolarFrames`.
    """
    lateral = np.sin(angles)[:, None] * radii
    depth = np.cos(angles)[:, None] * radii
    points = np.stack([lateral, depth, np.zeros_like(depth), np.ones_like(depth)]).reshape(4, -1)
    frames = []
    for plane in planes:
        index = (plane @ points)[2::-1]
        values = ndimage.map_coordinates(array.astype(np.float32), index, order=1, mode="constant")
        known = ndimage.map_coordinates(inside.astype(np.uint8), index, order=0, mode="constant") > 0
        frames.append(np.where(known, values, np.nan).reshape(depth.shape))
    return PolarFrames(np.stack(frames), radii, angles)


def compare(simulated: list[Measures], real: dict[str, Measures]) -> list[dict]:
    """A row for every measure: median and 5 to 95 % range of the simulated cases, the real values, inside or not."""
    names = list(dict.fromkeys(name for measures in [*simulated, *real.values()] for name in measures))
    rows = []
    for name in names:
        values = np.array([m[name] for m in simulated if name in m and np.isfinite(m[name])])
        low, median, high = np.quantile(values, (0.05, 0.5, 0.95)) if values.size else [float("nan")] * 3
        found = {source: m[name] for source, m in real.items() if name in m and np.isfinite(m[name])}
        rows.append({
            "measure": name, "low": float(low), "median": float(median), "high": float(high), "n": int(values.size),
            "real": found, "in range": {source: bool(low <= v <= high) for source, v in found.items()},
        })
    return rows


def table(rows: list[dict], sources: Sequence[str]) -> str:
    """Markdown: simulated median (5 to 95 %), a column for each real source, whether the range holds them."""
    lines = []
    for row in rows:
        real = [f"{row['real'][s]:.3g}" if s in row["real"] else "-" for s in sources]
        inside = list(row["in range"].values())
        within = "-" if not inside else "yes" if all(inside) else "partly" if any(inside) else "**no**"
        spread = f"{row['median']:.3g} ({row['low']:.3g} to {row['high']:.3g})" if row["n"] else "-"
        lines.append([row["measure"], spread, *real, within])
    headings = ["measure", "simulated, median (5 to 95 %)", *sources, "real inside the range"]
    return markdown_table(headings, lines)


def measure_cohort(folders: Sequence[Path]) -> list[Measures]:
    """Measures of every simulated case, read from its files."""
    results = []
    for folder in folders:
        volume, inside, planes, radii, angles = data.read_simulated(folder)
        frames = polar_slices(volume.array, inside, planes, radii=radii, angles=angles)
        results.append({**measure_frames(frames), **measure_volume(volume.array, inside)})
    return results


def measure_real(volume: Volume, planes: Sequence[np.ndarray], *, radii: np.ndarray, angles: np.ndarray) -> Measures:
    """Measures of a real volume at 0.8 mm and of frames along planes through it."""
    inside = field_of_view(volume.array)
    frames = polar_slices(volume.array, inside, planes, radii=radii, angles=angles)
    return {**measure_frames(frames), **measure_volume(volume.array, inside)}


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
