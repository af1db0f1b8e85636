"""The sample case that ships with the extension: tracked ultrasound and the preoperative MRI of one simulated head.

The case in Resources/SampleData was made from SynthSeg's training label map 15, one of the heads held out for testing::

    python -m IoUSynthLib.experiments sample-case training_seg_15.nii.gz --seed 1441 -o Resources/SampleData \\
        --attribution "Anatomy: SynthSeg training label map 15 (Billot et al. 2023), Apache-2.0"
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..cases.case import Case
from ..constants import TARGETS
from ..files.integrity import file_sha256
from ..files.volumes import write_volume
from ..simulation.anatomy import Head, read_head
from ..simulation.case import simulate_case
from ..simulation.mri import acquire
from ..volume import Volume

PREFIX = "IoUSynthSample"
#: Edge of the simulated cube in voxels of 0.8 mm: it holds the whole brain.
_WHOLE_HEAD = 240
_PREOPERATIVE_SPACING = 1.0
#: Rotation vector in degrees and translation in mm (LPS) that the brain made since the preoperative MRI.
_DISPLACEMENT = ((2.0, -3.0, 2.5), (4.0, -3.0, 3.5))
#: The same of the tracker's frame in the patient's.
_TRACKER = ((12.0, -35.0, 61.0), (85.0, -40.0, 120.0))


def write_sample(head: Head, seed: int, folder: Path, *, attribution: str) -> None:
    """Write the sample case and the checksums of its files.

    The ultrasound and the labels are in the tracker's frame; ``TrackerToRas`` takes them to the patient. The
    preoperative MRI is in the patient's frame as it was before the brain moved by the rigid displacement that is
    recorded in ``IoUSynthSample.json``.

    Parameters
    ----------
    head
        The anatomy; its licence must allow redistribution.
    seed
        Seed of the case.
    folder
        Where to write.
    attribution
        Source and licence of the anatomy, for the record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    case = simulate_case(head, seed, size=_WHOLE_HEAD)
    tracker_to_patient, displacement = (_rigid(*pose) for pose in (_TRACKER, _DISPLACEMENT))
    header = {"Synthetic": "true", "Modality": "simulated"}
    tracked = {"ious": case.images["ioUS"], "labels": case.labels}
    for name, volume in tracked.items():
        seen = _crop(volume.with_array(np.where(case.fan.array > 0, volume.array, 0).astype(np.uint8)), case.fan)
        write_volume(folder / f"{PREFIX}_{name}.nrrd", _moved(seen, np.linalg.inv(tracker_to_patient)), header)
    generator = torch.Generator().manual_seed(seed)
    grid = _preoperative_grid(case, displacement)
    for target in TARGETS:
        image = _preoperative(case, target, displacement, grid=grid, generator=generator)
        write_volume(folder / f"{PREFIX}_{target}.nrrd", image, header)
    # Transform files hold the way from the parent's frame to the node's, as resampling needs it. HDF5 would also
    # name the operating system of the machine.
    sitk.WriteTransform(_affine(np.linalg.inv(tracker_to_patient)), str(folder / f"{PREFIX}_TrackerToRas.tfm"))
    record = {
        "simulated": True, "attribution": attribution, "preoperative_to_today_lps": displacement.tolist(),
        "tracker_to_patient_lps": tracker_to_patient.tolist(), **case.parameters,
    }
    (folder / f"{PREFIX}.json").write_text(json.dumps(record, indent=1) + "\n")
    sums = {path.name: file_sha256(path) for path in sorted(folder.glob(f"{PREFIX}_*"))}
    (folder / "checksums.json").write_text(json.dumps(sums, indent=1) + "\n")


def _rigid(degrees: tuple[float, float, float], translation: tuple[float, float, float]) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(degrees, degrees=True).as_matrix()
    matrix[:3, 3] = translation
    return matrix


def _affine(matrix: np.ndarray) -> sitk.AffineTransform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def _moved(volume: Volume, matrix: np.ndarray) -> Volume:
    """The volume with its place in space moved by a rigid matrix."""
    origin = matrix @ np.append(volume.origin, 1)
    return replace(volume, origin=tuple(origin[:3]), direction=matrix[:3, :3] @ volume.direction)


def _crop(volume: Volume, fan: Volume, margin: int = 2) -> Volume:
    """The part of the volume that the fan fills, with a margin in voxels."""
    indices = np.argwhere(fan.array > 0)
    low = np.maximum(indices.min(0) - margin, 0)
    high = np.minimum(indices.max(0) + 1 + margin, fan.array.shape)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    origin = volume.ijk_to_lps @ np.append(low[::-1], 1)
    return replace(volume, array=volume.array[part], origin=tuple(origin[:3]))


def _preoperative_grid(case: Case, displacement: np.ndarray) -> sitk.Image:
    """Empty axial image around the brain as it lay before it moved."""
    source = case.images[TARGETS[0]]
    indices = np.argwhere(source.array > 50)[::97, ::-1]
    points = np.c_[indices, np.ones(len(indices))] @ (np.linalg.inv(displacement) @ source.ijk_to_lps).T
    low, high = points[:, :3].min(0) - 3, points[:, :3].max(0) + 3
    grid = sitk.Image([int(n) for n in np.ceil((high - low) / _PREOPERATIVE_SPACING)], sitk.sitkUInt8)
    grid.SetSpacing([_PREOPERATIVE_SPACING] * 3)
    grid.SetOrigin(low.tolist())
    return grid


def _preoperative(
    case: Case, target: str, displacement: np.ndarray, *, grid: sitk.Image, generator: torch.Generator
) -> Volume:
    """The whole head's MRI with bias field and noise, before the brain moved; the skin and air are black."""
    source = case.images[target]
    signal = torch.from_numpy(source.array.astype(np.float32) / 1000)
    acquired = acquire(signal, generator, noise=0.01) * (signal > 0.03)
    image = replace(source, array=(acquired * 180).numpy()).to_sitk()
    moved = sitk.Resample(image, grid, _affine(displacement), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    return Volume.from_sitk(sitk.Cast(sitk.Clamp(moved, sitk.sitkFloat32, 0, 255), sitk.sitkUInt8))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("head", type=Path, help="BrainWeb or SynthSeg label map")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--attribution", required=True, help="source and licence of the label map")


def run(options: argparse.Namespace) -> int:
    """Write the sample case from a label map."""
    write_sample(read_head(options.head), options.seed, options.output, attribution=options.attribution)
    return 0
