"""The real ultrasound that the simulator is measured against, and where its and the simulated frames lie.

RESECT (Xiao et al. 2017, CC BY 4.0): the volume of case 4, and a tracked sweep of 40 frames whose geometry was read off
the frames: virtual apex at pixel (319, 39), opening of +-44 degrees, 22 to 380 pixels of 0.2063 mm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from ...cases.case import PARAMETERS, read_parameters
from ...cases.splits import split_heads
from ...constants import VOXEL_MM
from ...files.volumes import read_volume
from ...preprocessing import field_of_view, resample_inside
from ...reconstruction import Sweep, read_sweep, reconstruct
from ...simulation.planes import frame_plane, frame_positions
from ...volume import InputError, Volume

CASE = "RESECT case 4"
SWEEP = "RESECT sweep"
CASE_FILE = Path("resect") / "Case4-US-before.nii.gz"
SWEEP_FOLDER = Path("resect_sweep")
PIXEL = 0.2063
APEX = (319.0, 39.0)
RADII_PIXELS = (22.0, 380.0)
HALF_ANGLE = np.deg2rad(44.0)
#: The frames of case 4 are not published: the fan that overlaps its field of view best (Jaccard index 0.92), in LPS mm,
#: with columns lateral, in depth and along the sweep.
CASE_APEX = (-77.0, -4.4, -14.9)
CASE_AXES = ((-0.0161, 0.9831, -0.1823), (0.4444, -0.1563, -0.8821), (-0.8957, -0.0952, -0.4344))
CASE_RADII = (15.9, 66.6)
CASE_HALF_ANGLE = 0.50
CASE_HALF_LENGTH = 19.5
#: Distance in mm between samples along a beam, and between beams in the middle of the depth.
STEP = 0.4
#: Frames that are read back from a simulated case.
FRAMES = 9

#: A volume, planes through it, and radii and angles of frames in them, see :mod:`.realism`.
Sliced = tuple[Volume, list[np.ndarray], np.ndarray, np.ndarray]


def case_folders(cohort: Path) -> list[Path]:
    """Folders of a cohort's complete cases, sorted."""
    folders = sorted(path.parent for path in cohort.glob(f"*/{PARAMETERS}"))
    if not folders:
        raise InputError(f"{cohort}: holds no simulated case; make some with `iousynth simulate -n 32 -o {cohort}`")
    return folders


def split_folders(cohort: Path, test: bool) -> list[Path]:
    """Folders of a cohort's cases of heads for testing, or of all others.

    A cohort whose heads are all on one side of the split is cut in two halves by head.
    """
    folders = case_folders(cohort)
    heads = {folder: read_parameters(folder)["head"] for folder in folders}
    splits = split_heads(sorted(set(heads.values())))
    chosen = {head for head, split in splits.items() if split == "test"}
    if not chosen:
        names = sorted(splits)
        chosen = set(names[len(names) // 2 :]) if len(names) > 1 else set()
    return [folder for folder in folders if (heads[folder] in chosen) == test]


def read_simulated(folder: Path) -> tuple[Volume, np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
    """Ultrasound of a simulated case, its field of view, and planes, radii and angles of frames through its middle.

    The hand's drift is not recorded frame by frame: the fan of every plane is laid over the field of view.

    Returns
    -------
    tuple
        The arguments of :func:`.measures.polar_slices`, with the volume instead of its array.
    """
    volume, parameters = read_volume(folder / "ioUS.mha"), read_parameters(folder)
    inside, probe = field_of_view(volume.array), parameters["probe"]
    grid = polar_grid(probe["face_radius"], probe["depth"], probe["half_angle"])
    planes = [frame_plane(volume, parameters, position) for position in frame_positions(probe, FRAMES)]
    return volume, inside, [_on_the_fan(plane, inside, grid) for plane in planes], *grid


def _on_the_fan(plane: np.ndarray, inside: np.ndarray, grid: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The plane, moved within itself so that the fan covers the field of view and little else."""
    radii, angles = grid
    reach = radii[-1] + 12
    width = radii[-1] * np.sin(angles[-1]) + 12
    lateral, depth = np.meshgrid(np.arange(-width, width, VOXEL_MM), np.arange(radii[0] - 12, reach, VOXEL_MM))
    points = np.stack([lateral, depth, 0 * depth, 0 * depth + 1]).reshape(4, -1)
    seen = ndimage.map_coordinates(inside.astype(np.uint8), (plane @ points)[2::-1], order=0, mode="constant")
    seen = 2.0 * seen.reshape(depth.shape) - 1
    distance = np.hypot(lateral, depth)
    fan = (np.abs(np.arctan2(lateral, depth)) <= angles[-1]) & (distance >= radii[0]) & (distance <= radii[-1])
    match = np.fft.fftshift(np.fft.ifft2(np.fft.fft2(seen) * np.conj(np.fft.fft2(fan))).real)
    down, right = np.subtract(np.unravel_index(match.argmax(), match.shape), np.array(match.shape) // 2)
    move = np.eye(4)
    move[:2, 3] = right * VOXEL_MM, down * VOXEL_MM
    return plane @ move


def polar_grid(face_radius: float, depth: float, half_angle: float, *, step: float = STEP) -> tuple[np.ndarray, ...]:
    """Radii in mm and angles in radians of samples about ``step`` mm apart in the middle of the depth."""
    radii = np.arange(face_radius, face_radius + depth, step)
    lines = max(8, round(2 * half_angle * (face_radius + depth / 2) / step))
    return radii, np.linspace(-half_angle, half_angle, lines)


def sweep_polar_grid(step: float = STEP) -> tuple[np.ndarray, np.ndarray]:
    """Radii and angles of the real sweep's frames."""
    low, high = (r * PIXEL for r in RADII_PIXELS)
    return polar_grid(low, high - low, HALF_ANGLE, step=step)


def read_case(data: Path) -> Volume:
    """RESECT case 4 on its own axes at 0.8 mm, as the pipeline resamples it."""
    return _at_voxel_size(read_volume(_found(data / CASE_FILE)))


def read_real(data: Path) -> dict[str, Sliced]:
    """The two real volumes at 0.8 mm by name, with planes, radii and angles of frames."""
    case, sweep = read_case(data), read_frames(data)
    volume = reconstruct_sweep(sweep)
    return {
        CASE: (case, case_planes(case), *case_polar_grid()),
        SWEEP: (volume, sweep_planes(sweep, volume), *sweep_polar_grid()),
    }


def read_frames(data: Path) -> Sweep:
    """The real sweep: 40 frames (480, 640) and their poses."""
    return read_sweep(_found(data / SWEEP_FOLDER, "a folder"))


def reconstruct_sweep(sweep: Sweep) -> Volume:
    """The real sweep as a volume at 0.8 mm, as the pipeline resamples a reconstruction with the usual choices."""
    volume, _ = reconstruct(sweep)
    return _at_voxel_size(volume)


def _at_voxel_size(volume: Volume) -> Volume:
    (resampled,), _ = resample_inside([volume], (VOXEL_MM,) * 3, field_of_view(volume.array))
    return resampled


def sweep_planes(sweep: Sweep, volume: Volume) -> list[np.ndarray]:
    """Matrices from (lateral, depth from the apex, 0, 1) in mm of every real frame to the volume's voxel indices."""
    to_pixel = np.diag([1 / PIXEL, 1 / PIXEL, 1.0, 1.0])
    to_pixel[:2, 3] = APEX
    return [np.linalg.inv(volume.ijk_to_lps) @ pose @ to_pixel for pose in sweep.image_to_world]


def case_planes(volume: Volume, count: int = FRAMES) -> list[np.ndarray]:
    """The same of frames through the middle of RESECT case 4."""
    place = np.eye(4)
    place[:3] = np.c_[CASE_AXES, CASE_APEX]
    planes = []
    for position in np.linspace(-0.6, 0.6, count) * CASE_HALF_LENGTH:
        shift = np.eye(4)
        shift[2, 3] = position
        planes.append(np.linalg.inv(volume.ijk_to_lps) @ place @ shift)
    return planes


def case_polar_grid(step: float = STEP) -> tuple[np.ndarray, np.ndarray]:
    """Radii and angles of the frames of RESECT case 4."""
    return polar_grid(CASE_RADII[0], CASE_RADII[1] - CASE_RADII[0], CASE_HALF_ANGLE, step=step)


def _found(path: Path, what: str = "a file") -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such {what[2:]}; give the folder that holds RESECT's `resect` and `resect_sweep`")
    return path
