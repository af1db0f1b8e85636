"""What an image file's header says that ITK does not check or honour.

ITK fills what a cut file lacks with 0, reads on when a checksum is wrong, assumes 1 mm where a file gives no voxel
size, takes centimetres for millimetres, and keeps to itself which of two placements it took. So the headers of the
formats that are promised are read here, before it reads the voxels; all other formats are refused.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..constants import RAS_TO_LPS
from ..volume import SHEAR_TOLERANCE, InputError
from .paths import FORMATS, check_path

#: Bytes that are read at a time: zeros of a thousand times as many may come out of them.
_BLOCK = 1 << 16
#: Voxels that no image needs: a thousand along each axis, 4 GiB as float32.
MOST_VOXELS = 2**30
#: Lengths and directions beyond this, in any unit, are no place; ITK's decomposition of the axes may not end on them.
_LARGEST = 1e9
#: Bytes that may follow the voxels within compressed data; more of them are none that the header tells of.
_MOST_BEYOND = 1 << 20
#: Placements that lie closer than this everywhere, in mm, are one.
_SAME_PLACE_MM = 0.25
#: Voxel sizes that differ by a smaller share are one.
_SAME_SIZE = 1e-3

_BRACKETS = str.maketrans("(),", "   ")
_GZIP = b"\x1f\x8b"
_NRRD_BYTES = {
    "char": 1, "int8": 1, "uchar": 1, "uint8": 1, "short": 2, "int16": 2, "ushort": 2, "uint16": 2, "int": 4,
    "int32": 4, "uint": 4, "uint32": 4, "float": 4, "double": 8, "longlong": 8, "int64": 8, "ulonglong": 8, "uint64": 8,
}  # fmt: skip
_METAIMAGE_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_FLOAT": 4,
    "MET_DOUBLE": 8, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8,
}  # fmt: skip
#: Entries of a MetaImage that hold a number for each dimension, or a matrix.
_METAIMAGE_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_METAIMAGE_LISTS = (
    *_METAIMAGE_MATRICES, "DimSize", "ElementSpacing", "ElementSize", "Offset", "Position", "Origin",
    "CenterOfRotation",
)  # fmt: skip
#: Dimensions that ITK's readers are made for here.
_MOST_DIMENSIONS = 5
#: Units of length in millimetres.
_UNITS = {
    "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0, "m": 1000.0,
    "meter": 1000.0, "metre": 1000.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "micrometer": 1e-3,
    "micrometre": 1e-3, "nm": 1e-6, "nanometer": 1e-6, "nanometre": 1e-6,
}  # fmt: skip
#: A pattern for the names of several files, and first, last and step of their numbers.
_NUMBERED = re.compile(r"([^%]*)%(0?\d{0,2})d([^%\s]*)\s+(-?\d{1,6})\s+(-?\d{1,6})\s+(-?\d{1,6})(?:\s+\d+)?")
#: Files that the voxels of one image lie in, at most.
_MOST_FILES = 10_000
#: Entries that say that nothing is known.
_NO_UNIT = ("", "?", "unknown", "none", "nan", "???")


@dataclass(frozen=True, eq=False)
class Header:
    """What a file says beside its voxels.

    Attributes
    ----------
    unit_mm
        Millimetres in the file's unit of length, where ITK takes it for millimetres.
    placements
        4x4 matrices from voxel indices to RAS millimetres, by what the file calls them.
    segmentation
        Whether the file is a segmentation of 3D Slicer.
    """

    unit_mm: float = 1.0
    placements: dict[str, np.ndarray] = field(default_factory=dict)
    segmentation: bool = False

    @property
    def nearly_right_angled(self) -> np.ndarray | None:
        """The first placement that is sheared by no more than numbers that were rounded."""
        for matrix in self.placements.values():
            axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
            if np.abs(axes.T @ axes - np.eye(3)).max() <= SHEAR_TOLERANCE:
                return matrix
        return None

    def doubts(self, ijk_to_lps: np.ndarray, size: tuple[int, ...]) -> tuple[str, ...]:
        """Say which placements of the file contradict the one that was taken.

        Parameters
        ----------
        ijk_to_lps
            4x4 matrix that was taken.
        size
            Voxels along i, j, k.
        """
        taken = np.diag([*RAS_TO_LPS, 1.0]) @ ijk_to_lps
        corners = np.array(np.meshgrid(*([0, count - 1] for count in size), [1.0])).reshape(4, -1)
        apart = {name: _farthest(taken @ corners, other @ corners) for name, other in self.placements.items()}
        chosen = [name for name, distance in apart.items() if distance <= _SAME_PLACE_MM]
        source = f"the {chosen[0]}" if chosen else "the voxel size in pixdim, with the direction of another entry"
        return tuple(
            f"The file places the image twice: taken was {source}, as 3D Slicer does; the {name}, which other programs "
            f"may take, puts it up to {apart[name]:.1f} mm elsewhere{_other_size(taken, other)}. If this one is wrong, "
            "remove it from the file."
            for name, other in self.placements.items()
            if name not in chosen
        )


def _farthest(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.linalg.norm((first - second)[:3], axis=0).max())


def _other_size(taken: np.ndarray, other: np.ndarray) -> str:
    """Say by how much voxel sizes differ, if they do."""
    ours, theirs = (np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (taken, other))
    if np.allclose(theirs, ours, rtol=_SAME_SIZE):
        return ""
    sizes = (" x ".join(f"{size:.4g}" for size in voxel) for voxel in (theirs, ours))
    factor = abs(np.linalg.det(other[:3, :3]) / np.linalg.det(taken[:3, :3]))
    return f", with voxels of {' instead of '.join(sizes)} mm: volumes are {factor:.3g} times as large"


def examine(path: Path) -> Header:
    """Read the header of an image file, and check that its voxels are all there and whole.

    Raises
    ------
    InputError
        The file is damaged, in a format that is not promised, gives no voxel size, or gives lengths in a
        unit that is not known; says what to do.
    """
    check_path(path)
    is_pair = path.name.lower().endswith(".img") and path.with_suffix(".hdr").is_file()
    try:
        with open(path.with_suffix(".hdr") if is_pair else path, "rb") as stream:
            return _by_format(path, stream)
    except EOFError as error:
        raise _ends_early(path) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except InputError:
        raise
    except (ValueError, struct.error) as error:
        raise InputError(f"{path}: has a header that makes no sense ({error}); export it again") from error


def _by_format(path: Path, stream: BinaryIO) -> Header:
    start = stream.read(348)
    stream.seek(0)
    compressed = start[:2] == _GZIP
    if compressed:
        start = gzip.GzipFile(fileobj=stream).read(348)
        stream.seek(0)
    if start[:4] == b"NRRD":
        return _nrrd(path, stream)
    if _begins_with(start, 348):
        return _nifti(path, start, compressed)
    if b"ObjectType" in start or path.name.lower().endswith((".mha", ".mhd")):
        return _metaimage(path, stream)
    _check_other_format(path, start)
    return Header()


def _begins_with(start: bytes, number: int) -> bool:
    return start[:4] in (struct.pack("<i", number), struct.pack(">i", number))


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: is damaged: its compressed voxels do not add up; copy or export it again")


def _ends_early(path: Path) -> InputError:
    return InputError(f"{path}: is damaged: its compressed voxels end early; copy or export it again")


def _check_other_format(path: Path, start: bytes) -> None:
    """Refuse what ITK could read, but would not place, and what it cannot read, but a person may take for an image."""
    import SimpleITK as sitk

    if _begins_with(start, 540):
        raise InputError(f"{path}: is a NIfTI-2 file; save it as NIfTI-1 or NRRD")
    kind = sitk.ImageFileReader.GetImageIOFromFileName(str(path)).removesuffix("ImageIO")
    if not kind:
        raise InputError(f"{path}: is not an image this program can read; give {FORMATS}")
    if kind != "GDCM":
        raise InputError(f"{path}: is in the format {kind}, which is not read (its place is unsure); give {FORMATS}")


# Whether the voxels are all there -------------------------------------------------------------------------------------


def _inflated_length(stream: BinaryIO, most: int) -> int | None:
    """Return the bytes that come out of gzip or zlib data, whose checksums are checked; None where the data ends early.

    What follows the data is not looked at; of data that goes on after ``most`` bytes neither is the rest.

    Raises
    ------
    zlib.error
        The data is damaged.
    """
    total, inflater, block = 0, zlib.decompressobj(47), stream.read(_BLOCK)
    while block:
        total += len(inflater.decompress(block))
        if total > most:
            return total
        block = stream.read(_BLOCK)
        if inflater.eof:
            block = inflater.unused_data + block
            if block[:2] != _GZIP:
                return total
            inflater = zlib.decompressobj(47)  # one more member of a gzip file
    return total if inflater.eof else None


def _check_length(
    path: Path, stream: BinaryIO, *, wanted: int | None, compressed: bool, data: Path | None = None
) -> None:
    """Refuse voxels that end early, from the place where the stream stands.

    Parameters
    ----------
    wanted
        Bytes; None where that is not known.
    data
        The file the voxels are in, where that is not the one with the header.
    """
    try:
        if compressed:
            most = (MOST_VOXELS * 16 if wanted is None else wanted) + _MOST_BEYOND
            there = _inflated_length(stream, most)
            if there is not None and there > most:
                raise InputError(
                    f"{data or path}: holds more compressed data than its header tells of; export it again, or do not "
                    "trust it"
                )
        else:
            place = stream.tell()
            there = stream.seek(0, 2) - place
    except zlib.error as error:
        raise _damaged(data or path) from error
    if there is None:
        raise _ends_early(data or path)
    if wanted is not None and there < wanted:
        raise InputError(
            f"{data or path}: is damaged: it ends after {there} of {wanted} bytes of voxels; copy or export it again"
        )


def _check_voxels(path: Path, count: int) -> None:
    """Refuse a number of voxels that no image has."""
    if count > MOST_VOXELS:
        raise InputError(
            f"{path}: has {count:.1e} voxels by its header, more than can be worked on ({MOST_VOXELS:.1e}); crop it, "
            "or export it again if it is not that large"
        )


def _check_numbers(path: Path, name: str, numbers: Iterable[float]) -> None:
    """Refuse numbers of a place that is none."""
    strange = next((value for value in numbers if not abs(value) <= _LARGEST), None)
    if strange is not None:
        raise InputError(f"{path}: has a header that makes no sense ({name} holds {strange:g}); export it again")


def _check_data_files(
    path: Path, text: str, after: list[str], *, wanted: int | None, compressed: bool, skip: int = 0
) -> None:
    """Refuse a header whose voxels are not in the files that it names, or not all of them.

    Parameters
    ----------
    text
        A file, ``LIST``, or a pattern for numbers and first, last and step of these.
    after
        The lines that follow, which a list stands in.
    skip
        Bytes before the voxels.
    """
    names = _data_files(text, after)
    for name in names:
        if not (path.parent / name).is_file():
            raise InputError(f"{path}: its voxels are missing: {name} does not lie beside it; copy it there, too")
    for name in names:
        data = path.parent / name
        with open(data, "rb") as stream:
            stream.seek(skip)
            each = None if wanted is None else -(-wanted // len(names))
            _check_length(path, stream, wanted=each, compressed=compressed, data=data)


def _data_files(text: str, after: list[str]) -> list[str]:
    """Return the names of the files that voxels are in."""
    if text.split()[:1] == ["LIST"]:
        names = [line for line in after if line]
        if not names:
            raise ValueError("its list of files is empty")
        return names
    numbered = _NUMBERED.fullmatch(text)
    if numbered is None:
        return [text]
    before, width, behind, *limits = numbered.groups()
    first, last, step = map(int, limits)
    count = (last - first) // step + 1 if step else 0
    if not 1 <= count <= _MOST_FILES:
        raise ValueError(f"{text} are no files")
    return [f"{before}{first + k * step:{width}d}{behind}" for k in range(count)]


# The formats ----------------------------------------------------------------------------------------------------------


def _unit(path: Path, names: list[str]) -> float:
    """Return the millimetres of the unit that axes are given in."""
    known = {name.strip().lower().rstrip("s") if len(name.strip()) > 2 else name.strip().lower() for name in names}
    known -= set(_NO_UNIT)
    strange = [name for name in known if name not in _UNITS]
    if strange or len({_UNITS[name] for name in known}) > 1:
        listed = ", ".join(f'"{name}"' for name in sorted(known))
        raise InputError(f"{path}: gives its lengths in {listed}; save it in mm")
    return _UNITS[known.pop()] if known else 1.0


def _no_voxel_size(path: Path) -> InputError:
    return InputError(f"{path}: has no voxel size in its header; set the spacing in mm and save it again")


def _nrrd_fields(path: Path, stream: BinaryIO) -> dict[str, str]:
    """Return fields and keys of an NRRD header in lower case; the stream then stands at the voxels, if they follow."""
    fields: dict[str, str] = {}
    while (line := stream.readline()) not in (b"", b"\n", b"\r\n"):
        text = line.decode("utf-8", "replace").strip()
        name, separator, value = text.partition(":")
        if separator and not text.startswith("#"):
            fields[name.strip().lower()] = value.removeprefix("=").strip()
        if name in ("data file", "datafile") and value.split()[:1] == ["LIST"]:
            break  # the names of the files follow
    if not {"sizes", "type", "encoding"} <= fields.keys():
        raise InputError(f"{path}: is damaged: its header is not complete; copy or export it again")
    return fields


def _nrrd(path: Path, stream: BinaryIO) -> Header:
    fields = _nrrd_fields(path, stream)
    sizes = [int(size) for size in fields["sizes"].split()]
    size = _NRRD_BYTES.get(_nrrd_type(fields["type"]))
    voxels = int(np.prod(sizes, dtype=object))
    _check_voxels(path, voxels)
    wanted = None if size is None else voxels * size
    encoding, data = fields["encoding"].lower(), fields.get("data file", fields.get("datafile"))
    skipped = any(fields.get(name, "0") != "0" for name in ("line skip", "lineskip", "byte skip", "byteskip"))
    if encoding in ("raw", "gzip", "gz") and not skipped:
        compressed = encoding != "raw"
        if data is None:
            _check_length(path, stream, wanted=wanted, compressed=compressed)
        else:
            _check_data_files(path, data, _lines(stream), wanted=wanted, compressed=compressed)
    for name in ("space directions", "space origin", "spacings"):
        words = fields.get(name, "").replace("none", " ").translate(_BRACKETS).split()
        _check_numbers(path, name, (value for value in map(float, words) if not np.isnan(value)))  # of a list: no place
    directions = fields.get("space directions", "")
    is_sweep = any(name.startswith("seq_frame") for name in fields)  # whose transforms may hold the pixel size
    if "(" not in directions and not _numbers(fields.get("spacings", "")) and not is_sweep:
        raise _no_voxel_size(path)
    unit = _nrrd_unit(path, fields, len(sizes))
    return Header(unit, segmentation="segment0_id" in fields)


def _lines(stream: BinaryIO) -> list[str]:
    """Return the lines that are left."""
    return [line.decode("utf-8", "replace").strip() for line in stream.read(_BLOCK).splitlines()]


def _nrrd_type(name: str) -> str:
    """Return the short name of a type: "unsigned long long int" and "uint64_t" are ulonglong and uint64."""
    name = name.lower().removesuffix("_t").removeprefix("signed ")
    short = name.replace("unsigned ", "u").replace(" ", "")
    return short.removesuffix("int") if short not in ("int", "uint") else short


def _numbers(text: str) -> list[float]:
    """Return the positive numbers in a list."""
    values = [float(word) for word in text.split()]
    return [value for value in values if np.isfinite(value) and value != 0]


def _nrrd_unit(path: Path, fields: dict[str, str], dimensions: int) -> float:
    if "space units" in fields:
        return _unit(path, _quoted(fields["space units"]))
    units, kinds = _quoted(fields.get("units", "")), fields.get("kinds", "").split()
    space = [unit for axis, unit in enumerate(units) if len(kinds) != dimensions or kinds[axis] in ("domain", "space")]
    return _unit(path, space)


def _quoted(text: str) -> list[str]:
    return text.split('"')[1::2] or text.split()


def _metaimage(path: Path, stream: BinaryIO) -> Header:
    fields: dict[str, str] = {}
    while line := stream.readline():
        name, _, value = line.decode("utf-8", "replace").partition("=")
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            break
    if not {"DimSize", "ElementType", "ElementDataFile"} <= fields.keys():
        raise InputError(f"{path}: is damaged: its header is not complete; copy or export it again")
    compressed = fields.get("CompressedData", "").lower() == "true"
    if compressed and int(fields.get("CompressedDataSize") or 0) <= 0:
        raise InputError(f"{path}: lacks CompressedDataSize in its header, without which its voxels cannot be read; "
                         "save it again with another program")  # fmt: skip
    size = _METAIMAGE_BYTES.get(fields["ElementType"])
    channels = int(fields.get("ElementNumberOfChannels", 1))
    _check_counts(path, fields)
    voxels = int(np.prod([int(count) for count in fields["DimSize"].split()], dtype=object)) * channels
    _check_voxels(path, voxels)
    wanted = None if size is None or fields.get("BinaryData", "True").lower() == "false" else voxels * size
    data, skip = fields["ElementDataFile"], int(fields.get("HeaderSize", 0))
    if data.lower() == "local":
        _check_length(path, stream, wanted=wanted, compressed=compressed)
    else:
        _check_data_files(path, data, _lines(stream), wanted=wanted, compressed=compressed, skip=max(skip, 0))
    if not _numbers(fields.get("ElementSpacing", fields.get("ElementSize", ""))):
        raise _no_voxel_size(path)
    return Header(_unit(path, [fields.get("DistanceUnits", "")]))


def _check_counts(path: Path, fields: dict[str, str]) -> None:
    """Refuse a MetaImage whose entries are not as long as its dimensions ask for; ITK would read beyond them."""
    dimensions = int(fields.get("NDims", 0))
    if not 2 <= dimensions <= _MOST_DIMENSIONS:
        raise InputError(f"{path}: has {dimensions} dimensions by its header; export it again as one 3D volume")
    for name in _METAIMAGE_LISTS:
        wanted = dimensions ** (2 if name in _METAIMAGE_MATRICES else 1)
        if name in fields and len(fields[name].split()) != wanted:
            raise InputError(
                f"{path}: has a header that makes no sense ({name} is {fields[name][:60]}, not {wanted} numbers); "
                "export it again"
            )
        _check_numbers(path, name, map(float, fields.get(name, "").split()))


def _nifti(path: Path, header: bytes, compressed: bool) -> Header:
    """Read a NIfTI-1 header of 348 bytes."""
    if len(header) < 348:
        raise InputError(f"{path}: is damaged: its header is not complete; copy or export it again")
    if header[344:348] not in (b"n+1\0", b"ni1\0"):
        raise InputError(f"{path}: is an Analyze file, which does not say which side is left; save it as NIfTI or NRRD")
    if compressed and not path.name.lower().endswith(".gz"):
        raise InputError(f"{path}: is compressed with gzip, but its name does not say so; rename it to end in .nii.gz")
    order = "<" if header[:4] == struct.pack("<i", 348) else ">"
    dimensions = struct.unpack_from(order + "8h", header, 40)
    bits = struct.unpack_from(order + "h", header, 72)[0]
    offset = max(0, int(struct.unpack_from(order + "f", header, 108)[0]))
    voxels = int(np.prod(dimensions[1 : 1 + dimensions[0]], dtype=object)) if 1 <= dimensions[0] <= 7 else 0
    _check_voxels(path, voxels)
    wanted = voxels * bits // 8
    if header[344:348] == b"n+1\0":
        with open(path, "rb") as stream:
            _check_length(path, stream, wanted=offset + wanted, compressed=compressed)
    else:
        _check_pair(path, offset + wanted)
    pixdim = struct.unpack_from(order + "8f", header, 76)
    if dimensions[0] >= 3 and not all(np.isfinite(value) and value != 0 for value in pixdim[1:4]):
        raise InputError(f"{path}: has a spacing of zero; set a positive voxel spacing in mm and save it again")
    _check_numbers(path, "pixdim", pixdim[: 1 + dimensions[0]])
    placements = _placements(header, order, pixdim)
    for name, matrix in placements.items():
        _check_numbers(path, name, matrix.ravel())
    return Header(placements=placements)


def _check_pair(path: Path, wanted: int) -> None:
    """Check the voxels of a header that lie in another file."""
    if not path.name.lower().endswith((".hdr", ".img")):
        raise InputError(f"{path}: is the header of a NIfTI pair; name it .hdr, with its voxels beside it in .img")
    names = [path.with_suffix(suffix).name for suffix in (".img", ".img.gz")]
    name = next((name for name in names if (path.parent / name).is_file()), names[0])
    _check_data_files(path, name, [], wanted=wanted, compressed=name.endswith(".gz"))


def _placements(header: bytes, order: str, pixdim: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Return qform and sform of a NIfTI header, as far as they are given."""
    import SimpleITK as sitk

    codes = struct.unpack_from(order + "2h", header, 252)
    unit = {1: 1000.0, 3: 1e-3}.get(header[123] & 7, 1.0)
    found: dict[str, np.ndarray] = {}
    if codes[0] > 0:
        quaternion = struct.unpack_from(order + "6f", header, 256)
        scalar = np.sqrt(max(0.0, 1.0 - float(np.square(quaternion[:3]).sum())))
        turn = np.reshape(sitk.VersorTransform([*quaternion[:3], scalar]).GetMatrix(), (3, 3))
        found["qform"] = np.eye(4)
        found["qform"][:3, :3] = turn * np.multiply(pixdim[1:4], (1, 1, -1 if pixdim[0] < 0 else 1))
        found["qform"][:3, 3] = quaternion[3:]
    if codes[1] > 0:
        found["sform"] = np.vstack([np.reshape(struct.unpack_from(order + "12f", header, 280), (3, 4)), [0, 0, 0, 1]])
    for matrix in found.values():
        matrix[:3] *= unit
    return found
