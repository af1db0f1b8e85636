"""How long one click takes with MRI in the scene: registration, its verdict, and the images with MRI where it agrees.

    python Testing/Benchmarks/one_click.py [VOLUME] [--mri MRI...]

Clicks "Synthesize MRI" and then "Register MRI" in the stand-in for Slicer, and prints how long each takes until the
panel is idle again, by the panel's clock on the wall. Without MRI of the patient, the synthetic images of the first
click take its place, displaced by 4 mm: that tells the time, and nothing of the images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]

import SlicerHost  # noqa: E402  the paths come first

DISPLACED_MM, LIMIT_SECONDS = 4.0, 900


def timed(panel: object, button: str) -> float:
    """Click, wait until the panel is idle, and return the seconds."""
    started = time.perf_counter()
    getattr(panel.ui, button).click()
    SlicerHost.process_until(lambda: panel.state.name == "IDLE", LIMIT_SECONDS)
    return time.perf_counter() - started


def stand_ins(nodes: dict[str, object], folder: Path) -> list[object]:
    """The synthetic images of a result as if they were MRI that lies elsewhere."""
    import slicer

    from IoUSynthLib.files.volumes import write_volume
    from IoUSynthLib.mrml.read import volume_from_node
    from IoUSynthLib.registration.displacements import points_within, random_displacement

    found = []
    for contrast, node in nodes.items():
        image = volume_from_node(node)
        matrix = random_displacement(points_within(image), DISPLACED_MM, np.random.default_rng(0))
        moved = matrix @ image.ijk_to_lps
        path = folder / f"Preop {contrast}.nrrd"
        direction = moved[:3, :3] / np.linalg.norm(moved[:3, :3], axis=0)
        write_volume(path, type(image)(image.array, image.spacing, tuple(moved[:3, 3]), direction))
        found.append(slicer.util.loadVolume(str(path), {"name": f"Preop {contrast}"}))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume", type=Path, nargs="?", default=ROOT / "Resources/SampleData/IoUSynthSample_ious.nrrd")
    parser.add_argument("--mri", type=Path, nargs="+", default=[], help="with their contrast in the name")
    options = parser.parse_args()
    SlicerHost.start()
    import slicer

    SlicerHost.load_module(ROOT / "IoUSynth" / "IoUSynth.py")
    panel = SlicerHost.open_module("IoUSynth")
    panel.ui.inputSelector.setCurrentNode(slicer.util.loadVolume(str(options.volume), {"name": "ioUS"}))
    SlicerHost.process_until(lambda: False, 1.0)
    print(f"Synthesize MRI: {timed(panel, 'applyButton'):.1f} s (with the start of the child process)")
    print(f"again: {timed(panel, 'applyButton'):.1f} s")
    parameters = panel.logic.getParameterNode()
    with tempfile.TemporaryDirectory() as folder:
        if options.mri:
            mri = [slicer.util.loadVolume(str(path), {"name": path.name.split(".")[0]}) for path in options.mri]
        else:
            mri = stand_ins({"T2w": parameters.t2wVolume, "FLAIR": parameters.flairVolume}, Path(folder))
    parameters.movingVolume = mri[0]
    print(f"Register MRI and synthesize with it: {timed(panel, 'registerButton'):.1f} s")
    print(panel.ui.verdictLabel.text)
    print(f"images with MRI: {parameters.t2wVolume.GetAttribute('IoUSynth.MRIUsed')}")
    print(panel.ui.qualityLabel.text)
    SlicerHost.unload_module("IoUSynth")


if __name__ == "__main__":
    main()
