"""How slices and patches are varied while a network learns from them, beside flips."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..constants import OUTSIDE

#: Image, target and fan of a slice or patch, (channels, ...) each.
Part = tuple[np.ndarray, np.ndarray, np.ndarray]
#: Shares of the published recipe (benchmark, section 2.2): rotated, and of varied intensity.
_ROTATED, _VARIED = 0.3, 0.4


def rotated(part: Part, rng: np.random.Generator, largest: float) -> Part:
    """Turn three of ten parts by up to ``largest`` degrees, patches in the plane of two axes drawn at random.

    What comes in from beyond the part is outside the fan.
    """
    if rng.random() >= _ROTATED:
        return part
    image, target, fan = part
    axes = rng.choice(np.arange(1, image.ndim), 2, replace=False)
    how = {"angle": rng.uniform(-largest, largest), "axes": tuple(axes), "reshape": False, "order": 1}
    inside = ndimage.rotate(fan.astype(np.float32), cval=0.0, **how) > 0.99  # where no voxel from outside is mixed in
    image, target = (ndimage.rotate(array.astype(np.float32), cval=OUTSIDE, **how) for array in (image, target))
    return np.where(inside, image, np.float32(OUTSIDE)), target, inside


def vary_gain(image: np.ndarray, rng: np.random.Generator, channels: int) -> np.ndarray:
    """Vary gain curve, noise and sharpness of the ultrasound, the first channels of (C, ..., H, W) in [-1, 1]."""
    ultrasound = (image[:channels] + 1) / 2
    outside = ultrasound == 0
    ultrasound = ultrasound ** np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.1))
    if rng.random() < 0.3:
        ultrasound += rng.normal(0, rng.uniform(0, 0.06), ultrasound.shape)
    if rng.random() < 0.3:
        weight = rng.uniform(0.1, 0.25)
        neighbours = sum(np.roll(ultrasound, shift, axis) for axis in (-2, -1) for shift in (-1, 1))
        ultrasound = (1 - 4 * weight / 2) * ultrasound + weight / 2 * neighbours
    return _replaced(image, ultrasound, outside)


def vary_gamma(image: np.ndarray, rng: np.random.Generator, channels: int) -> np.ndarray:
    """Give four of ten parts another gamma, 0.8 to 1.2, and noise of up to 0.03 of the range, as published."""
    if rng.random() >= _VARIED:
        return image
    ultrasound = (image[:channels] + 1) / 2
    outside = ultrasound == 0
    noise = rng.normal(0, rng.uniform(0, 0.03), ultrasound.shape)
    return _replaced(image, ultrasound ** rng.uniform(0.8, 1.2) + noise, outside)


def _replaced(image: np.ndarray, ultrasound: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The image with other ultrasound, in [0, 1] and blank outside the fan."""
    ultrasound = np.clip(ultrasound, 0, 1)
    ultrasound[outside] = 0
    return np.concatenate([ultrasound * 2 - 1, image[len(ultrasound) :]]).astype(np.float32)


#: By the names that :class:`..generators.recipe.Augmentation` gives them.
INTENSITIES = {"gain": vary_gain, "gamma": vary_gamma, "none": lambda image, rng, channels: image}
