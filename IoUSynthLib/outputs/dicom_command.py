"""``iousynth export-dicom``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..constants import NOTICE
from ..files.volumes import read_volume
from ..volume import InputError, Volume
from .case_files import KINDS, is_synthetic
from .dicom import SERIES_NUMBERS, Export, write_all
from .dicom_reference import read_reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        "Writes DIR/CASE_T2w/0001.dcm and so on: Secondary Capture, marked as derived, synthetic and not for "
        "diagnosis, in the image's own coordinates."
    )
    parser.epilog = NOTICE
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="CASE_T2w.nii.gz and the like, as synthesize wrote them"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="gets a folder for each series")
    parser.add_argument(
        "--reference", type=Path, metavar="DICOM", help="file or folder whose patient and study the series belong to"
    )
    parser.add_argument(
        "--same-frame",
        action="store_true",
        help="the images lie in the reference's coordinates: take over its frame of reference, too",
    )


def run(options: argparse.Namespace) -> int:
    """Export each image, say so, and return the exit code 0.

    Raises
    ------
    InputError
        One of the images cannot be exported; none is then.
    """
    if options.same_frame and options.reference is None:
        raise InputError("--same-frame: needs --reference")
    reference = read_reference(options.reference, options.same_frame) if options.reference else None
    exports = [
        Export(options.output / path.name.removesuffix(".nii.gz"), *_read_image(path)) for path in options.images
    ]
    for export, folder in zip(exports, write_all(exports, reference), strict=True):
        print(f"{folder}: {export.image.size[2]} slices, {export.report['notice']}")
    return 0


def _read_image(path: Path) -> tuple[Volume, str, dict[str, Any]]:
    """Read a result of ``synthesize`` with its report."""
    case, _, kind = path.name.removesuffix(".nii.gz").rpartition("_")
    if kind not in KINDS:
        raise InputError(f"{path}: is not named as synthesize does; give CASE_T2w.nii.gz or CASE_FLAIR.nii.gz")
    if kind not in SERIES_NUMBERS:
        raise InputError(f"{path}: is a segmentation; export it from Slicer's module Segmentations as DICOM SEG")
    image = read_volume(path)
    if not is_synthetic(path):
        raise InputError(f"{path}: does not say that it is synthetic; give an image that synthesize wrote")
    report_file = path.with_name(f"{case}_report.json")
    try:
        return image, kind, json.loads(report_file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{report_file}: cannot be read; keep it beside the image, or synthesize again") from error
