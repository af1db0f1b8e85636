"""Reading tracked sweeps: PLUS sequence metafiles (:mod:`plus`), and folders with frames and poses."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..files.headers import examine
from ..files.itk import ERRORS, quiet
from ..volume import InputError
from .plus import read_calibration, read_plus
from .poses import checked_affine, is_rigid, without_lost
from .sweep import Sweep, to_eight_bit

_PIXEL_SIZE = re.compile(r"pixel(?:\s+size|\s+spacing)?\s*[:=]?\s*(\d+(?:[.,]\d+)?)\s*(mm|cm|um|µm)\b", re.IGNORECASE)
#: How the names of sequences end; for other files it is said what is wanted.
_SEQUENCES = (".mha", ".mhd", ".nrrd", ".nhdr")
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3}


def read_sweep(
    path: str | Path,
    calibration: str | Path | None = None,
    *,
    pixel_spacing: float | None = None,
    fan: str | Path | None = None,
) -> Sweep:
    """Read a tracked sweep.

    Parameters
    ----------
    path
        A PLUS sequence metafile (MetaImage or NRRD), or a folder with ``frames*.npy`` (n, rows, columns) and
        ``poses*.npy`` (n, 4, 4). Poses with a pixel size go from the pixel index to LPS mm. Rigid poses go from the
        image plane to LPS mm: origin in the middle of the frame, x along the columns, y up against the rows.
    calibration
        For a PLUS sequence: the device set's configuration (XML), or a text file with the 16 numbers of ImageToProbe.
    pixel_spacing
        For rigid poses: pixel size in mm; by default what the sequence states as ElementSpacing, or a README beside
        the poses ("pixel 0.2 mm").
    fan
        An image of the frame's size that is above 0 where a frame, as stored, holds ultrasound.

    Returns
    -------
    Sweep
        Frames that were not tracked are left out, with a note.

    Raises
    ------
    InputError
        What is there is not a sweep, or lacks frames, poses, calibration or pixel size.
    """
    path = Path(path)
    with _naming(path):
        if not path.exists():
            raise InputError("no such file or folder; check the name")
        if path.is_dir() and calibration is not None:
            raise InputError("is a folder of frames and poses, which takes no calibration; leave the calibration out")
    for given in (fan, calibration):
        if given is not None and not Path(given).exists():
            raise InputError(f"{given}: no such file; check the name")
    if path.is_file() and path.name.lower().endswith(_SEQUENCES):
        examine(path)
    mask, fixed = None, {}
    if fan is not None:
        with _naming(fan):
            mask = _read_fan(Path(fan))
    if calibration is not None:
        with _naming(calibration):
            fixed = read_calibration(Path(calibration))
    with _naming(path):
        if path.is_dir():
            return _read_folder(path, pixel_spacing, mask)
        return read_plus(path, fixed, pixel_spacing=pixel_spacing, fan=mask)


@contextlib.contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    """Put the file's name in front of what is wrong with it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_fan(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    try:
        with quiet():
            image = sitk.ReadImage(str(path))
    except ERRORS as error:
        raise InputError("is no image that can be read; give the fan mask as PNG") from error
    array = np.squeeze(sitk.GetArrayFromImage(image))
    return (array.max(axis=-1) if image.GetNumberOfComponentsPerPixel() > 1 else array) > 0


# frames and poses -----------------------------------------------------------------------------------------------------


def _read_folder(folder: Path, pixel_spacing: float | None, fan: np.ndarray | None) -> Sweep:
    frames, poses = _load(folder, "frames"), np.asarray(_load(folder, "poses"), dtype=np.float64)
    if frames.ndim != 3 or poses.shape != (len(frames), 4, 4):
        raise InputError(
            f"frames of shape {frames.shape}, poses of shape {poses.shape}; give (n, rows, columns), (n, 4, 4)"
        )
    for number, pose in enumerate(poses):
        checked_affine(pose, f"pose {number + 1}")
    poses, kept, notes = without_lost(poses, [np.array_equal(pose, np.eye(4)) for pose in poses])
    frames = frames[kept]
    if is_rigid(poses):
        if pixel_spacing is None:
            pixel_spacing, source = _documented_pixel_size(folder)
            notes += (f"Pixel size {pixel_spacing:g} mm from {source}.",)
        rows, columns = frames.shape[1:]
        poses = poses @ _plane_of_pixels(pixel_spacing, rows, columns)
    elif pixel_spacing is not None:
        raise InputError("the poses hold a pixel size already; leave the pixel spacing out")
    eight_bit, conversion = to_eight_bit(frames)
    return Sweep(eight_bit, poses, fan, notes + conversion)


def _plane_of_pixels(spacing: float, rows: int, columns: int) -> np.ndarray:
    """From the pixel index to mm in the image plane, origin in the middle, x to the right, y up."""
    if not np.isfinite(spacing) or spacing <= 0:
        raise InputError(f"a pixel spacing of {spacing:g} mm; give one above 0")
    matrix = np.diag([spacing, -spacing, -spacing, 1.0])  # a rotation, so that nothing is mirrored
    matrix[:2, 3] = -spacing * (columns - 1) / 2, spacing * (rows - 1) / 2
    return matrix


def _load(folder: Path, stem: str) -> np.ndarray:
    files = sorted(folder.glob(f"{stem}*.npy"))
    if len(files) != 1:
        raise InputError(
            f"holds {len(files)} files {stem}*.npy; give a folder with one frames*.npy and one poses*.npy, "
            "or a PLUS sequence (.igs.mha, .igs.nrrd)"
        )
    try:
        array = np.load(files[0], mmap_mode="r", allow_pickle=False)  # which reserves no memory for what is not there
        kind = array.dtype
    except Exception as error:  # a damaged file fails in many ways
        raise InputError(f"{files[0].name} cannot be read ({error}); save it again with numpy.save") from error
    if kind.kind not in "uif":
        raise InputError(f"{files[0].name} holds {kind}, not numbers; save it again with numpy.save")
    return np.array(array)


def _documented_pixel_size(folder: Path) -> tuple[float, str]:
    for file in sorted(folder.glob("README*")):
        found = _PIXEL_SIZE.findall(file.read_text(encoding="utf-8", errors="replace"))
        sizes = sorted({float(number.replace(",", ".")) * _MILLIMETRES[unit.lower()] for number, unit in found})
        if sizes and sizes[-1] > 1.001 * sizes[0]:
            raise InputError(f"{file.name} names pixels of {sizes[0]:g} and {sizes[-1]:g} mm; give --pixel-spacing MM")
        if sizes:
            return sizes[0], file.name
    raise InputError("the poses are rigid and hold no pixel size; give it with --pixel-spacing MM")
