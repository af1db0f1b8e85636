"""How long assessing an input takes, what it finds in volumes, and what training images are like.

    python Testing/Benchmarks/input_quality.py VOLUME...

The last line is the entry ``training_range`` of a bundle that was trained on these volumes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from IoUSynthLib.files.paths import case_name
from IoUSynthLib.files.volumes import read_volume
from IoUSynthLib.models.bundle import DEFAULT_GENERATOR, load
from IoUSynthLib.synthesis.quality import assess_quality, training_range


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path, nargs="+")
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    options = parser.parse_args()
    bundle = load(options.model)
    for path in options.volumes:
        volume = read_volume(path)
        started = time.perf_counter()
        quality = assess_quality(volume, bundle, case_name(path))
        size = "x".join(map(str, volume.size))
        seconds = time.perf_counter() - started
        print(f"{seconds:.3f} s  {size:>11}  {quality.level:8}  {case_name(path)}: {quality.summary}")
        for finding in quality.findings:
            print(f"{'':26}{finding}")
    print(json.dumps(training_range(read_volume(path) for path in options.volumes)))


if __name__ == "__main__":
    main()
