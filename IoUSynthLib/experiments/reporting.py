"""How experiments report their progress."""

from __future__ import annotations

import sys
from collections.abc import Callable

#: Receives lines about the progress.
Report = Callable[[str], None]


def say(line: str) -> None:
    """Report progress on stderr, which leaves stdout to the results."""
    print(line, file=sys.stderr, flush=True)
