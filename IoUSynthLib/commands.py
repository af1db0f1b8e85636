"""What the commands of all rooms share.

A room's ``command.py`` has ``add_arguments(parser)``, which declares what the command takes, and ``run(options)``,
which does it and returns the exit code; what takes long to import is imported in there. :mod:`IoUSynthLib.cli` lists
them all.
"""

from __future__ import annotations

import argparse
import sys

#: Exit code for bad input.
BAD_INPUT = 2


def complain(error: object) -> int:
    """Print an error as one line on stderr, and return the exit code for bad input."""
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT


# Types of arguments ---------------------------------------------------------------------------------------------------


def whole_number(text: str) -> int:
    """A number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
    return int(text)


def positive(text: str) -> int:
    """A number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def share(text: str) -> float:
    """A number between 0 and 1, neither of them included."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no share; write a number between 0 and 1, such as 0.25")
    return value


def seed(text: str) -> int:
    """What NumPy and PyTorch take as a seed."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 4294967295")
    return int(text)
