"""Seconds and memory of a published architecture in full size, with random weights, on the sample case.

    python Testing/Benchmarks/published.py FAMILY REGIME [--targets T2w FLAIR] [--device cpu] [--mri FILE] [--cube MM]

Writes a checkpoint of the released shapes, imports it as a user would, and runs the bundle through the pipeline in a
process of its own. Checks that the result is finite and lies on the input's grid.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]
SAMPLE = ROOT / "Resources" / "SampleData" / "IoUSynthSample_ious.nrrd"

_RUN = """
import json, sys
import numpy as np
from IoUSynthLib.pipeline import synthesize
from IoUSynthLib.preprocessing import axial, crop
from IoUSynthLib.volume import read_volume
volume = read_volume(sys.argv[1])
if float(sys.argv[5]):
    sides = [round(float(sys.argv[5]) / step) for step in reversed(volume.spacing)]
    middle = [(length - side) // 2 for length, side in zip(volume.array.shape, sides)]
    volume = crop(volume, tuple(slice(max(a, 0), max(a, 0) + n) for a, n in zip(middle, sides)))
grid = axial(read_volume(sys.argv[4])) if sys.argv[4] else None
result = synthesize(volume, sys.argv[2], sys.argv[3], mr_grid=grid)
for image in result.images.values():
    assert image.same_grid(volume, 0.0) and np.isfinite(image.array).all() and (image.array > 0).any()
print(json.dumps(result.report))
"""


def write_checkpoint(folder: Path, family: str, regime: str, targets: list[str]) -> list[str]:
    """Write the files of the regime; return the arguments that name them."""
    import torch
    from support.released_files import write_keras, write_torch

    from IoUSynthLib.generators import build
    from IoUSynthLib.generators.gan import Refiner

    torch.manual_seed(0)
    network = build(family, regime, targets)
    if family in ("resvit", "syndiff"):
        return [str(write_torch(folder / "weights.pth", family, network))]
    files = [str(write_keras(folder / "generator_ema.weights.h5", network))]
    if regime == "2D+3D-refine":
        files += ["--refiner", str(write_keras(folder / "refiner_ema.weights.h5", Refiner(len(targets))))]
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family")
    parser.add_argument("regime")
    parser.add_argument("--targets", nargs="+", default=["T2w"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mri", default="", help="MRI whose grid is taken")
    parser.add_argument("--cube", default="0", metavar="MM", help="side of the part in the middle to run, for a trial")
    options = parser.parse_args()
    from IoUSynthLib import cli

    with tempfile.TemporaryDirectory() as folder:
        files = write_checkpoint(Path(folder), options.family, options.regime, options.targets)
        started = time.perf_counter()
        more = ["--accept-licence"] if options.family == "syndiff" else []
        what = ["--family", options.family, "--regime", options.regime, "--targets", *options.targets]
        bundle = str(Path(folder) / "bundle")
        assert cli.main(["models", "import", *files, *what, *more, "-o", bundle]) == 0
        imported = time.perf_counter() - started
        size = sum(file.stat().st_size for file in Path(bundle).rglob("*.onnx")) / 2**20
        command = [sys.executable, "-c", _RUN, str(SAMPLE), bundle, options.device, options.mri, options.cube]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
    report = json.loads(done.stdout)
    print(f"import {imported:.0f} s, ONNX {size:.0f} MiB; on {report['device']['used']}, grid {report['grid']}")
    print(f"seconds {report['seconds']}, peak memory {report['peak_memory_mib']:.0f} MiB")
    print(report["summary"])


if __name__ == "__main__":
    main()
