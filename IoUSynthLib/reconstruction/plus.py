"""PLUS sequences: images with fields for each, which hold the transforms of the tracking.

PLUS (Lasso et al., IEEE TBME 61(10), 2014) stores transforms ``<From>To<To>Transform`` for each frame, in a
right-handed frame whose anatomical axes, if any, are RAS, from pixel indices of an image in the orientation MF: columns
towards the marked side of the probe, rows away from it. The calibration ImageToProbe, with the size of a pixel, is
often not in the sequence but in the configuration of the device set; IBIS writes it once, as CalibrationTransform.
"""

from __future__ import annotations

import contextlib
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..constants import RAS_TO_LPS
from ..files.itk import ERRORS, LUMINANCE, metadata, quiet
from ..volume import InputError
from .poses import checked_affine, pixel_plane, without_lost
from .sweep import Sweep, to_eight_bit

if TYPE_CHECKING:
    import SimpleITK as sitk

#: From RAS to LPS and back.
FLIP = np.diag([*RAS_TO_LPS, 1.0])

#: Frames that a sweep is placed in, the first that can be reached; anatomical ones first, the bare tracker last.
WORLDS = ("Ras", "RAS", "World", "Patient", "Reference", "Tracker")

#: No tracker sees farther, in mm: numbers beyond it stand for a tool that it did not see.
_FARTHEST_MM = 1e6

#: What a status says of a transform or image that can be used, in upper case.
_VALID = ("OK", "TOOL_OK", "VALID", "TRUE", "1")

_FIELD = re.compile(r"Seq_Frame(\d+)_(\w+)$")
_TRANSFORM = re.compile(r"([A-Z]\w*?)To([A-Z]\w*?)Transform$")

WANTED = "give a PLUS sequence (.igs.mha, .igs.nrrd), or a folder with frames*.npy and poses*.npy"

#: Transforms by the names of the frames of reference they lead from and to.
Edges = dict[tuple[str, str], np.ndarray]

#: Fields by their names.
Fields = dict[str, str]


def read_plus(path: Path, fixed: Edges, *, pixel_spacing: float | None, fan: np.ndarray | None) -> Sweep:
    """Read a PLUS sequence.

    Parameters
    ----------
    fixed
        Transforms of the device set, where a frame does not have them itself.
    pixel_spacing
        Pixel size in mm, where nothing in the file says it.
    fan
        bool, as the frames are stored.

    Raises
    ------
    InputError
        It is not a sequence, or lacks poses, calibration or pixel size.
    """
    image, frames, numbered, common = _read_sequence(path)
    fields, notes = _of_images(numbered, len(frames))
    if not any(_TRANSFORM.match(name) for part in fields for name in part):
        raise InputError("its frames have no poses; record the sequence with the tracker connected")
    refused: Counter[str] = Counter()
    tracked = [_transforms(part, refused) for part in fields]
    fixed = {**_common_transforms(common), **fixed}
    world, found = _poses({n: {**fixed, **edges} for n, edges in enumerate(tracked) if edges}, refused)
    poses, kept, lost = without_lost(np.array(list(found.values())), _unmoved([tracked[n] for n in found]))
    chosen = np.array(list(found))[kept]
    notes = (f"Placed in the frame {world} of the tracking, taken as RAS.", *notes)
    if len(found) < len(frames):
        states = f" ({', '.join(sorted(refused))})" if refused else ""
        notes += (f"{len(frames) - len(found)} of {len(frames)} frames left out: not tracked{states}.",)
    frames, fan, orientation = _to_marked_far(frames[chosen], fan, image)
    plane, size_note = pixel_plane(poses, _stated_size(image, [fields[n] for n in chosen]), pixel_spacing)
    frames, conversion = to_eight_bit(frames)
    return Sweep(frames, FLIP @ poses @ plane, fan, notes + lost + orientation + size_note + conversion)


# Fields ---------------------------------------------------------------------------------------------------------------


def _read_sequence(path: Path) -> tuple[sitk.Image, np.ndarray, dict[int, Fields], Fields]:
    """Return the image, its frames (n, rows, columns), the fields of each by its number, and the file's own fields."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    fields: dict[int, Fields] = {}
    common: Fields = {}
    with quiet():
        try:
            reader.ReadImageInformation()
            for key, value in metadata(reader).items():
                found = _FIELD.match(key)
                part = fields.setdefault(int(found.group(1)), {}) if found else common
                part[found.group(2) if found else key] = value.strip()
            image = reader.Execute() if fields else None
        except ERRORS as error:
            raise InputError(f"cannot be read as an image, it may be damaged; {WANTED}") from error
    if image is None:
        raise InputError(f"is not a tracked sequence, it has no fields Seq_Frame0000_...; {WANTED}")
    return image, _frames_of(image), fields, common


def _frames_of(image: sitk.Image) -> np.ndarray:
    """Return the pixels as (n, rows, columns)."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    if metadata(image).get("NRRD_kinds[pixel]", "").strip() == "list":
        array = np.moveaxis(array, -1, 0)  # ITK takes the list of frames for the components of a pixel
    elif image.GetNumberOfComponentsPerPixel() in (3, 4):
        array = array[..., :3] @ np.asarray(LUMINANCE, dtype=np.float32)
    if array.ndim == 2:
        array = array[np.newaxis]  # one frame
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 3:
        raise InputError("is a sequence of 3D images; give one of 2D B-mode frames")
    return array


def _of_images(fields: dict[int, Fields], count: int) -> tuple[list[Fields], tuple[str, ...]]:
    """Give each image its fields. Numbers may have gaps where a recorder dropped frames, image and fields alike."""
    numbers = sorted(fields)
    if len(numbers) == count:
        gaps = numbers[-1] - numbers[0] + 1 - count
        note = f"Its frames are numbered {numbers[0]} to {numbers[-1]}, {gaps} numbers missing: taken in this order."
        return [fields[number] for number in numbers], (note,) if gaps else ()
    if numbers[-1] < count:
        return [fields.get(number, {}) for number in range(count)], ()
    raise InputError(
        f"holds {count} images, but fields of {len(numbers)} frames, numbered {numbers[0]} to {numbers[-1]}: which "
        "belong together is not known; export the sequence again"
    )


def _is_valid(fields: Fields, name: str, refused: Counter[str]) -> bool:
    """Tell whether a status is absent or good, and count those that are not."""
    status = fields.get(name, "OK")
    if status.upper() in _VALID:
        return True
    refused[status] += 1
    return False


def _transforms(fields: Fields, refused: Counter[str]) -> Edges:
    """Return the transforms of a frame that its tracker calls valid; none when its image is not valid."""
    edges: Edges = {}
    if not all(_is_valid(fields, name, refused) for name in ("ImageStatus", "Status")):
        return edges
    for name, text in fields.items():
        found = _TRANSFORM.match(name)
        if found and _is_valid(fields, f"{name}Status", refused):
            matrix = _matrix(text)
            if matrix is not None:
                edges[found.group(1), found.group(2)] = checked_affine(matrix, f"its {name}")
    return edges


def _common_transforms(fields: Fields) -> Edges:
    """Return the transforms that a file gives once for all frames."""
    edges: Edges = {}
    for name, text in fields.items():
        found, matrix = _TRANSFORM.match(name), _matrix(text)
        if matrix is not None and (found or name == "CalibrationTransform"):
            edge = (found.group(1), found.group(2)) if found else ("Image", "Probe")
            edges[edge] = checked_affine(matrix, f"its {name}")
    return edges


def _unmoved(frames: list[Edges]) -> list[bool]:
    """Tell for each frame whether one of its transforms, which in others is not, is exactly the identity."""
    moving = {edge for edges in frames for edge, matrix in edges.items() if not np.array_equal(matrix, np.eye(4))}
    return [any(edge in moving and np.array_equal(edges[edge], np.eye(4)) for edge in edges) for edges in frames]


def _matrix(text: str) -> np.ndarray | None:
    """Return a 4x4 matrix in a text of 16 numbers; None for any other, and for what stands for no tracking.

    That is NaN, zeros or numbers beyond any room. Brackets and separators of other programs are let pass, and a comma
    for the decimal point of every number.
    """
    words = text.replace("[", " ").replace("]", " ").replace(";", " ").split()
    for candidate in (words, " ".join(words).replace(",", " ").split(), [word.replace(",", ".") for word in words]):
        try:
            numbers = np.array(candidate, dtype=np.float64)
        except ValueError:
            continue
        if numbers.size == 16:
            return numbers.reshape(4, 4) if numbers.any() and np.abs(numbers).max() < _FARTHEST_MM else None
    return None


def _stated_size(image: sitk.Image, fields: list[Fields]) -> np.ndarray | None:
    """Return the pixel size (2,) that frames or file state beside the transforms; None where they say nothing, or 1."""
    words = [part["ElementSpacing"].replace(",", ".").split()[:2] for part in fields if "ElementSpacing" in part]
    try:
        sizes = np.array(words, dtype=np.float64).reshape(-1, 2)
    except ValueError as error:
        raise InputError("its fields ElementSpacing are no pixel sizes; correct them") from error
    if len(sizes) and (sizes.max(axis=0) / np.maximum(sizes.min(axis=0), 1e-9)).max() > 1.01:
        raise InputError(
            f"its pixel size changes from {sizes.min():g} to {sizes.max():g} mm during the sweep (another depth?); "
            "give the part with one depth"
        )
    size = sizes[0] if len(sizes) else np.array(image.GetSpacing()[:2])
    return None if np.allclose(size, 1.0) else size


# Calibration and chains of transforms ---------------------------------------------------------------------------------


def read_calibration(path: Path) -> Edges:
    """Read the transforms of a device set, or the 16 numbers of ImageToProbe.

    Raises
    ------
    InputError
        The file is neither.
    """
    remedy = "give the PLUS configuration (XML), or a text file with the 16 numbers of ImageToProbe"
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as text; {remedy}") from error
    if text.startswith("#Insight Transform"):
        raise InputError(f"is a transform file of ITK, whose direction is not said; {remedy}, as Slicer shows them")
    matrix = _matrix(text)
    if matrix is not None:
        return {("Image", "Probe"): checked_affine(matrix, "its matrix")}
    edges: Edges = {}
    with contextlib.suppress(ElementTree.ParseError):
        for element in ElementTree.fromstring(content).iter("Transform"):
            matrix = _matrix(element.get("Matrix", ""))
            if matrix is not None:
                edge = element.get("From", ""), element.get("To", "")
                edges[edge] = checked_affine(matrix, f"its transform from {edge[0]} to {edge[1]}")
    if not any("Image" in edge for edge in edges):
        raise InputError(f"holds no transform of Image; {remedy}")
    return edges


def _poses(frames: dict[int, Edges], refused: Counter[str]) -> tuple[str, dict[int, np.ndarray]]:
    """Return the first of :data:`WORLDS` that at least half as many frames reach as any, and the poses in it."""
    if not frames:
        why = f"their status is {' or '.join(sorted(refused))}, not OK" if refused else "no transform has 16 numbers"
        raise InputError(f"no frame was tracked ({why}); record it again in sight of the tracker")
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
    entries = metadata(image)
    keys = [key for key in ("UltrasoundImageOrientation", "ultrasound image orientation") if key in entries]
    text = entries[keys[0]].strip().upper() if keys else "XX"
    if text[:2] in ("", "XX"):
        return frames, fan, ("Image orientation not stated, taken as MF.",)
    if text[:1] not in ("M", "U") or text[1:2] not in ("F", "N"):
        raise InputError(f"its image orientation is {text}, not B-mode; export B-mode frames (MF, MN, UF or UN)")
    flip = (slice(None, None, -1 if text[1] == "N" else 1), slice(None, None, -1 if text[0] == "U" else 1))
    return frames[(slice(None), *flip)], None if fan is None else fan[flip], ()
