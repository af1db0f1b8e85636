"""Whether synthetic MRI follows the ultrasound, where there is no MRI to compare with.

Real ultrasound of surgery comes without an MRI of the same brain on the same day. These measures ask of the images
what can be asked without one, and take simulated test cases, with synthetic and with true MRI, as the scale::

    python -m IoUSynthLib.experiments agreement --cohort COHORT --real DATA -o FOLDER

``DATA`` holds ``resect/Case4-US-before.nii.gz`` and ``resect_sweep`` (RESECT, Xiao et al. 2017, CC BY 4.0). Written are
``agreement.md``, ``agreement.json`` and a picture of every real volume.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import ndimage, stats
from skimage.feature import hessian_matrix, hessian_matrix_eigvals

from ..cases.case import read_case
from ..cases.index import read_index
from ..constants import TARGETS
from ..outputs.markdown import markdown_table
from ..outputs.picture import write_picture
from ..pipeline import SynthesisResult, synthesize
from ..preprocessing import normalize_ultrasound
from ..volume import Volume
from .realism import data as realism_data

#: Scale in mm of what counts as an edge and of a tissue's mean.
SCALE = 1.6
#: Voxels nearer than this to the rim of the field of view, in mm, are the rim.
RIM = 3.0
#: Part of the voxels that counts as sheets: those where the ultrasound is most like one.
SHEETS = 0.05
#: Mean ultrasound in [-1, 1] below which nothing comes back, and T2w of 1000 above which fluid is shown, which is black
#: in ultrasound without a shadow.
BLACK, FLUID = -0.95, 700
_EVERY = 7
MEASURES = (
    "edges", "sheets in T2w", "sheets in FLAIR", "FLAIR against ultrasound", "T2w against ultrasound", "streaks",
    "uncertainty without echo", "uncertainty at the rim",
)


def measure(
    ultrasound: np.ndarray, fan: np.ndarray, *, t2w: np.ndarray, flair: np.ndarray, spacing: float,
    uncertainty: np.ndarray | None = None,
) -> dict[str, float]:
    """Agreement of two MR contrasts with the ultrasound of the same place.

    Parameters
    ----------
    ultrasound
        (z, y, x) in [-1, 1].
    t2w, flair
        (z, y, x), 1 to 1000.
    fan
        (z, y, x) bool.
    spacing
        Isotropic voxel size in mm.
    uncertainty
        (z, y, x) expected error, if there is one.

    Returns
    -------
    dict
        ``edges``: rank correlation of the gradient magnitudes of T2w and ultrasound at the scale of 1.6 mm, speckle
        and all. ``sheets in T2w``, ``sheets in FLAIR``: whether sulci and falx, which are bright sheets in ultrasound,
        are shown where they are: how often a voxel of such a sheet lies more on a bright one of T2w, or on a dark one
        of FLAIR, than any other voxel; 0.5 is chance, 1 always. ``FLAIR against ultrasound``, ``T2w against
        ultrasound``: rank correlation of the smoothed images; near -1 or 1 an image only repeats the ultrasound.
        ``streaks``: how much more T2w is drawn along the axes of the grid than the ultrasound is; about 1 when it is
        no more, higher with stripes and plaids. ``uncertainty without echo``: mean expected error where the ultrasound
        is black and T2w shows no fluid, over that of the rest; absent where less than a hundredth is so.
        ``uncertainty at the rim``: mean expected error within 3 mm of the fan's rim over that of the rest.
    """
    sigma = SCALE / spacing
    core = ndimage.distance_transform_edt(fan, sampling=spacing) > RIM
    kept = np.flatnonzero(core)[::_EVERY]

    def correlate(first: np.ndarray, second: np.ndarray) -> float:
        return float(stats.spearmanr(first.ravel()[kept], second.ravel()[kept]).statistic)

    weight = ndimage.gaussian_filter(fan.astype(np.float32), sigma).clip(1e-6)

    def smooth(image: np.ndarray) -> np.ndarray:
        """Mean over the voxels of the fan alone: beyond it there is no data that could darken the rim."""
        return ndimage.gaussian_filter(np.where(fan, image, 0).astype(np.float32), sigma) / weight

    def edges(image: np.ndarray) -> np.ndarray:
        return np.sqrt(sum(np.square(slope) for slope in np.gradient(smooth(image))))

    def sheets(image: np.ndarray) -> np.ndarray:
        filled = np.where(fan, image, smooth(image)).astype(np.float32)
        return _sheetness(filled, sigma).ravel()[kept]

    echo = smooth(ultrasound)
    seen = sheets(ultrasound)
    on_sheet = stats.rankdata(seen, "ordinal") > (1 - SHEETS) * len(seen)
    values = {
        "edges": correlate(edges(t2w), edges(ultrasound)),
        "sheets in T2w": _how_often_higher(sheets(t2w), on_sheet),
        "sheets in FLAIR": _how_often_higher(sheets(-flair), on_sheet),
        "FLAIR against ultrasound": correlate(smooth(flair), echo),
        "T2w against ultrasound": correlate(smooth(t2w), echo),
        "streaks": _alignment(t2w, core) / _alignment(ultrasound, core),
    }
    if uncertainty is not None:
        rim, shadow = fan & ~core, core & (echo < BLACK) & (t2w < FLUID)
        if shadow.sum() > core.sum() / 100:
            values["uncertainty without echo"] = float(uncertainty[shadow].mean() / uncertainty[core & ~shadow].mean())
        values["uncertainty at the rim"] = float(uncertainty[rim].mean() / uncertainty[core].mean())
    return values


def _sheetness(image: np.ndarray, sigma: float) -> np.ndarray:
    """How far the image bends down across a bright sheet, less how far it bends along it; ``sigma`` in voxels."""
    hessian = hessian_matrix(image, sigma, order="rc", use_gaussian_derivatives=True)
    _, along, across = hessian_matrix_eigvals(hessian)
    return -across - np.abs(along)


def _how_often_higher(values: np.ndarray, chosen: np.ndarray) -> float:
    """How often a chosen value exceeds one that is not: the area under the ROC curve."""
    statistic = stats.mannwhitneyu(values[chosen], values[~chosen]).statistic
    return float(statistic / (chosen.sum() * (~chosen).sum()))


def _alignment(image: np.ndarray, inside: np.ndarray) -> float:
    """How much an image is drawn along the axes of its grid: 1 where no direction is preferred.

    The mean squared second derivative along an axis is three times that of a mixed one in an isotropic image; stripes
    and plaids along the grid have no mixed ones.
    """

    image = image.astype(np.float32)

    def energy(*orders: tuple[int, int, int]) -> float:
        return float(np.mean([np.square(ndimage.gaussian_filter(image, 1, order))[inside].mean() for order in orders]))

    return energy((2, 0, 0), (0, 2, 0), (0, 0, 2)) / (3 * energy((1, 1, 0), (1, 0, 1), (0, 1, 1)))


def measure_result(volume: Volume, result: SynthesisResult) -> dict[str, float]:
    """Agreement of a synthesis of both contrasts with its input, which must have cubic voxels."""
    fan = result.valid.array > 0
    t2w, flair = (result.images[name].array for name in TARGETS)
    ultrasound = normalize_ultrasound(volume.array)
    expected = None if result.uncertainty is None else result.uncertainty.array
    return measure(ultrasound, fan, t2w=t2w, flair=flair, spacing=volume.spacing[0], uncertainty=expected)


def compare(
    cohort: Path, data: Path, output: Path, *, model: str | None, count: int
) -> dict[str, dict[str, list[float]]]:
    """Measure real volumes, and simulated test cases with synthetic and with true MRI.

    Returns
    -------
    dict
        By source and measure, the values of its volumes.
    """
    rows: dict[str, list[dict[str, float]]] = {}
    for folder in read_index(cohort, "test")[:count]:
        case = read_case(folder)
        volume = case.images["ioUS"]
        rows.setdefault("simulated, synthetic MRI", []).append(measure_result(volume, synthesize(volume, model)))
        fan, ultrasound = case.fan.array > 0, normalize_ultrasound(volume.array)
        t2w, flair = (np.where(fan, case.images[name].array, 0) for name in TARGETS)
        measured = measure(ultrasound, fan, t2w=t2w, flair=flair, spacing=volume.spacing[0])
        rows.setdefault("simulated, true MRI", []).append(measured)
    for name, (volume, *_) in realism_data.read_real(data).items():
        result = synthesize(volume, model)
        rows[name] = [measure_result(volume, result)]
        write_picture(output / f"{name.lower().replace(' ', '_')}.png", volume, result, name=name)
    return {
        source: {m: [row[m] for row in values if m in row] for m in MEASURES} for source, values in rows.items()
    }


def table(values: dict[str, dict[str, list[float]]]) -> str:
    """Markdown table: the median, and the 5 to 95 % range where there are several volumes."""
    rows = [
        [source, max(len(numbers) for numbers in measures.values()), *(_cell(measures[m]) for m in MEASURES)]
        for source, measures in values.items()
    ]
    return markdown_table(["source", "n", *MEASURES], rows)


def _cell(numbers: list[float]) -> str:
    if not numbers:
        return "-"
    low, middle, high = np.percentile(numbers, (5, 50, 95))
    return f"{middle:.2f}" if len(numbers) == 1 else f"{middle:.2f} ({low:.2f} to {high:.2f})"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("--cohort", type=Path, required=True, metavar="DIR", help="simulated cohort")
    parser.add_argument("--real", type=Path, required=True, metavar="DIR", help="folder with resect and resect_sweep")
    parser.add_argument("--model", metavar="NAME|PATH", help="generator (default: the one that ships)")
    parser.add_argument("-n", "--cases", type=int, default=12, help="most simulated cases (default: 12)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")


def run(options: argparse.Namespace) -> int:
    """Write the table and the pictures."""
    options.output.mkdir(parents=True, exist_ok=True)
    values = compare(options.cohort, options.real, options.output, model=options.model, count=options.cases)
    (options.output / "agreement.json").write_text(json.dumps(values, indent=1) + "\n")
    (options.output / "agreement.md").write_text(table(values) + "\n")
    print(table(values))
    return 0
