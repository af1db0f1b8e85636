"""A 3D image with its place in the patient.

Coordinates are LPS millimetres throughout, as in DICOM and SimpleITK; only the room ``mrml`` speaks RAS. Arrays are
indexed ``[z, y, x]``, spacing, origin and size are ordered ``(x, y, z)``, as in SimpleITK.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Largest deviation of ``direction.T @ direction`` from the identity that still counts as rounding, not as shear.
SHEAR_TOLERANCE = 1e-3




class InputError(ValueError):
    """Something the user can put right: one line that names the cause and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar image on a regular grid.

    Attributes
    ----------
    array
        Voxels, indexed ``[z, y, x]``.
    spacing
        Distance of voxel centres along i, j, k, in mm.
    origin
        LPS position of the centre of voxel (0, 0, 0), in mm.
    direction
        3x3 matrix whose columns are the LPS unit vectors of the i, j and k axes.
    notes
        What was done to the image when it was read, in words for the report.
    warnings
        What speaks against trusting it as it was read, in words for the report.

    Examples
    --------
    >>> volume = Volume(np.zeros((4, 3, 2)), spacing=(0.5, 0.5, 1.0), origin=(10, 20, 30))
    >>> volume.size
    (2, 3, 4)
    >>> (volume.ijk_to_lps @ [1, 1, 1, 1])[:3].tolist()
    [10.5, 20.5, 31.0]
    """

    array: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = None  # type: ignore[assignment]  # the identity
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        direction = np.eye(3) if self.direction is None else np.array(self.direction, dtype=np.float64).reshape(3, 3)
        object.__setattr__(self, "array", np.asarray(self.array))
        object.__setattr__(self, "spacing", tuple(float(value) for value in self.spacing))
        object.__setattr__(self, "origin", tuple(float(value) for value in self.origin))
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "warnings", tuple(self.warnings))

    @property
    def size(self) -> tuple[int, ...]:
        """Number of voxels along i, j, k."""
        return tuple(reversed(self.array.shape))

    @property
    def ijk_to_lps(self) -> np.ndarray:
        """4x4 matrix from voxel indices (i, j, k) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return abs(float(np.prod(self.spacing))) / 1000.0

    def with_array(self, array: np.ndarray) -> Volume:
        """Return other voxels on the same grid."""
        if array.shape != self.array.shape:
            raise ValueError(f"array of shape {array.shape} does not fit the grid {self.array.shape}")
        return replace(self, array=array)

    def same_grid(self, other: Volume, tolerance: float = 1e-5) -> bool:
        """Tell whether both have the same size, and spacing, origin and direction equal within ``tolerance``."""
        if self.array.shape != other.array.shape:
            return False
        pairs = ((self.spacing, other.spacing), (self.origin, other.origin), (self.direction, other.direction))
        return all(float(np.abs(np.subtract(a, b)).max()) <= tolerance for a, b in pairs)

    def to_sitk(self) -> sitk.Image:
        """Return the image as a SimpleITK image (bool becomes uint8)."""
        import SimpleITK as sitk

        array = self.array.astype(np.uint8) if self.array.dtype == bool else self.array
        image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction.ravel().tolist())
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image, notes: tuple[str, ...] = ()) -> Volume:
        """Make a volume from a 3D scalar SimpleITK image."""
        import SimpleITK as sitk

        array = sitk.GetArrayFromImage(image)
        return cls(array, image.GetSpacing(), image.GetOrigin(), np.reshape(image.GetDirection(), (3, 3)), notes)












def right_angled(direction: np.ndarray) -> np.ndarray:
    """Return the nearest axes at right angles, where the deviation is no more than rounding; else the same axes."""
    deviation = float(np.abs(direction.T @ direction - np.eye(3)).max())
    if not 1e-12 < deviation <= SHEAR_TOLERANCE:
        return direction
    left, _, right = np.linalg.svd(direction)
    return left @ right






















