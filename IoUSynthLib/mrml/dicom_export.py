"""Synthetic volume nodes as DICOM series.

Where the series lies: in the coordinates of the reference's node, as its DICOM file has them, with all transforms
between the two nodes applied; then both share the frame of reference. Without such a node it lies in the world as it is
now, in a frame of reference of its own. A rigid chain changes the geometry alone. Through any other, whose axes would
not stay at right angles, the voxels are interpolated onto an upright grid.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..outputs.dicom import Export, write_all
from ..outputs.dicom_reference import Reference, read_reference
from ..volume import InputError, Volume
from .grid import FLIP, Grid
from .provenance import PREFIX, report_of
from .results import OutputNodes
from .transforms import between, is_rigid, linear_between, mapped, voxels_between

#: Points along each axis at which a chain that bends is followed to find how far the image reaches.
_LATTICE = 9


def dicom_file(node: slicer.vtkMRMLVolumeNode | None) -> Path | None:
    """Return the file of a volume's first DICOM instance, where Slicer's database has it."""
    database = getattr(slicer, "dicomDatabase", None)
    instances = (node.GetAttribute("DICOM.instanceUIDs") or "").split() if node is not None else []
    name = database.fileForInstance(instances[0]) if database and instances else ""
    return Path(name) if name else None


def export_series(
    outputs: OutputNodes,
    folder: Path,
    reference_nodes: list[slicer.vtkMRMLVolumeNode],
    *,
    reference_file: Path | None = None,
) -> list[Path]:
    """Write each image and the uncertainty as a series, in a folder with the node's name.

    Parameters
    ----------
    reference_nodes
        Volumes of the patient, the preferred one first. The first that came as DICOM lends patient, study and frame of
        reference.
    reference_file
        DICOM file or folder that lends patient and study instead.

    Raises
    ------
    InputError
        There is nothing to export, pydicom is missing, or the folder cannot be used, as where it holds another
        patient's series; nothing is written then.
    """
    images = [node for node in (*outputs.images.values(), outputs.uncertainty) if node is not None and report_of(node)]
    if not images:
        raise InputError("There is no synthetic volume to export; synthesize MRI first.")
    reference, frame = _reference(reference_nodes, reference_file)
    exports = []
    for node in images:
        name = re.sub(r"[^\w.()-]+", "_", node.GetName())
        kind = node.GetAttribute(PREFIX + "Output")
        exports.append(Export(folder / name, volume_in(node, frame), kind, report_of(node)))
    return write_all(exports, reference)


def _reference(
    nodes: list[slicer.vtkMRMLVolumeNode], file: Path | None
) -> tuple[Reference | None, slicer.vtkMRMLTransformNode | None]:
    """Return the reference, and the transform under which its coordinates are those of its file."""
    if file is not None:
        return read_reference(file), None
    for node in nodes:
        found = dicom_file(node)
        if found is not None:
            reference = read_reference(found)
            if _lies_as_in(node, reference.header):
                return Reference(reference.header, same_frame=True), node.GetParentTransformNode()
            return reference, None
    return None, None


def _lies_as_in(node: slicer.vtkMRMLVolumeNode, header: Any) -> bool:
    """Tell whether the node's own geometry still is that of its file: a hardened transform changes it."""
    if "FrameOfReferenceUID" not in header or "ImagePositionPatient" not in header:
        return False
    position = FLIP @ [*map(float, header.ImagePositionPatient), 1.0]
    ijk = (np.linalg.inv(Grid.of(node).ijk_to_ras) @ position)[:3]
    inside = (ijk > -0.1).all() and (ijk < np.array(node.GetImageData().GetDimensions()) - 0.9).all()
    return bool(inside and np.abs(ijk - np.rint(ijk)).max() < 0.1)


def volume_in(node: slicer.vtkMRMLScalarVolumeNode, frame: slicer.vtkMRMLTransformNode | None) -> Volume:
    """Return a volume node in the coordinates under a transform; None is the world."""
    parent, ijk_to_ras = node.GetParentTransformNode(), Grid.of(node).ijk_to_ras
    matrix = np.eye(4) if parent is frame else linear_between(parent, frame)
    if matrix is not None and is_rigid(matrix):
        return _volume(slicer.util.arrayFromVolume(node), matrix @ ijk_to_ras)
    steps = [np.linspace(0, count - 1, _LATTICE) for count in node.GetImageData().GetDimensions()]
    lattice = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 3)
    points = mapped(between(parent, frame), lattice @ ijk_to_ras[:3, :3].T + ijk_to_ras[:3, 3])
    spacing = min(node.GetSpacing())
    low, high = points.min(axis=0), points.max(axis=0)
    grid = np.diag([spacing, spacing, spacing, 1.0])
    grid[:3, 3] = low
    shape = tuple(int(count) for count in np.ceil((high - low) / spacing)[::-1] + 1)
    return _volume(voxels_between(node, grid, frame, shape=shape), grid)


def _volume(array: np.ndarray, ijk_to_ras: np.ndarray) -> Volume:
    ijk_to_lps = FLIP @ ijk_to_ras
    spacing = np.linalg.norm(ijk_to_lps[:3, :3], axis=0)
    return Volume(array, tuple(spacing), tuple(ijk_to_lps[:3, 3]), ijk_to_lps[:3, :3] / spacing)
