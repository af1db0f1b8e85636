"""Which Slicer the stand-in stands for. The two differ in what a module can notice.

The environment variable ``SLICER_HOST_VERSION`` chooses, ``python -m SlicerHost --slicer`` does, and so does
``SlicerHost.stand_for`` at any time, for what is made or connected from then on. Read at the tags v5.10.0 and v5.12.0:

- ``disconnectGui`` of a parameter node leaves its observer behind in 5.10;
- "Create new" of a node selector emits ``nodeAddedByUser`` twice in 5.10, once and ``nodeAddedByUserAction`` in 5.12;
- a node selector emits ``currentNodeChanged`` in 5.12, too, when the current node is renamed;
- ``slicer.packaging`` and ``SampleDataLogic.registerCustomSampleDataCategory`` come with 5.12.
"""

from __future__ import annotations

import os

VARIABLE = "SLICER_HOST_VERSION"
VERSIONS = {"5.10": (5, 10, 0), "5.12": (5, 12, 0)}

_current = {"name": ""}


def choose(name: str | None = None) -> None:
    """Stand for "5.10" or "5.12" from now on; left out, for the one of the environment variable, or the newest.

    :raises ValueError: for any other version.
    """
    name = name or os.environ.get(VARIABLE) or list(VERSIONS)[-1]
    if name not in VERSIONS:
        raise ValueError(f"The stand-in stands for Slicer {' or '.join(VERSIONS)}, not for {name}")
    _current["name"] = name


def current() -> tuple[int, int, int]:
    """Major, minor and patch number."""
    if not _current["name"]:
        choose()
    return VERSIONS[_current["name"]]


def at_least(major: int, minor: int) -> bool:
    return current()[:2] >= (major, minor)
