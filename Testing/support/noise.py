"""Textures of ultrasound: speckle, whose grains are a voxel or two wide, and noise, whose are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def speckle(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Return the envelope of a complex Gaussian field that was smoothed over neighbours: Rayleigh, of mean 1."""
    envelope = np.hypot(*(_smoothed(rng.standard_normal(shape)) for _ in range(2)))
    return envelope / envelope.mean()


def _smoothed(field: np.ndarray) -> np.ndarray:
    for axis in range(field.ndim):
        field = (np.roll(field, 1, axis) + 2 * field + np.roll(field, -1, axis)) / 4
    return field
