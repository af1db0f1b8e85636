"""What the commands of the experiments share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

#: Receives lines about the progress.
Report = Callable[[str], None]


def positive(text: str) -> int:
    """A number on the command line that must be at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number that is at least 1")
    return int(text)


def say(line: str) -> None:
    """Report progress on stderr, which leaves stdout to the results."""
    print(line, file=sys.stderr, flush=True)
