"""How much the sliding window saves by skipping windows without ultrasound: a ratio of two times in one run.

    python Testing/Benchmarks/inference.py [--side 128] [--repeats 3]

Uses the default generator and a fan that fills about a third of its box, as after the crop of a real sweep.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from IoUSynthLib.inference import Session, open_session, predict
from IoUSynthLib.models.bundle import DEFAULT_GENERATOR, Bundle, load


def fan(side: int) -> np.ndarray:
    """Return a fan, turned by 40 degrees in its box."""
    _, y, x = np.mgrid[:side, :side, :side].astype(np.float32)
    angle = np.radians(40.0)
    u, v = x - 0.5 * side, y - 0.5 * side
    lateral, depth = np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v + 0.45 * side
    return (np.hypot(lateral, depth) < 0.85 * side) & (np.abs(np.arctan2(lateral, depth)) < 0.65)


def seconds(session: Session, image: np.ndarray, valid: np.ndarray, bundle: Bundle, repeats: int) -> float:
    """Return the shortest of several times."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        predict(session, image[None], valid, bundle)
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=128, help="voxels along each axis")
    parser.add_argument("--window", type=int, default=64, help="pixels along each side of the window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_GENERATOR)
    options = parser.parse_args()
    bundle = replace(load(options.model), window=(options.window, options.window))
    session = open_session(bundle, "cpu")
    valid = fan(options.side)
    image = np.where(valid, np.random.default_rng(0).uniform(-1, 1, valid.shape), -1.0).astype(np.float32)
    everything = seconds(session, image, np.ones_like(valid), bundle, options.repeats)
    skipping = seconds(session, image, valid, bundle, options.repeats)
    print(f"fan fills {valid.mean():.0%} of {options.side}^3; window {options.window}")
    print(f"all windows {everything:.2f} s, skipping empty ones {skipping:.2f} s, ratio {everything / skipping:.2f}")


if __name__ == "__main__":
    main()
