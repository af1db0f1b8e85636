"""Fidelity of a synthetic MRI to the true one, by the protocol of the ioUS-to-MR benchmark (arXiv 2606.00630, 2.6).

Two things differ from the benchmark. By default, the region "fan", both images are blanked (-1) outside the ultrasound
fan, because there a network has nothing to predict from; the benchmark blanks nothing, so that only the region "crop"
gives figures that compare with its tables. A constant background raises SSIM, so that figures of the two regions never
compare with each other. And slices are those of the case's grid, which lies along the ultrasound, not axial slices of
the patient.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage, stats
from skimage.metrics import structural_similarity

from ..constants import OUTSIDE
from . import perceptual
from .protocol import REGIONS

#: Intensity in [0, 1] above which a voxel of the target is foreground.
FOREGROUND = 0.025
#: Smallest fraction of foreground in a slice that counts.
SLICE_FRACTION = 0.01
FEWEST_VOXELS = 100
_HIGHEST_PSNR = 50.0
_WINDOW, _GAUSSIAN_WINDOW = 7, 11


def score(
    prediction: np.ndarray, target: np.ndarray, fan: np.ndarray | None = None, *, region: str = "fan"
) -> dict[str, float]:
    """Score a volume.

    Parameters
    ----------
    prediction, target
        (z, y, x) in [-1, 1]; the prediction is not clipped.
    fan
        (z, y, x) bool: adds SSIM inside the fan, which a constant background cannot inflate.
    region
        One of :data:`.protocol.REGIONS`. "fan" blanks both images outside ``fan``, where one is given; "crop" blanks
        nothing.

    Returns
    -------
    dict
        ``SSIM`` (eq. 10): mean over slices with at least 1 % foreground of the whole slice's SSIM (Wang et al. 2004,
        uniform 7x7 window, sample covariance, data range 1); ``SSIM gaussian``: the same with Wang's Gaussian window
        (sigma 1.5, 11x11, population covariance), which the benchmark's released results hold, too. ``PSNR`` (eq. 11;
        dB, 50 below a mean squared error of 1e-10) and ``MAE`` (eq. 12; in [0, 1] units) over the foreground of the
        target, which is above 0.025 in [0, 1]; 0 dB and 1 of fewer than 100 voxels, as published. ``MSE``: mean squared
        error of that foreground, 1 of fewer than 100 voxels; ``NMSE``: the same over the mean squared target, NaN of
        fewer. ``LPIPS``: mean over the same slices as SSIM, see :mod:`.perceptual`; NaN where its weights are absent or
        a slice is smaller than AlexNet can see. ``SSIM fan``: the first SSIM map averaged over the fan without its rim.

    Raises
    ------
    ValueError
        The volumes differ in shape, or the region is none of the two.
    InputError
        The weights of LPIPS are there, but damaged.

    Examples
    --------
    >>> truth = np.full((2, 32, 32), 0.5, np.float32)
    >>> scores = score(truth - 0.2, truth)
    >>> f"PSNR {scores['PSNR']:.1f} dB, MAE {scores['MAE']:.2f}"
    'PSNR 20.0 dB, MAE 0.10'
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} differ in shape")
    if region not in REGIONS:
        raise ValueError(f"region {region!r} is none of {', '.join(REGIONS)}")
    if fan is not None and region == "fan":
        prediction, target = (np.where(fan, array, np.float32(OUTSIDE)) for array in (prediction, target))
    predicted, true = ((array.astype(np.float32) + 1) / 2 for array in (prediction, target))
    foreground = true > FOREGROUND
    kept = _slices(foreground)
    maps = [structural_similarity(true[k], predicted[k], data_range=1.0, full=True) for k in kept]
    scores = {"SSIM": _mean([mean for mean, _ in maps]), "SSIM gaussian": _gaussian_ssim(predicted[kept], true[kept])}
    if fan is not None:
        inside = ndimage.binary_erosion(fan, np.ones((1, _WINDOW, _WINDOW)))
        values = [full[inside[k]] for k, (_, full) in zip(kept, maps, strict=True)]
        scores["SSIM fan"] = _mean(np.concatenate(values)) if values else float("nan")
    return {**scores, **_voxelwise(predicted, true, foreground), "LPIPS": lpips(prediction, target)}


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _gaussian_ssim(predicted: np.ndarray, true: np.ndarray) -> float:
    if min(true.shape[1:]) < _GAUSSIAN_WINDOW:
        return float("nan")
    setting = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return _mean([structural_similarity(*pair, **setting) for pair in zip(true, predicted, strict=True)])


def _slices(foreground: np.ndarray) -> np.ndarray:
    """Indices of the axial slices that count."""
    return np.flatnonzero(foreground.mean((1, 2)) >= SLICE_FRACTION)


def lpips(prediction: np.ndarray, target: np.ndarray) -> float:
    """LPIPS alone, as :func:`score` gives it, of the same volumes."""
    kept = _slices((target.astype(np.float32) + 1) / 2 > FOREGROUND)
    predicted, true = prediction[kept], target[kept]
    network = perceptual.load()
    if network is None or len(true) == 0 or min(true.shape[1:]) < perceptual.SMALLEST_SIDE:
        return float("nan")
    return float(network(true, predicted).mean())


def _voxelwise(predicted: np.ndarray, true: np.ndarray, foreground: np.ndarray) -> dict[str, float]:
    if foreground.sum() < FEWEST_VOXELS:
        return {"PSNR": 0.0, "MAE": 1.0, "MSE": 1.0, "NMSE": float("nan")}
    return voxel_errors(predicted[foreground], true[foreground])


def voxel_errors(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """PSNR, MAE, MSE and NMSE of some voxels, at least one, in [0, 1] units; see :func:`score`."""
    difference = (predicted - true).astype(np.float64)
    error = float((difference**2).mean())
    ratio = _HIGHEST_PSNR if error < 1e-10 else 10 * np.log10(1 / error)
    power = float((true.astype(np.float64) ** 2).mean())
    nmse = error / power if power else float("nan")
    return {"PSNR": float(ratio), "MAE": float(np.abs(difference).mean()), "MSE": error, "NMSE": nmse}


def confidence_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student-t interval of the mean of at least two values (ddof 1)."""
    values = np.asarray(values, dtype=np.float64)
    mean, half = values.mean(), _quantile(level, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(mean - half), float(mean + half)


@functools.cache
def _quantile(level: float, freedom: int) -> float:
    """Student's t that the middle of this level ends at; kept, because a report asks for few of them very often."""
    return float(stats.t.ppf(0.5 + level / 2, freedom))


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice overlap of two masks; NaN when both are empty."""
    total = int(prediction.sum()) + int(truth.sum())
    return float("nan") if total == 0 else 2.0 * int((prediction & truth).sum()) / total
