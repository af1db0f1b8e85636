"""A 3D image with its place in the patient, and the files it is read from and written to.

Coordinates are LPS millimetres throughout, as in DICOM and SimpleITK; only the room ``mrml`` speaks RAS. Arrays are
indexed ``[z, y, x]``, spacing, origin and size are ordered ``(x, y, z)``, as in SimpleITK.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

#: Largest deviation of ``direction.T @ direction`` from the identity that still counts as rounding, not as shear.
SHEAR_TOLERANCE = 1e-3

#: Weights of red, green and blue in the luminance (ITU-R Recommendation BT.601).
LUMINANCE = (0.299, 0.587, 0.114)

_SUFFIXES = (".seq.nrrd", ".nii.gz", ".nrrd", ".nhdr", ".nii", ".mha", ".mhd", ".dcm", ".hdr", ".img")
FORMATS = "NRRD, NIfTI, MetaImage, or a folder with one DICOM series"


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
        image = sitk.GetImageFromArray(np.ascontiguousarray(array))
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


def case_name(path: str | Path) -> str:
    """Return the file's or folder's name without the suffix of an image format."""
    name = Path(path).resolve().name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def check_path(path: str | Path) -> None:
    """Raise :class:`InputError` when a path is not text, on which the libraries that read files would abort."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise InputError(
            f"{shown}: its name is no text in this system's encoding, {sys.getfilesystemencoding()}; rename it, or set "
            "LANG to a UTF-8 locale"
        ) from error


def check_input(volume: Volume, name: str = "input volume") -> Volume:
    """Return the volume as it can be worked on, its background 0 (:func:`grounding.grounded`), or refuse it.

    Raises
    ------
    InputError
        It has not three dimensions or a single slice, a spacing that is zero or not finite, axes that are not at right
        angles, NaN inside the image or infinite voxels, or it is constant or has no positive voxel.
    """
    from .grounding import grounded

    array = volume.array
    if array.ndim != 3:
        raise InputError(
            f"{name}: has {array.ndim} dimensions, but one 3D volume is needed; export a single time point or channel"
        )
    if min(array.shape) == 0:
        raise InputError(f"{name}: has no voxels; export the volume again")
    if min(array.shape) == 1:
        raise InputError(f"{name}: is a single slice; give a reconstructed 3D ultrasound volume")
    _check_geometry(volume, name)
    volume = grounded(volume)
    low, high = float(volume.array.min()), float(volume.array.max())
    if not np.isfinite([low, high]).all():  # min and max carry NaN and infinity on
        raise InputError(f"{name}: holds NaN or infinite voxels; export the volume again without them")
    if low == high:
        raise InputError(f"{name}: is empty, every voxel is {low:g}; choose the volume that holds the image")
    if high <= 0:
        raise InputError(f"{name}: has no positive voxel; choose the ultrasound volume")
    return volume


def check_ultrasound(volume: Volume, name: str = "input volume") -> Volume:
    """Do as :func:`check_input`; refuse what is partly negative, too, which B-mode ultrasound never is."""
    from .grounding import negative_share

    volume = check_input(volume, name)
    share = negative_share(volume.array)
    if share:
        raise InputError(
            f"{name}: {share:.0%} of the image is negative, as when brightness above 127 is stored in signed bytes "
            "(int8); save it as B-mode in unsigned bytes (uint8)"
        )
    return volume


def _check_geometry(volume: Volume, name: str) -> None:
    if not np.isfinite(volume.spacing).all() or min(np.abs(volume.spacing)) < 1e-6:
        raise InputError(f"{name}: has the spacing {volume.spacing}; set a positive spacing in mm and save it again")
    if not np.isfinite(volume.origin).all() or not np.isfinite(volume.direction).all():
        raise InputError(f"{name}: has an origin or direction that is not finite; save it again with its geometry")
    if float(np.abs(volume.direction.T @ volume.direction - np.eye(3)).max()) > SHEAR_TOLERANCE:
        raise InputError(
            f"{name}: has sheared axes (not at right angles); resample it to a regular grid first, "
            "in Slicer with Resample Scalar/Vector/DWI Volume"
        )


def right_angled(direction: np.ndarray) -> np.ndarray:
    """Return the nearest axes at right angles, where the deviation is no more than rounding; else the same axes."""
    deviation = float(np.abs(direction.T @ direction - np.eye(3)).max())
    if not 1e-12 < deviation <= SHEAR_TOLERANCE:
        return direction
    left, _, right = np.linalg.svd(direction)
    return left @ right


def read_volume(path: str | Path, labels: bool = False) -> Volume:
    """Read a 3D image as float32.

    Parameters
    ----------
    path
        NRRD, NIfTI or MetaImage file, a DICOM file with a 3D image, or a folder that holds one DICOM series.
    labels
        Whether a segmentation of 3D Slicer will do.

    Returns
    -------
    Volume
        In millimetres, whatever unit the file is in. Colour images become luminance, with a note; where a file places
        its image in two ways that contradict each other, a warning says which was taken.

    Raises
    ------
    InputError
        The file is missing, cut off, damaged, not an image, not one 3D volume, or its geometry is unusable.
    """
    from . import dicom_import
    from .image_files import examine

    path = Path(path)
    check_path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; check the name")
    if path.is_dir():
        return dicom_import.read_folder(path)
    if dicom_import.is_dicom(path):
        return dicom_import.read_file(path)
    with quiet():
        header = examine(path)
        if header.segmentation and not labels:
            raise InputError(f"{path}: is a segmentation of 3D Slicer, not an image; give the volume it was drawn on")
        try:
            volume = _read_file(path)
        except RuntimeError as error:
            if "orthonormal" not in str(error) or header.nearly_right_angled is None:
                raise unreadable(path, error) from error
            with _any_axes():
                volume = _placed(_read_file(path), header.nearly_right_angled)
    doubts = header.doubts(volume.ijk_to_lps, volume.size)
    spacing, origin = (np.multiply(values, header.unit_mm) for values in (volume.spacing, volume.origin))
    return replace(volume, spacing=spacing, origin=origin, warnings=(*volume.warnings, *doubts))


def _read_file(path: Path) -> Volume:
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    _check_not_over_time(reader, path)
    return to_volume(reader.Execute(), path)


def _placed(volume: Volume, ijk_to_ras: np.ndarray) -> Volume:
    """Give a volume another place."""
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    return replace(volume, spacing=spacing, origin=matrix[:3, 3], direction=right_angled(matrix[:3, :3] / spacing))


@contextlib.contextmanager
def _any_axes() -> Iterator[None]:
    """Let ITK read a NIfTI file whose axes are not quite at right angles; it then turns them somehow."""
    name = "ITK_NIFTI_SFORM_PERMISSIVE"
    before = os.environ.get(name)
    os.environ[name] = "ON"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what ITK's readers print off the terminal; what matters in it is checked here.

    Its own warnings can be switched off. The libraries below it write to the file descriptor of stderr.
    """
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with contextlib.ExitStack() as stack:
        stack.callback(sitk.ProcessObject.SetGlobalWarningDisplay, shown)
        with contextlib.suppress(OSError):  # a windowed program may have no stderr
            original = os.dup(2)
            stack.callback(os.close, original)
            stack.callback(os.dup2, original, 2)
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
        yield


def unreadable(path: Path, error: RuntimeError) -> InputError:
    """Say in one line, with a remedy, what ITK means when it cannot read a file."""
    text = str(error)
    if "orthonormal" in text:
        return InputError(
            f"{path}: has sheared axes (not at right angles), which 3D Slicer does not load either; save it on a "
            "regular grid where it was made, with a rigid transform instead of an affine one"
        )
    if "determinant is 0" in text:
        return InputError(f"{path}: has axes that lie in one plane; save it again with its directions")
    if "Refusing to change spacing" in text or "spacing (0)" in text:
        return InputError(f"{path}: has a spacing of zero; set a positive voxel spacing in mm and save it again")
    if "Unable to determine ImageIO reader" in text:
        return InputError(f"{path}: is not an image this program can read; give {FORMATS}")
    last = text.strip().splitlines()[-1] if text.strip() else "unknown error"
    return InputError(f"{path}: is damaged or has an unusable geometry ({last}); export it again")


def _is_nifti(path: str | Path) -> bool:
    return Path(path).name.lower().endswith((".nii", ".nii.gz", ".hdr"))




def _check_not_over_time(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse sequences of 2D frames or of volumes that would otherwise pass for one volume."""
    keys = reader.GetMetaDataKeys()
    if any(key.startswith("Seq_Frame") for key in keys):
        raise InputError(f"{path}: is a tracked 2D sequence (2D+t); reconstruct it into a 3D volume first")
    listed = "NRRD_kinds[pixel]" in keys and reader.GetMetaData("NRRD_kinds[pixel]").strip() == "list"
    if listed and reader.GetNumberOfComponents() > 1:
        raise InputError(f"{path}: is a sequence of volumes (4D); export one of them as a 3D volume")


def to_volume(image: sitk.Image, path: Path, notes: tuple[str, ...] = ()) -> Volume:
    """Take over what ITK has read: float32 ``[z, y, x]``, colours as luminance.

    Raises
    ------
    InputError
        It is no scalar or colour image in 3D; ``path`` is what the message names.
    """
    import SimpleITK as sitk

    from .grounding import wrapped

    size = image.GetSize()
    if len(size) > 3:
        if any(count > 1 for count in size[3:]):
            raise InputError(f"{path}: is {len(size)}D ({' x '.join(map(str, size))}); export one 3D volume of it")
        image = sitk.Extract(image, [*size[:3], *[0] * (len(size) - 3)])
    if len(size) < 3:
        raise InputError(f"{path}: is a single 2D image; give a reconstructed 3D ultrasound volume")
    components = image.GetNumberOfComponentsPerPixel()
    if components not in (1, 3, 4):
        raise InputError(f"{path}: has {components} values per voxel; export one scalar 3D volume of it")
    array = sitk.GetArrayViewFromImage(image)
    if components > 1:
        array = array[..., :3] @ np.asarray(LUMINANCE, dtype=np.float32)
        notes = (*notes, f"Colour image ({components} components) converted to luminance (Rec. 601).")
    elif not np.isrealobj(array):
        raise InputError(f"{path}: holds complex numbers; export the magnitude (B-mode) volume")
    warnings = wrapped(array)
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which check_input refuses
        array = np.array(array, dtype=np.float32)
    direction = right_angled(np.reshape(image.GetDirection(), (3, 3)))
    return Volume(array, image.GetSpacing(), image.GetOrigin(), direction, notes, warnings)


def write_volume(path: str | Path, volume: Volume, header: dict[str, str] | None = None) -> None:
    """Write a volume, compressed, in the format that the file's suffix names.

    Parameters
    ----------
    path
        Ends in ``.nii.gz``, ``.nrrd`` or ``.mha``.
    header
        Entries for the file's header. NIfTI keeps only ``descrip``, of at most 79 characters; NRRD and MetaImage keep
        them all.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    import SimpleITK as sitk

    image = volume.to_sitk()
    for key, value in (header or {}).items():
        # ITK reads NIfTI's description as "descrip" but writes it from "ITK_FileNotes".
        image.SetMetaData("ITK_FileNotes" if key == "descrip" and _is_nifti(path) else key, value)
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be written; choose a folder with write permission and free space") from error
