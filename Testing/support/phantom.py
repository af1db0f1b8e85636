"""A head with a fan in it, whose contrasts follow from one set of tissues: small enough for tests that register."""

from __future__ import annotations

from functools import cache

import numpy as np
import SimpleITK as sitk

from IoUSynthLib.preprocessing import resample_like
from IoUSynthLib.registration.rigid import about, to_sitk
from IoUSynthLib.volume import Volume
from support.tiny_models import oblique_direction

SPACING = 1.5
CENTRE = np.array([12.0, -20.0, 35.0])
#: In the place of ``registration.search._VOXELS``: a registration of the phantom finds its place to 0.05 mm, in a
#: quarter of the time.
FEW_VOXELS = (3_000, 4_000, 6_000)


@cache
def head(seed: int = 0, side: int = 84) -> dict[str, Volume]:
    """T2w and FLAIR of smooth blobs of four tissues, in LPS axes round ``CENTRE``, and the echo they give."""
    rng = np.random.default_rng(seed)
    noise = sitk.GetImageFromArray(rng.standard_normal((side,) * 3).astype(np.float32))
    field = sitk.GetArrayFromImage(sitk.DiscreteGaussian(noise, 9.0))
    tissue = np.digitize(field / field.std(), (-0.7, 0.1, 0.9))
    z, y, x = np.indices(tissue.shape) - (side - 1) / 2
    brain = np.sqrt(x**2 + y**2 + z**2) < 0.48 * side
    signals = {"T2w": (350, 520, 620, 1000), "FLAIR": (420, 540, 900, 100), "echo": (90, 110, 160, 10)}
    geometry = {"spacing": (SPACING,) * 3, "origin": tuple(CENTRE - (side - 1) / 2 * SPACING)}
    images = {}
    for name, values in signals.items():
        sharp = sitk.GetImageFromArray(np.where(brain, np.array(values)[tissue], 0).astype(np.float32))
        images[name] = Volume(sitk.GetArrayFromImage(sitk.DiscreteGaussian(sharp, 0.5)), **geometry)
        images[name].array.setflags(write=False)  # all tests get the same
    return images


def field_of_view(images: dict[str, Volume], seed: int = 0) -> tuple[Volume, dict[str, Volume], Volume]:
    """Ultrasound with edges and speckle, blurred "synthetic" T2w and FLAIR, and the fan, on one oblique grid."""
    rng = np.random.default_rng(seed + 100)
    shape, spacing = (40, 46, 44), (1.4, 1.3, 1.5)
    direction = oblique_direction()
    extent = (np.array(shape[::-1]) - 1) * spacing
    grid = Volume(np.zeros(shape, np.float32), spacing, tuple(CENTRE - direction @ (extent / 2)), direction)
    k, j, i = np.indices(shape)
    fan = (np.hypot(i - 22, j + 6) < 50) & (np.abs(i - 22) < 0.5 * (j + 14)) & (k > 2) & (k < 37)
    echo = resample_like(images["echo"], grid).array
    edges = np.sqrt(sum(part**2 for part in np.gradient(echo)))
    speckle = rng.rayleigh(1.0, shape) / 1.25
    ultrasound = np.where(fan, np.clip((echo + 2.5 * edges) * (0.6 + 0.4 * speckle), 1, 255), 0).astype(np.float32)
    synthetic = {}
    for name in ("T2w", "FLAIR"):
        blurred = sitk.DiscreteGaussian(resample_like(images[name], grid).to_sitk(), 1.0)
        array = sitk.GetArrayFromImage(blurred) * (1 + 0.05 * rng.standard_normal(shape))
        synthetic[name] = grid.with_array(np.where(fan, np.clip(array, 1, 1000), 0).astype(np.float32))
    return grid.with_array(ultrasound), synthetic, grid.with_array(fan.astype(np.uint8))


def displacement(degrees: float, shift: float, seed: int = 0) -> np.ndarray:
    """4x4 matrix of a rotation about ``CENTRE`` and a shift in mm, along random axes."""
    rng = np.random.default_rng(seed + 200)
    axes = rng.standard_normal((2, 3))
    axes /= np.linalg.norm(axes, axis=1)[:, None]
    return about(CENTRE, np.concatenate([np.radians(degrees) * axes[0], shift * axes[1]]))


def displaced(images: dict[str, Volume], matrix: np.ndarray) -> dict[str, Volume]:
    """The MRI in a frame of its own: what is at y lies at ``matrix y``."""
    back = to_sitk(np.linalg.inv(matrix))
    grid = images["T2w"]
    middle = (matrix @ [*CENTRE, 1.0])[:3]
    origin = tuple(middle - (np.array(grid.size) - 1) / 2 * grid.spacing)
    reference = Volume(grid.array, grid.spacing, origin, grid.direction)
    return {name: resample_like(images[name], reference, transform=back) for name in ("T2w", "FLAIR")}


def points_of(mask: Volume, number: int = 60) -> np.ndarray:
    """LPS points spread over a mask."""
    index = np.argwhere(mask.array > 0)[:, ::-1]
    index = index[np.random.default_rng(1).choice(len(index), number, replace=False)]
    return index @ mask.ijk_to_lps[:3, :3].T + mask.ijk_to_lps[:3, 3]
