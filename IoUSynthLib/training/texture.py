"""Simulated ultrasound takes over grey levels and texture of real ultrasound that nobody has outlined.

Between simulated and real ultrasound lies what a scanner does to an image, of which no simulator has all. Fourier
domain adaptation (Yang and Soatto, CVPR 2020, arXiv 2004.05498) swaps amplitudes of an image for those of another
domain and keeps the phases, in which its structures lie. Here the amplitudes' mean at each frequency is taken over,
whatever the direction: how much grain and how much blur there is, but no structure of the other image. The grey levels
follow by their quantiles.
"""

from __future__ import annotations

import numpy as np

#: Part of the slices and patches that take something over.
SHARE = 0.5
#: The amplitude of no frequency changes by more than this factor, or its reciprocal.
_LARGEST_CHANGE = 3.0
_BANDS = 24
_QUANTILES = np.linspace(0, 1, 33)
#: Fewer voxels inside the fan than this say nothing of a texture.
_FEWEST = 200


def take_over(image: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give simulated ultrasound a part of the texture and of the grey levels of real ultrasound.

    Parameters
    ----------
    image, real
        (channels, ...) in [-1, 1], -1 outside the fan; of one size. Channels are neighbouring slices, or one volume.
    rng
        Draws how much is taken over: of the amplitudes and of the grey levels between nothing and all.

    Returns
    -------
    numpy.ndarray
        Like ``image``, float32, with the same voxels at -1; the very image where either fan holds next to nothing.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> smooth, grainy = np.full((1, 32, 32), 0.1), rng.uniform(-0.9, 0.9, (1, 32, 32))
    >>> bool((take_over(grainy, grainy, rng) > -1).all())
    True
    """
    amplitudes, levels = rng.random(2)
    inside, seen = image > -1, real > -1
    if min(inside.sum(), seen.sum()) < _FEWEST:
        return image
    changed = _coloured(image, inside, _spectrum(real, seen) / _spectrum(image, inside), weight=amplitudes)
    own = np.quantile(changed[inside], _QUANTILES)
    wanted = (1 - levels) * np.quantile(image[inside], _QUANTILES) + levels * np.quantile(real[seen], _QUANTILES)
    # np.interp wants rising points; where a quarter of an image is one level, several of them are equal.
    own = own + 1e-6 * np.arange(len(own))
    result = np.full(image.shape, -1, np.float32)
    result[inside] = np.interp(changed[inside], own, wanted)
    return np.clip(result, -1, 1)


def _standardised(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    values = image[inside]
    return np.where(inside, (image - values.mean()) / max(float(values.std()), 1e-3), 0)


def _bands(shape: tuple[int, ...]) -> np.ndarray:
    """The band of frequencies, 0 the lowest, of every place in the half spectrum of an image of that shape."""
    frequencies = [*(np.fft.fftfreq(n) for n in shape[:-1]), np.fft.rfftfreq(shape[-1])]
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(*frequencies, indexing="ij")))
    return np.minimum((radius * 2 * _BANDS).astype(int), _BANDS - 1)


def _spectrum(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Root mean square amplitude in every band, of the image at unit deviation, for unit size of the fan."""
    axes = tuple(range(1, image.ndim))
    power = np.abs(np.fft.rfftn(_standardised(image, inside), axes=axes)) ** 2
    bands = _bands(image.shape[1:])
    mean = np.bincount(bands.ravel(), power.mean(0).ravel(), _BANDS) / np.bincount(bands.ravel(), minlength=_BANDS)
    return np.sqrt(mean / inside.mean() + 1e-9)


def _coloured(image: np.ndarray, inside: np.ndarray, change: np.ndarray, *, weight: float) -> np.ndarray:
    """The image with the amplitudes of every band multiplied; standardised."""
    axes = tuple(range(1, image.ndim))
    factor = np.clip(change, 1 / _LARGEST_CHANGE, _LARGEST_CHANGE) ** weight
    spectrum = np.fft.rfftn(_standardised(image, inside), axes=axes) * factor[_bands(image.shape[1:])]
    return np.fft.irfftn(spectrum, s=image.shape[1:], axes=axes)
