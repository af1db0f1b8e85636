"""What a trial without a GPU and without heads needs, and a study must not have: narrow networks, cases that are split.

    python trial.py split COHORT                   # half of the cases for training, one for validation, the others test
    python trial.py train PRESET COHORT RUN STEPS  # a quarter of the published widths
    python trial.py export PRESET RUN MODEL
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from IoUSynthLib.cases.index import INDEX, write_index
from IoUSynthLib.experiments.trials import reduced
from IoUSynthLib.training.presets import find_preset
from IoUSynthLib.training.release import export_run
from IoUSynthLib.training.run import train


def split_cases(cohort: Path) -> None:
    """Give the cases of a cohort of one head, at least four, their splits."""
    index = json.loads((cohort / INDEX).read_text(encoding="utf-8"))
    cases = index.pop("cases")
    half = len(cases) // 2
    splits = ["train"] * half + ["validation"] + ["test"] * (len(cases) - half - 1)
    write_index(cohort, [{**case, "split": split} for case, split in zip(cases, splits, strict=True)], **index)


def main(action: str, *arguments: str) -> None:
    """Do one of the three."""
    if action == "split":
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
