"""``iousynth personalize``: its options, and what it does once they are read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..commands import positive, seed
from ..constants import DEVICES
from ..models.bundle import DEFAULT_GENERATOR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.description = (
        f"Simulates sweeps of a patient's own MRI and lets {DEFAULT_GENERATOR} go on learning on them: a model for "
        "this patient alone, for research. It names the MRI by checksum, and synthesize refuses it beside any other. "
        "The same command goes on after an interruption."
    )
    parser.add_argument(
        "patient", type=Path, metavar="PATIENT",
        help="folder with t1.nii.gz, t2.nii.gz and flair.nii.gz: on one grid, without the skull; and, if there is one, "
        "the tumour's segmentation as seg.nii.gz (labels of BraTS) or tumour_auto.nii.gz",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="MODEL", help="the model to make")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes", type=positive, default=20, metavar="M", help="for simulating and learning (default: 20)"
    )
    length.add_argument("--steps", type=positive, metavar="N", help="so many steps instead, which can be repeated")
    parser.add_argument(
        "--cases", type=positive, default=12, metavar="N", help="simulated sweeps to learn from (default: 12)"
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="default: 0")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="of the training (default: auto)")


def run(options: argparse.Namespace) -> int:
    """Personalise, say what was made, and return the exit code.

    Raises
    ------
    InputError
        The patient's MRI cannot be used, or something cannot be written.
    """
    import torch

    from .personal import Budget, personalize

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    work = options.output.with_name(f"{options.output.name}-run")
    try:
        difference = personalize(
            options.patient, options.output, work, budget=Budget(options.minutes, options.steps), cases=options.cases,
            seed=options.seed, device=device, report=lambda line: print(line, flush=True),
        )  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    print(
        f"{options.output}: for this patient alone; give the MRI to synthesize with --preoperative {options.patient}/"
        f"t2.nii.gz; ONNX Runtime and torch differ by {difference:.1e}; {work} can be removed"
    )
    return 0
