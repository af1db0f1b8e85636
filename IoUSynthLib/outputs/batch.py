"""Many inputs: which they are, and where the results of each go."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from ..files.dicom import is_dicom, is_directory_file
from ..files.names import is_volume, role_of
from ..files.paths import case_name
from ..volume import InputError
from .case_files import KINDS, is_synthetic, output_names


def find_inputs(paths: Sequence[str | Path]) -> list[Path]:
    """Replace each folder by the volumes and DICOM series in it; everything else stays as it was given.

    Of the volumes in one folder, those named as ultrasound are taken where there are such, else all. Synthetic images
    are left out, and subfolders are looked into where the folder itself holds no volume. A folder in which nothing is
    found stays, too: reading it says what is wrong.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        found += (_inside(path) or [path]) if path.is_dir() else [path]
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> list[Path]:
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    volumes = [path for path in entries if is_volume(path) and not _is_result(path)]
    if volumes:
        named = [path for path in volumes if role_of(path) == "ultrasound"]
        return named or [path for path in volumes if role_of(path) != "labels"] or volumes
    if any(path.is_file() and is_dicom(path) and not is_directory_file(path) for path in entries):
        return [folder]
    return [path for entry in entries if entry.is_dir() for path in _inside(entry)]


def _is_result(file: Path) -> bool:
    return file.name.endswith(tuple(f"_{kind}.nii.gz" for kind in KINDS)) and is_synthetic(file)


def output_folders(inputs: Sequence[Path], output: Path) -> list[Path]:
    """Return the folder for the results of each input.

    That is ``output``. Where inputs have the same name, as in a folder a patient, it is the folder of the input's own
    place in the one that holds all of them: ``cohort/P1/ioUS.nrrd`` goes to ``output/P1``.

    Raises
    ------
    InputError
        Results would overwrite each other or an input.
    """
    folders = [output for _ in inputs]
    if len({case_name(path) for path in inputs}) < len(inputs):
        parents = [os.path.dirname(os.path.abspath(path)) for path in inputs]
        with contextlib.suppress(ValueError):  # on several drives
            folders = [output / os.path.relpath(parent, os.path.commonpath(parents)) for parent in parents]
    _check_names(inputs, folders)
    return folders


def _check_names(inputs: Sequence[Path], folders: Sequence[Path]) -> None:
    written: dict[Path, Path] = {}
    for path, folder in zip(inputs, folders, strict=True):
        for name in output_names(case_name(path)):
            target = (folder / name).resolve()
            if target in written and written[target] != path:
                raise InputError(f"{path}: has the same name as {written[target]}; use one output folder for each")
            written[target] = path
    for path in inputs:
        if path.resolve() in written:
            raise InputError(f"{path}: would be overwritten by a result; choose another output folder")
