"""From the input's grid to the grid that a network works on, and back.

The input is cropped to its fan once. Each network then gets it at its own voxel size and along its own axes: those of
the ultrasound, or those of the patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import preprocessing
from ..constants import OUTSIDE
from ..models.bundle import Bundle
from ..volume import InputError, Volume

#: More voxels than any network's grid needs: the preoperative MRI's spacing would be wrong.
_MOST_VOXELS = 2**27


@dataclass(frozen=True)
class FieldOfView:
    """The input and its field of view, where all networks begin and end.

    Attributes
    ----------
    volume
        The input.
    fan
        bool, on the input's grid: what the ultrasound saw.
    box
        The fan's place on that grid.
    cropped
        The input within the box.
    """

    volume: Volume
    fan: np.ndarray
    box: preprocessing.Box
    cropped: Volume

    @classmethod
    def of(cls, volume: Volume) -> FieldOfView:
        """Find the fan."""
        fan = preprocessing.field_of_view(volume.array)
        cropped, box = preprocessing.crop_to_mask(volume, fan, margin=1)
        return cls(volume, fan, box, cropped)

    def resampled(self, spacing: float) -> tuple[Volume, np.ndarray]:
        """The input within the box on isotropic voxels of ``spacing`` mm, and the fan there."""
        (image,), fan = preprocessing.resample_inside([self.cropped], (spacing,) * 3, self.fan[self.box])
        return image, fan

    def embed(self, array: np.ndarray) -> Volume:
        """Put voxels of the box onto the input's grid; 0 outside the fan."""
        whole = np.zeros(self.volume.array.shape, dtype=array.dtype)
        np.copyto(whole[self.box], array, where=self.fan[self.box])
        return Volume(whole, self.volume.spacing, self.volume.origin, self.volume.direction)


@dataclass(frozen=True)
class NetworkGrid:
    """The grid that a network works on, and the ultrasound on it.

    Attributes
    ----------
    image
        The ultrasound at the network's spacing, normalised to [-1, 1] by eq. 1.
    valid
        bool, on the same grid: where a prediction is wanted.
    box
        The part of the grid that the network sees.
    axes
        Whose axes the grid follows, in words.
    percentiles
        The two intensities that eq. 1 maps to -1 and 1; None where there was nothing to normalise.
    """

    image: Volume
    valid: np.ndarray
    box: preprocessing.Box
    axes: str
    percentiles: tuple[float, float] | None

    def describe(self) -> dict[str, object]:
        """Return what a report says about the grid."""
        size = [part.stop - part.start for part in reversed(self.box)]
        return {"size": size, "spacing_mm": list(self.image.spacing), "axes": self.axes}


def network_grid(field: FieldOfView, bundle: Bundle, mr_grid: Volume | None = None) -> NetworkGrid:
    """Bring the input onto the grid of a network.

    In the frame ``volume`` that grid follows the ultrasound. In the frame ``patient`` it is the preoperative MRI's,
    cropped to the fan, as the benchmark prepared ReMIND: its axes and, unless the bundle's spacing is fixed, its voxel
    size. Without an MRI it lies along LPS at the bundle's spacing.

    Parameters
    ----------
    field
        The input and its fan.
    bundle
        Says frame and spacing.
    mr_grid
        A volume whose spacing and direction are the MRI's, in the input's coordinates, with axial slices
        (:func:`preprocessing.axial`). Its voxels are not looked at.

    Raises
    ------
    InputError
        The fan holds no voxel of that grid, or far too many.
    """
    direction, spacing, axes = None, bundle.spacing, "ultrasound"
    if bundle.frame == "patient":
        direction, axes = (np.eye(3), "patient") if mr_grid is None else (mr_grid.direction, "preoperative MRI")
        if mr_grid is not None and not bundle.fixed_spacing:
            spacing = mr_grid.spacing
    fan, cropped = field.fan[field.box], field.cropped
    extent = np.prod(np.multiply(cropped.size, cropped.spacing) / spacing)
    if extent > _MOST_VOXELS:
        raise InputError(f"input volume: its fan holds {extent:.1e} voxels of {spacing} mm; check the spacings")
    (image,), valid = preprocessing.resample_inside([cropped], spacing, fan, direction=direction)
    if not valid.any():
        raise InputError("input volume: the ultrasound fan is smaller than a voxel of the model; check the spacing")
    # A slice that is stretched to a square must end where the fan ends, as it did in training.
    box = preprocessing.bounding_box(valid if bundle.frame == "patient" else np.ones_like(valid))
    normalized = image.with_array(preprocessing.normalize_ultrasound(image.array))
    return NetworkGrid(normalized, valid, box, axes, preprocessing.ultrasound_statistics(image.array))


def stacked(grid: NetworkGrid, images: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Return images and ultrasound as a further network sees them: float32 (names, z, y, x), -1 outside the fan."""
    seen = {"ioUS": grid.image.array, **images}
    return np.stack([np.where(grid.valid, seen[name], OUTSIDE).astype(np.float32) for name in names])


def network_inputs(
    bundle: Bundle, grid: NetworkGrid, preoperative: Mapping[str, np.ndarray] | None = None
) -> np.ndarray:
    """Return what a generator sees: float32 (inputs, z, y, x) in [-1, 1].

    Parameters
    ----------
    bundle
        The generator.
    grid
        Its grid, with the image that it cannot do without.
    preoperative
        MRI (z, y, x) on this grid in [-1, 1] by contrast, for the bundle's optional inputs; what is missing is -1.
    """
    given, missing = preoperative or {}, np.full_like(grid.image.array, OUTSIDE)
    return np.stack([
        given.get(name, missing) if name in bundle.optional else grid.image.array for name in bundle.inputs
    ])


def coarsened(
    grid: NetworkGrid, images: dict[str, np.ndarray], spacing: Sequence[float]
) -> tuple[NetworkGrid, dict[str, np.ndarray]]:
    """Bring the ultrasound and images on its grid to larger voxels.

    Parameters
    ----------
    grid
        The ultrasound and its grid.
    images
        (z, y, x) by name; voxels that are not valid are not looked at.
    spacing
        (x, y, z) in mm, no less than the grid's; where it is the grid's, everything comes back as it is.

    Returns
    -------
    tuple of NetworkGrid and dict
        The ultrasound and the images, 0 outside the fan.
    """
    if np.allclose(grid.image.spacing, spacing, rtol=1e-3):
        return grid, images
    volumes = [grid.image, *map(grid.image.with_array, images.values())]
    # Where the rim runs through the middle of larger voxels, rounding decides whether half of one lies inside: ITK's,
    # as when the segmenter was trained, which resamples where axes are given.
    mask = grid.image.with_array(grid.valid)
    share = preprocessing.resample_to_spacing(mask, spacing, direction=grid.image.direction)
    (image, *coarse), valid = preprocessing.resample_inside(volumes, spacing, grid.valid, share=share)
    whole = preprocessing.bounding_box(np.ones_like(valid))
    grid = replace(grid, image=image, valid=valid, box=whole)
    return grid, {name: volume.array for name, volume in zip(images, coarse, strict=True)}


def from_network_grid(array: np.ndarray, grid: NetworkGrid, reference: Volume) -> np.ndarray:
    """Interpolate a prediction (z, y, x) linearly onto a volume's voxels, as a rule those of the cropped input."""
    (extended,) = extended_beyond_fan([array], grid)
    return preprocessing.resample_like(extended, reference).array


def extended_beyond_fan(arrays: Sequence[np.ndarray], grid: NetworkGrid) -> list[Volume]:
    """Return predictions (z, y, x) as volumes that can be interpolated up to the rim of the fan (:func:`extend`)."""
    return [grid.image.with_array(array) for array in extend(np.stack(arrays), grid.valid)]


def extend(images: np.ndarray, valid: np.ndarray, steps: int = 3) -> np.ndarray:
    """Continue images beyond their valid voxels by means of neighbours, so that interpolation at the rim sees no edge.

    Parameters
    ----------
    images
        (..., z, y, x); voxels outside ``valid`` are not looked at.
    valid
        (z, y, x) bool.
    steps
        How many voxels to go.
    """
    result, known = np.where(valid, images, 0).astype(np.float32), valid.copy()
    values, there = result.reshape(-1, valid.size), known.reshape(-1)
    for _ in range(steps):
        fresh = np.flatnonzero(_reached(known) & ~known)
        around = _neighbours(fresh, valid.shape)
        weight = there[around].mean(axis=0, dtype=np.float32)
        values[:, fresh] = values[:, around].mean(axis=1) / weight
        there[fresh] = True
    return result


def _neighbours(place: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Places (27, n) in the flat array of voxels (n) and of all their neighbours, with the outermost going on."""
    z, y, x = (np.stack([index - 1, index, index + 1]) for index in np.unravel_index(place, shape))
    around = np.ravel_multi_index((z[:, None, None], y[:, None], x), shape, mode="clip")
    return around.reshape(27, len(place))


def _reached(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask and all their neighbours."""
    reached = mask
    for axis in range(3):
        before, reached = np.moveaxis(reached, axis, 0), np.moveaxis(reached, axis, 0).copy()
        reached[1:] |= before[:-1]
        reached[:-1] |= before[1:]
        reached = np.moveaxis(reached, 0, axis)
    return reached
