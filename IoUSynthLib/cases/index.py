"""The index of a cohort on disk: which cases it has, and in which split each of them is.

Layout of the folder: ``dataset.json`` (for every case its name and split) and one folder a case with ``ioUS.mha``,
``T2w.mha``, ``FLAIR.mha``, ``labels.mha``, ``fan.mha`` and ``case.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

INDEX = "dataset.json"


def read_index(cohort: Path, split: str) -> list[Path]:
    """Folders of the cohort's cases of one split.

    Raises
    ------
    ValueError
        ``cohort`` has no index.
    """
    if not (cohort / INDEX).is_file():
        raise ValueError(f"{cohort}: no {INDEX}; make a cohort with `iousynth simulate`")
    cases = json.loads((cohort / INDEX).read_text())["cases"]
    return [cohort / case["name"] for case in cases if case["split"] == split]
