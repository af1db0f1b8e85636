"""Putting models into the user's model folder and taking them out again; no network is needed, nothing is executed.

A model that is installed is first copied or unpacked into a hidden folder beside its place, checked there, and then
moved with one rename: it is either there as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gzip
import os
import re
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ..volume import InputError
from .bundle import METADATA, Bundle, bundle_paths, load, search_folders, user_folder

#: Limits on what is unpacked; ONNX itself ends at 2 GiB.
MOST_FILES = 1000
MOST_BYTES = 4 * 2**30

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar.gz", ".tgz", ".tar")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: How a text file begins that stands for a large one in a repository.
_LFS_POINTER = b"version https://git-lfs"
#: What macOS adds to archives.
_LITTER = ("__MACOSX", ".DS_Store")
_CHUNK = 2**20
#: What has a meaning of its own in a path of some operating system: signs, ends and names, such as those of devices.
_ELSEWHERE = re.compile(r'[\\:*?"<>|\x00-\x1f]|[. ](/|$)|(?i:(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.|/|$))')
#: Characters of a path in an archive, at most.
_LONGEST = 200
#: Bytes that are read of an archive at once: its library takes the length of an entry of its own from the archive.
_MOST_AT_ONCE = 2**24

_BUSY = "another program is changing it; repeat in a moment"
_REMEDIES = {errno.ENOSPC: "free space on its disk and repeat", errno.ENOTEMPTY: _BUSY, errno.EEXIST: _BUSY}

#: Shows somebody a bundle whose licence restricts its use, and returns whether it was accepted.
Accept = Callable[[Bundle], bool]
#: A regular file of a source: its path within it, its size in bytes, its content.
Member = tuple[str, int, IO[bytes]]


class NameTaken(InputError):
    """A different model has this name; ``replace`` would replace or hide it."""


def install(source: Path, replace: bool = False, accept: Accept | None = None) -> tuple[Bundle, str]:
    """Install a model into :func:`bundle.user_folder`.

    Parameters
    ----------
    source
        A bundle's folder, or a .zip, .tar.gz, .tgz or .tar of one.
    replace
        Whether a different model of the same name may be replaced, or hidden when it lies in another folder.
    accept
        Asked when the licence is none of :data:`bundle.PERMISSIVE_LICENCES`; the bundle it is given is intact but not
        installed yet.

    Returns
    -------
    tuple
        The installed model, and what happened: "installed", "replaced" or "already there", with a remark when another
        folder that is searched earlier holds a model of this name.

    Raises
    ------
    InputError
        The source is no intact bundle with a licence, holds what a bundle must not hold, clashes with another model
        (:class:`NameTaken`), its licence was not accepted, or the folder cannot be written. Nothing has changed then.
    """
    folder = user_folder()
    if source.is_dir():
        source = source.resolve()
        _check(source, source)
    elif not source.is_file():
        raise InputError(f"{source}: no such file or folder; give a bundle's folder or an archive of one")
    with _staging(folder) as staging:
        staged = _find(_stage(source, staging / "new" / (_stem(source) or "model")), source)
        given = _check(staged, source)
        target = folder / given.name
        outcome = _clash(given, target, replace)
        if outcome != "already there" and not given.permissive and not (accept and accept(given)):
            raise InputError(
                f"{source}: its licence ({given.licence}) may restrict its use and was not accepted; read the LICENSE "
                "in it, and add --accept-licence"
            )
        if outcome != "already there":
            _swap(staged, target, staging / "old")
    # Not read again from its place: another program may be replacing it at this moment.
    return dataclasses.replace(given, path=target.resolve()), outcome + _remark(target)


def remove(name: str) -> Path:
    """Remove a model that was installed, and return the folder it was in.

    Raises
    ------
    InputError
        There is no such model in :func:`bundle.user_folder`, or it cannot be removed.
    """
    folder = user_folder()
    target = folder / name
    if not _NAME.fullmatch(name) or not (target / METADATA).is_file():
        installed = ", ".join(sorted(path.parents[1].name for path in folder.glob(f"*/{METADATA}"))) or "none"
        elsewhere = [path.parent for path in bundle_paths() if path.name == name]
        if elsewhere:
            raise InputError(f"{name}: was not installed but lies in {elsewhere[0]}; remove it there by hand")
        raise InputError(f"{name}: no such model in {folder} (installed: {installed}); give one of these names")
    with _staging(folder) as staging:
        os.replace(target, staging / "old")
    return folder


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give a hidden folder inside ``folder`` that is removed at the end; explain what cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".iousynth-", dir=folder, ignore_cleanup_errors=True) as staging:
            yield Path(staging)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "make it writable and repeat")
        raise InputError(f"{folder}: cannot be written ({error.strerror or error}); {remedy}") from error


# Checks ---------------------------------------------------------------------------------------------------------------


def _find(folder: Path, source: Path) -> Path:
    """The bundle in what was staged: all of it, or the only folder in it, at any depth, that is one."""
    if (folder / METADATA).is_file():
        return folder
    found = sorted(path.parents[1] for path in folder.rglob(METADATA.as_posix()))
    found = [path for path in found if not any(other in path.parents for other in found)]
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found)
        raise InputError(f"{source}: holds several models ({names}); unpack it and install one folder at a time")
    return found[0] if found else folder


def _check(path: Path, source: Path) -> Bundle:
    """Metadata, checksums and licence of a bundle that came from ``source``."""
    if not (path / METADATA).is_file():
        raise InputError(f"{source}: is not a model: there is no {METADATA.as_posix()} in it; give a bundle")
    if not _NAME.fullmatch(path.name):
        raise InputError(f"{source}: {path.name!r} cannot be a model's name; use letters, digits, '.', '_' and '-'")
    with _naming_source(path, source):
        bundle = load(path)
    for name in bundle.checksums:
        _check_path(name, source)
        if _start(path / name).startswith(_LFS_POINTER):
            raise InputError(f"{source}: {name} is a pointer of Git LFS, not the file itself; run git lfs pull in it")
    with _naming_source(path, source):
        bundle.verify()
        for network in filter(None, (bundle, bundle.refiner)):
            network.read_network()
    licence = path / "LICENSE"
    if not bundle.details.get("licence") or not licence.is_file() or not licence.stat().st_size:
        raise InputError(f"{source}: states no licence; ask its author for a bundle with a LICENSE and its name")
    return bundle


@contextlib.contextmanager
def _naming_source(path: Path, source: Path) -> Iterator[None]:
    """Complain of the source and not of the hidden folder in which its bundle lies."""
    try:
        yield
    except InputError as error:
        reason = str(error).rpartition("; ")[0].replace(f"{path.resolve()}{os.sep}", "")
        raise InputError(f"{source}: {reason}; download or copy it again") from error


def _clash(given: Bundle, target: Path, replace: bool) -> str:
    """Say what becomes of a model that is there, or refuse to replace or hide a different one."""
    folders = search_folders()
    later = folders[folders.index(target.parent) :]
    for path in [folder / given.name for folder in later if os.path.lexists(folder / given.name)]:
        try:
            other = load(path.resolve())
            described, same = f"version {other.version or 'not stated'}", _identity(other) == _identity(given)
        except InputError:
            described, same = "damaged", False
        if same and path == target:
            return "already there"
        if not same and not replace:
            raise NameTaken(
                f"{path}: is another model of this name ({described}), which would be "
                f"{'replaced' if path == target else 'hidden'}; add --replace, or rename the folder that is installed"
            )
    return "replaced" if os.path.lexists(target) else "installed"


def _remark(target: Path) -> str:
    folders = search_folders()
    before = folders[: folders.index(target.parent)]
    earlier = [folder for folder in before if (folder / target.name / METADATA).is_file()]
    return f", but the model of this name in {earlier[0]} comes first" if earlier else ""


def _swap(staged: Path, target: Path, old: Path) -> None:
    """Put a folder into its place; what was there goes to ``old``, or comes back when that fails."""
    with contextlib.suppress(FileNotFoundError):  # nothing there, or another program has just moved it
        os.replace(target, old)
    try:
        os.replace(staged, target)
    except OSError:
        if os.path.lexists(old):
            os.replace(old, target)
        raise


def _identity(bundle: Bundle) -> tuple[str, dict[str, str], dict]:
    return bundle.version, bundle.checksums, bundle.details


# Unpacking ------------------------------------------------------------------------------------------------------------


def _stage(source: Path, folder: Path) -> Path:
    """Write all files of ``source`` into a folder of its own, within the limits."""
    folder.mkdir(parents=True)
    written: set[str] = set()
    left = MOST_BYTES
    for name, size, stream in _members(source):
        path = _check_path(name, source)
        if any(part in _LITTER for part in path.parts):
            continue
        key = str(path).casefold()
        if key in written:
            raise InputError(f"{source}: holds {name!r} twice; download it again, or do not trust it")
        written.add(key)
        if len(written) > MOST_FILES or size > left:
            raise InputError(
                f"{source}: holds more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB, which no model needs; "
                "give the bundle alone"
            )
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            left -= _copy(stream, target, size, source=source)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InputError(f"{source}: holds {name!r} as a file and as a folder; do not trust it") from error
    return folder


def _copy(stream: IO[bytes], target: Path, size: int, *, source: Path) -> int:
    """Copy a file that must be as long as was announced; return its length."""
    length = 0
    with target.open("xb") as file:
        while chunk := _read(stream, source):
            length += len(chunk)
            if length > size:
                break
            file.write(chunk)
    if length != size:
        raise InputError(f"{source}: {target.name} is not as long as announced; download or copy it again")
    return length


def _read(stream: IO[bytes], source: Path) -> bytes:
    with _damage(source):
        return stream.read(_CHUNK)


def _check_path(name: str, source: Path) -> PurePosixPath:
    """A relative path that stays where it is put, on every operating system."""
    path = PurePosixPath(name)
    within = path.parts and not path.is_absolute() and ".." not in path.parts
    if not within or _ELSEWHERE.search(str(path)) or len(name) > _LONGEST:
        raise InputError(f"{source}: holds the path {name[:80]!r}, which leads elsewhere; do not trust it")
    return path


def _members(source: Path) -> Iterator[Member]:
    """The regular files of a folder or archive; anything but files and folders is refused."""
    if source.is_dir():
        return _members_of_folder(source)
    suffix = _suffix(source)
    if suffix in ZIP_SUFFIXES:
        return _members_of_zip(source)
    if suffix in TAR_SUFFIXES:
        return _members_of_tar(source)
    wanted = ", ".join((*ZIP_SUFFIXES, *TAR_SUFFIXES))
    raise InputError(f"{source}: is neither a bundle's folder nor an archive of one ({wanted}); give one of these")


def _suffix(source: Path) -> str:
    return next((s for s in (*ZIP_SUFFIXES, *TAR_SUFFIXES) if source.name.lower().endswith(s)), "")


def _stem(source: Path) -> str:
    """Name of what a folder or archive holds."""
    if source.is_dir():
        return source.name
    stem = source.name[: len(source.name) - len(_suffix(source))]
    return re.sub(r" ?\(\d+\)$", "", stem)  # a browser's number of a file that it had loaded before


def _members_of_folder(source: Path) -> Iterator[Member]:
    for place, folders, files in os.walk(source):
        for name in (*folders, *files):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise _special(source, path.relative_to(source).as_posix())
        for name in sorted(files):
            path = Path(place, name)
            with _damage(source):
                stream = path.open("rb")
            with stream:
                yield path.relative_to(source).as_posix(), os.fstat(stream.fileno()).st_size, stream


def _members_of_zip(source: Path) -> Iterator[Member]:
    _check_content(source)
    with _damage(source):
        archive = zipfile.ZipFile(source)
    with archive:
        for info in archive.infolist():
            # The upper half holds the mode of Unix; other systems leave it 0.
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(source, info.filename)
            name = info.filename.replace("\\", "/")  # as Windows PowerShell writes them, against the format's rules
            if name.endswith("/"):
                continue
            with _damage(source):
                stream = archive.open(info)
            with stream:
                yield name, info.file_size, stream


def _members_of_tar(source: Path) -> Iterator[Member]:
    _check_content(source)
    packed = _start(source).startswith(b"\x1f\x8b")
    with _damage(source):
        stream = _Unpacking(source) if packed else source.open("rb")
    with stream, contextlib.ExitStack() as stack:
        with _damage(source):
            archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))
        while True:
            with _damage(source):
                info = archive.next()
            if info is None:
                return
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise _special(source, info.name)
            if info.isdir():
                continue
            yield info.name, info.size, archive.extractfile(info)


class _Unpacking(gzip.GzipFile):
    """Gzip that gives no more at once than one would ask for who copies files."""

    def read(self, size: int | None = -1) -> bytes:
        """Read at most ``size`` bytes."""
        if size is None or not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError("an entry is far too long")
        return super().read(size)


def _check_content(source: Path) -> None:
    """Refuse what a download left in the place of an archive: a page to sign in, or the pointer of Git LFS."""
    with _damage(source):
        start = _start(source).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise InputError(
            f"{source}: is a web page, not an archive, such as one to sign in; download the file itself in a browser"
        )
    if start.startswith(_LFS_POINTER):
        raise InputError(f"{source}: is a pointer of Git LFS, not the file itself; download it with git lfs pull")


def _start(file: Path) -> bytes:
    if not file.is_file():
        return b""
    with file.open("rb") as stream:
        return stream.read(1024)


def _special(source: Path, name: str) -> InputError:
    return InputError(f"{source}: {name!r} is a link or a special file, which no model needs; do not trust it")


@contextlib.contextmanager
def _damage(source: Path) -> Iterator[None]:
    """Say that an archive cannot be read, however that shows."""
    try:
        yield
    except Exception as error:  # a damaged archive fails in many ways
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{source}: cannot be read ({error.strerror}); put that right and repeat") from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source}: cannot be unpacked ({reason}); it is damaged: download it again") from error
