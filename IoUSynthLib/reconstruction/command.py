"""``iousynth reconstruct``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .. import __version__
from ..files.paths import case_name
from ..files.volumes import write_volume
from ..outputs.case_files import staging_folder
from ..progress import StagePrinter
from ..volume import InputError
from .compounding import AXES, COMPOUNDING, DEFAULT_FILL_MM, DEFAULT_SPACING_MM, INTERPOLATION, reconstruct
from .readers import read_sweep

#: Formats that a reconstructed volume is written in.
_VOLUME_SUFFIXES = (".nrrd", ".nii.gz", ".mha")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = "Writes the volume, and beside it NAME_mask, which is 1 where there is data."
    parser.add_argument(
        "sweep",
        type=Path,
        metavar="SWEEP",
        help="PLUS sequence (.igs.mha, .igs.nrrd), or folder with frames*.npy and poses*.npy",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="VOLUME", help="NRRD, NIfTI or MetaImage")
    parser.add_argument("--spacing", type=float, default=DEFAULT_SPACING_MM, metavar="MM", help="default: %(default)s")
    parser.add_argument("--interpolation", choices=INTERPOLATION, default="nearest", help="default: %(default)s")
    parser.add_argument("--compounding", choices=COMPOUNDING, default="mean", help="default: %(default)s")
    parser.add_argument(
        "--fill",
        type=float,
        default=DEFAULT_FILL_MM,
        metavar="MM",
        help="longest gap that is filled; default: %(default)s",
    )
    parser.add_argument(
        "--axes", choices=AXES, default="frame", help="of the volume: the middle frame's or LPS; default: %(default)s"
    )
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="PLUS configuration, or ImageToProbe as text")
    parser.add_argument("--pixel-spacing", type=float, metavar="MM", help="pixel size, for rigid poses")
    parser.add_argument("--fan", type=Path, metavar="IMAGE", help="above 0 where a frame holds ultrasound")


def run(options: argparse.Namespace) -> int:
    """Reconstruct, write volume and mask, and return the exit code.

    Raises
    ------
    InputError
        The sweep is unreadable or an option wrong; nothing is written then.
    """
    started = time.perf_counter()
    name, suffix = _volume_name(options.output)
    if options.output.resolve() == options.sweep.resolve():
        raise InputError(f"{options.output}: would overwrite the sweep; choose another name")
    with staging_folder(options.output.parent) as staging:
        sweep = read_sweep(options.sweep, options.calibration, pixel_spacing=options.pixel_spacing, fan=options.fan)
        try:
            volume, mask = reconstruct(
                sweep,
                options.spacing,
                interpolation=options.interpolation,
                compounding=options.compounding,
                fill_gap_mm=options.fill,
                axes=options.axes,
                progress=StagePrinter(case_name(options.sweep)),
            )
        except InputError as error:
            raise InputError(f"{options.sweep}: {error}") from error
        header = {"descrip": f"Reconstructed from {len(sweep.frames)} tracked frames; IoUSynth {__version__}"[:79]}
        write_volume(staging / options.output.name, volume, header)
        write_volume(staging / f"{name}_mask{suffix}", mask, header)
    seconds = time.perf_counter() - started
    size = " x ".join(map(str, volume.size))
    print(
        f"{options.output}: {size} voxels of {options.spacing:g} mm, {mask.array.mean():.0%} of them with data "
        f"({name}_mask{suffix}), in {seconds:.1f} s. "
        + " ".join([*volume.notes, *(f"Warning: {doubt}" for doubt in volume.warnings)])
    )
    return 0


def _volume_name(output: Path) -> tuple[str, str]:
    """Split the name of a volume file, and refuse formats that are not written."""
    for suffix in _VOLUME_SUFFIXES:
        if output.name.endswith(suffix) and len(output.name) > len(suffix):
            return output.name[: -len(suffix)], suffix
    raise InputError(f"{output}: has no suffix that is written; name it .nrrd, .nii.gz or .mha")
