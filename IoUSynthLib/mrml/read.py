"""Volume nodes to :class:`~IoUSynthLib.volume.Volume`.

The work is done on the voxel grid of the input node, in the node's own frame: parent transforms play no part in it, but
for one that scales: millimetres are then those of the world. The node is only read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import slicer

from ..constants import RAS_TO_LPS
from ..files.itk import LUMINANCE
from ..files.names import role_of_name
from ..input_checks import check_input, wrapped
from ..synthesis.quality import UNUSABLE, Quality, assess_quality
from ..volume import InputError, Volume, right_angled
from .grid import FLIP, Grid
from .provenance import is_synthetic
from .stored import check_file
from .transforms import scaling_above, stretch_above

if TYPE_CHECKING:
    from ..models.bundle import Bundle

_SIGNS = np.array(RAS_TO_LPS)
#: Factors of a volume that lie closer to 1 are none.
_SAME_VOLUME = 0.005

#: MRI in the order of preference.
_MRI_ROLES = (("T2w",), ("FLAIR",), ("T1w", "MRI"))


def volume_from_node(
    node: slicer.vtkMRMLScalarVolumeNode, chain: Sequence[slicer.vtkMRMLTransformNode] | None = None
) -> Volume:
    """Copy a volume node's voxels and its own geometry.

    Parameters
    ----------
    node
        Scalar or colour volume. For the current frame of a sequence, the frame that is shown is taken, with a note.
    chain
        The transforms above it, the nearest first; by default those that are there.

    Returns
    -------
    Volume
        float32 voxels ``[z, y, x]``, ready to be worked on (:func:`volume.check_input`); LPS geometry in the node's own
        frame, parent transforms left out, or in the world's where they scale (:func:`transforms.scaling_above`).

    Raises
    ------
    InputError
        No node or no voxels, a label map, a tensor or diffusion volume, or unusable voxels or geometry.
    """
    name = _check_kind(node)
    array, notes = _scalar_array(node, name)
    warnings = (*_check_stored(node, name), *_stretched(node, name, chain))
    spacing, origin, direction = _measured(node, chain)
    return check_input(
        Volume(
            array,
            spacing,
            origin,
            direction,
            notes=(*notes, *_sequence_notes(node)),
            warnings=(*warnings, *wrapped(slicer.util.arrayFromVolume(node))),
        ),
        name,
    )


def _measured(
    node: slicer.vtkMRMLVolumeNode, chain: Sequence[slicer.vtkMRMLTransformNode] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return spacing, origin and direction (LPS) of a volume in the frame that it is measured in."""
    grid, above = Grid.of(node), scaling_above(node, chain)
    if above is None:
        return np.array(grid.spacing), _SIGNS * grid.origin, _SIGNS[:, None] * np.asarray(grid.direction)
    matrix = above @ grid.ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = right_angled(_SIGNS[:, None] * matrix[:3, :3] / np.maximum(spacing, 1e-9))
    return spacing, _SIGNS * matrix[:3, 3], direction


def spacing_of(node: slicer.vtkMRMLVolumeNode) -> tuple[float, ...]:
    """Return the voxel size in mm that a volume with voxels is measured with, to a tenth of a micrometre."""
    return tuple(np.round(_measured(node)[0], 4).tolist())


def _check_stored(node: slicer.vtkMRMLVolumeNode, name: str) -> tuple[str, ...]:
    return check_file(node, name, FLIP @ Grid.of(node).ijk_to_ras)


def _stretched(
    node: slicer.vtkMRMLVolumeNode, name: str, chain: Sequence[slicer.vtkMRMLTransformNode] | None
) -> tuple[str, ...]:
    """Say so where transforms above a volume change its millilitres, but it is measured without them."""
    factor, _ = stretch_above(node, chain)
    if abs(factor - 1.0) < _SAME_VOLUME:
        return ()
    return (f"Transforms above {name} shear it and stretch its volume by {factor:.3f}; millilitres are without that.",)


def check_measurable(
    node: slicer.vtkMRMLVolumeNode | None, chain: Sequence[slicer.vtkMRMLTransformNode] | None = None
) -> None:
    """Refuse an ultrasound that transforms shear and scale, so that it has a voxel size in no frame."""
    if node is not None and not stretch_above(node, chain)[1]:
        raise InputError(
            f'volume "{node.GetName()}": lies under transforms that scale and shear it; harden them and resample it to '
            "a regular grid, in Slicer with Resample Scalar/Vector/DWI Volume"
        )


def assess_input(node: slicer.vtkMRMLScalarVolumeNode | None, bundle: Bundle | None = None) -> Quality:
    """Assess a volume node as an input, without copying its voxels; see :func:`synthesis.quality.assess_quality`."""
    try:
        name = _check_kind(node)
        check_measurable(node)
        _check_stored(node, name)
        array = slicer.util.arrayFromVolume(node)
        if array.ndim != 3:  # of a colour image a sample must do
            steps = tuple(slice(None, None, max(1, length // 128)) for length in array.shape[:3])
            array = _scalar_array(node, name, steps)[0]
    except InputError as error:
        return Quality(UNUSABLE, (str(error),))
    if is_synthetic(node):
        return Quality(UNUSABLE, (f"{name}: was made by IoUSynth, not acquired; choose the ultrasound volume",))
    spacing, origin, direction = _measured(node)
    spacing = spacing * np.divide(node.GetImageData().GetDimensions(), array.shape[::-1])
    return assess_quality(Volume(array, spacing, origin, direction), bundle, name)


def _check_kind(node: slicer.vtkMRMLVolumeNode | None) -> str:
    """Return the node's name for messages, or refuse the node."""
    if node is None:
        raise InputError("input volume: none is selected; choose the ultrasound volume")
    name = f'volume "{node.GetName()}"'
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{name}: is a label map, not an image; choose the ultrasound volume")
    tensor = node.IsA("vtkMRMLTensorVolumeNode") and not node.IsA("vtkMRMLVectorVolumeNode")
    if tensor or not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{name}: is not a scalar or colour volume; choose the ultrasound volume")
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise InputError(f"{name}: has no voxels; load it again or choose another volume")
    return name


def _scalar_array(
    node: slicer.vtkMRMLScalarVolumeNode, name: str, part: tuple[slice, ...] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    array = slicer.util.arrayFromVolume(node)[part]
    if array.ndim == 3:
        return array.astype(np.float32), ()
    components = array.shape[-1]
    if components not in (3, 4):
        raise InputError(f"{name}: has {components} values per voxel; extract one scalar volume of it")
    luminance = array[..., :3] @ np.asarray(LUMINANCE, dtype=np.float32)
    return luminance.astype(np.float32), (f"Colour image ({components} components) converted to luminance (Rec. 601).",)


def _sequence_notes(node: slicer.vtkMRMLNode) -> tuple[str, ...]:
    browsers = node.GetScene().GetNodesByClass("vtkMRMLSequenceBrowserNode") if node.GetScene() else None
    if browsers is None:
        return ()
    browsers.UnRegister(None)
    for index in range(browsers.GetNumberOfItems()):
        browser = browsers.GetItemAsObject(index)
        if browser.IsProxyNodeID(node.GetID()):
            frame = browser.GetSelectedItemNumber() + 1
            count = browser.GetNumberOfItems()
            return (f'Frame {frame} of {count} of the sequence "{browser.GetName()}".',)
    return ()


def guess_inputs(
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode],
) -> tuple[slicer.vtkMRMLScalarVolumeNode | None, slicer.vtkMRMLScalarVolumeNode | None]:
    """Guess the ultrasound and the preoperative MRI among volume nodes, oldest first, by their names.

    Returns
    -------
    tuple
        The newest node whose name says ultrasound, else the newest whose name does not say MRI; and the newest T2w,
        else FLAIR, else other MRI. None where there is no candidate.
    """
    acquired = [node for node in reversed(nodes) if not (is_synthetic(node) or node.IsA("vtkMRMLLabelMapVolumeNode"))]
    roles = [(node, role_of_name(node.GetName() or "")) for node in acquired]
    mri = [node for kinds in _MRI_ROLES for node, role in roles if role in kinds]
    ultrasound = [node for kind in ("ultrasound", "none") for node, role in roles if role == kind]
    return next(iter(ultrasound), None), next(iter(mri), None)
