"""What a file that others get must not hold: folders of the machine that it was made on, and names of source files."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

_FOLDERS = {str(Path.home()), os.getcwd(), sys.prefix, tempfile.gettempdir(), str(Path(__file__).resolve().parents[2])}
_WORDS = ["site-packages", "stack_trace", "OSVersion", *(f"/{homes}/" for homes in ("home", "root", "Users"))]
_WORDS += [folder for folder in _FOLDERS if len(folder) > 3]
_SOURCE = re.compile(rb"\.py\b")
_STEM = re.compile(rb"[\w/\\.-]{4}")


def machine_names(path: Path) -> list[str]:
    """Return such names in a file or in all of a folder, and where they stand; archives are looked into."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    parts = [part for file in files if file.is_file() for part in _parts(file)]
    return [f"{name}: {found}" for name, content in parts for found in _names(content)]


def _names(content: bytes) -> Iterator[str]:
    yield from (word for word in _WORDS if word.encode() in content)
    for source in _SOURCE.finditer(content):
        if _STEM.fullmatch(content, max(source.start() - 4, 0), source.start()):
            yield content[max(source.start() - 60, 0) : source.end()].decode(errors="replace")


def _parts(file: Path) -> Iterator[tuple[str, bytes]]:
    if not zipfile.is_zipfile(file):
        yield file.name, file.read_bytes()
        return
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            yield f"{file.name}/{name}", archive.read(name)
