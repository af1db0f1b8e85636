"""Simulated pairs per second, and how much a small cube saves: a ratio of two times in one run.

    python Testing/Benchmarks/simulation.py [--anatomy FILE] [--repeats 3] [--threads 2]

A pair is a whole case (ultrasound, T2w, FLAIR, labels) at 0.8 mm of one head that is in memory. Every device that there
is gets its line; without ``--anatomy`` the head is the ICBM 152 one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from IoUSynthLib.simulation.anatomy import Head
from IoUSynthLib.simulation.case import simulate_case
from IoUSynthLib.simulation.cohort import load_head


def seconds(head: Head, side: int, device: str, repeats: int) -> float:
    """Return the mean time of a pair over several seeds, since sweeps differ in their number of frames."""
    simulate_case(head, 0, size=side, device=device)  # the first call pays for kernels and memory
    started = time.perf_counter()
    for seed in range(1, repeats + 1):
        simulate_case(head, seed, size=side, device=device)  # its images end on the CPU, so the device is done
    return (time.perf_counter() - started) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anatomy", type=Path, help="BrainWeb or SynthSeg label map, or a folder with real MRI")
    parser.add_argument("--sides", type=int, nargs=2, default=(128, 64), help="voxels along each axis of both cubes")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="threads of the CPU (default: all cores)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    head = load_head(options.anatomy)
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        name = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        large, small = (seconds(head, side, device, options.repeats) for side in options.sides)
        print(
            f"{name}: {options.sides[0]}^3 {1 / large:.2f} pairs/s ({large:.2f} s a pair), "
            f"{options.sides[1]}^3 {1 / small:.2f} pairs/s, ratio {large / small:.1f}"
        )


if __name__ == "__main__":
    main()
