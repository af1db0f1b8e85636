"""What the file that a volume was loaded from says of it: Slicer shows what a cut or damaged file has left, unsaid."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files.headers import Header, examine
from ..files.names import VOLUME_SUFFIXES
from ..volume import InputError

if TYPE_CHECKING:
    import slicer


def check_file(node: slicer.vtkMRMLVolumeNode, name: str, ijk_to_lps: np.ndarray) -> tuple[str, ...]:
    """Return what speaks against the place of a volume as it was loaded; nothing once it was changed in the scene.

    Parameters
    ----------
    name
        What messages call the volume.
    ijk_to_lps
        4x4 matrix to the volume's own frame.

    Raises
    ------
    InputError
        The file is damaged, gives no voxel size, or is in a unit that Slicer takes for millimetres.
    """
    storage = node.GetStorageNode()
    path = Path(storage.GetFullNameFromFileName() or "") if storage is not None else Path()
    if not path.name.lower().endswith(VOLUME_SUFFIXES) or node.GetModifiedSinceRead() or not path.is_file():
        return ()
    state = path.stat()
    header = _examined(path, state.st_size, state.st_mtime_ns)
    if isinstance(header, str):
        raise InputError(f"{name}: {header}")
    if header.unit_mm != 1.0:
        raise InputError(
            f"{name}: its file is in units of {header.unit_mm:g} mm, which Slicer takes for 1 mm; correct its spacing "
            "in the module Volumes"
        )
    return header.doubts(ijk_to_lps, node.GetImageData().GetDimensions())


@functools.lru_cache(maxsize=64)
def _examined(path: Path, _size: int, _modified: int) -> Header | str:
    """Return the header of a file as it is now, or what is wrong with it."""
    try:
        return examine(path)
    except InputError as error:
        return str(error)
