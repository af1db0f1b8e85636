"""Where the frames of a simulated sweep lie in its volume, and slices along them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..volume import Volume


def frame_plane(volume: Volume, parameters: dict, position: float) -> np.ndarray:
    """Matrix from a frame's plane to the voxel indices of a simulated case.

    The hand's drift within the plane is not part of it.

    Parameters
    ----------
    volume
        Any image of the case.
    parameters
        Those of the case; used are the probe's place, its face radius and the pivot of a tilt.
    position
        Along the sweep: mm from its middle, or radians of a tilt.

    Returns
    -------
    numpy.ndarray
        4x4, from (lateral, depth from the virtual apex, 0, 1) in mm to (i, j, k, 1).
    """
    probe = parameters["probe"]
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = parameters["axes"], parameters["face"]
    frame = np.eye(4)
    frame[1, 3] = -probe["face_radius"]
    pivot = probe["tilt_pivot"]
    if pivot is None:
        frame[2, 3] = position
    else:
        reach = pivot - probe["face_radius"]
        frame[1] = [0, np.cos(position), 0, reach * np.cos(position) - pivot]
        frame[2] = [0, np.sin(position), 1, reach * np.sin(position)]
    return np.linalg.inv(volume.ijk_to_lps) @ world @ frame


def frame_positions(probe: dict, count: int, share: float = 0.5) -> np.ndarray:
    """``count`` positions for :func:`frame_plane` in the middle ``share`` of the sweep of a probe's parameters."""
    half = share * probe["sweep_half_length"]
    if probe["tilt_pivot"] is not None:
        half = float(np.arctan(half / (probe["tilt_pivot"] + 0.6 * probe["depth"])))
    return np.linspace(-half, half, count)


def cut(
    array: np.ndarray, plane: np.ndarray, *, top: float, extent: float, pixels: int, order: int = 1
) -> np.ndarray:
    """A square slice of a volume in the plane of a frame, the probe at the top; 0 outside the volume.

    Parameters
    ----------
    array
        Volume [z, y, x].
    plane
        As from :func:`frame_plane`.
    top
        Depth of the upper edge in mm from the virtual apex.
    extent
        Edge of the square in mm.
    pixels
        Edge of the square in pixels.
    order
        1 for images, 0 for labels.

    Returns
    -------
    numpy.ndarray
        (pixels, pixels), float32.
    """
    offsets = (np.arange(pixels) + 0.5) * (extent / pixels)
    depth, lateral = np.meshgrid(top + offsets, offsets - extent / 2, indexing="ij")
    points = np.stack([lateral, depth, np.zeros_like(depth), np.ones_like(depth)]).reshape(4, -1)
    index = (plane @ points)[2::-1]
    values = ndimage.map_coordinates(array.astype(np.float32), index, order=order, mode="constant")
    return values.reshape(depth.shape)
