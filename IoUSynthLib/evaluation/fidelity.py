"""Fidelity of a synthetic MRI to the true one, by the protocol of the ioUS-to-MR benchmark (arXiv 2606.00630, 2.6)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, stats
from skimage.metrics import structural_similarity

from . import perceptual

#: Intensity in [0, 1] above which a voxel of the target is foreground.
FOREGROUND = 0.025
#: Smallest fraction of foreground in a slice that counts.
SLICE_FRACTION = 0.01
_FEWEST_VOXELS = 100
_HIGHEST_PSNR = 50.0
_WINDOW = 7


def score(prediction: np.ndarray, target: np.ndarray, fan: np.ndarray | None = None) -> dict[str, float]:
    """Score a volume.

    Parameters
    ----------
    prediction, target
        (z, y, x) in [-1, 1], -1 outside the fan; the prediction is not clipped.
    fan
        (z, y, x) bool: adds SSIM inside the fan, which a constant background cannot inflate.

    Returns
    -------
    dict
        ``SSIM``: mean over axial slices with at least 1 % foreground of the whole slice's SSIM (Wang et al. 2004,
        uniform 7x7 window, sample covariance, data range 1). ``PSNR`` (dB; 50 below a mean squared error of 1e-10)
        and ``MAE`` (in [0, 1] units) over the foreground of the target. ``LPIPS``: mean over the same slices as SSIM,
        see :mod:`.perceptual`; NaN where its weights are absent or a slice is smaller than AlexNet can see.
        ``SSIM fan``: the same SSIM map averaged over the fan without its rim.

    Raises
    ------
    ValueError
        The volumes differ in shape.
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
    predicted, true = ((array.astype(np.float32) + 1) / 2 for array in (prediction, target))
    foreground = true > FOREGROUND
    kept = _slices(foreground)
    maps = [structural_similarity(true[k], predicted[k], data_range=1.0, full=True) for k in kept]
    scores = {"SSIM": float(np.mean([mean for mean, _ in maps])) if maps else float("nan")}
    if fan is not None:
        inside = ndimage.binary_erosion(fan, np.ones((1, _WINDOW, _WINDOW)))
        values = [full[inside[k]] for k, (_, full) in zip(kept, maps, strict=True)]
        scores["SSIM fan"] = float(np.concatenate(values).mean()) if values else float("nan")
    return {**scores, **_voxelwise(predicted, true, foreground), "LPIPS": lpips(prediction, target)}


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
    if foreground.sum() < _FEWEST_VOXELS:
        return {"PSNR": 0.0, "MAE": 1.0}
    difference = (predicted - true)[foreground].astype(np.float64)
    error = float((difference**2).mean())
    ratio = _HIGHEST_PSNR if error < 1e-10 else 10 * np.log10(1 / error)
    return {"PSNR": float(ratio), "MAE": float(np.abs(difference).mean())}


def confidence_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Student-t interval of the mean of at least two values (ddof 1)."""
    values = np.asarray(values, dtype=np.float64)
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice overlap of two masks; NaN when both are empty."""
    total = int(prediction.sum()) + int(truth.sum())
    return float("nan") if total == 0 else 2.0 * int((prediction & truth).sum()) / total
