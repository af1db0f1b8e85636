"""Reading tracked sweeps: PLUS sequence metafiles, and folders with frames and poses.

PLUS (Lasso et al., IEEE TBME 61(10), 2014) stores transforms ``<From>To<To>Transform`` for each frame, in a
right-handed frame whose anatomical axes, if any, are RAS, from pixel indices of an image in the orientation MF: columns
towards the marked side of the probe, rows away from it. The calibration ImageToProbe is often not in the sequence but
in the configuration of the device set.
"""

from __future__ import annotations

import contextlib
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..volume import LUMINANCE, InputError
from .sweep import Sweep

if TYPE_CHECKING:
    import SimpleITK as sitk

#: From RAS to LPS and back.
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])

#: Frames that a sweep is placed in, the first that can be reached; anatomical ones first, the bare tracker last.
WORLDS = ("Ras", "RAS", "World", "Patient", "Reference", "Tracker")

_FIELD = re.compile(r"Seq_Frame(\d+)_(\w+)$")
_TRANSFORM = re.compile(r"([A-Z]\w*?)To([A-Z]\w*?)Transform$")
_PIXEL_SIZE = re.compile(r"pixel(?:\s+(?:size|spacing))?\s*:?\s*([0-9]*\.[0-9]+)\s*mm", re.IGNORECASE)

_WANTED = "give a PLUS sequence (.igs.mha, .igs.nrrd), or a folder with frames*.npy and poses*.npy"

#: Transforms by the names of the frames of reference they lead from and to.
Edges = dict[tuple[str, str], np.ndarray]


def read_sweep(
    path: str | Path,
    calibration: str | Path | None = None,
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
        For rigid poses: pixel size in mm; by default what a README beside them says ("pixel 0.2 mm").
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
        if not path.is_dir() and pixel_spacing is not None:
            raise InputError("is a file, whose calibration holds the pixel size; leave the pixel spacing out")
    mask, fixed = None, {}
    if fan is not None:
        with _naming(fan):
            mask = _read_fan(Path(fan))
    if calibration is not None:
        with _naming(calibration):
            fixed = _read_calibration(Path(calibration))
    with _naming(path):
        return _read_folder(path, pixel_spacing, mask) if path.is_dir() else _read_plus(path, fixed, mask)


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
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError("is no image that can be read; give the fan mask as PNG") from error
    array = np.squeeze(sitk.GetArrayFromImage(image))
    return (array.max(axis=-1) if image.GetNumberOfComponentsPerPixel() > 1 else array) > 0


# frames and poses -----------------------------------------------------------------------------------------------------


def _read_folder(folder: Path, pixel_spacing: float | None, fan: np.ndarray | None) -> Sweep:
    frames, poses = _load(folder, "frames"), np.asarray(_load(folder, "poses"), dtype=np.float64)
    notes: tuple[str, ...] = ()
    if frames.ndim != 3 or poses.shape != (len(frames), 4, 4):
        raise InputError(
            f"frames of shape {frames.shape}, poses of shape {poses.shape}; give (n, rows, columns), (n, 4, 4)"
        )
    if np.allclose(np.linalg.norm(poses[:, :3, :2], axis=1), 1.0, atol=1e-3):
        if pixel_spacing is None:
            pixel_spacing, source = _documented_pixel_size(folder)
            notes = (f"Pixel size {pixel_spacing:g} mm from {source}.",)
        rows, columns = frames.shape[1:]
        poses = poses @ _plane_of_pixels(pixel_spacing, rows, columns)
    elif pixel_spacing is not None:
        raise InputError("the poses hold a pixel size already; leave the pixel spacing out")
    eight_bit, conversion = _to_eight_bit(frames)
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
        array = np.load(files[0], allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{files[0].name} cannot be read ({error}); save it again with numpy.save") from error
    if array.dtype.kind not in "uif":
        raise InputError(f"{files[0].name} holds {array.dtype}, not numbers; save it again with numpy.save")
    return array


def _documented_pixel_size(folder: Path) -> tuple[float, str]:
    for file in sorted(folder.glob("README*")):
        found = _PIXEL_SIZE.search(file.read_text(encoding="utf-8", errors="replace"))
        if found:
            return float(found.group(1)), file.name
    raise InputError("the poses are rigid and hold no pixel size; give it with --pixel-spacing MM")


# PLUS sequences -------------------------------------------------------------------------------------------------------


def _read_plus(path: Path, fixed: Edges, fan: np.ndarray | None) -> Sweep:
    image, frames, fields = _read_sequence(path)
    if not any(_TRANSFORM.match(name) for part in fields.values() for name in part):
        raise InputError("its frames have no poses; record the sequence with the tracker connected")
    tracked = {number: _transforms(fields.get(number, {})) for number in range(len(frames))}
    world, poses = _poses({number: {**fixed, **edges} for number, edges in tracked.items() if edges})
    notes = (f"Placed in the frame {world} of the tracking, taken as RAS.",)
    if len(poses) < len(frames):
        notes += (f"{len(frames) - len(poses)} of {len(frames)} frames left out: not tracked.",)
    frames, fan, orientation = _to_marked_far(frames[list(poses)], fan, image)
    index_to_mm = np.diag([*image.GetSpacing()[:2], 1.0, 1.0])  # PLUS writes 1: the calibration holds the pixel size
    to_world = np.array([FLIP @ pose @ index_to_mm for pose in poses.values()])
    frames, conversion = _to_eight_bit(frames)
    return Sweep(frames, to_world, fan, notes + orientation + conversion)


def _read_sequence(path: Path) -> tuple[sitk.Image, np.ndarray, dict[int, dict[str, str]]]:
    """Return the image, its frames (n, rows, columns), and the fields of each frame."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    fields: dict[int, dict[str, str]] = {}
    try:
        reader.ReadImageInformation()
        for key in reader.GetMetaDataKeys():
            found = _FIELD.match(key)
            if found:
                fields.setdefault(int(found.group(1)), {})[found.group(2)] = reader.GetMetaData(key).strip()
        image = reader.Execute() if fields else None
    except RuntimeError as error:
        raise InputError(f"cannot be read as an image, it may be damaged; {_WANTED}") from error
    if image is None:
        raise InputError(f"is not a tracked sequence, it has no fields Seq_Frame0000_...; {_WANTED}")
    array = sitk.GetArrayFromImage(image)
    if image.HasMetaDataKey("NRRD_kinds[pixel]") and image.GetMetaData("NRRD_kinds[pixel]").strip() == "list":
        array = np.moveaxis(array, -1, 0)  # ITK takes the list of frames for the components of a pixel
    elif image.GetNumberOfComponentsPerPixel() in (3, 4):
        array = array[..., :3] @ np.asarray(LUMINANCE, dtype=np.float32)
    if array.ndim == 2:
        array = array[np.newaxis]  # one frame
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        raise InputError("is a sequence of 3D images; give one of 2D B-mode frames")
    return image, array, fields


def _transforms(fields: dict[str, str]) -> Edges:
    """Return the transforms of a frame that its tracker calls valid; none when its image is not valid."""
    edges: Edges = {}
    if any(fields.get(name, "OK") != "OK" for name in ("ImageStatus", "Status")):
        return edges
    for name, text in fields.items():
        found = _TRANSFORM.match(name)
        if found and fields.get(f"{name}Status", "OK") == "OK":
            matrix = _matrix(text)
            if matrix is not None:
                edges[found.group(1), found.group(2)] = matrix
    return edges


def _matrix(text: str) -> np.ndarray | None:
    try:
        numbers = np.array(text.split(), dtype=np.float64)
    except ValueError:
        return None
    return numbers.reshape(4, 4) if numbers.size == 16 and np.isfinite(numbers).all() else None


def _read_calibration(path: Path) -> Edges:
    remedy = "give the PLUS configuration (XML), or a text file with the 16 numbers of ImageToProbe"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text; {remedy}") from error
    matrix = _matrix(text.replace(",", " "))
    if matrix is not None:
        return {("Image", "Probe"): matrix}
    edges: Edges = {}
    with contextlib.suppress(ElementTree.ParseError):
        for element in ElementTree.fromstring(text).iter("Transform"):
            matrix = _matrix(element.get("Matrix", ""))
            if matrix is not None:
                edges[element.get("From", ""), element.get("To", "")] = matrix
    if not any("Image" in edge for edge in edges):
        raise InputError(f"holds no transform of Image; {remedy}")
    return edges


def _poses(frames: dict[int, Edges]) -> tuple[str, dict[int, np.ndarray]]:
    """Return the first of :data:`WORLDS` that at least half as many frames reach as any, and the poses in it."""
    if not frames:
        raise InputError("no frame was tracked (their status is not OK); record it again in sight of the tracker")
    reached = {number: _reach(edges) for number, edges in frames.items()}
    counts = Counter(world for places in reached.values() for world in places)
    names = [world for world in WORLDS if counts[world]] or [name for name in counts if name not in ("Image", "Probe")]
    if not names:
        given = ", ".join(sorted({f"{start}To{end}" for edges in frames.values() for start, end in edges}))
        raise InputError(
            f"nothing says where the image lies in space ({given}); give the calibration ImageToProbe with "
            "--calibration: the PLUS configuration (XML) or a text file with 16 numbers"
        )
    most = max(counts[name] for name in names)
    best = next(name for name in names if counts[name] >= 0.5 * most)
    return best, {number: places[best] for number, places in reached.items() if best in places}


def _reach(edges: Edges) -> dict[str, np.ndarray]:
    """Return the matrix from Image to every frame of reference that a chain of transforms leads to."""
    backwards = {(end, start): np.linalg.inv(m) for (start, end), m in edges.items() if abs(np.linalg.det(m)) > 1e-12}
    reached, front = {"Image": np.eye(4)}, ["Image"]
    while front:
        here = front.pop(0)
        for (start, end), matrix in {**backwards, **edges}.items():
            if start == here and end not in reached:
                reached[end] = matrix @ reached[here]
                front.append(end)
    return reached


def _to_marked_far(
    frames: np.ndarray, fan: np.ndarray | None, image: sitk.Image
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Flip frames and fan into the orientation MF that the calibration of PLUS refers to."""
    keys = [key for key in ("UltrasoundImageOrientation", "ultrasound image orientation") if image.HasMetaDataKey(key)]
    text = image.GetMetaData(keys[0]).strip().upper() if keys else "XX"
    if text[:2] in ("", "XX"):
        return frames, fan, ("Image orientation not stated, taken as MF.",)
    if text[:1] not in ("M", "U") or text[1:2] not in ("F", "N"):
        raise InputError(f"its image orientation is {text}, not B-mode; export B-mode frames (MF, MN, UF or UN)")
    flip = (slice(None, None, -1 if text[1] == "N" else 1), slice(None, None, -1 if text[0] == "U" else 1))
    return frames[(slice(None), *flip)], None if fan is None else fan[flip], ()


def _to_eight_bit(frames: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    if frames.dtype == np.uint8:
        return frames, ()
    low, high = float(frames.min()), float(frames.max())
    if not np.isfinite([low, high]).all() or low < 0:
        raise InputError(
            f"its pixels range from {low:g} to {high:g}, not B-mode; export B-mode frames instead of RF data"
        )
    if high <= 255:
        return np.rint(frames).astype(np.uint8), ()
    return np.rint(frames * (255.0 / high)).astype(np.uint8), (f"Frames scaled from a maximum of {high:g} to 255.",)
