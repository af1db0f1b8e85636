"""The index of a cohort on disk: which cases it has, and in which split each of them is.

Layout of the folder: ``dataset.json`` (the seed and, for every case, its name, head or patient, and split; of a patient
also ``phase``, pre or post of the resection, and ``clinical``, where these are known) and one folder a case with
``ioUS.mha``, ``T2w.mha``, ``FLAIR.mha``, ``labels.mha``, ``fan.mha`` and ``case.json`` (everything that was drawn; of a
patient, what was done). Where MRI is made of MRI, its contrast is in the place of ``ioUS``, and ``case.json`` names it
as ``input``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..volume import InputError

INDEX = "dataset.json"


def read_index(cohort: Path, split: str) -> list[Path]:
    """Folders of the cohort's cases of one split.

    Raises
    ------
    InputError
        ``cohort`` has no index.
    """
    if not (cohort / INDEX).is_file():
        raise InputError(f"{cohort}: no {INDEX}; make a cohort with `iousynth simulate`")
    cases = json.loads((cohort / INDEX).read_text(encoding="utf-8"))["cases"]
    return [cohort / case["name"] for case in cases if case["split"] == split]


def write_index(
    cohort: Path, cases: Sequence[Mapping[str, Any]], *, simulated: bool = True, **origin: Any
) -> None:
    """Write the index of a cohort whose cases are complete.

    Parameters
    ----------
    cohort
        Its folder.
    cases
        Name, split and, as ``head``, the head or patient of each; of patients also ``phase`` (text) and ``clinical``
        (text by ``grade``, ``histology``, ``idh``, ``reoperation``), where these are known.
    simulated
        Whether the cases are simulated, so that the scale of their MRI is known.
    origin
        Further entries: the seed, how the split was made, and which studies failed.
    """
    content = {"simulated": simulated, **origin, "cases": list(cases)}
    (cohort / INDEX).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def describe_index(cohort: Path) -> dict[str, Any]:
    """What is known of the cohort as a whole, for what learns from it; no case or patient is named.

    Returns
    -------
    dict
        ``cases``, their numbers by split; ``heads``, the number of heads, or patients; and what the index has of
        ``simulated`` and the ``seed``.
    """
    content = json.loads((cohort / INDEX).read_text(encoding="utf-8"))
    known = {key: content[key] for key in ("simulated", "seed") if key in content}
    splits = Counter(case["split"] for case in content["cases"])
    return {**known, "cases": dict(splits), "heads": len({case.get("head") for case in content["cases"]})}
