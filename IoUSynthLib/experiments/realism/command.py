"""How close simulated ultrasound is to real ultrasound: :mod:`.measures` of both, a picture and a classifier.

    python -m IoUSynthLib.experiments realism --cohort COHORT --real DATA -o FOLDER

``DATA`` holds ``resect/Case4-US-before.nii.gz`` and ``resect_sweep`` (RESECT, Xiao et al. 2017, CC BY 4.0), and, where
they are at hand, the other volumes of RESECT that may be learned from in ``resect_us``. Written are ``realism.md`` and
``realism.json``, and on request ``realism.png`` and the classifier's AUC.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...files.volumes import read_volume
from ...outputs.markdown import markdown_table
from ...preprocessing import field_of_view
from ...simulation.planes import cut
from ...volume import Volume
from . import data, depth
from .measures import compare, measure_cohort, measure_real, table

#: Percentile of the field of view that is shown white.
SHOWN = 99.7
#: Edge of a slice in the picture, in mm and in pixels.
EXTENT, PIXELS = 84.0, 210


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiment's options."""
    parser.add_argument("--cohort", type=Path, required=True, metavar="DIR", help="simulated cohort")
    parser.add_argument("--real", type=Path, required=True, metavar="DIR", help="folder with resect and resect_sweep")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("-n", "--cases", type=int, default=32, help="most cases to measure (default: 32)")
    parser.add_argument("--picture", action="store_true", help="also draw simulated and real slices side by side")
    parser.add_argument("--classifier", action="store_true", help="also train a network to tell them apart")


def run(options: argparse.Namespace) -> int:
    """Measure, write and print the table."""
    folders = data.case_folders(options.cohort)[: options.cases]
    real = data.read_real(options.real)
    measured = {
        name: measure_real(volume, planes, radii=radii, angles=angles)
        for name, (volume, planes, radii, angles) in real.items()
    }
    rows = compare(measure_cohort(folders), measured)
    report = {"simulated": True, "cohort": options.cohort.name, "cases": len(folders), "measures": rows}
    text = table(rows, list(real))
    volumes = depth.read_volumes(options.real)
    if volumes:
        volumes[data.CASE] = real[data.CASE][0]
        report["volumes"] = found = depth.compare(depth.measure_simulated(folders), depth.measure_volumes(volumes))
        text += f"\n\n{len(volumes)} real volumes:\n\n" + depth.table(found)
    if options.classifier:
        report["classifier AUC"] = found = classify(options.cohort, real, volumes)
        headings = ["patch classifier, simulated against real", "AUC"]
        text += "\n\n" + markdown_table(headings, [[name, f"{value:.2f}"] for name, value in found.items()])
    options.output.mkdir(parents=True, exist_ok=True)
    if options.picture:
        draw(options.output / "realism.png", folders, real)
    (options.output / "realism.md").write_text(text + "\n", encoding="utf-8")
    (options.output / "realism.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(text)
    return 0


def classify(cohort: Path, real: dict[str, data.Sliced], volumes: dict[str, Volume]) -> dict[str, float]:
    """AUC of the patch classifier: simulated test heads against real volumes, among them ``volumes`` without planes."""
    from .classifier import tell_apart, tell_apart_by_volume

    arrays = {
        test: [read_volume(folder / "ioUS.mha").array for folder in data.split_folders(cohort, test)]
        for test in (False, True)
    }
    sweeps = {n: (volume.array, planes[-1][:3, 3] - planes[0][:3, 3]) for n, (volume, planes, *_) in real.items()}
    found = tell_apart(sweeps, arrays[False], arrays[True])
    if volumes:
        whole = [volume.array for volume in volumes.values()]
        ways = tell_apart_by_volume(whole, arrays[False], arrays[True])
        found |= {f"learnt from {half} half of the volumes, tested on the other": value
                  for half, value in zip(("one", "the other"), ways, strict=True)}  # fmt: skip
    return found


def draw(path: Path, folders: Sequence[Path], real: dict[str, data.Sliced]) -> None:
    """Picture of five slices of each real volume and of fifteen simulated ones, all in planes of frames."""
    from .picture import COLUMNS, write_picture

    def slices(parts: data.Sliced, picked: Sequence[int]) -> list[np.ndarray]:
        volume, planes, radii, angles = parts
        bright = np.percentile(volume.array[field_of_view(volume.array)], SHOWN)
        image = np.clip(volume.array * (255 / bright), 0, 255)
        top = radii[0] * np.cos(angles[-1])
        return [cut(image, planes[n], top=top, extent=EXTENT, pixels=PIXELS) for n in picked]

    upper = []
    for name, parts in real.items():
        picked = np.linspace(0.1, 0.9, COLUMNS) * (len(parts[1]) - 1)
        upper += [(f"real: {name}", image) for image in slices(parts, picked.round().astype(int))]
    lower = []
    step = max(1, len(folders) // (3 * COLUMNS))
    for number, folder in enumerate(folders[::step][: 3 * COLUMNS]):
        volume, _, *parts = data.read_simulated(folder)
        head = data.read_parameters(folder)["head"]
        lower.append((f"simulated: {folder.name}, {head}", slices((volume, *parts), [2 + number % 5])[0]))
    title = "Intraoperative ultrasound at 0.8 mm: two rows real (RESECT, CC BY 4.0), the rows below simulated"
    write_picture(path, upper, lower, title=title)
