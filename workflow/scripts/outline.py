"""Outline tumour and cavity on what an experiment made of a cohort's test cases, with the segmenter that ships.

    python outline.py COHORT [PREDICTIONS] -o DIR [--device DEVICE]

``PREDICTIONS/CASE/ioUS_T2w.nii.gz`` and ``_FLAIR`` are read; a contrast that an experiment does not give is that of the
generator that ships. ``DIR`` gets them and ``ioUS_segmentation.nii.gz``, as ``iousynth evaluate`` reads them. Without
PREDICTIONS, the acquired MRI of the cohort is outlined. Cases that are outlined already are kept.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from IoUSynthLib.cases.index import read_index
from IoUSynthLib.commands import complain
from IoUSynthLib.constants import DEVICES, MARK, TARGETS
from IoUSynthLib.files.volumes import read_volume, write_volume
from IoUSynthLib.input_checks import check_ultrasound
from IoUSynthLib.models.bundle import Bundle
from IoUSynthLib.pipeline import Options, load_models, synthesize_with
from IoUSynthLib.preprocessing import INTENSITY_RANGE, resample_like
from IoUSynthLib.synthesis.generate import generate
from IoUSynthLib.synthesis.grid import FieldOfView, NetworkGrid, from_network_grid, network_grid
from IoUSynthLib.synthesis.outlines import labels_from_probabilities
from IoUSynthLib.synthesis.segmentation import decide, outline
from IoUSynthLib.volume import InputError, Volume

SEGMENTATION = "ioUS_segmentation.nii.gz"


def outlined(ultrasound: Volume, images: Mapping[str, Volume], device: str) -> Volume:
    """Tumour and cavity on an ultrasound's grid, uint8; ``images`` are synthetic MRI by contrast, 0 or 1 to 1000."""
    models = load_models(None)
    generator = models.paired_generator or models.generator
    field = FieldOfView.of(ultrasound)
    grid = network_grid(field, generator)
    seen = {name: _on_grid(image, grid) for name, image in images.items()}
    if not _read(models.segmenter) <= set(seen):
        seen = generate(generator, grid, device=device).images | seen
    grid, probabilities = outline(models.segmenter, grid, seen, device=device)
    decision = decide(models.segmenter, grid, probabilities, before_resection=False)
    returned = np.stack([from_network_grid(one, grid, field.cropped) for one in decision.probabilities])
    return field.embed(labels_from_probabilities(returned, field.fan[field.box], ultrasound.voxel_volume_ml))


def _read(segmenter: Bundle) -> set[str]:
    """The MRI that a segmenter reads."""
    return {name for name in segmenter.inputs if name != "ioUS"}


def _on_grid(image: Volume, grid: NetworkGrid) -> np.ndarray:
    """Intensities on the network's grid, in [-1, 1], 0 outside the fan; voxels without data weigh nothing."""
    there = image.with_array((image.array > 0).astype(np.float32))
    weights = resample_like(there, grid.image).array
    sums = resample_like(image.with_array(image.array.astype(np.float32)), grid.image).array
    intensities = sums / np.maximum(weights, 1e-3)
    return np.where(grid.valid & (weights > 0), intensities * (2 / INTENSITY_RANGE) - 1, 0).astype(np.float32)


def outline_case(folder: Path, files: Mapping[str, Path], output: Path, *, acquired: bool, device: str) -> None:
    """Outline a case of a cohort on the MRI in ``files``, and put that beside it where it is synthetic.

    Raises
    ------
    InputError
        There is no MRI of the case, or it is damaged.
    """
    if not files:
        raise InputError(f"{folder.name}: has no MRI; let iousynth synthesize make it")
    images = {target: read_volume(path) for target, path in files.items()}
    ultrasound = check_ultrasound(read_volume(folder / "ioUS.mha"), str(folder))
    if acquired:
        labels = synthesize_with(ultrasound, Options(device=device), mri=images).segmentation
    else:
        labels = outlined(ultrasound, images, device)
    output.mkdir(parents=True, exist_ok=True)
    for path in [] if acquired else files.values():
        shutil.copyfile(path, output / path.name)
    write_volume(output / "part.nii.gz", labels, {"descrip": f"{MARK}; segmentation"})
    (output / "part.nii.gz").replace(output / SEGMENTATION)


def main() -> int:
    """Outline the test cases, and return the exit code: 2 where one has failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("predictions", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--device", choices=DEVICES, default="auto")
    options = parser.parse_args()
    acquired, code = options.predictions is None, 0
    for folder in read_index(options.cohort, "test"):
        made, name = (folder, "{}.mha") if acquired else (options.predictions / folder.name, "ioUS_{}.nii.gz")
        paths = {target: made / name.format(target) for target in TARGETS}
        files = {target: path for target, path in paths.items() if path.is_file()}
        output = options.output / folder.name
        if _is_newer(output / SEGMENTATION, files.values()):
            continue
        try:
            outline_case(folder, files, output, acquired=acquired, device=options.device)
            print(f"{folder.name}: outlined", flush=True)
        except InputError as error:
            code = complain(error)
    return code


def _is_newer(file: Path, others: Iterable[Path]) -> bool:
    """Whether a file is there, and none of the others younger."""
    return file.is_file() and all(other.stat().st_mtime <= file.stat().st_mtime for other in others)


if __name__ == "__main__":
    raise SystemExit(main())
