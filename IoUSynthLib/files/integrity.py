"""Files that are whole: checksums, and writing that leaves the old file or the complete new one."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


def file_sha256(*paths: Path) -> str:
    """Return the SHA-256 of a file, or of several as if they were one, without holding them in memory.

    Raises
    ------
    OSError
        One of them cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give the path of a file to write, which takes the place of ``path`` at the end.

    Whenever the process or the machine stops, ``path`` is either the old file or the complete new one. On failure
    nothing is left behind.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")  # writers go by the suffix
    try:
        yield partial
        with open(partial, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
