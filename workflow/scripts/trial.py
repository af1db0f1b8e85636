"""What a trial without a GPU and without heads needs, and a study must not have: narrow networks, small split cases.

    python trial.py split COHORT                   # half of the cases to train on, one for validation, the others test;
                                                   # each is cut to 64 voxels a side
    python trial.py train PRESET COHORT RUN STEPS  # a quarter of the published widths
    python trial.py export PRESET RUN MODEL
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from IoUSynthLib.cases.case import PARAMETERS, Case, read_case, write_case
from IoUSynthLib.cases.index import INDEX, write_index
from IoUSynthLib.experiments.trials import reduced
from IoUSynthLib.preprocessing import bounding_box, crop
from IoUSynthLib.training.presets import find_preset
from IoUSynthLib.training.release import export_run
from IoUSynthLib.training.run import train

#: Most voxels along a side of a case.
EDGE = 64


def split_cases(cohort: Path) -> None:
    """Give the cases of a cohort of one head, at least four, their splits."""
    index = json.loads((cohort / INDEX).read_text(encoding="utf-8"))
    cases = index.pop("cases")
    half = len(cases) // 2
    splits = ["train"] * half + ["validation"] + ["test"] * (len(cases) - half - 1)
    write_index(cohort, [{**case, "split": split} for case, split in zip(cases, splits, strict=True)], **index)


def cut_cases(cohort: Path) -> None:
    """Leave of each case the surroundings of its lesion; what is as small already stays."""
    for folder in (path.parent for path in sorted(cohort.glob(f"*/{PARAMETERS}"))):
        case = read_case(folder)
        if max(case.labels.array.shape) <= EDGE:
            continue
        middle = [(part.start + part.stop) // 2 for part in bounding_box(case.labels.array > 0)]
        box = tuple(slice(max(0, voxel - EDGE // 2), voxel + EDGE // 2) for voxel in middle)
        images = {name: crop(image, box) for name, image in case.images.items()}
        (folder / PARAMETERS).unlink()  # half of a case is not complete, and is simulated again
        write_case(Case(images, crop(case.labels, box), crop(case.fan, box), case.parameters), folder)


def main(action: str, *arguments: str) -> None:
    """Do one of the three."""
    if action == "split":
        cut_cases(Path(arguments[0]))
        split_cases(Path(arguments[0]))
    elif action == "train":
        name, cohort, run, steps = arguments
        preset = reduced(find_preset(name), int(steps))
        train(preset, Path(cohort), Path(run), report=lambda line: print(line, flush=True))
    else:
        name, run, model = arguments
        export_run(Path(run), Path(model), preset=reduced(find_preset(name), 1))


if __name__ == "__main__":
    main(*sys.argv[1:])
